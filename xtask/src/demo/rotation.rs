//! Certificates that get new keys while clients make handshakes: none fails, clients see the old key and then the new one, and no server
//! is restarted.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::{Load, Seen, Target};
use crate::build::Binaries;
use crate::lab::{Endpoint, Lab, Rotations, Via, pebble};
use crate::process::Identity;
use crate::progress;
use crate::table::{Table, Verdict};

/// Rotates two certificates, one after the other.
pub(super) fn all(lab: &Lab, binaries: &Binaries) -> Result<Table> {
    let rotations = Rotations::of(lab, binaries);
    progress::step("telling the agent where servers listen", || {
        rotations.watch(&CERTIFICATES)
    })?;
    let root = lab.place().root().join("acme-root.pem");
    fs::write(&root, pebble::root(&lab.description().acme)?)?;
    let sites = sites(lab, &root)?;
    ensure!(sites.len() > CERTIFICATES.len(), "nobody serves them");
    let loads = sites.iter().map(|site| Load::start(&binaries.tlsload, &site.target()));
    let loads: Vec<Load> = loads.collect::<Result<_>>()?;
    let masters: Vec<Option<Identity>> = sites.iter().map(Site::master).collect();
    sleep(AROUND);
    let [ordered, signed] = CERTIFICATES.map(|name| {
        let what = format!("rotating {name} under load: enclave-tlsctl rotate {name} --now");
        progress::step(&what, || rotate(&rotations, name))
    });
    let (ordered, signed) = (ordered?, signed?);
    sleep(AROUND);
    let mut table = Table::new([
        "server",
        "certificate",
        "by",
        "handshakes",
        "failed",
        "with the old key",
        "with the new key",
        "master process",
    ]);
    for ((site, load), master) in sites.iter().zip(loads).zip(masters) {
        let keys = if site.certificate == ORDERED { &ordered } else { &signed };
        site.row(&mut table, &load.finish()?, keys, master.as_ref());
    }
    Ok(table)
}

/// Until clients were seen to get the new key, and no worker has the old one: the ids of the old one and of the new one.
fn rotate(rotations: &Rotations<'_>, name: &str) -> Result<[String; 2]> {
    let older = rotations.live(name)?;
    let rotation = rotations.begin(name)?;
    rotations.wait(&rotation, "looked-at")?;
    rotations.wait_until_superseded(name, &older)?;
    Ok([older, rotation.key])
}

/// A server that shows one of the certificates.
struct Site<'a> {
    server: String,
    certificate: &'static str,
    by: &'static str,
    address: String,
    name: &'a str,
    ca: &'a Path,
    pid_file: PathBuf,
}

fn sites<'a>(lab: &'a Lab, root: &'a Path) -> Result<Vec<Site<'a>>> {
    let description = lab.description();
    let pid_file = |via: &str| -> Result<PathBuf> {
        let files = description.servers.get(via).context("no such server")?;
        Ok(files.pid_file.clone())
    };
    let port = description.acme.endpoints.get(ORDERED).context("nobody serves it")?;
    let provider = Via::Provider.name();
    let mut sites = vec![Site {
        server: "nginx".to_owned(),
        certificate: ORDERED,
        by: "pebble, by ACME",
        address: format!("127.0.0.1:{port}"),
        name: ORDERED_NAME,
        ca: root,
        pid_file: pid_file(provider)?,
    }];
    for end in description.endpoints.iter().filter(|end| end.key == SIGNED) {
        sites.push(Site {
            server: end.server.clone(),
            certificate: SIGNED,
            by: "the lab's CA",
            address: address(end),
            name: &end.name,
            ca: &description.ca,
            pid_file: pid_file(&end.via)?,
        });
    }
    Ok(sites)
}

impl Site<'_> {
    fn target(&self) -> Target<'_> {
        Target {
            address: self.address.clone(),
            name: self.name.to_owned(),
            ca: self.ca,
            signature: "ecdsa",
        }
    }

    fn master(&self) -> Option<Identity> {
        let pid = fs::read_to_string(&self.pid_file).ok()?;
        Identity::of(pid.trim().parse().ok()?)
    }

    fn row(&self, table: &mut Table, seen: &Seen, [old, new]: &[String; 2], master: Option<&Identity>) {
        let (with_old, with_new) = (seen.with(old), seen.with(new));
        let is_same = master.is_some() && self.master().as_ref() == master;
        let process = match master {
            Some(master) if is_same => format!("{}, the same", master.pid),
            _ => "another".to_owned(),
        };
        let failed = match seen.why() {
            Some(why) => format!("{}: {why}", seen.failed),
            None => seen.failed.to_string(),
        };
        let only_these = with_old + with_new == seen.ok;
        let holds = seen.failed == 0 && with_old > 0 && with_new > 0 && only_these && is_same && old != new;
        let with = |key: &str, count: u64| format!("{}… {count}", key.get(..8).unwrap_or(key));
        let row = [
            self.server.clone(),
            self.certificate.to_owned(),
            self.by.to_owned(),
            seen.ok.to_string(),
            failed,
            with(old, with_old),
            with(new, with_new),
            process,
        ];
        table.row(row, Verdict::of(holds));
    }
}

fn address(end: &Endpoint) -> String {
    format!("{}:{}", end.host, end.port)
}

/// Ordered by the enclave; NGINX serves it.
pub(super) const ORDERED: &str = "lab-acme-p256";
/// One of its names.
const ORDERED_NAME: &str = "acme.lab.test";
/// Signed by a CA that is asked by hand; NGINX, httpd and HAProxy serve it.
const SIGNED: &str = "lab-sealed-p256";
const CERTIFICATES: [&str; 2] = [ORDERED, SIGNED];
/// Before the first and after the last.
const AROUND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(failed: u64, keys: &serde_json::Value, master: Option<&Identity>) -> bool {
        let pid_file = std::env::temp_dir().join(format!("demo-rotation-{}", std::process::id()));
        fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
        let site = Site {
            server: "nginx".to_owned(),
            certificate: SIGNED,
            by: "nobody",
            address: String::new(),
            name: "",
            ca: Path::new(""),
            pid_file: pid_file.clone(),
        };
        let counts = keys.as_object().unwrap().values();
        let ok: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        let failures = vec![json!({"text": "alert", "at_ms": 1, "kind": "alert"}); usize::try_from(failed).unwrap()];
        let seen = json!({"ok": ok, "failed": failed, "endpoints": [{"keys": keys, "failures": failures}]});
        let seen: Seen = serde_json::from_value(seen).unwrap();
        let mut table = Table::new(["", "", "", "", "", "", "", ""]);
        site.row(&mut table, &seen, &["old".to_owned(), "new".to_owned()], master);
        fs::remove_file(pid_file).unwrap();
        table.all_hold()
    }

    #[test]
    fn a_failure_or_no_new_key_or_another_or_another_master_is_wrong() {
        let me = Identity::of(std::process::id());
        assert!(holds(0, &json!({"old": 3, "new": 2}), me.as_ref()));
        assert!(!holds(1, &json!({"old": 3, "new": 2}), me.as_ref()));
        assert!(!holds(0, &json!({"old": 3}), me.as_ref()));
        assert!(!holds(0, &json!({"new": 3}), me.as_ref()));
        assert!(!holds(0, &json!({"old": 3, "new": 2, "stranger": 1}), me.as_ref()));
        let other = Identity::of(std::os::unix::process::parent_id());
        assert!(!holds(0, &json!({"old": 3, "new": 2}), other.as_ref()));
        assert!(!holds(0, &json!({"old": 3, "new": 2}), None));
    }
}
