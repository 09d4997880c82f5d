//! A certificate authority that speaks ACME in a lab: pebble, its DNS, the web server of port 80, and a Route 53 whose records its DNS has.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::nginx;
use super::place::Place;
use super::ports::Ports;
use super::server::Server;
use super::service::Starter;
use super::state::Ca;
use crate::paths::Paths;
use crate::process;
use crate::setup::{pebble, python};

/// The CA, as this lab's programs reach it.
pub(super) struct Acme {
    /// Where its host is reached: `HOST:443=IP:PORT`, for the agent's `[egress]`.
    pub(super) egress: String,
    /// Where Route 53 is reached, for the agent's environment.
    pub(super) route53: (&'static str, String),
    http01: u16,
    /// What tests need of it.
    pub(super) described: Ca,
}

/// A certificate that it issues.
pub(super) struct Plan {
    pub(super) name: &'static str,
    key_type: &'static str,
    challenge: &'static str,
    pub(super) hosts: &'static [&'static str],
}

impl Acme {
    /// Starts all of it, with what answers on port 80 for the names of its certificates.
    pub(super) fn start(starter: &mut Starter<'_>, paths: &Paths, snippets: &Path) -> Result<Self> {
        let mut ports = Ports::find(7 + PLANS.len())?;
        let (acme, management, challenges, dns) = (ports.take()?, ports.take()?, ports.take()?, ports.take()?);
        let (web, http01, route53) = (ports.take()?, ports.take()?, ports.take()?);
        let endpoints = PLANS.iter().map(|plan| Ok((plan.name.to_owned(), ports.take()?)));
        let endpoints = endpoints.collect::<Result<_>>()?;
        drop(ports);
        let programs = pebble::variables(paths)?.map(|(_, program)| program.display().to_string());
        let [pebble, dns_server] = &programs;
        let python = python::interpreter(paths)?;
        let place = starter.place;
        web_server(starter, snippets, web, http01)?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let words = [
            dns_server,
            "-management",
            &at(challenges),
            "-dnsserver",
            &at(dns),
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-doh",
            "",
        ];
        starter.start("acme-dns", words.map(str::to_owned).into())?;
        let config = place.ca("pebble.json");
        fs::write(&config, configuration(place, acme, management, web).to_string())?;
        let words = [pebble, "-config", &config.display().to_string(), "-dnsserver", &at(dns)];
        starter.start_with(
            "acme",
            words.map(str::to_owned).into(),
            &[
                ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
                // As unkind as a CA may be.
                ("PEBBLE_WFE_NONCEREJECT", "50".to_owned()),
                ("PEBBLE_ALTERNATE_ROOTS", "1".to_owned()),
                // Each order proves its names anew.
                ("PEBBLE_AUTHZREUSE", "0".to_owned()),
            ],
        )?;
        let moto = python.with_file_name("moto_server").display().to_string();
        let words = [&moto, "-H", "127.0.0.1", "-p", &route53.to_string()];
        starter.start("route53", words.map(str::to_owned).into())?;
        for (name, port) in [
            ("acme-dns", challenges),
            ("acme", acme),
            ("acme", management),
            ("route53", route53),
        ] {
            answers(starter, name, port)?;
        }
        let bridge = paths.workspace().join("tests/python/route53_to_dns.py");
        let route53 = format!("http://{}", at(route53));
        let dns_management = format!("http://{}", at(challenges));
        let words = [
            &python.display().to_string(),
            &bridge.display().to_string(),
            &route53,
            ZONE,
            &dns_management,
        ];
        starter.start("route53-bridge", words.map(String::from).into())?;
        Ok(Self {
            egress: format!("{HOST}:443={}", at(acme)),
            route53: ("AWS_ENDPOINT_URL_ROUTE_53", route53),
            http01,
            described: Ca {
                directory: DIRECTORY.to_owned(),
                management: format!("https://{}", at(management)),
                root: place.ca("aws.pem"),
                dns: dns_management,
                endpoints,
            },
        })
    }

