//! The packages on a machine: installed, started, hurt, upgraded, removed.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::machine::Machine;
use super::{Tally, deploy};

/// Where they are.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The directory of a deb and an RPM
    #[arg(long)]
    packages: PathBuf,
    /// The directory of nitro-cli's and the service's stand-ins
    #[arg(long)]
    stand_ins: PathBuf,
}

/// Runs all of it, as root. Each step stands on those before it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut tally = Tally::default();
    match Machine::obstacle(&options.packages) {
        Some(why) => tally.skip("units under a systemd", &why),
        None => on_a_machine(options, &mut tally)?,
    }
    let counts = tally.counts;
    println!(
        "package: {} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    Ok(if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn on_a_machine(options: &Options, tally: &mut Tally) -> Result<()> {
    let stand_ins = [
        ("nitro-cli-stand-in", "nitro-cli"),
        ("lab-service", "lab-service"),
        ("emulator-nsm", "emulator-nsm"),
    ];
    for (program, name) in stand_ins {
        let from = options.stand_ins.join(program);
        fs::copy(&from, options.packages.join(name)).with_context(|| from.display().to_string())?;
    }
    let machine = Machine::boot(&options.packages)?;
    for (name, step) in STEPS {
        let begin = Instant::now();
        tally.note(name, step(&machine));
        if begin.elapsed() > Duration::from_secs(5) {
            println!("   ({:.0} s)", begin.elapsed().as_secs_f64());
        }
    }
    if tally.counts.failed > 0 {
        let log = "journalctl --no-pager -o short-monotonic | grep -v 'stat device' | tail -n 60; tail -n 9 /var/lib/trial/*.log";
        println!("{}", machine.run(log).unwrap_or_default());
    }
    Ok(())
}

type Step = fn(&Machine) -> Result<()>;

const STEPS: &[(&str, Step)] = &[
    ("the deb installs users, directories and modes", installs),
    ("installing enables and starts nothing", starts_nothing),
    ("systemd finds no fault with the units", units_are_sound),
    (
        "the agent starts before its enclave, and both are ready",
        starts_in_any_order,
    ),
    ("who may reach which socket", sockets),
    ("from the packages to a handshake", deploy::serves),
    ("the journal has the agent's fields", journal),
    ("the enclave is in a control group of its own", own_group),
    ("a restart of the agent leaves the enclave alone", |machine| {
        undisturbed(machine, "systemctl restart enclave-tls-agent", AGENT)
    }),
    (
        "an agent that is killed is started again, and the enclave goes on",
        |machine| {
            undisturbed(
                machine,
                "systemctl kill --kill-whom=main --signal=KILL enclave-tls-agent",
                AGENT,
            )
        },
    ),
    (
        "a supervisor that is killed is started again, and adopts the enclave",
        |machine| {
            undisturbed(
                machine,
                "systemctl kill --kill-whom=main --signal=KILL enclave-tls-enclave",
                ENCLAVE,
            )
        },
    ),
    (
        "an agent that hangs is ended by the watchdog, and started again",
        watchdog,
    ),
    ("threat_56_a_denied_call_is_killed", threat_56_a_denied_call_is_killed),
    (
        "an upgrade restarts the agent, not the enclave or its supervisor",
        upgrade,
    ),
    ("the helper ends when nobody asks, and its socket stays", helper_ends),
    ("a removal ends all, keeps keys and says so", removal),
    ("the RPM installs what it says", rpm),
];

