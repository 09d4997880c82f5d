//! A lab of one server and many certificates: agent, helper, supervisor and service, and nothing that stands for AWS. The certificates
//! are P-256 and born; who measures installs their chains. Beside it the same server with keys in files, to compare.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::agent::{self, Wanted};
use super::enclave::Enclave;
use super::place::Place;
use super::plan::Via;
use super::ports::Ports;
use super::service::Starter;
use super::state::{Files, Processes};
use super::{MODULE_CONFIG, aws, ca, claim, nginx, signing_address};
use crate::build::Binaries;
use crate::paths::Paths;

/// What runs, and what may be started: no server does yet.
pub(crate) struct Many {
    pub(crate) place: Place,
    pub(crate) names: Vec<String>,
    /// The agent's configuration.
    pub(crate) config: PathBuf,
    /// Of agent and helper.
    pub(crate) agent: u32,
    pub(crate) apply: u32,
    /// The server that takes its keys from the service.
    pub(crate) server: Startable,
    /// The one with keys in files, which are not there yet: each name's in a directory of its own below this one.
    pub(crate) files: PathBuf,
    pub(crate) control: Startable,
}

/// A server that can be started.
pub(crate) struct Startable {
    pub(crate) words: Vec<String>,
    pub(crate) environment: BTreeMap<&'static str, String>,
    pub(crate) files: Files,
    pub(crate) address: SocketAddr,
}

impl Many {
    /// Starts it, with so many certificates for a server that takes its keys this way. `lab::down` ends it.
    pub(crate) fn up(paths: &Paths, dir: &Path, via: Via, certificates: usize) -> Result<Self> {
        let (place, started) = claim(paths, dir, |place| bring_up(paths, place, via, certificates))?;
        let base = place.base();
        let environment = BTreeMap::from([
            ("OPENSSL_CONF", place.openssl(conf_of(via)).display().to_string()),
            (MODULE_CONFIG, place.module_config().display().to_string()),
        ]);
        let (config, files) = (place.config(), base.with_file_name(FILES));
        Ok(Self {
            place,
            names: started.names,
            config,
            agent: started.agent,
            apply: started.apply,
            server: Startable {
                words: nginx::words(&started.server.0),
                environment,
                files: started.server.0,
                address: started.server.1,
            },
            files,
            control: Startable {
                words: nginx::words(&started.control.0),
                environment: BTreeMap::new(),
                files: started.control.0,
                address: started.control.1,
            },
        })
    }

    /// Where the helper writes.
    pub(crate) fn base(&self) -> PathBuf {
        self.place.base()
    }
}

struct Started {
    names: Vec<String>,
    agent: u32,
    apply: u32,
    server: (Files, SocketAddr),
    control: (Files, SocketAddr),
}

fn bring_up(paths: &Paths, place: &Place, via: Via, certificates: usize) -> Result<Started> {
    let binaries = Binaries::of(paths);
    let signing = signing_address()?;
    ca::create_aws(place, &aws::HOSTS)?;
    let enclave = Enclave::Process;
    enclave.measure(paths, place, &binaries)?;
    std::fs::copy(&binaries.module, place.module())?;
    let names: Vec<_> = (0..certificates).map(|number| format!("lab-{number:04}")).collect();
    let mut ports = Ports::find(2)?;
    let snippets = paths.snippets();
    let mut server = |instance: &str, directory: &Path, file: &str| -> Result<(Files, SocketAddr)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.take()?));
        let blocks = blocks(&names, address, directory, file)?;
        Ok((
            nginx::write(place, &snippets, instance, &blocks, nginx::Level::Default)?,
            address,
        ))
    };
    let include = if via == Via::Engine {
        "nginx-engine.conf"
    } else {
        "nginx.conf"
    };
    let live = place.base().join("live");
    let with_keys = server(via.name(), &live, include)?;
    let control = server(Via::File.name(), &place.base().with_file_name(FILES), "nginx.conf")?;
    let parts = enclave.parts(paths, place, &binaries, &signing)?;
    let wanted = Wanted {
        enclave,
        signing: &signing,
        parts: &parts,
    };
    let mut configuration = agent::configuration_without_aws(place, &wanted) + &agent::server_with(via, &with_keys.0);
    for name in &names {
        configuration.push_str(&certificate(name, via));
    }
    let mut starter = Starter {
        place,
        processes: Processes::default(),
    };
    agent::start(&mut starter, &binaries, &wanted, &configuration, &[])?;
    let pid = |name: &str| {
        let started = starter.processes.started.get(name);
        started
            .map(|identity| identity.pid)
            .with_context(|| format!("no {name}"))
    };
    Ok(Started {
        agent: pid("agent")?,
        apply: pid("apply")?,
        names,
        server: with_keys,
        control,
    })
}

/// A server block for each name, all on one port.
fn blocks(names: &[String], address: SocketAddr, directory: &Path, file: &str) -> Result<String> {
    let mut blocks = "server_names_hash_max_size 8192;\n".to_owned();
    for name in names {
        writeln!(
            blocks,
            "server {{ listen {address} ssl; server_name {}; include {}/{name}/{file}; return 200 \"{name}\\n\"; }}",
            host(name),
            directory.display()
        )?;
    }
    Ok(blocks)
}

fn certificate(name: &str, via: Via) -> String {
    let usage = if via == Via::Engine { "digest" } else { "tls" };
    format!(
        "\n[[certificates]]\nname = \"{name}\"\nsource = \"csr\"\nkey_type = \"p-256\"\nusage = \"{usage}\"\ndns_names = [\"{}\"]\nservers = [\"{}\"]\n",
        host(name),
        via.name()
    )
}

fn host(name: &str) -> String {
    format!("{name}.example")
}

fn conf_of(via: Via) -> &'static str {
    if via == Via::Engine { "engine" } else { "provider" }
}

/// Where keys in files are, beside the helper's directory.
const FILES: &str = "files";
