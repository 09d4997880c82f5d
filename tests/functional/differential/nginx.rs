//! NGINX, with the snippets that users copy, and beside them a site whose owner allows everything: which handshakes come about, with
//! which parameters, and which are refused.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::lab::differences::Outcomes;
use e2e::lab::process::{self, Signal};
use e2e::lab::program::{openssl, run_with_input, succeed_with_input};
use e2e::lab::scratch::Scratch;

use super::openssl::{alert, negotiated};
use super::tokens::{Key, SNIPPETS, Token, Tokens};

pub(super) fn on(tokens: &Tokens<'_>, token: &Token) -> Result<Outcomes> {
    let mut all = Outcomes::new();
    for via in ["provider", "engine"] {
        let nginx = Nginx { tokens, token, via };
        all.insert(format!("{via}: -t with a key that is not there"), nginx.stranger()?);
        let running = nginx.start()?;
        for site in &running.sites {
            for (what, options) in trials(site) {
                all.insert(format!("{via} {}: {what}", site.name), running.outcome(site, options)?);
            }
        }
        let workers = process::children(running.master.id()).len();
        all.insert(format!("{via}: workers at the end"), workers.to_string());
    }
    Ok(all)
}

struct Nginx<'a> {
    tokens: &'a Tokens<'a>,
    token: &'a Token,
    via: &'a str,
}

struct Running<'a> {
    master: Child,
    sites: Vec<Site<'a>>,
    tokens: &'a Tokens<'a>,
    _scratch: Scratch,
}

/// A port of it.
struct Site<'a> {
    name: String,
    key: &'a Key,
    port: u16,
}

impl<'a> Nginx<'a> {
    fn start(&self) -> Result<Running<'a>> {
        let scratch = Scratch::new()?;
        let mut sites = Vec::new();
        let mut blocks = String::new();
        for key in &self.tokens.keys {
            for careless in [false, true] {
                let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
                let name = format!("{}{}", key.name, if careless { ", all ciphers" } else { "" });
                let (chain, where_it_is) = (key.chain.display(), self.key(&scratch, &key.id)?);
                let ciphers = if careless { "ssl_ciphers ALL:@SECLEVEL=0;" } else { "" };
                blocks.push_str(&format!(
                    "server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {};\nssl_certificate {chain};\nssl_certificate_key \"{where_it_is}\";\n\
                     {ciphers}\nlocation / {{ return 200 \"served\\n\"; }}\n}}\n",
                    key.host
                ));
                sites.push(Site { name, key, port });
            }
        }
        let mut command = self.command(&scratch, &blocks)?;
        let running = Running {
            master: command.arg("-g").arg("daemon off;").spawn()?,
            sites,
            tokens: self.tokens,
            _scratch: scratch,
        };
        let ports = || {
            running
                .sites
                .iter()
                .all(|site| TcpStream::connect(("127.0.0.1", site.port)).is_ok())
        };
        process::wait_until(LIMIT, "an NGINX of the test's own", ports)
            .with_context(|| fs::read_to_string(running._scratch.file("error.log")).unwrap_or_default())?;
        Ok(running)
    }

    fn stranger(&self) -> Result<String> {
        let scratch = Scratch::new()?;
        let chain = self.tokens.key("rsa")?.chain.display();
        let where_it_is = self.key(&scratch, &"5a".repeat(32))?;
        let block = format!(
            "server {{ listen 127.0.0.1:1 ssl; ssl_certificate {chain}; ssl_certificate_key \"{where_it_is}\"; }}\n"
        );
        let ran = self.token.run(self.command(&scratch, &block)?.arg("-t"))?;
        Ok(if ran.status.success() { "starts" } else { "is refused" }.to_owned())
    }

    fn command(&self, scratch: &Scratch, blocks: &str) -> Result<Command> {
        let dir = scratch.path().display();
        let text = format!(
            "user root;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\ninclude {SNIPPETS}/nginx/env.conf;\nenv {};\n\
             events {{ }}\nhttp {{\naccess_log off;\nssl_session_cache off;\ninclude {SNIPPETS}/nginx/tls.conf;\n{TEMPORARY}{blocks}}}\n",
            self.token.variable.0
        );
        let text = text.replace("@DIRECTORY@", &dir.to_string());
        let mut command = self.token.command("/usr/sbin/nginx");
        command.env("OPENSSL_CONF", self.token.openssl_conf(self.tokens, self.via)?);
        command
            .arg("-p")
            .arg(scratch.path())
            .arg("-c")
            .arg(scratch.write("nginx.conf", text)?);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// What `ssl_certificate_key` says.
    fn key(&self, scratch: &Scratch, id: &str) -> Result<String> {
        let uri = self.token.uri(id);
        if self.via == "engine" {
            return Ok(format!("engine:pkcs11:{uri}"));
        }
        let file = scratch.file(&format!("{}.pem", id.get(..8).context("no id")?));
        uri_pem(&uri, &file)?;
        Ok(file.display().to_string())
    }
}

