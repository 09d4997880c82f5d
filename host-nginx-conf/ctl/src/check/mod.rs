//! `check`: everything that can be looked at without starting anything, each finding with the exact edit or command.
//!
//! Nothing is changed, and no web server is run. `--online` also asks AWS, the instance's metadata service and the running agent.

mod accounts;
mod authorities;
mod certificates;
mod configuration;
mod egress;
mod finding;
mod hooks;
mod instance;
mod machine;
mod module;
mod online;
mod openssl;
mod outage;
mod policy;
mod rights;
mod role;
mod server_files;
mod servers;
mod show;
mod sockets;
mod systemd;

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use enclave_policy::Policy;
use enclave_tls_config::Config;

use crate::colour::Painter;
use crate::commands::{CommandError, Outcome, Session};

pub(crate) use finding::{Finding, Level};

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = enclave_tls_config::DEFAULT_PATH, value_parser = absolute())]
    pub(crate) config: PathBuf,
    /// The policy in the image [default: policy.toml beside the image]
    #[arg(long, value_name = "FILE")]
    pub(crate) image_policy: Option<PathBuf>,
    /// Also ask AWS, the instance's metadata service and the running agent
    #[arg(long)]
    pub(crate) online: bool,
    /// With --online: the instance's role, a name or an ARN [default: as the metadata service says]
    #[arg(long, value_name = "ROLE", requires = "online")]
    pub(crate) role: Option<String>,
    /// Where enclave-tls-apply writes
    #[arg(long, value_name = "DIR", default_value = enclave_tls_config::DEFAULT_DIRECTORY, hide = true)]
    pub(crate) base: PathBuf,
    /// Where this machine's own files are: for tests, and for an image of a machine that is not running
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
}

pub(crate) fn run(session: &Session, options: &Options) -> Result<Outcome, CommandError> {
    let mut findings = look(options);
    if options.online {
        findings.extend(online::look(options, session));
    }
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    session.show(|| show::text(&findings, Painter::of_stdout()), &show::json(&findings))?;
    Ok(match errors {
        0 => Outcome::Done,
        _ => Outcome::NeedsAttention,
    })
}

/// All that needs nobody's answer.
pub(crate) fn look(options: &Options) -> Vec<Finding> {
    let (config, mut findings) = configuration::look(options);
    let Some(config) = config else {
        return findings;
    };
    let (policy, about_policy) = policy::read(options, &config);
    findings.extend(about_policy);
    let context = Context {
        options,
        config: &config,
        policy: policy.as_ref(),
    };
    for area in AREAS {
        findings.extend(area(&context));
    }
    findings
}

/// What every area is looked at with.
struct Context<'a> {
    options: &'a Options,
    config: &'a Config,
    /// What will be in force, where it is known.
    policy: Option<&'a Policy>,
}

impl Context<'_> {
    /// A file of this machine.
    fn machine_file(&self, absolute: &str) -> PathBuf {
        self.options.root.join(absolute.trim_start_matches('/'))
    }

    /// Its text; none where it cannot be read.
    fn machine_text(&self, absolute: &str) -> Option<String> {
        read_text(&self.machine_file(absolute))
    }
}

/// The text of a file of bounded length; none where there is none that can be read.
fn read_text(path: &Path) -> Option<String> {
    let bytes = enclave_tls_admin::files::read_public(path, MAX_FILE).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path as the advice names it, which is followed in any directory.
fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

type Area = fn(&Context<'_>) -> Vec<Finding>;

/// In the order in which one would set things up.
const AREAS: [Area; 14] = [
    rights::look,
    machine::look,
    accounts::look,
    policy::look,
    certificates::look,
    authorities::look,
    egress::look,
    module::look,
    servers::look,
    hooks::look,
    openssl::look,
    systemd::look,
    sockets::look,
    outage::look,
];

/// The largest file of this machine that is read: a site's configuration in one file.
const MAX_FILE: usize = 16 << 20;

const HELP: &str = "Exit status: 0 nothing to correct (there may be warnings), 3 something to correct.";
