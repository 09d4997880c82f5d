//! The lab's HAProxy: Debian's own configuration file, chroot and all, and its own way to start it, with frontends as users copy them.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::plan::{KeyPlan, Via};
use super::server::{self, Server, Site};
use super::state::{Endpoint, Files};
use super::template::Template;

/// Writes its configuration.
pub(super) fn configure(site: &mut Site<'_>) -> Result<Server> {
    let version = server::version(PROGRAM, "HAProxy version ")?;
    let mut frontends = String::new();
    let mut endpoints = Vec::new();
    for (number, pair) in VIA.pairs().iter().enumerate() {
        let port = site.ports.take()?;
        let (snippet, [rsa, ecdsa]) = files(site, pair)?;
        let mut template = Template::read(&site.snippets.join("haproxy").join(snippet))?;
        template.fill("FRONTEND", format!("site-{number}"));
        template.fill("ADDRESS", format!("127.0.0.1:{port}"));
        template.fill("BACKEND", "answers");
        match snippet {
            AGENTS => {
                template.fill("LIVE_RSA", rsa);
                template.fill("LIVE_ECDSA", ecdsa);
            }
            // By hand too two of one name may stand in one frontend.
            _ => template.fill("PEM", format!("{rsa} crt {ecdsa}")),
        }
        frontends.push_str(&template.finish()?);
        endpoints.extend(pair.iter().map(|plan| Endpoint {
            server: "haproxy".into(),
            version: version.clone(),
            via: VIA.name().into(),
            host: "127.0.0.1".into(),
            port,
            name: plan.shared_host(),
            key: plan.name.into(),
            client_key: None,
        }));
    }
    let files = Files {
        kind: "haproxy".into(),
        process: VIA.name().into(),
        conf: site.place.haproxy("haproxy.cfg"),
        pid_file: site.place.haproxy("haproxy.pid"),
        error_log: site.place.log(VIA.name()),
    };
    let mut frame = Template::of(FRAME);
    frame.fill("DEBIANS", debians()?);
    frame.fill("SOCKET", site.place.haproxy("admin.sock").display());
    frame.fill("TLS", Template::read(&site.snippets.join("haproxy/tls.cfg"))?.finish()?);
    frame.fill("FRONTENDS", frontends);
    fs::write(&files.conf, frame.finish()?)?;
    let words = [PROGRAM, "-Ws", "-f"].map(str::to_owned).into_iter();
    let paths = [&files.conf, &files.pid_file].map(|path| path.display().to_string());
    let [conf, pid] = paths;
    Ok(Server {
        name: VIA.name(),
        words: words.chain([conf, "-p".to_owned(), pid]).collect(),
        environment: site.environment(VIA),
        files,
        endpoints,
        is_daemon: false,
    })
}

/// Debian's file, but for the lines that lead out of the lab and those that the snippet for TLS is in place of.
fn debians() -> Result<String> {
    let text = fs::read_to_string(DEBIANS).with_context(|| format!("cannot read {DEBIANS}"))?;
    for replaced in REPLACED {
        let has_it = text.lines().any(|line| line.trim_start().starts_with(replaced));
        ensure!(
            has_it,
            "{DEBIANS} is not as Debian 12 has it: no line begins with {replaced:?}"
        );
    }
    let is_replaced = |line: &&str| REPLACED.iter().any(|replaced| line.trim_start().starts_with(replaced));
    let lines: Vec<&str> = text.lines().filter(|line| !is_replaced(line)).collect();
    Ok(lines.join("\n"))
}

/// The snippet, and the file of each key.
fn files(site: &Site<'_>, pair: &[KeyPlan; 2]) -> Result<(&'static str, [String; 2])> {
    if pair.iter().all(KeyPlan::is_in_inventory) {
        let live = |plan: &KeyPlan| site.place.live(plan.name).join("haproxy.pem").display().to_string();
        let [rsa, ecdsa] = pair;
        return Ok((AGENTS, [live(rsa), live(ecdsa)]));
    }
    let by_hand = |plan: &KeyPlan| -> Result<String> {
        let path = site.place.haproxy(&format!("{}.pem", plan.name));
        let key = fs::read_to_string(site.key_file(plan)?)?;
        fs::write(&path, fs::read_to_string(site.chain(plan))? + &key)?;
        Ok(path.display().to_string())
    };
    let [rsa, ecdsa] = pair;
    Ok(("frontend-provider.cfg", [by_hand(rsa)?, by_hand(ecdsa)?]))
}

const VIA: Via = Via::Haproxy;
const PROGRAM: &str = "/usr/sbin/haproxy";
const AGENTS: &str = "frontend-agent.cfg";

const DEBIANS: &str = "/etc/haproxy/haproxy.cfg";
const REPLACED: [&str; 4] = [
    "log /dev/log",
    "stats socket /run/",
    "ssl-default-bind-ciphers ",
    "ssl-default-bind-options ",
];

const FRAME: &str = r#"@DEBIANS@

@TLS@
    log stderr format raw local0
    stats socket @SOCKET@ mode 660 level admin

@FRONTENDS@
backend answers
    http-request return status 200 content-type text/plain hdr X-Worker "%pid" lf-string "haproxy %[ssl_fc_protocol] %[ssl_fc_cipher]\n"
"#;
