//! The `openssl` program, through pkcs11-provider and through libp11's engine: public keys, signatures of each padding, which openssl
//! verifies by a file, listings, and both versions of TLS.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use e2e::lab::differences::Outcomes;
use e2e::lab::program::{openssl, run};
use e2e::lab::scratch::Scratch;

use super::tokens::{Key, PIN, Token, Tokens};
use crate::openssl_tool::Server;

pub(super) fn on(tokens: &Tokens<'_>, token: &Token) -> Result<Outcomes> {
    let mut all = Outcomes::new();
    for via in ["provider", "engine"] {
        let its = Via { tokens, token, via };
        for key in &tokens.keys {
            let mut say = |what: &str, outcome: String| all.insert(format!("{via} {}: {what}", key.name), outcome);
            say("pkey -pubout", its.public_key(key)?);
            for signature in signatures(key) {
                say(&signature.join(" "), its.signature(key, signature)?);
            }
            for tls in ["-tls1_2", "-tls1_3"] {
                say(&format!("s_server {tls}"), its.handshake(key, tls)?);
            }
        }
        all.insert(format!("{via} a key that is not there"), its.stranger()?);
    }
    let provider = Via {
        tokens,
        token,
        via: "provider",
    };
    for options in [&["-keys"][..], &["-certs"], &[]] {
        let what = format!("storeutl {}", options.join(" "));
        all.insert(what.trim().to_owned(), provider.listing(options)?);
    }
    Ok(all)
}

/// One way to one token.
struct Via<'a> {
    tokens: &'a Tokens<'a>,
    token: &'a Token,
    via: &'a str,
}

impl Via<'_> {
    /// `openssl` with a command, and a key behind `option`.
    fn openssl(&self, command: &str, option: &str, key: &str) -> Result<Command> {
        let mut openssl = self.token.openssl(self.tokens, self.via)?;
        openssl.arg(command);
        match (self.via, command) {
            ("engine", "pkey") => openssl.args(["-engine", "pkcs11", "-inform", "engine"]),
            ("engine", _) => openssl.args(["-engine", "pkcs11", "-keyform", "engine"]),
            _ => &mut openssl,
        };
        openssl.arg(option).arg(self.token.uri(key));
        Ok(openssl)
    }

    fn public_key(&self, key: &Key) -> Result<String> {
        let scratch = Scratch::new()?;
        let out = scratch.file("public");
        self.token.run(
            self.openssl("pkey", "-in", &key.id)?
                .args(["-pubout", "-out"])
                .arg(&out),
        )?;
        let mut written = fs::read_to_string(&out).unwrap_or_default();
        if written.contains("RSA PUBLIC KEY") {
            // pkcs11-provider 1.0 writes what PKCS#1 has, whatever it is asked for.
            let as_asked = openssl_of(&["rsa", "-RSAPublicKey_in", "-pubout", "-in"])
                .arg(&out)
                .output()?;
            written = String::from_utf8(as_asked.stdout)?;
        }
        let is_its = written == fs::read_to_string(&key.public)?;
        Ok(if is_its { "its" } else { "none" }.to_owned())
    }

    fn stranger(&self) -> Result<String> {
        let ran = self
            .token
            .run(self.openssl("pkey", "-in", &"5a".repeat(32))?.arg("-pubout"))?;
        let said = ran.stderr.contains("Could not read key") || ran.stderr.contains("not found");
        Ok(if said { "is refused" } else { "is not refused" }.to_owned())
    }

    /// Signs the message, or what stands for its digest, and has another openssl verify it.
    fn signature(&self, key: &Key, words: &[&str]) -> Result<String> {
        let scratch = Scratch::new()?;
        let out = scratch.file("signature");
        let (command, options) = words.split_first().context("no command")?;
        let (input, option) = match *command {
            "dgst" => (scratch.write("message", MESSAGE)?, "-sign"),
            _ => (scratch.write("digest", vec![0xd1; input_len(options)])?, "-inkey"),
        };
        let mut sign = self.openssl(command, option, &key.id)?;
        sign.args(options).arg("-out").arg(&out);
        let mut verify = match *command {
            "dgst" => {
                sign.arg(&input);
                let mut verify = openssl_of(&["dgst", "-verify"]);
                verify
                    .arg(&key.public)
                    .args(options)
                    .arg("-signature")
                    .arg(&out)
                    .arg(&input);
                verify
            }
            _ => {
                sign.args(["-sign", "-in"]).arg(&input);
                let mut verify = openssl_of(&["pkeyutl", "-verify", "-pubin", "-inkey"]);
                verify.arg(&key.public).args(options);
                verify.arg("-in").arg(&input).arg("-sigfile").arg(&out);
                verify
            }
        };
        self.token.run(&mut sign)?;
        if fs::metadata(&out).map_or(0, |file| file.len()) == 0 {
            return Ok("none".to_owned());
        }
        let verifies = run(&mut verify)?.status.success();
        Ok(if verifies { "verifies" } else { "does not verify" }.to_owned())
    }

    fn handshake(&self, key: &Key, tls: &str) -> Result<String> {
        let mut server = self.openssl("s_server", "-key", &key.id)?;
        let Ok(server) = Server::start(server.arg("-cert").arg(&key.chain).arg("-cert_chain").arg(&key.chain)) else {
            return Ok("no server".to_owned());
        };
        let mut client = openssl();
        client.arg("s_client").arg(tls).arg("-CAfile").arg(&self.tokens.lab.ca);
        let page = server.get(client.args(["-verify_hostname", &key.host]));
        Ok(match page {
            Ok(page) => negotiated(&page),
            Err(error) => format!("no page: {}", alert(&format!("{error:#}"))),
        })
    }

    /// How many of each kind.
    fn listing(&self, options: &[&str]) -> Result<String> {
        let mut list = self.token.command("stdbuf");
        list.env("OPENSSL_CONF", self.token.openssl_conf(self.tokens, self.via)?);
        // As it comes: what was not written before SoftHSM2 ends the program is lost.
        list.args(["-o0", "openssl", "storeutl", "-noout"]).args(options);
        let ran = self
            .token
            .run(list.arg(format!("pkcs11:token={}?pin-value={PIN}", self.token.label)))?;
        let mut kinds: Vec<_> = ran.stdout.lines().filter_map(|line| line.split_once(": ")).collect();
        kinds.retain(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        let mut kinds: Vec<_> = kinds.into_iter().map(|(_, kind)| kind).collect();
        kinds.sort_unstable();
        Ok(kinds.join(", "))
    }
}

