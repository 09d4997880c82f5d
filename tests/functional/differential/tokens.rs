//! Two tokens with the same keys and certificates under the same ids and labels: one of SoftHSM2, and one of the lab's service, for a
//! client that has no other keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::program::{Ran, openssl, run, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::{Lab, authority};

/// Both of them, and their keys, which are retired when this is dropped.
pub(super) struct Tokens<'a> {
    pub(super) softhsm: Token,
    pub(super) ours: Token,
    pub(super) keys: Vec<Key>,
    pub(super) lab: &'a Lab,
    scratch: Scratch,
}

/// How a client comes to one of them.
pub(super) struct Token {
    pub(super) label: &'static str,
    pub(super) module: PathBuf,
    /// What names the module's configuration.
    pub(super) variable: (&'static str, PathBuf),
}

/// A key of both.
pub(super) struct Key {
    /// `rsa`, `p256`, `p384`
    pub(super) name: &'static str,
    pub(super) label: String,
    pub(super) id: String,
    pub(super) host: String,
    pub(super) public: PathBuf,
    pub(super) chain: PathBuf,
}

impl<'a> Tokens<'a> {
    pub(super) fn make(lab: &'a Lab) -> Result<Self> {
        let scratch = Scratch::new()?;
        let tokens = scratch.file("tokens");
        fs::create_dir(&tokens)?;
        let conf = scratch.write(
            "softhsm2.conf",
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            ),
        )?;
        let credential = scratch.file("credential");
        lab.ctl(&["credential", CLIENT, "--out", &credential.display().to_string()])?;
        let config = scratch.write(
            "pkcs11.toml",
            format!("endpoints = [\"{}\"]\ncredential = \"credential\"\n", lab.signing),
        )?;
        retire_those_of_before(lab)?;
        let mut both = Self {
            softhsm: Token {
                label: "differential",
                module: MODULE.into(),
                variable: ("SOFTHSM2_CONF", conf),
            },
            ours: Token {
                label: "enclave-tls",
                module: lab.module.clone(),
                variable: ("ENCLAVE_TLS_PKCS11_CONFIG", config),
            },
            keys: Vec::new(),
            lab,
            scratch,
        };
        let label = ["--label", both.softhsm.label, "--so-pin", PIN, "--pin", PIN];
        succeed(
            both.softhsm
                .command("softhsm2-util")
                .args(["--init-token", "--free"])
                .args(label),
        )?;
        for (name, algorithm) in KINDS {
            let key = both.add(name, algorithm).with_context(|| format!("no key {name}"))?;
            both.keys.push(key);
        }
        Ok(both)
    }

    pub(super) fn key(&self, name: &str) -> Result<&Key> {
        self.keys.iter().find(|key| key.name == name).context("no such key")
    }

    /// A file of this test's own.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// Makes a key and its certificate, and gives them to both.
    fn add(&self, name: &'static str, algorithm: &[&str]) -> Result<Key> {
        let file = |ending: &str| self.scratch.file(&format!("{name}.{ending}"));
        let (private, request, chain, public) = (file("key"), file("csr"), file("chain"), file("pub"));
        let label = format!("{LABEL}{name}");
        let host = format!("differential-{name}.lab.test");
        succeed(openssl().arg("genpkey").args(algorithm).arg("-out").arg(&private))?;
        succeed(
            openssl()
                .args(["pkey", "-pubout", "-in"])
                .arg(&private)
                .arg("-out")
                .arg(&public),
        )?;
        let subject = format!("/CN={host}");
        let mut req = openssl();
        req.args(["req", "-new", "-subj", &subject, "-key"]).arg(&private);
        succeed(req.arg("-out").arg(&request))?;
        authority::issue(self.lab, &request, &[&host], &chain)?;
        let [key, certificates] = [&private, &chain].map(|path| path.display().to_string());
        let import = ["import", &label, &key, "--chain", &certificates, "--usage", "digest"];
        let made = self
            .lab
            .ctl(&[&import[..], &["--dns-name", &host, "--client", CLIENT]].concat())?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        let mut util = self.softhsm.command("softhsm2-util");
        util.arg("--import")
            .arg(&private)
            .args(["--token", self.softhsm.label, "--pin", PIN]);
        succeed(util.args(["--label", &label, "--id", &id]))?;
        self.certificate(&chain, &label, &id)?;
        Ok(Key {
            name,
            label,
            id,
            host,
            public,
            chain,
        })
    }

