//! A lab: the service, its keys, and web servers that use them, on this machine's loopback and in one directory.

mod acme;
mod agent;
mod aws;
mod bound;
mod ca;
mod enclave;
mod haproxy;
mod httpd;
mod interrupt;
mod keys;
mod many;
mod measure;
mod nginx;
pub(crate) mod pebble;
pub(crate) mod peers;
mod place;
mod plan;
mod ports;
mod rotation;
mod server;
mod service;
mod state;
mod template;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::acme::Acme;
use self::agent::Wanted;
use self::aws::Aws;
use self::server::Server;
use self::service::Starter;
use self::state::Processes;
use crate::build::Binaries;
use crate::paths::Paths;
use crate::process::{self, Identity};
use crate::progress;

pub(crate) use self::enclave::Enclave;
pub(crate) use self::interrupt::Interrupt;
pub(crate) use self::keys::to_measure;
pub(crate) use self::many::{Many, Startable};
pub(crate) use self::place::{Place, WORKERS};
pub(crate) use self::plan::{Kind, Via};
pub(crate) use self::rotation::Rotations;
pub(crate) use self::service::Ctl;
pub(crate) use self::state::{Attestation, Description, Endpoint, Key};

/// A lab that runs.
pub(crate) struct Lab {
    place: Place,
    description: Description,
}

impl Lab {
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }
}

/// Whether a lab may be made in `dir`.
pub(crate) fn must_be_free(dir: &Path) -> Result<()> {
    let used = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(!used, "{} is not empty", dir.display());
    Ok(())
}

/// Starts a lab in `dir`; if something fails, ends what it had started.
pub(crate) fn up(paths: &Paths, dir: &Path, enclave: Enclave) -> Result<Lab> {
    let (place, description) = claim(paths, dir, |place| bring_up(paths, place, enclave))?;
    Ok(Lab { place, description })
}

/// Takes a directory and starts what belongs into it; if something fails, ends what was started.
fn claim<T>(paths: &Paths, dir: &Path, start: impl FnOnce(&Place) -> Result<T>) -> Result<(Place, T)> {
    let place = Place::claim(dir)?;
    state::register(paths, &place)?;
    let _interrupt = Interrupt::ends(paths, dir)?;
    match start(&place) {
        Ok(started) => Ok((place, started)),
        Err(error) => {
            let kept = keep_logs(&place);
            down(paths, dir).with_context(|| format!("after: {error:#}"))?;
            Err(error).with_context(|| format!("logs: {}", kept.display()))
        }
    }
}

/// Ends exactly the processes of the lab in `dir`, and removes what it made.
pub(crate) fn down(paths: &Paths, dir: &Path) -> Result<()> {
    let place = Place::find(dir)?;
    // From here on it is no lab to use.
    drop(fs::remove_file(place.description()));
    let processes: Processes = state::read_json(&place.processes()).unwrap_or_default();
    // Else it would start the service again. It ends the enclave before it ends itself.
    if let Some(supervisor) = processes.started.get("supervisor") {
        supervisor.end(Duration::from_secs(10))?;
    }
    for identity in running(&place, &processes) {
        identity.end(Duration::from_secs(5))?;
    }
    place.remove()?;
    state::unregister(paths, &place);
    Ok(())
}

/// Reads a `lab.json`.
pub(crate) fn describe(file: &Path) -> Result<Description> {
    state::read_json(file)
}

/// Prints the labs that were started and not ended.
pub(crate) fn status(paths: &Paths) -> Result<()> {
    let dirs = state::registered(paths);
    if dirs.is_empty() {
        println!("no lab");
    }
    for dir in dirs {
        let Ok(place) = Place::find(&dir) else {
            println!("{}: gone", dir.display());
            continue;
        };
        let processes: Processes = state::read_json(&place.processes()).unwrap_or_default();
        let alive = processes
            .started
            .values()
            .filter(|identity| identity.is_alive())
            .count();
        let whole = if place.description().exists() {
            ""
        } else {
            ", not complete"
        };
        println!(
            "{}: {alive} of {} processes run{whole}",
            dir.display(),
            processes.started.len()
        );
    }
    Ok(())
}

