//! What of a report needs somebody: each with what to do next.

use enclave_tls_admin::report::{Certificate, Report};
use serde::Serialize;

use super::StatusJson;
use super::service::ServiceJson;
use crate::commands::next;

/// Something that does not become well by itself, or has not yet.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Attention {
    /// Whose: `certificate www-example`.
    pub(crate) of: String,
    pub(crate) what: String,
    pub(crate) next: String,
}

/// All of it, the most far-reaching first.
pub(super) fn look(status: &StatusJson) -> Vec<Attention> {
    let mut found = Vec::new();
    configuration(&status.agent, &mut found);
    found.extend(status.agent.problems.iter().map(|what| Attention {
        of: "agent".to_owned(),
        what: what.clone(),
        next: "see that the disk of its directory (`state` under [agent]) has room; it tries again by itself (`enclave-tlsctl logs`)"
            .to_owned(),
    }));
    enclave(status, &mut found);
    service(status, &mut found);
    for certificate in &status.agent.certificates {
        found.extend(of_certificate(certificate, status.enclave_now()));
    }
    for account in &status.agent.accounts {
        let told = account.problem.as_ref().map(|what| Attention {
            of: format!("account {}", account.name),
            what: what.clone(),
            next: "correct it; the agent tries again by itself. Nothing is renewed by it until then. `enclave-tlsctl check` looks at the \
                   policy and at files"
                .to_owned(),
        });
        found.extend(told);
    }
    for client in &status.agent.clients {
        let told = client.problem.as_ref().map(|what| Attention {
            of: format!("client {}", client.name),
            what: what.clone(),
            next: "correct it; the agent tries again by itself. `enclave-tlsctl check` looks at groups and files"
                .to_owned(),
        });
        found.extend(told);
    }
    for server in &status.agent.servers {
        let told = server.problem.as_ref().map(|what| Attention {
            of: format!("server {}", server.name),
            what: what.clone(),
            next: format!(
                "it keeps what it had; correct its configuration, and the agent tries again by itself. `enclave-tlsctl check` looks at {}'s",
                server.kind
            ),
        });
        found.extend(told);
    }
    found
}

fn configuration(report: &Report, found: &mut Vec<Attention>) {
    if let Some(why) = &report.configuration.refused {
        found.push(Attention {
            of: "configuration".to_owned(),
            what: format!("the older text stays in force: {why}"),
            next: format!(
                "correct {}, see that `enclave-tlsctl check` finds nothing, then `systemctl reload enclave-tls-agent`",
                report.configuration.file
            ),
        });
    }
}

fn enclave(status: &StatusJson, found: &mut Vec<Attention>) {
    let enclave = &status.agent.enclave;
    let mut add = |what: String, next: &str| {
        found.push(Attention {
            of: "enclave".to_owned(),
            what,
            next: next.to_owned(),
        });
    };
    if enclave.image_matches == Some(false) {
        add(
            "it runs another image than the configured one".to_owned(),
            "`systemctl restart enclave-tls-enclave` starts the configured one; keys that are not sealed end with the one that runs",
        );
    }
    if let Some(why) = &enclave.problem {
        add(
            why.clone(),
            "`enclave-tlsctl check` looks at what an enclave needs of this machine",
        );
    }
    if let Some(why) = status.away {
        let what = match status.carried.last_words() {
            Some(last) => format!("{why}. Its last error: {last}"),
            None => why.to_owned(),
        };
        add(
            what,
            "`systemctl status enclave-tls-enclave`, `enclave-tlsctl logs`; servers go on as soon as it is back",
        );
    }
}

fn service(status: &StatusJson, found: &mut Vec<Attention>) {
    let mut add = |what: String, next: &str| {
        found.push(Attention {
            of: "service".to_owned(),
            what,
            next: next.to_owned(),
        });
    };
    if let Some(service) = &status.service {
        if !service.serves() {
            add(
                format!("it does not sign yet: {}", service.phase()),
                "wait a minute; if it stays, `enclave-tlsctl logs` has the reason",
            );
        }
        if service.has_doubtful_clock() {
            add(
                "its clock source is not kvm-clock, so expiry is judged by a clock that may run wrong".to_owned(),
                "restart the enclave (`systemctl restart enclave-tls-enclave`); only a lab's policy allows this",
            );
        }
    }
    let lacking = status.service.iter().flat_map(ServiceJson::lacking);
    for key in lacking {
        add(
            format!("the KMS key {} {}", key.arn, key.said()),
            "the enclave asks it again by itself; if it stays: is its host in [egress] allow (`enclave-tlsctl stats`), does its policy take \
             this enclave (`enclave-tlsctl policy lint --key-arn ARN`)?",
        );
    }
    if let Some(why) = status.carried.aws_failure() {
        add(
            format!("no newer AWS credentials: {why}"),
            "give the instance a role, or set `profile` under [aws]; what is signed now needs none",
        );
    }
    for (name, why) in status.carried.stuck() {
        add(
            format!("{name} is stored and was not opened: {why}"),
            "correct the reason, then `systemctl restart enclave-tls-agent`",
        );
    }
}

fn of_certificate(certificate: &Certificate, now: i64) -> Option<Attention> {
    if !next::needs_attention(certificate, now) {
        return None;
    }
    let state = next::in_words(&certificate.state);
    Some(Attention {
        of: format!("certificate {}", certificate.name),
        what: match next::note(certificate) {
            Some(note) => format!("{state}: {note}"),
            None => state.to_owned(),
        },
        next: next::next(certificate, now).unwrap_or_else(|| "`enclave-tlsctl certificates` has more".to_owned()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::commands::next::tests::certificate;
    use enclave_tls_admin::protocol::Parent;
    use enclave_tls_admin::report::{Client, Server};

    pub(crate) fn status(agent: Report) -> StatusJson {
        StatusJson {
            well: true,
            attention: Vec::new(),
            agent,
            away: None,
            service: None,
            carried: (&Parent::default()).into(),
            signatures: None,
            outage: Vec::new(),
            now: 0,
        }
    }

    #[test]
    fn nothing_needs_attention_where_all_is_served() {
        let report = Report {
            certificates: vec![certificate("served", 100 * 86_400)],
            clients: vec![Client::default()],
            servers: vec![Server::default()],
            ..Report::default()
        };
        assert_eq!(look(&status(report)), []);
    }

    #[test]
    fn whatever_is_wrong_is_named_with_a_next_step() {
        let mut report = Report {
            certificates: vec![certificate("served", 0), certificate("failed", 100 * 86_400)],
            clients: vec![Client {
                problem: Some("no such group".to_owned()),
                ..Client::default()
            }],
            servers: vec![Server {
                problem: Some("unknown directive".to_owned()),
                ..Server::default()
            }],
            ..Report::default()
        };
        report.problems = vec!["keeper.json: no space left on device".to_owned()];
        report.configuration.refused = Some("config.toml:3: write".to_owned());
        report.enclave.image_matches = Some(false);
        report.enclave.problem = Some("E26".to_owned());
        let status = StatusJson {
            away: Some("the enclave is not connected"),
            ..status(report)
        };
        let found = look(&status);
        let of: Vec<_> = found.iter().map(|one| one.of.as_str()).collect();
        assert_eq!(
            of,
            [
                "configuration",
                "agent",
                "enclave",
                "enclave",
                "enclave",
                "certificate www",
                "certificate www",
                "client ",
                "server "
            ]
        );
        assert!(found.iter().all(|one| !one.next.is_empty()));
    }
}
