//! `status`: one report of everything, and whether something in it needs somebody.

mod attention;
mod rates;
mod service;
mod text;

use std::io::{self, IsTerminal};
use std::time::Duration;

use enclave_wire::control::{Reply, Request};
use serde::Serialize;

use super::{CommandError, Outcome, Session};
use crate::args;
use crate::colour::Painter;
use crate::{show, time};
use enclave_tls_admin::advice;
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::outage::{AfterRestart, Meaning, Regions};
use enclave_tls_admin::report::{Ask, Report, Told};

pub(crate) use attention::Attention;
use rates::{Look, SignaturesJson};
use service::{CarriedJson, ServiceJson};
pub(super) use service::{WaitingJson, is_unproven, waiting_text};

/// Everything, at one time.
#[derive(Serialize)]
pub(crate) struct StatusJson {
    /// Nothing needs attention: the exit status is 0, and else 3.
    well: bool,
    attention: Vec<Attention>,
    /// The agent's own report.
    agent: Report,
    /// Why the service does not answer.
    away: Option<&'static str>,
    #[serde(flatten)]
    service: Option<ServiceJson>,
    #[serde(flatten)]
    carried: CarriedJson,
    signatures: Option<SignaturesJson>,
    /// What an outage of KMS together with a restart of the enclave would mean now; empty: nothing.
    outage: Vec<Meaning>,
    /// When this was asked, by this machine's clock: what the agent did is told by it.
    #[serde(skip)]
    now: i64,
}

impl StatusJson {
    /// What needs attention.
    pub(crate) fn needs(&self) -> &[Attention] {
        &self.attention
    }

    /// The time by which keys sign or do not: the enclave's, and this machine's where the enclave is away.
    fn enclave_now(&self) -> i64 {
        self.service.as_ref().map_or(self.now, ServiceJson::now)
    }

    /// Where the configuration file is that is in force.
    pub(crate) fn agent(&self) -> &Report {
        &self.agent
    }
}

pub(super) fn status(session: &Session, options: &args::Status) -> Result<Outcome, CommandError> {
    if options.watch {
        return watch(session);
    }
    let (status, _) = gather(session, None)?;
    let painter = Painter::of_stdout();
    session.show(|| text::text(&status, painter), &status)?;
    Ok(match status.well {
        true => Outcome::Done,
        false => Outcome::NeedsAttention,
    })
}

/// As JSON, for the bundle that goes to whoever helps.
pub(crate) fn report(session: &Session) -> Result<StatusJson, CommandError> {
    gather(session, None).map(|(status, _)| status)
}

/// Again and again, until interrupted or nobody reads. That the agent restarts is shown and waited through.
fn watch(session: &Session) -> Result<Outcome, CommandError> {
    #[derive(Serialize)]
    struct ErrorJson {
        error: String,
    }
    let painter = Painter::of_stdout();
    let begin = match io::stdout().is_terminal() {
        true => FROM_THE_TOP,
        false => "",
    };
    let mut before = None;
    loop {
        let (json, said) = match gather(session, before.as_ref()) {
            Ok((status, look)) => {
                before = look;
                let said = text::text(&status, painter);
                (serde_json::to_value(status), said)
            }
            Err(error) => {
                let error = error.to_string();
                let said = format!("{error}\n");
                (serde_json::to_value(ErrorJson { error }), said)
            }
        };
        let is_read = match session.json {
            true => json.map_err(io::Error::from).and_then(|json| show::json_line(&json)),
            false => show::text_on(&format!("{begin}{said}\n")),
        };
        if !is_read.map_err(CommandError::Terminal)? {
            return Ok(Outcome::Done);
        }
        std::thread::sleep(EVERY);
    }
}

fn gather(session: &Session, before: Option<&Look>) -> Result<(StatusJson, Option<Look>), CommandError> {
    let agent = match session.client.agent(Ask::Report)? {
        Told::Report(report) => *report,
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Logs { .. } | Told::Changes(_) | Told::History(_) | Told::Done => {
            return Err(ClientError::Unexpected.into());
        }
    };
    let carried = CarriedJson::from(&session.client.parent()?);
    let (away, service, look) = match session.client.ask(Request::Status) {
        Ok((Reply::Status(status), _)) => {
            // Before the service has its policy it lists no keys.
            let keys = match session.keys() {
                Ok(keys) => keys,
                Err(CommandError::Client(ClientError::Refused(_) | ClientError::Unable(_))) => Vec::new(),
                Err(error) => return Err(error),
            };
            let service = ServiceJson::of(&status, &keys);
            let look = match session.client.ask(Request::Statistics) {
                Ok((Reply::Statistics(counters), _)) => Some(Look::new(service.boot(), &counters, &keys)),
                Ok(_) => return Err(ClientError::Unexpected.into()),
                Err(_) => None,
            };
            (None, Some(service), look)
        }
        Ok(_) => return Err(ClientError::Unexpected.into()),
        Err(ClientError::Unable(why)) => (Some(advice::unable(why)), None, None),
        Err(error) => return Err(error.into()),
    };
    let mut status = StatusJson {
        well: true,
        attention: Vec::new(),
        signatures: look.as_ref().map(|look| look.since(before)),
        outage: outage(&agent, service.as_ref()),
        agent,
        away,
        service,
        carried,
        now: time::now(),
    };
    status.attention = attention::look(&status);
    status.well = status.attention.is_empty();
    Ok((status, look))
}

fn outage(report: &Report, service: Option<&ServiceJson>) -> Vec<Meaning> {
    let mut after = AfterRestart::default();
    for certificate in &report.certificates {
        after.add(&certificate.name, certificate.source == "bundle", certificate.sealed);
    }
    after.meaning(service.map_or(Regions::NotKnown, ServiceJson::sealing_regions))
}

/// Often enough for somebody who waits, and nothing to the agent.
const EVERY: Duration = Duration::from_secs(2);
/// The cursor to the top, the screen cleared.
const FROM_THE_TOP: &str = "\x1b[H\x1b[2J";