    /// Gives SoftHSM2 the leaf.
    fn certificate(&self, chain: &Path, label: &str, id: &str) -> Result<()> {
        let der = chain.with_extension("der");
        succeed(
            openssl()
                .args(["x509", "-outform", "DER", "-in"])
                .arg(chain)
                .arg("-out")
                .arg(&der),
        )?;
        let mut tool = self.softhsm.command("pkcs11-tool");
        tool.arg("--module")
            .arg(MODULE)
            .args(["--token-label", self.softhsm.label, "--login", "--pin", PIN]);
        tool.arg("--write-object")
            .arg(&der)
            .args(["--type", "cert", "--label", label, "--id", id]);
        succeed(&mut tool).map(drop)
    }
}

/// Of a run that was killed.
fn retire_those_of_before(lab: &Lab) -> Result<()> {
    let listed = lab.ctl(&["list"])?;
    for key in listed["keys"].as_array().context("no list")? {
        if key["name"].as_str().is_some_and(|name| name.starts_with(LABEL)) {
            lab.ctl(&["retire", "--yes", key["id"].as_str().context("no id")?])?;
        }
    }
    Ok(())
}

impl Drop for Tokens<'_> {
    fn drop(&mut self) {
        for key in &self.keys {
            drop(self.lab.ctl(&["retire", "--yes", &key.id])); // it may be gone, or the service is
        }
    }
}

impl Token {
    /// A program that finds the module's configuration, and none of OpenSSL's.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_remove("OPENSSL_CONF")
            .env(self.variable.0, &self.variable.1);
        command
    }

    /// Runs a program through the module. How it ends is not looked at, but that ours ends none: SoftHSM2 does, when OpenSSL has
    /// cleaned up before it.
    pub(super) fn run(&self, command: &mut Command) -> Result<Ran> {
        let ran = run(command)?;
        let is_killed = ran.status.code().is_none();
        ensure!(
            !is_killed || self.is_softhsm(),
            "{command:?}: {}: {}",
            ran.status,
            ran.printed()
        );
        Ok(ran)
    }

    fn is_softhsm(&self) -> bool {
        self.module == Path::new(MODULE)
    }

    /// The URI of a private key, with the PIN that SoftHSM2 wants and ours ignores.
    pub(super) fn uri(&self, id: &str) -> String {
        let id: Vec<_> = id.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        format!(
            "pkcs11:token={};id=%{};type=private?pin-value={PIN}",
            self.label,
            id.join("%")
        )
    }

    /// OpenSSL's configuration with this module, as users copy it; the provider's with the PIN.
    pub(super) fn openssl_conf(&self, tokens: &Tokens<'_>, via: &str) -> Result<PathBuf> {
        let copied = Path::new(SNIPPETS).join(format!("openssl/{via}.cnf"));
        let mut text = fs::read_to_string(copied)?;
        for (mark, value) in [
            ("@LIBDIR@", LIBDIR.to_owned()),
            ("@MODULE@", self.module.display().to_string()),
        ] {
            let lines = text.lines();
            // Comments name the marks too.
            text = lines.map(|line| if line.starts_with('#') { line.to_owned() } else { line.replace(mark, &value) } + "\n").collect();
        }
        if via == "provider" {
            // The section of the module is the last.
            text.push_str(&format!("pkcs11-module-token-pin = {PIN}\n"));
        }
        let file = tokens.file(&format!("{}-{via}.cnf", self.label));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// `openssl` through this module.
    pub(super) fn openssl(&self, tokens: &Tokens<'_>, via: &str) -> Result<Command> {
        let mut command = self.command("openssl");
        command.env("OPENSSL_CONF", self.openssl_conf(tokens, via)?);
        Ok(command)
    }
}

/// What both tokens hold. No Ed25519: libp11's engine gives up all keys where there is one.
const KINDS: [(&str, &[&str]); 3] = [
    ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
];
const LABEL: &str = "lab-e2e-differential-";
const CLIENT: &str = "e2e-differential";
/// Guards nothing.
pub(super) const PIN: &str = "1234";
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const LIBDIR: &str = "/usr/lib/x86_64-linux-gnu";
pub(super) const SNIPPETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../host-nginx-conf");
