//! A certificate authority that speaks ACME in a lab: pebble, its DNS, the web server of port 80, and a Route 53 whose records its DNS has.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::bound;
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
    /// Where it, the second one and the resolver are reached: `HOST:443=IP:PORT`, for the agent's `[egress]`.
    pub(super) egress: [String; 3],
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
        let mut ports = Ports::find(8 + PLANS.len() + bound::PORTS)?;
        let (acme, management, challenges, dns) = (ports.take()?, ports.take()?, ports.take()?, ports.take()?);
        let doh = ports.take()?;
        let (web, http01, route53) = (ports.take()?, ports.take()?, ports.take()?);
        let endpoints = PLANS.iter().map(|plan| Ok((plan.name.to_owned(), ports.take()?)));
        let endpoints = endpoints.collect::<Result<_>>()?;
        let second = bound::Second::take(&mut ports)?;
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
            &at(doh),
            "-doh-cert",
            &place.ca(&format!("{RESOLVER}.pem")).display().to_string(),
            "-doh-cert-key",
            &place.ca(&format!("{RESOLVER}.key")).display().to_string(),
        ];
        starter.start("acme-dns", words.map(str::to_owned).into())?;
        let one = Pebble {
            name: "acme",
            host: HOST,
            acme,
            management,
            validated: web,
            dns,
        };
        let profiles = json!({
            "default": {"description": "three months", "validityPeriod": 7_776_000},
            "hour": {"description": "an hour", "validityPeriod": 3_600},
        });
        one.start(
            starter,
            pebble,
            json!({ "profiles": profiles }),
            &[
                ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
                // As unkind as a CA may be.
                ("PEBBLE_WFE_NONCEREJECT", "50".to_owned()),
                ("PEBBLE_ALTERNATE_ROOTS", "1".to_owned()),
                // Each order proves its names anew.
                ("PEBBLE_AUTHZREUSE", "0".to_owned()),
            ],
        )?;
        second.start(starter, pebble, dns)?;
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
            egress: [
                format!("{HOST}:443={}", at(acme)),
                second.egress(),
                format!("{RESOLVER}:443={}", at(doh)),
            ],
            route53: ("AWS_ENDPOINT_URL_ROUTE_53", route53),
            http01,
            described: Ca {
                directory: DIRECTORY.to_owned(),
                management: format!("https://{}", at(management)),
                root: place.ca("aws.pem"),
                dns: dns_management,
                endpoints,
                bound: second.described(),
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
    let files = nginx::write(starter.place, snippets, "http", &block, nginx::Level::Talkative)?;
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

/// A pebble, and where it is.
pub(super) struct Pebble {
    /// Of its process.
    pub(super) name: &'static str,
    /// Its own name, of which it has a certificate.
    pub(super) host: &'static str,
    pub(super) acme: u16,
    pub(super) management: u16,
    /// Where it looks for answers of HTTP-01.
    pub(super) validated: u16,
    pub(super) dns: u16,
}

impl Pebble {
    /// Starts it, with more of its configuration, and variables.
    pub(super) fn start(
        &self,
        starter: &mut Starter<'_>,
        program: &str,
        more: serde_json::Value,
        variables: &[(&str, String)],
    ) -> Result<()> {
        let place = starter.place;
        let config = place.ca(&format!("{}.json", self.name));
        fs::write(&config, self.configuration(place, more).to_string())?;
        let dns = format!("127.0.0.1:{}", self.dns);
        let words = [program, "-config", &config.display().to_string(), "-dnsserver", &dns];
        starter.start_with(self.name, words.map(str::to_owned).into(), variables)
    }

    fn configuration(&self, place: &Place, more: serde_json::Value) -> serde_json::Value {
        let mut its = json!({
            "listenAddress": format!("127.0.0.1:{}", self.acme),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": place.ca(&format!("{}.pem", self.host)),
            "privateKey": place.ca(&format!("{}.key", self.host)),
            "httpPort": self.validated,
            "tlsPort": self.validated,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
        });
        if let (Some(its), serde_json::Value::Object(more)) = (its.as_object_mut(), more) {
            its.extend(more);
        }
        json!({ "pebble": its })
    }
}

pub(super) fn answers(starter: &Starter<'_>, name: &str, port: u16) -> Result<()> {
    let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    ensure!(
        process::wait_until(Duration::from_secs(60), answers),
        "{name} did not start; see {}",
        starter.place.log(name).display()
    );
    Ok(())
}

/// What the lab's policy says of both CAs and of the resolver. Their own certificates are of the root that stands for Amazon's.
pub(super) fn policy(root: &str) -> String {
    let roots = format!("roots = [\"\"\"\n{root}\"\"\"]\n");
    let directories = [DIRECTORY, bound::DIRECTORY].map(|url| format!("\n[[acme]]\ndirectory = \"{url}\"\n{roots}"));
    directories.concat() + &format!("\n[dns]\nresolver = \"https://{RESOLVER}/dns-query\"\n{roots}")
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

/// What has a certificate of that root.
pub(super) const HOSTS: [&str; 3] = [HOST, bound::HOST, RESOLVER];
/// Its name, of which the enclave's egress alone knows the address.
const HOST: &str = "acme-ca.lab.test";
/// The CA's DNS, over HTTPS: where the enclave looks CAA records up.
const RESOLVER: &str = "dns.lab.test";
const DIRECTORY: &str = "https://acme-ca.lab.test/dir";
const ACCOUNT: &str = "lab-acme";
/// The hosted zone.
const ZONE: &str = "lab.test";
/// As the snippet has it.
const DEFAULT_HTTP01: &str = "127.0.0.1:9812";
