//! A Python with the packages that tests use, in the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::once::once;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// The interpreter, for the variable `ENCLAVE_TLS_PYTHON`; its environment is made if the cache has none of these versions.
pub(crate) fn interpreter(paths: &Paths) -> Result<PathBuf> {
    let list = paths.workspace().join("tests/python/requirements.txt");
    let requirements = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let root = paths.cache(&format!("python3 -m venv; pip install\n{requirements}"));
    let python = root.join("bin/python");
    let whole = root.join("whole");
    once(&root, &whole, || {
        progress::step("installing Python packages for the tests, once, into the cache", || {
            drop(fs::remove_dir_all(&root)); // what an interrupted run left
            fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
            process::run(Command::new("python3").args(["-m", "venv"]).arg(&root))?;
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "-r"]);
            process::run(pip.arg(&list))?;
            Ok(fs::write(&whole, "")?)
        })
    })?;
    Ok(python)
}

/// The variable by which tests find the interpreter.
pub(crate) const VARIABLE: &str = "ENCLAVE_TLS_PYTHON";
