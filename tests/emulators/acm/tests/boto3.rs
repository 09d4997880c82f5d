//! Independent agreement: boto3, whose model of ACM comes from AWS, speaks to the program, and what the model refuses is refused.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

#[test]
fn boto3_and_the_model_agree() {
    let Some(python) = python("boto3_and_the_model_agree") else {
        return;
    };
    let program = Program::start();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/acm.py"))
        .args([&program.address, &program.admin])
        .env_remove("HTTPS_PROXY")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "agreed\n");
}

struct Program {
    child: Child,
    directory: PathBuf,
    address: String,
    admin: String,
}

impl Program {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("emulator-acm-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = "region = \"eu-west-1\"\naccount = \"111122223333\"\npage = 1\n\
                      [[principals]]\naccess_key_id = \"ADMIN\"\nsecret_access_key = \"secret\"\n\
                      arn = \"arn:aws:iam::111122223333:user/admin\"\n";
        std::fs::write(directory.join("acm.toml"), config).unwrap();
        let announced = directory.join("address");
        let child = Command::new(env!("CARGO_BIN_EXE_emulator-acm"))
            .arg("--config")
            .arg(directory.join("acm.toml"))
            .arg("--announce")
            .arg(&announced)
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !announced.exists() {
            assert!(Instant::now() < end, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&announced).unwrap()).unwrap();
        let url = |name: &str| format!("http://{}", line[name].as_str().unwrap());
        Self {
            child,
            address: url("address"),
            admin: url("admin"),
            directory,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// The interpreter, if there is one with what the check needs.
fn python(test: &str) -> Option<OsString> {
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        eprintln!("SKIPPED {test}: ENCLAVE_TLS_PYTHON names no interpreter");
        return None;
    };
    let imports = Command::new(&python).args(["-c", "import boto3"]).status();
    if imports.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED {test}: it has no `boto3`");
    None
}
