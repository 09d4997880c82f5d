//! The lab's CA that speaks ACME, and what it issues, as clients see it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enclave_tls_admin::report::{Ask, Rotate};
use serde::Deserialize;
use serde_json::Value;

use super::scratch::Scratch;
use super::{Lab, agent, process};

/// Where it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Ca {
    /// Pebble's management interface.
    pub management: String,
    /// The root of that interface.
    pub root: std::path::PathBuf,
    /// The management interface of its DNS.
    pub dns: String,
    /// Where the server `provider` serves each of its certificates, on 127.0.0.1.
    pub endpoints: std::collections::BTreeMap<String, u16>,
    /// The second one.
    pub bound: super::bound::Bound,
}

/// A certificate that a client verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// PEM.
    pub certificate: String,
    /// Its public key, PEM.
    pub key: String,
}

/// Whether a name is that of the account or of a certificate that the CA issues: the lab's description has neither, since each renewal is
/// another key.
#[must_use]
pub fn is_of_ca(name: &str) -> bool {
    name == "lab-acme" || name.starts_with("lab-acme-")
}

/// What a client gets that verifies it by the CA's root and by this name.
pub fn leaf(lab: &Lab, certificate: &str, name: &str) -> Result<Leaf> {
    let root = ask(&lab.acme.management, &lab.acme.root, "/roots/0", None)?;
    verified(port(lab, certificate)?, name, &root)
}

/// What a client gets on a port that trusts this root (PEM) alone.
pub fn verified(port: u16, name: &str, root: &str) -> Result<Leaf> {
    let scratch = Scratch::new()?;
    let root = scratch.write("root.pem", root)?;
    let verified = [
        "-verify_hostname",
        name,
        "-verify_return_error",
        "-CAfile",
        &root.display().to_string(),
    ];
    let text = handshake(port, name, &verified)?;
    ensure!(text.contains("Verify return code: 0 (ok)"), "{text}");
    leaf_of(&text, &scratch)
}

/// The same, of a client that verifies nothing: while the CA is away nobody knows its root.
pub fn shown(lab: &Lab, certificate: &str, name: &str) -> Result<Leaf> {
    leaf_of(&handshake(port(lab, certificate)?, name, &[])?, &Scratch::new()?)
}

fn port(lab: &Lab, certificate: &str) -> Result<u16> {
    lab.acme.endpoints.get(certificate).copied().context("it is not served")
}

fn handshake(port: u16, name: &str, more: &[&str]) -> Result<String> {
    let mut client = Command::new("openssl");
    client.env_remove("OPENSSL_CONF");
    client.args([
        "s_client",
        "-connect",
        &format!("127.0.0.1:{port}"),
        "-servername",
        name,
    ]);
    let shown = client.args(more).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.status.success(), "{text}");
    Ok(text)
}

fn leaf_of(text: &str, scratch: &Scratch) -> Result<Leaf> {
    let begin = text.find("-----BEGIN CERTIFICATE-----").context("no certificate")?;
    let end = text.find(END).context("no end of it")? + END.len();
    let file = scratch.file("leaf.pem");
    fs::write(&file, &text[begin..end])?;
    let mut key = Command::new("openssl");
    let key = key.args(["x509", "-noout", "-pubkey", "-in"]).arg(&file).output()?;
    ensure!(key.status.success(), "no certificate");
    Ok(Leaf {
        certificate: text[begin..end].to_owned(),
        key: String::from_utf8(key.stdout)?,
    })
}

/// Asks for another key and certificate, now.
pub fn rotate(lab: &Lab, certificate: &str) -> Result<()> {
    let rotate = Rotate {
        certificate: Some(certificate.to_owned()),
        now: true,
        ..Rotate::default()
    };
    agent::ask(lab, Ask::Rotate(rotate)).map(drop)
}

/// Waits until clients get another.
pub fn changed(lab: &Lab, certificate: &str, name: &str, before: &Leaf) -> Result<Leaf> {
    another(before, || leaf(lab, certificate, name))
}

/// Waits until this gives another.
pub fn another(before: &Leaf, get: impl Fn() -> Result<Leaf>) -> Result<Leaf> {
    let mut after = None;
    process::wait_until(LIMIT, "another certificate", || {
        after = get().ok().filter(|leaf| leaf != before);
        after.is_some()
    })?;
    after.context("no other")
}

/// From now on the CA says that this certificate should have been renewed already.
pub fn set_window_in_the_past(lab: &Lab, leaf: &Leaf) -> Result<()> {
    let window = r#"{"suggestedWindow":{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}}"#;
    let body = serde_json::json!({"certificate": leaf.certificate, "ariResponse": window});
    ask(&lab.acme.management, &lab.acme.root, "/set-renewal-info/", Some(&body)).map(drop)
}

/// Has the agent ask anew when to renew: it is killed, forgets what CAs said of it, and starts again. It also forgets when it ordered last,
/// since a CA that wants a renewal long before its time is believed once a day.
pub fn forget_windows(lab: &Lab) -> Result<()> {
    agent::kill(lab, "agent")?;
    let file = Path::new(&lab.configured("state")?).join("keeper.json");
    let mut known: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    for forgotten in ["windows", "issued"] {
        known["attempts"][forgotten] = Value::Object(serde_json::Map::new());
    }
    fs::write(&file, known.to_string())?;
    agent::start(lab, "agent")
}

