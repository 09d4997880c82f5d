//! The program in `c/driver.c`, which does to a module what no safe code can, and the module that it loads.

#![allow(dead_code, reason = "each test binary uses another part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program, about to play this scenario with this configuration.
pub(crate) fn command(config: &Path, scenario: &str) -> Command {
    let mut command = Command::new(driver());
    command.args([module().as_path(), config, Path::new(scenario)]);
    command
}

/// The module that cargo built beside this test.
pub(crate) fn module() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.with_file_name("libenclave_tls_pkcs11.so")
}

/// The program, built once, or before where there is no compiler.
pub(crate) fn driver() -> &'static PathBuf {
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    DRIVER.get_or_init(|| {
        if let Some(built) = std::env::var_os("ENCLAVE_TLS_TEST_DRIVER") {
            return built.into();
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/driver.c");
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let program = place.join("driver");
        // Renamed into place, since another run of this test may be using it.
        let unfinished = place.join(format!("driver-{}", std::process::id()));
        let built = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-Wall", "-Wno-strict-prototypes", "-pthread", "-o"])
            .arg(&unfinished)
            .args([source, "-ldl"])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        std::fs::rename(unfinished, &program).unwrap();
        program
    })
}
