//! The command line: four options. A parser's crate would be more code than this, and all of it in the enclave.

use std::ffi::OsString;
use std::path::PathBuf;

use enclave_wire::address::{Address, AddressError};

/// What `enclave-tls` was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) policy: PathBuf,
    pub(super) signing: Address,
    pub(super) control: Address,
    pub(super) log_format: LogFormat,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Run(Arguments),
    /// Print this and end.
    Say(&'static str),
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
    ControlAny,
    LogFormat,
}

impl Arguments {
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, ArgumentError> {
        let mut given = Given::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (option, place) = match argument.to_str() {
                Some("--help" | "-h") => return Ok(Command::Say(USAGE)),
                Some("--version" | "-V") => return Ok(Command::Say(VERSION)),
                Some("--policy") => ("--policy", &mut given.policy),
                Some("--signing") => ("--signing", &mut given.signing),
                Some("--control") => ("--control", &mut given.control),
                Some("--log-format") => ("--log-format", &mut given.log_format),
                _ => return Err(ArgumentError::Unknown(argument.to_string_lossy().into_owned())),
            };
            let value = arguments.next().ok_or(ArgumentError::NoValue(option))?;
            if place.replace(value).is_some() {
                return Err(ArgumentError::Twice(option));
            }
        }
        given.read().map(Command::Run)
    }
}

#[derive(Default)]
struct Given {
    policy: Option<OsString>,
    signing: Option<OsString>,
    control: Option<OsString>,
    log_format: Option<OsString>,
}

impl Given {
    fn read(self) -> Result<Arguments, ArgumentError> {
        let control = address("--control", self.control)?;
        if matches!(control, Address::Vsock { cid: None, .. }) {
            return Err(ArgumentError::ControlAny);
        }
        Ok(Arguments {
            policy: self.policy.ok_or(ArgumentError::Missing("--policy"))?.into(),
            signing: address("--signing", self.signing)?,
            control,
            log_format: match self.log_format.as_ref().map(|format| format.to_str()) {
                None | Some(Some("text")) => LogFormat::Text,
                Some(Some("json")) => LogFormat::Json,
                Some(_) => return Err(ArgumentError::LogFormat),
            },
        })
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
            Self::ControlAny => f.write_str("--control is dialled, so it needs a CID"),
            Self::LogFormat => f.write_str("--log-format is text or json"),
        }
    }
}

pub(super) const USAGE: &str = "\
Usage: enclave-tls --policy FILE --signing ADDRESS --control ADDRESS [--log-format text|json]

  --policy FILE       what this service may ever do (TOML)
  --signing ADDRESS   where it listens for web servers, once control says that it is ready
  --control ADDRESS   where its control peer listens; it is dialled until it is there
  --log-format        how log lines are written to standard error; text unless given

An ADDRESS is unix:/PATH, unix:@NAME (abstract) or vsock:CID:PORT (to listen, vsock:any:PORT).";

const VERSION: &str = concat!("enclave-tls ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_is_read() {
        let read = parse("--policy p.toml --signing vsock:any:4430 --control vsock:3:440 --log-format json").unwrap();
        let Command::Run(arguments) = read else {
            panic!("it runs")
        };
        assert_eq!(arguments.policy, PathBuf::from("p.toml"));
        assert_eq!(arguments.control.to_string(), "vsock:3:440");
        assert_eq!(arguments.log_format, LogFormat::Json);
        assert_eq!(parse("--version"), Ok(Command::Say(VERSION)));
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
            ("--control vsock:any:440".to_owned(), ControlAny),
        ] {
            assert_eq!(parse(&line), Err(error), "{line}");
        }
    }
}
