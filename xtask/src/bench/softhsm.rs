//! A SoftHSM2 token of the benchmark's own, with the keys that the lab's service holds too: in the client's own process, and behind
//! `p11-kit server`, which is how AWS's own enclave carries PKCS#11.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Description, Key, WORKERS};
use crate::process;

/// The token.
pub(super) struct SoftHsm {
    dir: PathBuf,
    imported: RefCell<BTreeSet<String>>,
}

impl SoftHsm {
    /// Makes the token in a new directory.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        let tokens = dir.join("tokens");
        fs::create_dir_all(&tokens)?;
        let softhsm = Self {
            dir: dir.to_owned(),
            imported: RefCell::default(),
        };
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(softhsm.config(), text)?;
        let label = ["--label", TOKEN, "--so-pin", PIN, "--pin", PIN];
        process::run(softhsm.tool().args(["--init-token", "--free"]).args(label))?;
        Ok(softhsm)
    }

    /// Lets web servers' own user use it.
    pub(super) fn open_to_workers(&self) -> Result<()> {
        process::run(Command::new("chown").args(["-R", WORKERS]).arg(&self.dir))
    }

    /// Gives it a key of the lab's, under the same label; once, however many tables want it.
    pub(super) fn import(&self, key: &Key) -> Result<()> {
        if !self.imported.borrow_mut().insert(key.label.clone()) {
            return Ok(());
        }
        let file = key.private_key.as_deref().context("an imported key has a file")?;
        let id = key.id.get(..8).context("no id")?;
        let names = ["--token", TOKEN, "--label", &key.label, "--id", id, "--pin", PIN];
        process::run(self.tool().arg("--import").arg(file).args(names))
    }

    /// Puts it behind `p11-kit server`.
    pub(super) fn serve(&self) -> Result<Served> {
        let socket = self.socket();
        let mut server = Command::new("p11-kit");
        server
            .args(["server", "--foreground", "--provider", MODULE, "--name"])
            .arg(&socket)
            .arg(format!("pkcs11:token={TOKEN}"));
        let server = server
            .env(CONFIG, self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut served = Served(server.spawn().context("p11-kit does not start")?);
        let is_there = process::wait_until(Duration::from_secs(10), || socket.exists());
        ensure!(is_there && served.0.try_wait()?.is_none(), "p11-kit serves no SoftHSM2");
        Ok(served)
    }

    /// What clients of either need.
    pub(super) fn environment(&self) -> [(String, String); 2] {
        [
            (CONFIG.to_owned(), self.config().display().to_string()),
            (
                "P11_KIT_SERVER_ADDRESS".to_owned(),
                format!("unix:path={}", self.socket().display()),
            ),
        ]
    }

    fn config(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("p11-kit.sock")
    }

    fn tool(&self) -> Command {
        let mut command = Command::new("softhsm2-util");
        command.env(CONFIG, self.config());
        command
    }
}

/// `p11-kit server`, ended when this is dropped.
pub(super) struct Served(Child);

impl Served {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The key of the lab that is signed with: imported, so that others can have it, and for digests, which all can sign.
pub(super) fn signing_key<'a>(lab: &'a Description, kind: &str) -> Result<&'a Key> {
    let fits = |key: &&Key| key.kind == kind && key.usage == "digest" && key.private_key.is_some();
    lab.keys
        .iter()
        .find(fits)
        .with_context(|| format!("the lab has no imported {kind} key for digests"))
}

pub(super) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The module that speaks to `p11-kit server`.
pub(super) const CLIENT_MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";
pub(super) const TOKEN: &str = "bench";
/// Guards nothing.
pub(super) const PIN: &str = "1234";
const CONFIG: &str = "SOFTHSM2_CONF";
