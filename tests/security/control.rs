//! threat_10, the other half: control is out of reach for every other user of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::Lab;
use e2e::lab::program::{as_nobody, openssl, run, succeed};
use e2e::lab::suite::{Skipped, Test};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_10_an_unprivileged_user_reaches_no_control_socket,
    threat_10_an_unprivileged_user_cannot_listen_where_an_enclave_dials,
    threat_10_an_unprivileged_user_reads_no_secret_of_the_lab,
    threat_10_a_disturbed_control_socket_leaves_the_service_alone,
];

fn threat_10_an_unprivileged_user_reaches_no_control_socket(lab: &Lab) -> Result<()> {
    for socket in [lab.ctl_socket.clone(), service_socket(lab)?] {
        let mut client = as_nobody("openssl");
        let ran = run(client
            .env_remove("OPENSSL_CONF")
            .args(["s_client", "-unix"])
            .arg(&socket))?;
        ensure!(
            ran.stderr.contains("Permission denied"),
            "{}: {}",
            socket.display(),
            ran.printed()
        );
    }
    // The control: root may connect to the one that listens for commands.
    let ran = run(openssl().args(["s_client", "-unix"]).arg(&lab.ctl_socket))?;
    ensure!(ran.stdout.contains("CONNECTED"), "{}", ran.printed());
    Ok(())
}

/// On vsock, whoever listens on the planes' ports is the agent to the enclave.
fn threat_10_an_unprivileged_user_cannot_listen_where_an_enclave_dials(_: &Lab) -> Result<()> {
    let listens = |mut python: Command, port: u32| -> Result<String> {
        let ran = run(python.args(["-c", LISTEN, &port.to_string()]))?;
        Ok(ran.stdout.trim().to_owned())
    };
    if let absent @ ("EAFNOSUPPORT" | "ENODEV") = listens(Command::new(PYTHON), 5_440)?.as_str() {
        return Err(Skipped(format!("this kernel has no vsock: {absent}")).into());
    }
    for port in [440, 441, 442] {
        ensure!(
            listens(as_nobody(PYTHON), port)? == "EACCES",
            "anybody can listen on port {port}"
        );
        // The controls: root can, and nobody can where it matters to nobody.
        let by_root = listens(Command::new(PYTHON), port)?;
        ensure!(by_root == "listens", "root on port {port}: {by_root}");
    }
    let elsewhere = listens(as_nobody(PYTHON), 5_440)?;
    ensure!(elsewhere == "listens", "nobody on port 5440: {elsewhere}");
    Ok(())
}

fn threat_10_an_unprivileged_user_reads_no_secret_of_the_lab(lab: &Lab) -> Result<()> {
    let imported: Vec<&Path> = lab.keys.iter().filter_map(|key| key.private_key.as_deref()).collect();
    ensure!(!imported.is_empty(), "the lab has no imported key");
    let credential = lab.credential()?;
    for secret in imported.into_iter().chain([credential.as_path()]) {
        ensure!(
            !run(as_nobody("cat").arg(secret))?.status.success(),
            "anybody can read {}",
            secret.display()
        );
    }
    let replay = lab
        .ctl_socket
        .parent()
        .and_then(Path::parent)
        .context("no directory")?
        .join("replay");
    ensure!(
        !run(as_nobody("ls").arg(replay))?.status.success(),
        "anybody can look into the replay directory"
    );
    Ok(())
}

/// Connections that say nothing, or nonsense, to the socket on which the service is expected: the service keeps its own.
fn threat_10_a_disturbed_control_socket_leaves_the_service_alone(lab: &Lab) -> Result<()> {
    let before = lab.ctl(&["stats"])?;
    let socket = service_socket(lab)?;
    for _ in 0..3 {
        let ran = run(openssl().args(["s_client", "-unix"]).arg(&socket))?;
        ensure!(!ran.status.success(), "that was no service: {}", ran.printed());
    }
    let after = lab.ctl(&["stats"])?;
    ensure!(
        before["boot"] == after["boot"] && after["phase"] == "serving",
        "{before} {after}"
    );
    succeed(lab.command("pkcs11-tool").arg("--module").arg(&lab.module).arg("-O"))?;
    Ok(())
}

/// Where the agent waits for the service.
fn service_socket(lab: &Lab) -> Result<PathBuf> {
    let control = lab.configured("control")?;
    Ok(control.strip_prefix("unix:").context("not a unix socket")?.into())
}

/// The system's: one in somebody's home is closed to nobody.
const PYTHON: &str = "/usr/bin/python3";

/// Says whether it may listen on a port, or the name of the error.
const LISTEN: &str = "\
import errno, socket, sys
try:
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.bind((socket.VMADDR_CID_ANY, int(sys.argv[1])))
    s.listen()
    print('listens')
except OSError as error:
    print(errno.errorcode[error.errno])
";
