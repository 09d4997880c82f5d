//! The command line: a few options. A parser's crate would be more code than this, and all of it in the enclave.

use std::ffi::OsString;
use std::path::PathBuf;

use enclave_wire::address::{Address, AddressError};

use super::OwnNsm;

/// What `enclave-tls` was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) policy: PathBuf,
    pub(super) signing: Address,
    pub(super) control: Address,
    pub(super) egress: Option<Address>,
    pub(super) log_format: LogFormat,
    /// Where the NSM is, of a program that brings its own.
    pub(super) nsm: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Run(Arguments),
    /// Print this and end.
    Say(String),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// Why a command line was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ArgumentError {
    Unknown(String),
    NoValue(&'static str),
    Twice(&'static str),
    Missing(&'static str),
    Address(&'static str, AddressError),
    /// vsock:any is a place to listen.
    Any(&'static str),
    LogFormat,
}

impl Arguments {
    /// Reads a command line. A program that brings an NSM of its own has one option more, and must be given it.
    pub(super) fn parse(
        arguments: impl Iterator<Item = OsString>,
        own: Option<&OwnNsm>,
    ) -> Result<Command, ArgumentError> {
        let mut given = Given::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (option, place) = match argument.to_str() {
                Some("--help" | "-h") => return Ok(Command::Say(usage(own))),
                Some("--version" | "-V") => return Ok(Command::Say(version(own))),
                Some("--policy") => ("--policy", &mut given.policy),
                Some("--signing") => ("--signing", &mut given.signing),
                Some("--control") => ("--control", &mut given.control),
                Some("--egress") => ("--egress", &mut given.egress),
                Some("--log-format") => ("--log-format", &mut given.log_format),
                Some(NSM) if own.is_some() => (NSM, &mut given.nsm),
                _ => return Err(ArgumentError::Unknown(argument.to_string_lossy().into_owned())),
            };
            let value = arguments.next().ok_or(ArgumentError::NoValue(option))?;
            if place.replace(value).is_some() {
                return Err(ArgumentError::Twice(option));
            }
        }
        if own.is_some() && given.nsm.is_none() {
            return Err(ArgumentError::Missing(NSM));
        }
        given.read().map(Command::Run)
    }
}

#[derive(Default)]
struct Given {
    policy: Option<OsString>,
    signing: Option<OsString>,
    control: Option<OsString>,
    egress: Option<OsString>,
    log_format: Option<OsString>,
    nsm: Option<OsString>,
}

impl Given {
    fn read(self) -> Result<Arguments, ArgumentError> {
        let egress = self.egress.map(|egress| dialled("--egress", Some(egress)));
        Ok(Arguments {
            control: dialled("--control", self.control)?,
            policy: self.policy.ok_or(ArgumentError::Missing("--policy"))?.into(),
            signing: address("--signing", self.signing)?,
            egress: egress.transpose()?,
            log_format: match self.log_format.as_ref().map(|format| format.to_str()) {
                None | Some(Some("text")) => LogFormat::Text,
                Some(Some("json")) => LogFormat::Json,
                Some(_) => return Err(ArgumentError::LogFormat),
            },
            nsm: self.nsm.map(PathBuf::from),
        })
    }
}

fn dialled(option: &'static str, value: Option<OsString>) -> Result<Address, ArgumentError> {
    match address(option, value)? {
        Address::Vsock { cid: None, .. } => Err(ArgumentError::Any(option)),
        address => Ok(address),
    }
}

fn address(option: &'static str, value: Option<OsString>) -> Result<Address, ArgumentError> {
    let value = value.ok_or(ArgumentError::Missing(option))?;
    let text = value
        .to_str()
        .ok_or(ArgumentError::Address(option, AddressError::Scheme))?;
    text.parse().map_err(|error| ArgumentError::Address(option, error))
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(argument) => write!(f, "unknown argument {argument:?}"),
            Self::NoValue(option) => write!(f, "{option} needs a value"),
            Self::Twice(option) => write!(f, "{option} is given twice"),
            Self::Missing(option) => write!(f, "{option} is missing"),
            Self::Address(option, error) => write!(f, "{option}: {error}"),
            Self::Any(option) => write!(f, "{option} is dialled, so it needs a CID"),
            Self::LogFormat => f.write_str("--log-format is text or json"),
        }
    }
}

/// How the program is used.
pub(super) fn usage(own: Option<&OwnNsm>) -> String {
    let program = program(own);
    let (given, described) = own.map_or((String::new(), String::new()), |own| {
        (format!(" {NSM} DIR"), format!("\n  {NSM} DIR           {}", own.about))
    });
    format!("Usage: {program}{given} {OPTIONS}{described}{ADDRESSES}")
}

fn version(own: Option<&OwnNsm>) -> String {
    format!("{} {}", program(own), env!("CARGO_PKG_VERSION"))
}

/// What the program calls itself.
pub(super) fn program(own: Option<&OwnNsm>) -> &'static str {
    own.map_or("enclave-tls", |own| own.program)
}