    /// What the agent's configuration says of it.
    pub(super) fn configuration(&self, servers: &str) -> String {
        let mut text = format!(
            "\n[acme.{ACCOUNT}]\ndirectory = \"{DIRECTORY}\"\ncontacts = [\"mailto:tls@lab.test\"]\nterms_agreed = true\nsealed = \"lab\"\n\
             \n[http01]\nlisten = \"127.0.0.1:{}\"\n\n[dns01]\nroute53 = {{}}\n",
            self.http01
        );
        for plan in PLANS {
            let hosts: Vec<_> = plan.hosts.iter().map(|host| format!("\"{host}\"")).collect();
            text.push_str(&format!(
                "\n[[certificates]]\nname = \"{}\"\nsource = \"acme\"\naccount = \"{ACCOUNT}\"\nkey_type = \"{}\"\nchallenge = \"{}\"\n\
                 dns_names = [{}]\nservers = [\"{servers}\"]\nsealed = \"lab\"\n",
                plan.name,
                plan.key_type,
                plan.challenge,
                hosts.join(", ")
            ));
        }
        text
    }
}

/// The server of port 80: it passes challenges on to the agent, by the snippet that users copy.
fn web_server(starter: &mut Starter<'_>, snippets: &Path, port: u16, http01: u16) -> Result<()> {
    let snippet = fs::read_to_string(snippets.join("nginx/acme-challenge.conf"))?;
    ensure!(
        snippet.contains(DEFAULT_HTTP01),
        "the snippet passes on to another address"
    );
    let copy = starter.place.ca("acme-challenge.conf");
    fs::write(&copy, snippet.replace(DEFAULT_HTTP01, &format!("127.0.0.1:{http01}")))?;
    let block = format!(
        "server {{\nlisten 127.0.0.1:{port};\ninclude {};\nlocation / {{ return 404; }}\n}}\n",
        copy.display()
    );
    let files = nginx::write(starter.place, snippets, "http", &block)?;
    let server = Server {
        name: "http",
        words: nginx::words(&files),
        files,
        endpoints: Vec::new(),
        environment: Vec::new(),
        is_daemon: true,
    };
    server.start(starter)
}

fn configuration(place: &Place, acme: u16, management: u16, web: u16) -> serde_json::Value {
    json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{acme}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": place.ca(&format!("{HOST}.pem")),
        "privateKey": place.ca(&format!("{HOST}.key")),
        "httpPort": web,
        "tlsPort": web,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {
            "default": {"description": "three months", "validityPeriod": 7_776_000},
            "hour": {"description": "an hour", "validityPeriod": 3_600},
        },
    }})
}

fn answers(starter: &Starter<'_>, name: &str, port: u16) -> Result<()> {
    let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    ensure!(
        process::wait_until(Duration::from_secs(60), answers),
        "{name} did not start; see {}",
        starter.place.log(name).display()
    );
    Ok(())
}

/// What the lab's policy says of it. Its own certificate is of the root that stands for Amazon's.
pub(super) fn policy(root: &str) -> String {
    format!("\n[[acme]]\ndirectory = \"{DIRECTORY}\"\nroots = [\"\"\"\n{root}\"\"\"]\n")
}

/// What is issued: by HTTP-01 of either type, and a name with its wildcard by DNS-01.
pub(super) const PLANS: [Plan; 3] = [
    Plan {
        name: "lab-acme-rsa",
        key_type: "rsa-2048",
        challenge: "http-01",
        hosts: &["acme-rsa.lab.test"],
    },
    Plan {
        name: "lab-acme-p256",
        key_type: "p-256",
        challenge: "http-01",
        hosts: &["acme-p256.lab.test", "acme.lab.test"],
    },
    Plan {
        name: "lab-acme-wildcard",
        key_type: "p-256",
        challenge: "dns-01",
        hosts: &["wild.lab.test", "*.wild.lab.test"],
    },
];

/// Its name, of which the enclave's egress alone knows the address.
pub(super) const HOST: &str = "acme-ca.lab.test";
const DIRECTORY: &str = "https://acme-ca.lab.test/dir";
const ACCOUNT: &str = "lab-acme";
/// The hosted zone.
const ZONE: &str = "lab.test";
/// As the snippet has it.
const DEFAULT_HTTP01: &str = "127.0.0.1:9812";