fn installs(machine: &Machine) -> Result<()> {
    machine.run("dpkg --install /packages/enclave-tls_*.deb")?;
    machine.run("id enclave-tls && getent group enclave-tls-admin && getent group ne")?;
    let said = machine.run(
        "stat -c '%a %U %G %n' /etc/enclave-tls /etc/enclave-tls/config.toml /run/enclave-tls /var/lib/enclave-tls",
    )?;
    let wanted = "755 root root /etc/enclave-tls\n\
                  640 root enclave-tls /etc/enclave-tls/config.toml\n\
                  1775 root enclave-tls /run/enclave-tls\n\
                  700 enclave-tls enclave-tls /var/lib/enclave-tls\n";
    ensure!(said == wanted, "{said}");
    let changed = machine.run("dpkg --verify enclave-tls")?;
    ensure!(changed.is_empty(), "{changed}");
    // Every program finds its libraries, and the example is one that the agent understands.
    machine.run(
        "enclave-tlsctl --version; enclave-tls-agent --version; /usr/libexec/enclave-tls/enclave-tls-apply --version",
    )?;
    Ok(())
}

fn starts_nothing(machine: &Machine) -> Result<()> {
    for unit in UNITS {
        let state = machine.run(&format!(
            "systemctl show -P ActiveState {unit}; systemctl is-enabled {unit} || true"
        ))?;
        let idle = state == "inactive\ndisabled\n" || state == "inactive\nstatic\n";
        ensure!(idle, "{unit}: {state}");
    }
    Ok(())
}

