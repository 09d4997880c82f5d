//! Where things are: the workspace, cargo's output, the cache and the state of this user.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The places that every command needs.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    workspace: PathBuf,
    target: PathBuf,
    cache: PathBuf,
    state: PathBuf,
}

impl Paths {
    pub(crate) fn find() -> Result<Self> {
        // Cargo says where this crate's source lies, at run time too: a moved clone keeps working.
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let workspace = Path::new(&package)
            .parent()
            .context("xtask lies in no workspace")?
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => workspace.join("target"),
        };
        Ok(Self {
            workspace,
            target,
            cache: home("XDG_CACHE_HOME", ".cache")?,
            state: home("XDG_STATE_HOME", ".local/state")?,
        })
    }

    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Configuration that users copy, and the lab loads.
    pub(crate) fn snippets(&self) -> PathBuf {
        self.workspace.join("host-nginx-conf")
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The place in the cache of what `recipe` makes: another recipe, another place.
    pub(crate) fn cache(&self, recipe: &str) -> PathBuf {
        let hash = hex::encode(Sha256::digest(recipe));
        self.cache.join(hash.get(..16).unwrap_or(&hash))
    }

    /// What must survive between two commands: which labs run, which packages were installed.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }
}

/// Where cargo keeps what it fetched.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cargo")),
    }
}

fn home(variable: &str, below_home: &str) -> Result<PathBuf> {
    let base = match env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
    {
        Some(path) => path,
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(below_home),
    };
    Ok(base.join("enclave-tls"))
}