impl Running<'_> {
    /// One full handshake and a request, by a client that verifies.
    fn outcome(&self, site: &Site<'_>, options: &[&str]) -> Result<String> {
        let address = format!("127.0.0.1:{}", site.port);
        let mut client = openssl();
        client.args([
            "s_client",
            "-connect",
            &address,
            "-servername",
            &site.key.host,
            "-ign_eof",
        ]);
        client.args(["-verify_return_error", "-verify_hostname", &site.key.host, "-CAfile"]);
        let ran = run_with_input(client.arg(&self.tokens.lab.ca).args(options), b"GET / HTTP/1.0\r\n\r\n")?;
        Ok(
            match ran.stdout.contains("\nserved\n") && ran.stdout.contains("Verification: OK") {
                true => negotiated(&ran.stdout),
                false => alert(&ran.stderr),
            },
        )
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Its workers end with it; a kill would leave them behind.
        drop(process::signal(self.master.id(), Signal::TERM));
        drop(self.master.wait());
    }
}

/// What clients offer.
fn trials(site: &Site<'_>) -> impl Iterator<Item = (String, &'static [&'static str])> {
    let of_type = if site.key.name == "rsa" { RSA } else { ECDSA };
    OFFERS
        .iter()
        .chain(of_type)
        .map(|options| (options.join(" "), *options))
}

/// As pkcs11-provider reads it. The script that users have writes URIs of our token only.
fn uri_pem(uri: &str, file: &Path) -> Result<()> {
    let script = "printf 'asn1=SEQUENCE:uri\\n[uri]\\nabout=VISIBLESTRING:PKCS\\\\#11 Provider URI v1.0\\nuri=UTF8String:%s\\n' \"$1\" | \
                  OPENSSL_CONF=/dev/null openssl asn1parse -genconf /dev/stdin -noout -out /dev/stdout | base64 -w 64";
    let text = succeed_with_input(Command::new("sh").args(["-c", script, "sh", uri]), b"")?;
    let (begin, end) = (
        "-----BEGIN PKCS#11 PROVIDER URI-----",
        "-----END PKCS#11 PROVIDER URI-----",
    );
    Ok(fs::write(file, format!("{begin}\n{}\n{end}\n", text.trim()))?)
}

/// The certificates of the lab's CA are signed by ECDSA with SHA-256, which each client offers too.
const OFFERS: &[&[&str]] = &[
    &["-tls1_2"],
    &["-tls1_3"],
    &["-tls1_2", "-cipher", "ECDHE+AES128"],
    &["-tls1_2", "-cipher", "ECDHE+CHACHA20"],
    &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
    &["-tls1_3", "-groups", "P-384"],
    &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    &["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"],
    &["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"],
    &[
        "-tls1_2",
        "-cipher",
        "ECDHE+AES256:@SECLEVEL=0",
        "-sigalgs",
        "RSA+SHA1:ECDSA+SHA1:ECDSA+SHA256",
    ],
];
const RSA: &[&[&str]] = &[
    &["-tls1_2", "-sigalgs", "RSA+SHA256:ECDSA+SHA256"],
    &["-tls1_2", "-sigalgs", "RSA+SHA512:ECDSA+SHA256"],
    &["-tls1_2", "-sigalgs", "RSA-PSS+SHA384:ECDSA+SHA256"],
    &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"],
    &["-tls1_3", "-sigalgs", "RSA-PSS+SHA512:ECDSA+SHA256"],
    &["-tls1_3", "-sigalgs", "RSA+SHA256:ECDSA+SHA256"],
    &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
];
const ECDSA: &[&[&str]] = &[
    &["-tls1_2", "-sigalgs", "ECDSA+SHA256"],
    &["-tls1_2", "-sigalgs", "ECDSA+SHA384:ECDSA+SHA256"],
    &["-tls1_3", "-sigalgs", "ECDSA+SHA384:ECDSA+SHA256"],
    &["-tls1_3", "-sigalgs", "ECDSA+SHA512:ECDSA+SHA256"],
    &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
];
const TEMPORARY: &str = "client_body_temp_path @DIRECTORY@/body;\nproxy_temp_path @DIRECTORY@/proxy;\nfastcgi_temp_path @DIRECTORY@/fastcgi;\n\
                         uwsgi_temp_path @DIRECTORY@/uwsgi;\nscgi_temp_path @DIRECTORY@/scgi;\n";
const LIMIT: Duration = Duration::from_secs(10);
