//! The agent with its root helper, and the enclave's supervisor: all from one configuration file, as packages run them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::acme::Acme;
use super::aws::{Aws, BUCKET, BUNDLE_KEY, REGION};
use super::enclave::{CPUS, Enclave, MEBIBYTES, Part};
use super::httpd;
use super::place::{HAPROXY, Place, WORKERS};
use super::plan::{KEYS, KeyPlan, Origin, Via};
use super::server::Server;
use super::service::{Ctl, Starter, set_mode};
use super::state::Files;
use crate::build::Binaries;
use crate::process;

/// What the agent is told of the enclave.
pub(super) struct Wanted<'a> {
    pub(super) enclave: Enclave,
    pub(super) signing: &'a str,
    /// What `nitro-cli` starts for an enclave.
    pub(super) parts: &'a [Part],
}

/// Writes the configuration, and starts the helper, the agent and the supervisor, in the order that packages happen to start them.
pub(super) fn start(
    starter: &mut Starter<'_>,
    binaries: &Binaries,
    wanted: &Wanted<'_>,
    configuration: &str,
    environment: &[(&str, String)],
) -> Result<()> {
    let place = starter.place;
    nitro_cli(place, binaries, wanted)?;
    let file = place.config();
    fs::write(&file, configuration)?;
    set_mode(&file, 0o640)?;
    let text = |path: &std::path::Path| path.display().to_string();
    let config = ["--config".to_owned(), text(&file)];
    let helper = ["--base", &text(&place.base()), "--module", &text(&place.module())].map(str::to_owned);
    let socket = ["--socket".to_owned(), text(&place.apply_socket())];
    let words = [&[text(&binaries.apply)][..], &config, &helper, &socket].concat();
    starter.start("apply", words)?;
    starter.start_with("agent", [&[text(&binaries.agent)][..], &config].concat(), environment)?;
    let supervisor = [&[text(&binaries.agent), "enclave".to_owned()][..], &config].concat();
    starter.start("supervisor", supervisor)?;
    for part in wanted.parts {
        starter
            .processes
            .commands
            .insert(part.name.to_owned(), part.words.clone());
    }
    starter
        .processes
        .commands
        .insert("run-enclave".to_owned(), run_enclave(place));
    wait(starter, binaries)?;
    let service = wanted.parts.last().map(|part| part.words.clone()).unwrap_or_default();
    for identity in process::with_command_line(&service) {
        starter.note("service", identity.pid)?;
    }
    Ok(())
}

/// Waits until the servers' files of every certificate of the inventory are there to stay: a first one may be taken away again for
/// the time of a test.
pub(super) fn wait_until_deployed(place: &Place, ctl: &Ctl) -> Result<()> {
    let mut seen = Vec::new();
    let deployed = process::wait_until(Duration::from_secs(60), || {
        // It exits 3 where something needs attention.
        let Ok(told) = ctl.told(&["status"]) else { return false };
        let certificates = told.pointer("/agent/certificates").and_then(Value::as_array);
        let others = certificates
            .into_iter()
            .flatten()
            .filter(|one| one["state"] != "served");
        seen = others.map(|one| one["name"].to_string()).collect();
        certificates.is_some() && seen.is_empty()
    });
    ensure!(
        deployed,
        "not everything of {} is live; see {}",
        seen.join(", "),
        place.log("agent").display()
    );
    Ok(())
}