fn units_are_sound(machine: &Machine) -> Result<()> {
    let said = machine.run(&format!("systemd-analyze verify {} 2>&1", UNITS.join(" ")))?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// The lab's configuration: the planes are unix sockets, and the enclave is a process.
fn starts_in_any_order(machine: &Machine) -> Result<()> {
    fs::write(machine.path("/etc/enclave-tls/config.toml"), CONFIG)?;
    machine.run(PREPARE)?;
    for unit in [AGENT, ENCLAVE] {
        let dir = machine.path(&format!("/etc/systemd/system/{unit}.service.d"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("trial.conf"), DROP_IN)?;
    }
    // The stand-in of nitro-cli has its processes end with it, by a program that sets its own capabilities.
    let stand_in = format!("/etc/systemd/system/{ENCLAVE}.service.d/stand-in.conf");
    fs::write(machine.path(&stand_in), "[Service]\nSystemCallFilter=capset\n")?;
    let impatient = format!("/etc/systemd/system/{AGENT}.service.d/watchdog.conf");
    fs::write(machine.path(&impatient), IMPATIENT)?;
    machine.run("systemctl daemon-reload; systemctl start enclave-tls-agent")?;
    machine.run("systemctl start enclave-tls-enclave")?;
    machine.becomes(
        SOON,
        "systemctl is-active enclave-tls-agent enclave-tls-enclave enclave-tls-apply.socket",
    )?;
    machine.becomes(SOON, "pidof lab-service")
}

fn sockets(machine: &Machine) -> Result<()> {
    let wanted = "660 root enclave-tls /run/enclave-tls/apply.sock\n\
                  660 enclave-tls enclave-tls-admin /run/enclave-tls/admin.sock\n";
    let said = machine.run("stat -c '%a %U %G %n' /run/enclave-tls/apply.sock /run/enclave-tls/admin.sock")?;
    ensure!(said == wanted, "{said}");
    // The agent can put nothing in the place of the helper's socket.
    machine.run("! runuser -u enclave-tls -- mv /run/enclave-tls/apply.sock /run/enclave-tls/gone 2>/dev/null")?;
    machine.run("! runuser -u enclave-tls -- rm -f /run/enclave-tls/apply.sock 2>/dev/null")?;
    Ok(())
}

fn journal(machine: &Machine) -> Result<()> {
    machine.becomes(
        SOON,
        "journalctl -u enclave-tls-agent -o json --no-pager | grep -q '\"ENCLAVE_TLS_EVENT\"'",
    )
}

fn own_group(machine: &Machine) -> Result<()> {
    let group = machine.run("cat /proc/$(pidof lab-service)/cgroup")?;
    ensure!(group.trim_end().ends_with("/enclave-tls-enclave.service"), "{group}");
    Ok(())
}

/// Something happens to a unit: it comes back as another process, and the enclave is the same one.
fn undisturbed(machine: &Machine, event: &str, unit: &str) -> Result<()> {
    let enclave = machine.run("pidof lab-service")?;
    let before = main_pid(machine, unit)?;
    machine.run(event)?;
    let back =
        format!("p=$(systemctl show -P MainPID {unit}); test $p != 0; test $p != {before}; systemctl is-active {unit}");
    machine.becomes(SOON, &back)?;
    ensure!(
        machine.run("pidof lab-service")? == enclave,
        "the enclave is another one"
    );
    Ok(())
}

fn watchdog(machine: &Machine) -> Result<()> {
    undisturbed(
        machine,
        "systemctl kill --kill-whom=main --signal=STOP enclave-tls-agent",
        AGENT,
    )?;
    machine.run("journalctl -u enclave-tls-agent --no-pager | grep -q 'Watchdog timeout'")?;
    Ok(())
}

/// The unit as it is, but for its program. A call that the filter denies ends that; and without one it runs.
fn threat_56_a_denied_call_is_killed(machine: &Machine) -> Result<()> {
    for unit in [AGENT, ENCLAVE] {
        let make = format!(
            "sed -e 's/^Type=.*/Type=oneshot/' -e 's/^Restart=.*/Restart=no/' -e 's/^WatchdogSec=.*//' \
             -e \"s!^ExecStart=.*!ExecStart=$PROGRAM!\" /usr/lib/systemd/system/{unit}.service \
             > /run/systemd/system/trial-denied.service; systemctl daemon-reload; systemctl start trial-denied"
        );
        machine
            .run(&format!("PROGRAM=/bin/true; {make}"))
            .with_context(|| format!("{unit} with nothing denied"))?;
        for call in [
            "/usr/sbin/chroot /",
            "/usr/sbin/pivot_root / /",
            "/usr/bin/setpriv --reuid 0 /bin/true",
        ] {
            let end = machine.run(&format!(
                "PROGRAM='{call}'; ! {{ {make}; }} 2>/dev/null; \
                 systemctl show -P ExecMainCode -P ExecMainStatus trial-denied | tr '\\n' ' '"
            ))?;
            // CLD_KILLED or CLD_DUMPED, SIGSYS.
            ensure!(end == "2 31 " || end == "3 31 ", "{unit}, {call}: {end}");
        }
    }
    machine.run("rm /run/systemd/system/trial-denied.service; systemctl daemon-reload; systemctl reset-failed")?;
    Ok(())
}

fn upgrade(machine: &Machine) -> Result<()> {
    let supervisor = main_pid(machine, ENCLAVE)?;
    undisturbed(machine, "dpkg --install /packages/enclave-tls_*.deb", AGENT)?;
    ensure!(
        main_pid(machine, ENCLAVE)? == supervisor,
        "its supervisor is another one"
    );
    // The administrator's file is as it was.
    ensure!(fs::read_to_string(machine.path("/etc/enclave-tls/config.toml"))? == CONFIG);
    Ok(())
}

fn helper_ends(machine: &Machine) -> Result<()> {
    machine.run("systemctl stop enclave-tls-agent; systemctl is-active enclave-tls-apply.socket")?;
    machine.becomes(
        SOON,
        "test $(systemctl show -P ActiveState enclave-tls-apply) = inactive; \
         test $(systemctl show -P Result enclave-tls-apply) = success",
    )
}

fn removal(machine: &Machine) -> Result<()> {
    let said = machine.run("dpkg --remove enclave-tls 2>&1")?;
    for kept in ["/var/lib/enclave-tls", "/etc/enclave-tls"] {
        ensure!(said.contains(&format!("{kept} is kept")), "{said}");
    }
    machine.run("test -n \"$(ls -A /var/lib/enclave-tls)\"; test -e /etc/enclave-tls/config.toml")?;
    machine.run(
        "test -z \"$(pidof lab-service enclave-tls-agent enclave-tls-apply)\"; test ! -e /run/enclave-tls/apply.sock",
    )?;
    let said = machine.run("dpkg --purge enclave-tls 2>&1; test -d /var/lib/enclave-tls")?;
    ensure!(said.contains("/var/lib/enclave-tls is kept"), "{said}");
    Ok(())
}

/// This system's own rpm knows nothing of this system's files, so it is told to ask for none. `--verify` compares owners,
/// groups, modes and sums.
fn rpm(machine: &Machine) -> Result<()> {
    machine.run(
        "rm -rf /etc/enclave-tls /var/lib/enclave-tls /run/enclave-tls; userdel enclave-tls; groupdel enclave-tls-admin; \
         rpm --initdb; rpm --install --nodeps /packages/enclave-tls-*.rpm",
    )?;
    let said = machine.run("rpm --verify --nodeps enclave-tls && stat -c '%a %U %G' /run/enclave-tls")?;
    ensure!(said == "1775 root enclave-tls\n", "{said}");
    machine.run("systemctl show -P ActiveState enclave-tls-agent | grep -q inactive")?;
    let needs = machine.run("rpm --query --requires enclave-tls")?;
    ensure!(
        needs.contains("GLIBC_"),
        "it does not say which C library it needs: {needs}"
    );
    let said = machine.run("touch /etc/enclave-tls/key; rpm --erase enclave-tls 2>&1")?;
    ensure!(said.contains("/etc/enclave-tls is kept"), "{said}");
    Ok(())
}

fn main_pid(machine: &Machine, unit: &str) -> Result<u32> {
    Ok(machine
        .run(&format!("systemctl show -P MainPID {unit}"))?
        .trim()
        .parse()?)
}

const AGENT: &str = "enclave-tls-agent";
const ENCLAVE: &str = "enclave-tls-enclave";
const UNITS: [&str; 4] = [
    "enclave-tls-agent.service",
    "enclave-tls-enclave.service",
    "enclave-tls-apply.socket",
    "enclave-tls-apply.service",
];
/// On a machine that does other things too.
const SOON: Duration = Duration::from_secs(45);

const CONFIG: &str = include_str!("trial.toml");

/// `nitro-cli` and what it runs as an enclave; see `tests/nitro-cli`.
const PREPARE: &str = r#"
install -d -o enclave-tls -g enclave-tls -m 0700 /var/lib/trial /var/lib/trial/planes /var/lib/trial/nsm
install -d /opt/trial
install -d -m 0755 /var/lib/trial-signing -o enclave-tls -g enclave-tls
install /packages/nitro-cli /packages/lab-service /opt/trial
cat > /var/lib/trial/lab-enclave.json <<'JSON'
{ "processes": [ { "name": "service", "command": [ "/opt/trial/lab-service",
    "--policy", "/var/lib/trial/policy.toml",
    "--signing", "unix:/var/lib/trial-signing/signing.sock",
    "--control", "unix:/var/lib/trial/planes/control.sock",
    "--egress", "unix:/var/lib/trial/planes/egress.sock",
    "--nsm", "/var/lib/trial/nsm" ] } ] }
JSON
printf 'pcr%d = "%096d"\n' 0 1 1 2 2 3 > /var/lib/trial/nsm/nsm.toml
root=$(/packages/emulator-nsm /var/lib/trial/nsm)
sed -e 's/^any_source = false/any_source = true/' -e "s/^root_sha256 = .*/root_sha256 = \"$root\"/" \
    /usr/share/enclave-tls/policy.toml > /var/lib/trial/policy.toml
chown -R enclave-tls:enclave-tls /var/lib/trial
"#;

/// What is a lab's: nitro-cli's stand-in looks into /proc for the service, which hides there from its own user too.
/// And for the agent a watchdog that is worth waiting for.
const DROP_IN: &str = "[Service]\nEnvironment=ENCLAVE_TLS_NITRO_LAB=/var/lib/trial\n\
                       ReadWritePaths=/var/lib/trial /var/lib/trial-signing\n\
                       ProtectProc=default\n";
const IMPATIENT: &str = "[Service]\nWatchdogSec=3\n";