/// What is tried with a key of this type.
fn signatures(key: &Key) -> &'static [&'static [&'static str]] {
    match key.name {
        "rsa" => RSA,
        _ => EC,
    }
}

/// As long as the digest that the options name; without one a message as it is.
fn input_len(options: &[&str]) -> usize {
    let lengths = [
        ("digest:sha1", 20),
        ("digest:sha384", 48),
        ("digest:sha512", 64),
        ("rsa_padding_mode:none", 256),
    ];
    let named = lengths.iter().find(|(option, _)| options.contains(option));
    named.map_or(32, |(_, length)| *length)
}

/// Of a handshake, as `s_client` says it.
pub(super) fn negotiated(printed: &str) -> String {
    let after = |mark: &str| {
        let found = printed.lines().find_map(|line| line.split_once(mark));
        found.map_or("none", |(_, rest)| rest.trim())
    };
    format!(
        "{} signed {} {}",
        after("New, "),
        after("Peer signature type: "),
        after("Peer signing digest: ")
    )
}

/// The alert that ended a handshake, by its number.
pub(super) fn alert(complaint: &str) -> String {
    let number = complaint.split_once("SSL alert number ").map(|(_, rest)| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.get(..digits).unwrap_or_default()
    });
    number.map_or_else(|| "no alert".to_owned(), |number| format!("alert {number}"))
}

/// A program that knows neither module.
fn openssl_of(words: &[&str]) -> Command {
    let mut command = openssl();
    command.args(words);
    command
}

const MESSAGE: &[u8] = b"what a client signs";
const RSA: &[&[&str]] = &[
    &["dgst", "-sha1"],
    &["dgst", "-sha256"],
    &["dgst", "-sha384"],
    &["dgst", "-sha512"],
    &[
        "dgst",
        "-sha256",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:-1",
    ],
    &[
        "dgst",
        "-sha256",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:20",
    ],
    &["pkeyutl", "-pkeyopt", "digest:sha1"],
    &["pkeyutl", "-pkeyopt", "digest:sha256"],
    &["pkeyutl", "-pkeyopt", "digest:sha384"],
    &["pkeyutl", "-pkeyopt", "digest:sha512"],
    &["pkeyutl", "-pkeyopt", "rsa_padding_mode:pkcs1"],
    &["pkeyutl", "-pkeyopt", "rsa_padding_mode:none"],
    &[
        "pkeyutl",
        "-pkeyopt",
        "rsa_padding_mode:pss",
        "-pkeyopt",
        "digest:sha256",
        "-pkeyopt",
        "rsa_pss_saltlen:digest",
    ],
    &[
        "pkeyutl",
        "-pkeyopt",
        "rsa_padding_mode:pss",
        "-pkeyopt",
        "digest:sha384",
        "-pkeyopt",
        "rsa_pss_saltlen:digest",
    ],
    &[
        "pkeyutl",
        "-pkeyopt",
        "rsa_padding_mode:pss",
        "-pkeyopt",
        "digest:sha512",
        "-pkeyopt",
        "rsa_pss_saltlen:digest",
    ],
    &[
        "pkeyutl",
        "-pkeyopt",
        "rsa_padding_mode:pss",
        "-pkeyopt",
        "digest:sha256",
        "-pkeyopt",
        "rsa_pss_saltlen:max",
    ],
    &[
        "pkeyutl",
        "-pkeyopt",
        "rsa_padding_mode:pss",
        "-pkeyopt",
        "digest:sha256",
        "-pkeyopt",
        "rsa_mgf1_md:sha512",
    ],
];
const EC: &[&[&str]] = &[
    &["dgst", "-sha1"],
    &["dgst", "-sha256"],
    &["dgst", "-sha384"],
    &["dgst", "-sha512"],
    &["pkeyutl", "-pkeyopt", "digest:sha256"],
    &["pkeyutl", "-pkeyopt", "digest:sha512"],
];
