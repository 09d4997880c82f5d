//! Every server of the lab, by every key that it serves, in both versions of TLS.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::client::{self, Session, Tls};
use crate::lab::{Description, Endpoint, Key};
use crate::process;
use crate::table::{Table, Verdict};

/// Makes all handshakes.
pub(super) fn all(lab: &Description) -> Result<Table> {
    let mut table = Table::new(["server", "key", "type", "usage", "TLS", "cipher", "signature", "answer"]);
    for endpoint in lab.endpoints.iter().filter(|endpoint| endpoint.via != "file") {
        let key = key(lab, &endpoint.key)?;
        for tls in Tls::ALL {
            let shown =
                client::get(endpoint, &lab.ca, tls, &key.kind).and_then(|session| checked(lab, endpoint, key, session));
            row(&mut table, endpoint, key, tls, shown);
        }
    }
    for via in ["provider", "engine", "httpd-provider", "httpd-engine", "haproxy"] {
        let rsa = |end: &&Endpoint| end.via == via && key(lab, &end.key).is_ok_and(|key| key.kind.starts_with("RSA"));
        let endpoint = lab.endpoints.iter().find(rsa).context("no RSA endpoint")?;
        let key = key(lab, &endpoint.key)?;
        let before = workers(lab, via);
        let shown = client::rsa_key_exchange_only(endpoint).and_then(|alert| {
            ensure!(!before.is_empty() && workers(lab, via) == before, "a worker died");
            Ok(["kRSA only".into(), "none".into(), format!("{alert}, workers live")])
        });
        row(&mut table, endpoint, key, Tls::V12, shown);
    }
    Ok(table)
}

/// The served leaf has the key's SPKI, one of this server's workers answered, and the server behind a proxy saw the
/// certificate of the client key. Returns cipher, signature and answer.
fn checked(lab: &Description, endpoint: &Endpoint, key: &Key, session: Session) -> Result<[String; 3]> {
    ensure!(
        session.spki == fs::read_to_string(&key.public_key)?,
        "another key's certificate was served"
    );
    let worker = session
        .header("X-Worker")
        .and_then(|pid| pid.parse().ok())
        .context("no worker named itself")?;
    ensure!(
        workers(lab, &endpoint.via).contains(&worker),
        "{worker} is no worker of this server"
    );
    let answer = match &endpoint.client_key {
        None => {
            ensure!(
                session.body.starts_with(&endpoint.via),
                "not this server's answer: {}",
                session.body
            );
            "served".to_owned()
        }
        Some(client_key) => {
            let serial = client::serial_of(&self::key(lab, client_key)?.chain)?;
            let wanted = format!("upstream SUCCESS TLSv1.3 serial={serial}");
            ensure!(session.body == wanted, "the server behind says: {}", session.body);
            format!("upstream saw {client_key}")
        }
    };
    Ok([session.cipher, session.signature, answer])
}

fn row(table: &mut Table, endpoint: &Endpoint, key: &Key, tls: Tls, shown: Result<[String; 3]>) {
    let verdict = Verdict::of(shown.is_ok());
    let [cipher, signature, answer] = shown.unwrap_or_else(|error| {
        let reason = format!("{error:#}");
        [
            "-".into(),
            "-".into(),
            reason.lines().next().unwrap_or_default().to_owned(),
        ]
    });
    let server = match endpoint.via.strip_prefix(&endpoint.server) {
        Some(via) => format!("{}{}", endpoint.server, via.replace('-', " ")),
        None => format!("{} {}", endpoint.server, endpoint.via),
    };
    let [name, kind, usage] = [&key.label, &key.kind, &key.usage].map(String::clone);
    table.row(
        [server, name, kind, usage, tls.name().into(), cipher, signature, answer],
        verdict,
    );
}

fn key<'a>(lab: &'a Description, label: &str) -> Result<&'a Key> {
    lab.keys
        .iter()
        .find(|key| key.label == label)
        .with_context(|| format!("no key {label}"))
}

fn workers(lab: &Description, via: &str) -> Vec<u32> {
    let master = lab.servers.get(via).and_then(|files| lab.pids.get(&files.process));
    let mut pids = master.map(|&master| process::children(master)).unwrap_or_default();
    pids.sort_unstable();
    pids
}