fn bring_up(paths: &Paths, place: &Place, enclave: Enclave) -> Result<Description> {
    let binaries = Binaries::of(paths);
    let signing = signing_address()?;
    let mut starter = Starter {
        place,
        processes: Processes::default(),
    };
    let ctl = Ctl::new(place, &binaries);
    ca::create_aws(place, &[&aws::HOSTS[..], &acme::HOSTS].concat())?;
    let measured = enclave.measure(paths, place, &binaries)?;
    let aws = progress::step("starting KMS and S3", || {
        Aws::start(&mut starter, &binaries, paths, &measured)
    })?;
    // A home that only its user enters would keep the module from the workers' user.
    fs::copy(&binaries.module, place.module())?;
    progress::step("making a CA and bundles", || keys::prepare(place, &ctl, &aws))?;
    let acme = progress::step("starting a CA that speaks ACME", || {
        Acme::start(&mut starter, paths, &paths.snippets())
    })?;
    let servers = server::configure(place, &paths.snippets(), &acme.described.endpoints)?;
    let parts = enclave.parts(paths, place, &binaries, &signing)?;
    let environment = [&aws.instance()[..], std::slice::from_ref(&acme.route53)].concat();
    let wanted = Wanted {
        enclave,
        signing: &signing,
        parts: &parts,
    };
    progress::step("starting the agent, which starts the service", || {
        let configuration = agent::configuration(place, &wanted, &servers, &aws, &acme);
        agent::start(&mut starter, &binaries, &wanted, &configuration, &environment)
    })?;
    let keys = progress::step("getting certificates", || keys::complete(place, &ctl))?;
    progress::step("waiting for the servers' files", || {
        agent::wait_until_deployed(place, &ctl)
    })?;
    progress::step("starting NGINX, httpd and HAProxy", || {
        start_servers(&mut starter, &servers)?;
        agent::wait_until_served(&starter, &ctl, &servers)
    })?;
    let processes = &starter.processes;
    let description = Description {
        version: 1,
        enclave,
        module: place.module(),
        env: BTreeMap::from([(MODULE_CONFIG.to_owned(), place.module_config().display().to_string())]),
        token: TOKEN.into(),
        ca: place.ca_certificate(),
        endpoints: servers.iter().flat_map(|server| server.endpoints.clone()).collect(),
        urls: urls(&servers),
        keys,
        pids: processes
            .started
            .iter()
            .map(|(name, identity)| (name.clone(), identity.pid))
            .collect(),
        openssl_conf: ["provider", "engine"]
            .map(|via| (via.to_owned(), place.openssl(via)))
            .into(),
        commands: processes.commands.clone(),
        servers: servers
            .into_iter()
            .map(|server| (server.name.to_owned(), server.files))
            .collect(),
        ctl: binaries.ctl.clone(),
        ctl_socket: place.ctl_socket(),
        config: place.config(),
        signing,
        logs: place.logs(),
        attestation: measured.attestation(place),
        aws_env: environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        admin_env: aws.administrator().map(|(name, value)| (name.to_owned(), value)).into(),
        kms_keys: aws::key_arns(),
        acme: acme.described,
        kms_admin: aws.kms_admin,
    };
    state::write_json(&place.description(), &description)?;
    Ok(description)
}

fn start_servers(starter: &mut Starter<'_>, servers: &[Server]) -> Result<()> {
    servers.iter().try_for_each(|server| server.start(starter))
}

fn urls(servers: &[Server]) -> BTreeMap<String, String> {
    let endpoints = servers.iter().flat_map(|server| &server.endpoints);
    endpoints
        .map(|end| {
            (
                format!("{}/{}", end.via, end.key),
                format!("https://{}:{}/", end.name, end.port),
            )
        })
        .collect()
}

/// All that belongs to a lab now: what it started, what was started again with the same words, and every NGINX that
/// writes the lab's logs, such as one that an upgrade left. Servers end first, then the service.
fn running(place: &Place, processes: &Processes) -> Vec<Identity> {
    let mut found = process::titled_with_open_file("nginx:", &place.logs());
    found.extend(
        processes
            .commands
            .values()
            .flat_map(|words| process::with_command_line(words)),
    );
    found.extend(processes.started.values().cloned());
    found
}

/// The logs of a lab that failed, saved from its end.
fn keep_logs(place: &Place) -> PathBuf {
    let name = place
        .root()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let kept = std::env::temp_dir().join(format!("{name}-failed-logs-{}", std::process::id()));
    drop(fs::create_dir_all(&kept));
    for entry in fs::read_dir(place.logs()).into_iter().flatten().flatten() {
        drop(fs::copy(entry.path(), kept.join(entry.file_name())));
    }
    kept
}

/// An abstract socket, which vanishes with its process, under a name that nobody can guess and take first.
fn signing_address() -> Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("unix:@enclave-tls-lab-{}", hex::encode(random)))
}

/// The PKCS#11 token's label.
const TOKEN: &str = "enclave-tls";

/// The variable that names the module's configuration.
const MODULE_CONFIG: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