/// Has the agent look again, and waits until every certificate is served: it has a server that may have read something older reload, and
/// a test that counts workers must not meet that.
pub(super) fn wait_until_served(starter: &Starter<'_>, ctl: &Ctl, servers: &[Server]) -> Result<()> {
    let masters: Vec<u32> = servers
        .iter()
        .filter_map(|server| starter.processes.started.get(&server.files.process))
        .map(|identity| identity.pid)
        .collect();
    let agent = starter.processes.started.get("agent").context("no agent")?;
    process::run(Command::new("kill").args(["-HUP", &agent.pid.to_string()]))?;
    let mut seen = String::new();
    let is_served = process::wait_until(Duration::from_secs(60), || {
        // It exits 3 where something needs attention, as a lab's clock source does.
        let Ok(told) = ctl.told(&["status"]) else { return false };
        let part = |name: &str| {
            told.pointer(name)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let (servers, certificates) = (part("/agent/servers"), part("/agent/certificates"));
        seen = format!("{servers:?} {certificates:?}");
        servers.len() == Via::OF_THE_SERVICE.len()
            && servers.iter().all(|server| server["problem"].is_null())
            && certificates.iter().all(|certificate| certificate["state"] == "served")
    });
    ensure!(is_served, "not everything is served: {seen}");
    // A master takes a moment to read its files again, and old workers to end.
    let workers = || -> Vec<Vec<u32>> { masters.iter().map(|master| process::children(*master)).collect() };
    let mut seen = (workers(), Instant::now());
    let is_settled = process::wait_until(Duration::from_secs(20), || {
        let now = workers();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() >= SETTLED
    });
    ensure!(is_settled, "the servers' workers come and go");
    Ok(())
}

/// Waits until the service answers by way of the agent.
fn wait(starter: &Starter<'_>, binaries: &Binaries) -> Result<()> {
    let alive = || {
        ["apply", "agent", "supervisor"]
            .iter()
            .all(|name| starter.is_alive(name))
    };
    let answers = || Ctl::new(starter.place, binaries).run(&["stats"]).is_ok();
    if !process::wait_until(Duration::from_secs(60), || !alive() || answers()) || !alive() {
        let last = ["service", "apply", "agent", "supervisor"].map(|name| starter.last_words(name));
        bail!("no service{}", last.concat());
    }
    Ok(())
}

/// What stands for AWS's program of that name, and what it starts.
fn nitro_cli(place: &Place, binaries: &Binaries, wanted: &Wanted<'_>) -> Result<()> {
    symlink(&binaries.nitro_cli, place.nitro("nitro-cli"))?;
    let part = |part: &Part| {
        json!({
            "name": part.name,
            "command": part.words,
            "ready": part.ready,
            "log": place.log(part.name),
        })
    };
    let parts: Vec<_> = wanted.parts.iter().map(part).collect();
    let plan = json!({ "processes": parts });
    Ok(fs::write(place.nitro("lab-enclave.json"), plan.to_string())?)
}

/// What the supervisor has `nitro-cli` do, for tests that start an enclave themselves.
fn run_enclave(place: &Place) -> Vec<String> {
    let words = [
        &place.nitro("nitro-cli").display().to_string(),
        "run-enclave",
        "--eif-path",
        &place.image().display().to_string(),
        "--enclave-name",
        "enclave-tls",
        "--enclave-cid",
        "16",
        "--cpu-count",
        &CPUS.to_string(),
        "--memory",
        &MEBIBYTES.to_string(),
    ];
    words.map(str::to_owned).into()
}

/// The configuration of a whole lab.
pub(super) fn configuration(place: &Place, wanted: &Wanted<'_>, servers: &[Server], aws: &Aws, acme: &Acme) -> String {
    let mut allow = String::new();
    let mut resolve = String::new();
    for host in aws.egress.iter().chain(&acme.egress) {
        let (name, address) = host.split_once('=').unwrap_or((host, ""));
        allow.push_str(&format!("    \"{name}\",\n"));
        resolve.push_str(&format!("\"{name}\" = \"{address}\"\n"));
    }
    let mut text = configuration_without_aws(place, wanted);
    text.push_str(&format!(
        "\n[aws]\n\n[egress]\nallow = [\n{allow}]\n\n[egress.resolve]\n{resolve}"
    ));
    for via in Via::OF_THE_SERVICE {
        text.push_str(&server(via, servers));
    }
    for plan in KEYS.iter().filter(|plan| plan.is_in_inventory()) {
        text.push_str(&certificate(place, plan));
    }
    text + &acme.configuration(Via::Provider.name())
}

/// What every lab's configuration begins with: where the enclave and the agent's sockets are, and the one client.
pub(super) fn configuration_without_aws(place: &Place, wanted: &Wanted<'_>) -> String {
    format!(
        r#"# A lab's: sockets in place of vsock, and AWS's names lead to what stands for AWS.
[enclave]
image = "{image}"
nitro_cli = "{nitro_cli}"
cpus = {CPUS}
memory = {MEBIBYTES}
signing = "{signing}"
control = "{control}"
egress = "{egress}"
logs = "{logs}"

[agent]
state = "{state}"
admin_socket = "{admin}"
admin_group = "root"
apply_socket = "{apply}"
metrics = "unix:{metrics}"
log = "text"

[clients.{WORKERS}]
group = "{WORKERS}"

[clients.{HAPROXY}]
group = "{HAPROXY}"
"#,
        image = place.image().display(),
        nitro_cli = place.nitro("nitro-cli").display(),
        signing = wanted.signing,
        control = place.control_address(),
        egress = wanted.enclave.egress_address(place),
        logs = place.logs_address(),
        state = place.replay().display(),
        admin = place.ctl_socket().display(),
        apply = place.apply_socket().display(),
        metrics = place.metrics_socket().display(),
    )
}

fn server(via: Via, servers: &[Server]) -> String {
    let server = servers.iter().find(|server| server.name == via.name());
    server.map_or_else(String::new, |server| server_with(via, &server.files))
}

/// A server's own section.
pub(super) fn server_with(via: Via, files: &Files) -> String {
    let mut text = format!(
        "\n[servers.{}]\nkind = \"{}\"\nclient = \"{}\"\nkey = \"{}\"\nconfig = \"{}\"\npid_file = \"{}\"\n",
        via.name(),
        files.kind,
        via.client(),
        via.openssl().unwrap_or_default(),
        files.conf.display(),
        files.pid_file.display()
    );
    if files.kind == "httpd" {
        // Debian's name for it.
        text.push_str(&format!("program = \"{}\"\n", httpd::PROGRAM));
    }
    text
}

fn certificate(place: &Place, plan: &KeyPlan) -> String {
    let name = plan.name;
    let servers: Vec<_> = Via::OF_THE_SERVICE
        .iter()
        .filter(|via| via.uses(plan))
        .map(|via| format!("\"{}\"", via.name()))
        .collect();
    let hosts: Vec<_> = plan.hosts().iter().map(|host| format!("\"{host}\"")).collect();
    let mut text = format!(
        "\n[[certificates]]\nname = \"{name}\"\nusage = \"{}\"\ndns_names = [{}]\nservers = [{}]\n",
        plan.usage,
        hosts.join(", "),
        servers.join(", ")
    );
    text.push_str(&match plan.origin {
        Origin::Born | Origin::Imported => format!("source = \"csr\"\nkey_type = \"{}\"\n", plan.kind.argument()),
        Origin::Sealed => format!(
            "source = \"csr\"\nkey_type = \"{}\"\nsealed = \"lab\"\n",
            plan.kind.argument()
        ),
        Origin::Bundle => format!(
            "source = \"bundle\"\nkms_key = \"{BUNDLE_KEY}\"\nbundle = \"{}\"\n",
            place.aws(&format!("{name}.json")).display()
        ),
        Origin::BundleSealed => format!(
            "source = \"bundle\"\nkms_key = \"{BUNDLE_KEY}\"\ns3 = \"s3://{BUCKET}/{name}\"\nregion = \"{REGION}\"\nsealed = \"lab\"\n"
        ),
    });
    text
}

/// Far longer than a reload takes.
const SETTLED: Duration = Duration::from_millis(1_500);
