//! A CA as those of companies and of ACM are: an account is bound to one that an administrator has there, names are approved beforehand,
//! certificates live for days. This one also refuses nine of ten nonces.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::acme::{self, Leaf, Said};
use e2e::lab::added::Added;
use e2e::lab::program::{openssl, succeed, succeed_with_input};
use e2e::lab::suite::Test;
use e2e::lab::{Lab, agent, kms};

pub(crate) const TESTS: &[Test] =
    e2e::tests![a_bound_account_gets_the_profile_and_the_chain_that_it_wants_without_a_proof];

fn a_bound_account_gets_the_profile_and_the_chain_that_it_wants_without_a_proof(lab: &Lab) -> Result<()> {
    let bound = &lab.acme.bound;
    let added = Added::nothing(lab, &[CERTIFICATE, ACCOUNT])?;
    added.configure(&configuration(lab, None, "challenge = \"http-01\""))?;
    agent::wait_for(lab, "the CA to refuse an account that is not bound", |report| {
        let mut accounts = report.accounts.iter().filter(|account| account.name == ACCOUNT);
        accounts.any(|account| {
            let problem = account.problem.as_deref().unwrap_or_default();
            problem.contains("external account binding") && account.url.is_none()
        })
    })?;

    let binding = added.file("eab.json");
    bound.bind(lab, &binding)?;
    let written = fs::read_to_string(&binding)?;
    ensure!(!written.contains(&bound.mac_key), "the key can be read: {written}");
    let (said, opened) = (Said::from_now(lab, "acme-bound")?, kms::attested(lab, "Decrypt")?);
    // It gives any of its profiles to those who ask for none.
    let first = "challenge = \"http-01\"\nprofile = \"default\"";
    added.configure(&configuration(lab, Some(&binding), first))?;
    agent::wait_for(lab, "its first certificate", |report| {
        agent::is_served(report, CERTIFICATE)
    })?;
    ensure!(kms::attested(lab, "Decrypt")? > opened, "nobody opened the binding");
    added.serve(CERTIFICATE, HOST, bound.port)?;
    let ((root, _), (other_root, other_name)) = (bound.root(lab, 0)?, bound.root(lab, 2)?);
    let first = acme::verified(bound.port, HOST, &root)?;
    let proofs = said.count(PROOF)?;
    ensure!(proofs > 0, "no name was proven");

    // The account has proven the name, so that the CA asks for nothing more.
    let second = format!(
        "challenge = \"none\"\nprofile = \"{}\"\npreferred_chain = \"{other_name}\"",
        bound.profile
    );
    added.configure(&configuration(lab, Some(&binding), &second))?;
    acme::rotate(lab, CERTIFICATE)?;
    let second = acme::another(&first, || acme::verified(bound.port, HOST, &other_root))?;
    ensure!(second.key != first.key, "the renewed certificate has the older key");
    ensure!(
        acme::verified(bound.port, HOST, &root).is_err(),
        "the default chain is served"
    );
    ensure!(said.count(PROOF)? == proofs, "the CA asked for a proof");
    ensure!(said.count(REQUEST)? > REPEATED, "the CA refused no nonces");
    let (short, long) = (lifetime(&second)?, lifetime(&first)?);
    // The last second counts for one.
    ensure!(short.abs_diff(bound.profile_seconds) <= 1, "valid for {short} s");
    ensure!(long > 80 * 86_400, "valid for {long} s by the other profile");
    Ok(())
}

/// The account with this binding, and the certificate with more of its own.
fn configuration(lab: &Lab, binding: Option<&Path>, more: &str) -> String {
    let directory = &lab.acme.bound.directory;
    let eab = binding.map_or_else(String::new, |file| format!("eab = \"{}\"\n", file.display()));
    format!(
        "[acme.{ACCOUNT}]\ndirectory = \"{directory}\"\nterms_agreed = true\n{eab}\n\
         [[certificates]]\nname = \"{CERTIFICATE}\"\nsource = \"acme\"\naccount = \"{ACCOUNT}\"\nkey_type = \"p-256\"\n\
         dns_names = [\"{HOST}\"]\nservers = [\"provider\"]\n{more}\n"
    )
}

/// In seconds.
fn lifetime(leaf: &Leaf) -> Result<u64> {
    let dates = ["x509", "-noout", "-startdate", "-enddate"];
    let said = succeed_with_input(openssl().args(dates), leaf.certificate.as_bytes())?;
    let seconds = |which: &str| -> Result<u64> {
        let date = said
            .lines()
            .find_map(|line| line.strip_prefix(which))
            .context("no date")?;
        let seconds = succeed(Command::new("date").args(["-u", "-d", date, "+%s"]))?;
        Ok(seconds.trim().parse()?)
    };
    Ok(seconds("notAfter=")?.saturating_sub(seconds("notBefore=")?))
}

const CERTIFICATE: &str = "lab-acme-bound";
const ACCOUNT: &str = "lab-acme-binding";
const HOST: &str = "bound.lab.test";
/// What pebble says when it looks at a proof.
const PROOF: &str = "Pulled a task from the Tasks queue";
/// What it says of a request, before it looks at the nonce.
const REQUEST: &str = "POST /";
/// More than twice as many as two orders need.
const REPEATED: usize = 40;
