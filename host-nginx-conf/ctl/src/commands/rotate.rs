//! `rotate-credential`: a client's credential made anew by the agent, which the web server takes up at its next connection.

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::report::{Ask, Told};
use serde::Serialize;

use super::{CommandError, Outcome, Session};
use crate::args;

pub(super) fn rotate(session: &Session, options: &args::RotateCredential) -> Result<Outcome, CommandError> {
    #[derive(Serialize)]
    struct RotatedJson<'a> {
        client: &'a str,
        rotated: bool,
    }
    let client = options.client.as_str();
    let ask = Ask::RotateCredential {
        client: client.to_owned(),
    };
    match session.client.agent(ask)? {
        Told::Done => {}
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Report(_) | Told::Logs { .. } | Told::Changes(_) | Told::History(_) => {
            return Err(ClientError::Unexpected.into());
        }
    }
    let text = || {
        format!(
            "client {client} has a new credential; the enclave takes the old one too, until every server was seen with the new one or \
             grace_hours are over\n"
        )
    };
    session.show(text, &RotatedJson { client, rotated: true })?;
    Ok(Outcome::Done)
}
