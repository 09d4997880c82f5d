//! threat_10: whoever has no credential gets nothing, though everybody may connect to the signing plane.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::keys::TestKey;
use e2e::lab::program::{as_nobody, run, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::{Lab, acme};
use enclave_wire::Name;
use enclave_wire::credential::{CredentialId, Hello};
use enclave_wire::frame::encode_with;
use enclave_wire::signing::{List, Listing, Reply, Request, SignError};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_10_a_user_outside_the_group_sees_no_token,
    threat_10_without_a_credential_there_is_no_token,
    threat_10_a_wrong_credential_sees_no_key,
    threat_10_before_the_proof_nothing_is_answered,
    threat_10_a_wrong_proof_ends_the_connection,
    threat_10_a_credential_sees_only_its_keys,
];

/// The credential is 0640, and its directory closed: for anybody else there is nothing to configure.
fn threat_10_a_user_outside_the_group_sees_no_token(lab: &Lab) -> Result<()> {
    let mode = fs::metadata(lab.credential()?)?.permissions().mode() & 0o777;
    ensure!(mode == 0o640, "the credential's mode is {mode:o}");
    // The module itself may be read by all, wherever it was built.
    let scratch = Scratch::new()?;
    let module = scratch.file("module.so");
    fs::copy(&lab.module, &module)?;
    fs::set_permissions(&module, fs::Permissions::from_mode(0o755))?;
    let mut tool = as_nobody("pkcs11-tool");
    no_token(lab, tool.envs(&lab.env).arg("--module").arg(&module).arg("-L"))?;
    // The control: the same words show the token to root.
    let seen = succeed(lab.command("pkcs11-tool").arg("--module").arg(&module).arg("-L"))?;
    ensure!(seen.contains(&format!("token label        : {}", lab.token)), "{seen}");
    Ok(())
}

fn threat_10_without_a_credential_there_is_no_token(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let endpoint = format!("endpoints = [\"{}\"]\n", lab.signing);
    let absent = scratch.write("absent.toml", format!("{endpoint}credential = \"absent.credential\"\n"))?;
    for config in [absent, scratch.file("no-such.toml")] {
        let mut tool = Command::new("pkcs11-tool");
        tool.env(MODULE_CONFIG, &config)
            .arg("--module")
            .arg(&lab.module)
            .arg("-L");
        no_token(lab, &mut tool).with_context(|| config.display().to_string())?;
    }
    Ok(())
}

/// No slot holds a token, nothing connects, and nothing is said.
fn no_token(lab: &Lab, list: &mut Command) -> Result<()> {
    let before = lab.ctl(&["stats"])?;
    let ran = run(list)?;
    ensure!(
        ran.status.success() && ran.stderr.is_empty(),
        "{}: {}",
        ran.status,
        ran.printed()
    );
    ensure!(ran.stdout.contains("Slot 0"), "no slot: {}", ran.stdout);
    ensure!(!ran.stdout.contains("token label"), "a token: {}", ran.stdout);
    let after = lab.ctl(&["stats"])?;
    ensure!(before["accepted"] == after["accepted"], "it connected");
    Ok(())
}

fn threat_10_a_wrong_credential_sees_no_key(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let config = format!("endpoints = [\"{}\"]\ncredential = \"wrong.credential\"\n", lab.signing);
    let config = scratch.write("pkcs11.toml", config)?;
    scratch.write(
        "wrong.credential",
        format!("enclave-tls-credential-v1:{}\n", "5a".repeat(32)),
    )?;
    let before = lab.ctl(&["stats"])?;
    let mut tool = Command::new("pkcs11-tool");
    let ran = run(tool
        .env(MODULE_CONFIG, config)
        .arg("--module")
        .arg(&lab.module)
        .arg("-O"))?;
    ensure!(!ran.stdout.contains("Object"), "it sees objects: {}", ran.stdout);
    let after = lab.ctl(&["stats"])?;
    // It went as far as the service, whose proof under a credential that it does not know the module does not believe.
    let accepted = |stats: &serde_json::Value| stats["accepted"].as_u64();
    ensure!(accepted(&after) > accepted(&before), "it never asked: {before} {after}");
    Ok(())
}