/// The texts that Route 53 has of a record.
pub fn texts(lab: &Lab, record: &str) -> Result<Vec<String>> {
    let endpoint = lab.aws_env.get("AWS_ENDPOINT_URL_ROUTE_53").context("no Route 53")?;
    let told = python(LIST, &[endpoint, record])?;
    Ok(serde_json::from_str(&told)?)
}

/// The text of a program for `[dns01] hook`: it tells the CA's DNS, and writes down what it was asked.
pub fn hook(lab: &Lab, said: &Path) -> Result<String> {
    let said = said.display();
    Ok(format!(
        "#!{}\nDNS = {:?}\nSAID = \"{said}\"\n{HOOK}",
        interpreter()?,
        lab.acme.dns
    ))
}

/// Kills pebble, which forgets all accounts and orders. How it was started, for [`start`].
pub fn kill(lab: &Lab) -> Result<Environment> {
    let environment = Environment::of(agent::pid(lab, "acme")?)?;
    agent::kill(lab, "acme")?;
    Ok(environment)
}

/// Starts pebble again, as its first start was.
pub fn start(lab: &Lab, environment: &Environment) -> Result<()> {
    agent::start_with(lab, "acme", &environment.0)
}

/// The variables by which pebble behaves as it does.
#[derive(Debug)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    fn of(pid: u32) -> Result<Self> {
        let all = String::from_utf8(fs::read(format!("/proc/{pid}/environ"))?)?;
        let its = all.split('\0').filter(|one| one.starts_with("PEBBLE_"));
        let its: Vec<_> = its.filter_map(|one| one.split_once('=')).collect();
        ensure!(!its.is_empty(), "pebble has no variables");
        Ok(Self(
            its.into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

/// What pebble logs from now on.
pub struct Said<'a> {
    lab: &'a Lab,
    process: &'a str,
    from: usize,
}

impl<'a> Said<'a> {
    /// Of `acme`, or of `acme-bound`.
    pub fn from_now(lab: &'a Lab, process: &'a str) -> Result<Self> {
        let mut said = Self { lab, process, from: 0 };
        said.from = said.text()?.len();
        Ok(said)
    }

    /// In how many lines it said this.
    pub fn count(&self, what: &str) -> Result<usize> {
        Ok(self.text()?.lines().filter(|line| line.contains(what)).count())
    }

    fn text(&self) -> Result<String> {
        let text = fs::read_to_string(self.lab.logs.join(format!("{}.log", self.process)))?;
        Ok(text.get(self.from..).unwrap_or_default().to_owned())
    }
}

/// Asks an interface of pebble's, by its own root.
pub(super) fn ask(address: &str, root: &Path, path: &str, body: Option<&Value>) -> Result<String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    python(ASK, &[&root.display().to_string(), &format!("{address}{path}"), &body])
}

fn python(script: &str, arguments: &[&str]) -> Result<String> {
    let ran = Command::new(interpreter()?)
        .arg("-c")
        .arg(script)
        .args(arguments)
        .output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

fn interpreter() -> Result<String> {
    std::env::var("ENCLAVE_TLS_PYTHON").context("no ENCLAVE_TLS_PYTHON")
}

/// An order takes seconds, and what failed once a minute.
const LIMIT: Duration = Duration::from_secs(180);
const END: &str = "-----END CERTIFICATE-----\n";

/// Root, URL, and the body of a POST, or nothing.
const ASK: &str = "
import ssl, sys, urllib.request
root, url, body = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
request = urllib.request.Request(url, body.encode() or None)
sys.stdout.write(urllib.request.urlopen(request, timeout=10, context=context).read().decode())
";

/// Endpoint and record.
const LIST: &str = "
import boto3, json, sys
endpoint, name = sys.argv[1:]
client = boto3.client('route53', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id='a', aws_secret_access_key='b')
zone = client.list_hosted_zones()['HostedZones'][0]['Id']
sets = client.list_resource_record_sets(HostedZoneId=zone)['ResourceRecordSets']
print(json.dumps([r['Value'] for s in sets if s['Name'] == name + '.' and s['Type'] == 'TXT' for r in s['ResourceRecords']]))
";

/// A record may have two texts, and the CA's DNS forgets all of a record at once.
const HOOK: &str = r#"
import fcntl, json, os, sys, urllib.request

action, record, value = sys.argv[1:]

def tell(path, body):
    urllib.request.urlopen(urllib.request.Request(DNS + path, json.dumps(body).encode()), timeout=10).read()

with open(SAID, "a+") as said:
    fcntl.flock(said, fcntl.LOCK_EX)
    said.write(f"{action} {record} {value}\n")
    said.flush()
    said.seek(0)
    texts = []
    for line in said:
        did, of, text = line.split()
        if of == record:
            texts = [one for one in texts if one != text] + ([text] if did == "present" else [])
    tell("/clear-txt", {"host": record + "."})
    for text in texts:
        tell("/set-txt", {"host": record + ".", "value": text})
"#;