const OPTIONS: &str = "\
--policy FILE --signing ADDRESS --control ADDRESS [--egress ADDRESS] [--log-format text|json]

  --policy FILE       what this service may ever do (TOML)
  --signing ADDRESS   where it listens for web servers, once control says that it is ready
  --control ADDRESS   where its control peer listens; it is dialled until it is there
  --egress ADDRESS    where the parent passes its connections on to AWS; without it, AWS is not reached
  --log-format        how log lines are written to standard error; text unless given";

const ADDRESSES: &str = "

An ADDRESS is unix:/PATH, unix:@NAME (abstract) or vsock:CID:PORT (to listen, vsock:any:PORT).";

/// The option of a program that brings an NSM of its own.
const NSM: &str = "--nsm";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(OsString::from), None)
    }

    fn lab() -> OwnNsm {
        OwnNsm {
            program: "lab",
            about: "where its NSM is",
            open: |_| Err("not here".to_owned()),
        }
    }

    fn run(read: Result<Command, ArgumentError>) -> Arguments {
        match read.unwrap() {
            Command::Run(arguments) => arguments,
            Command::Say(text) => panic!("{text}"),
        }
    }

    #[test]
    fn a_command_line_is_read() {
        let line = "--policy p.toml --signing vsock:any:4430 --control vsock:3:440 --log-format json";
        let arguments = run(parse(line));
        assert_eq!(arguments.policy, PathBuf::from("p.toml"));
        assert_eq!(arguments.control.to_string(), "vsock:3:440");
        assert_eq!(arguments.log_format, LogFormat::Json);
        assert_eq!((arguments.egress, arguments.nsm), (None, None));
        let arguments = run(parse(&format!("{line} --egress vsock:3:441")));
        assert_eq!(arguments.egress.unwrap().to_string(), "vsock:3:441");
        let version = concat!("enclave-tls ", env!("CARGO_PKG_VERSION"));
        assert_eq!(parse("--version"), Ok(Command::Say(version.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ArgumentError::*;
        let good = "--policy p --signing unix:@a --control unix:@b";
        for (line, error) in [
            ("".to_owned(), Missing("--control")),
            (format!("{good} --policy q"), Twice("--policy")),
            (format!("{good} --extra"), Unknown("--extra".to_owned())),
            (format!("{good} --log-format"), NoValue("--log-format")),
            (format!("{good} --log-format xml"), LogFormat),
            ("--policy p --control unix:@b".to_owned(), Missing("--signing")),
            ("--control tcp:1".to_owned(), Address("--control", AddressError::Scheme)),
            ("--control vsock:any:440".to_owned(), Any("--control")),
            (format!("{good} --egress vsock:any:441"), Any("--egress")),
            (
                format!("{good} --egress tcp:1"),
                Address("--egress", AddressError::Scheme),
            ),
        ] {
            assert_eq!(parse(&line), Err(error), "{line}");
        }
    }

    /// threat_19: only a program that brings an NSM takes the option that names one, and such a program never does without.
    #[test]
    fn threat_19_the_release_program_takes_no_nsm() {
        let line = "--policy p --signing unix:@a --control unix:@b --nsm d";
        assert_eq!(parse(line), Err(ArgumentError::Unknown("--nsm".to_owned())));
        let lab = lab();
        let parse = |line: &str| Arguments::parse(line.split_whitespace().map(OsString::from), Some(&lab));
        assert_eq!(run(parse(line)).nsm, Some(PathBuf::from("d")));
        assert_eq!(
            parse("--policy p --signing unix:@a --control unix:@b"),
            Err(ArgumentError::Missing("--nsm"))
        );
        assert!(!usage(None).contains("--nsm"));
        assert!(usage(Some(&lab)).contains("--nsm DIR           where its NSM is"));
    }
}