fn threat_10_before_the_proof_nothing_is_answered(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?.id.clone();
    let key = enclave_wire::KeyId(hex::decode(key)?.try_into().map_err(|_| anyhow::anyhow!("not an id"))?);
    let sign = enclave_wire::signing::Sign {
        key,
        mechanism: enclave_wire::Mechanism::Ecdsa,
        input: &[1; 32],
    };
    let requests = [
        Request::List(List {
            known_version: 0,
            cursor: 0,
        }),
        Request::FindById(key),
        Request::Chain(key),
        Request::Sign(sign),
        Request::Ping,
        Request::Authenticate([0; 32]),
    ];
    for request in requests {
        for greeted in [false, true] {
            // An authenticate that follows a hello is in order; the next test is about it.
            if greeted && matches!(request, Request::Authenticate(_)) {
                continue;
            }
            let mut connection = Connection::open(&lab.signing)?;
            if greeted {
                connection.ask(&Request::Hello(HELLO))?;
            }
            let reply = connection.ask(&request)?;
            ensure!(reply == Reply::Error(SignError::Malformed), "{request:?}: {reply:?}");
            ensure!(connection.until_closed()?.is_empty(), "{request:?}: more was said");
        }
    }
    Ok(())
}

/// Whether the credential exists is not told: the replies are equal to the byte but for the service's random ones.
fn threat_10_a_wrong_proof_ends_the_connection(lab: &Lab) -> Result<()> {
    let mut replies = Vec::new();
    for credential in [known_credential(lab)?, CredentialId([0x5a; 16])] {
        let mut connection = Connection::open(&lab.signing)?;
        let challenge = connection.exchange(&Request::Hello(Hello { credential, ..HELLO }))?;
        let refusal = connection.exchange(&Request::Authenticate([0x5a; 32]))?;
        let error = encode_with(enclave_wire::frame::ERROR, 2, |body| {
            body.put(&[SignError::AuthenticationFailed.byte()])
        });
        ensure!(refusal.0 == error.into_bytes(), "{refusal:?}");
        ensure!(connection.until_closed()?.is_empty(), "the connection goes on");
        replies.push((challenge.0.len(), refusal));
    }
    ensure!(replies.first() == replies.last(), "{replies:?}");
    Ok(())
}

fn threat_10_a_credential_sees_only_its_keys(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.file("other.credential");
    lab.ctl(&["credential", "e2e-other", "--out", &file.display().to_string()])?;
    let own = TestKey::create(lab, "lab-e2e-other", "P-256", "digest", "e2e-other")?;
    let names = |credential| -> Result<Vec<Name>> {
        let mut connection = Connection::authenticated(&lab.signing, credential)?;
        match connection.ask(&Request::List(List {
            known_version: 0,
            cursor: 0,
        }))? {
            Reply::Listing(Listing::Page(page)) => Ok(page.entries.0.into_iter().map(|entry| entry.name).collect()),
            other => anyhow::bail!("no listing: {other:?}"),
        }
    };
    let theirs = names(&file)?;
    ensure!(
        theirs.len() == 1 && theirs.iter().all(|name| name.as_str() == own.key.label),
        "{theirs:?}"
    );
    let web_servers = names(&lab.credential()?)?;
    let described = web_servers.iter().filter(|name| !acme::is_of_ca(name.as_str()));
    ensure!(described.count() == lab.keys.len(), "{web_servers:?}");
    ensure!(
        web_servers.iter().all(|name| name.as_str() != own.key.label),
        "{web_servers:?}"
    );
    Ok(())
}

/// The id of the lab's credential, as its hello names it.
fn known_credential(lab: &Lab) -> Result<CredentialId> {
    let secret = enclave_wire::credential::Secret::parse(&fs::read(lab.credential()?)?);
    let secret = secret.map_err(|_| anyhow::anyhow!("not a credential"))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &secret.id_input());
    Ok(CredentialId(
        *digest
            .as_ref()
            .first_chunk()
            .context("SHA-256 is longer than 16 bytes")?,
    ))
}

const HELLO: Hello = Hello {
    credential: CredentialId([1; 16]),
    client_nonce: [2; 32],
};
const MODULE_CONFIG: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
