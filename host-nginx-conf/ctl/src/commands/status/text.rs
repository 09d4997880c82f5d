//! The report for people: first whether all is well, then each part in a table.

use std::collections::BTreeMap;

use enclave_tls_admin::outage::Meaning;
use enclave_tls_admin::report::{Account, Certificate, Client, Enclave, Report, Server};

use super::StatusJson;
use super::attention::Attention;
use super::service;
use crate::colour::{Painter, Tone};
use crate::commands::next;
use crate::show::plain;
use crate::{table, time};

/// All of it.
pub(super) fn text(status: &StatusJson, painter: Painter) -> String {
    let report = &status.agent;
    let mut text = verdict(status, painter);
    let mut part = |name: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{}\n{body}", painter.paint(Tone::Head, name)));
        }
    };
    part("Agent and enclave", agent(status));
    part("Certificates", certificates(&report.certificates, status.enclave_now()));
    part("Accounts", accounts(&report.accounts));
    part("Clients", clients(&report.clients, status.now));
    part("Servers", servers(&report.servers));
    part("Who else may have the keys", promises(report));
    part("If KMS is out and the enclave restarts", outage(&status.outage));
    text.push('\n');
    text + &service::text(status.service.as_ref(), &status.carried)
}

fn verdict(status: &StatusJson, painter: Painter) -> String {
    if status.attention.is_empty() {
        let served = status.agent.certificates.len();
        let said = format!(
            "All is well: {}.",
            count(served, "certificate is served", "certificates are served")
        );
        return format!("{}\n", painter.paint(Tone::Good, &said));
    }
    let said = format!(
        "{} attention:",
        count(status.attention.len(), "thing needs", "things need")
    );
    let mut text = format!("{}\n", painter.paint(Tone::Bad, &said));
    for Attention { of, what, next } in status.attention.iter().take(SHOWN) {
        let what = plain(what).replace('\n', "\n    ");
        text.push_str(&format!(
            "  {}: {what}\n    next: {next}\n",
            painter.paint(Tone::Doubtful, of)
        ));
    }
    match status.attention.len().saturating_sub(SHOWN) {
        0 => text,
        more => text + &format!("  and {more} more: `enclave-tlsctl certificates`\n"),
    }
}

fn agent(status: &StatusJson) -> String {
    let report = &status.agent;
    let mut rows = vec![
        ("agent", format!("version {}", report.version)),
        (
            "configuration",
            format!(
                "{}, in force since {}{}",
                report.configuration.file,
                time::utc(report.configuration.in_force_since),
                if report.configuration.refused.is_some() {
                    "; a newer text was refused"
                } else {
                    ""
                }
            ),
        ),
    ];
    rows.extend(enclave(&report.enclave, status.now));
    rows.extend(
        status
            .signatures
            .as_ref()
            .map(|signatures| ("signatures", signatures.text())),
    );
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(what, value)| [what.to_owned(), plain(&value)])
        .collect();
    table::indented(&rows)
}

fn enclave(enclave: &Enclave, now: i64) -> Vec<(&'static str, String)> {
    let id = enclave.id.as_ref().map_or(String::new(), |id| format!(", {id}"));
    let image = match enclave.image_matches {
        Some(true) => "the configured one",
        Some(false) => "another than the configured one",
        None => "not known",
    };
    let connected = match enclave.connected_since {
        Some(since) => format!("since {} ({})", time::utc(since), time::ago(since, now)),
        None => "no".to_owned(),
    };
    let mut rows = vec![
        (
            "enclave",
            format!("{} (CID {}{id}): {}", enclave.name, enclave.cid, enclave.state),
        ),
        ("image", image.to_owned()),
    ];
    let measured = enclave.measurements.iter();
    let measured: Vec<_> = measured.map(|(name, value)| format!("{name} {value}")).collect();
    if !measured.is_empty() {
        rows.push(("measured", measured.join("\n")));
    }
    rows.push(("connected", connected));
    if enclave.ended_stalled > 0 {
        let times = count(
            usize::try_from(enclave.ended_stalled).unwrap_or(usize::MAX),
            "time",
            "times",
        );
        rows.push(("ended", format!("{times}, because it no longer answered")));
    }
    rows
}

fn accounts(accounts: &[Account]) -> String {
    let row = |account: &Account| {
        let url = account.url.clone().unwrap_or_else(|| "not registered yet".to_owned());
        [account.name.clone(), account.directory.clone(), plain(&url)]
    };
    match accounts {
        [] => String::new(),
        accounts => table::render(
            ["NAME", "DIRECTORY", "ACCOUNT"],
            &accounts.iter().map(row).collect::<Vec<_>>(),
        ),
    }
}

fn certificates(certificates: &[Certificate], now: i64) -> String {
    if certificates.is_empty() {
        return "  none: add [[certificates]] to the configuration\n".to_owned();
    }
    let row = |certificate: &Certificate| {
        let live = next::live(certificate);
        [
            certificate.name.clone(),
            certificate.source.clone(),
            certificate.usage.clone(),
            live.map_or("-".to_owned(), |live| live.generation.to_string()),
            live.and_then(|live| live.not_after).map_or("-".to_owned(), |end| {
                format!("{} ({} days)", time::utc(end), time::days(now, end))
            }),
            certificate.servers.join(","),
            next::in_words(&certificate.state).to_owned(),
        ]
    };
    let rows: Vec<_> = certificates.iter().map(row).collect();
    table::render(["NAME", "SOURCE", "USAGE", "LIVE", "ENDS", "SERVERS", "STATE"], &rows)
}

fn clients(clients: &[Client], now: i64) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let short = |id: &String| id.chars().take(SHORT_ID).collect::<String>();
    let row = |client: &Client| {
        [
            client.name.clone(),
            client.group.clone(),
            client.credential.as_ref().map_or("none yet".to_owned(), short),
            client.since.map_or("-".to_owned(), |since| {
                format!("{} ({})", time::utc(since), time::ago(since, now))
            }),
            client.older.as_ref().map_or("-".to_owned(), short),
        ]
    };
    let rows: Vec<_> = clients.iter().map(row).collect();
    table::render(["NAME", "GROUP", "CREDENTIAL", "SINCE", "STILL TAKEN"], &rows)
}

fn servers(servers: &[Server]) -> String {
    if servers.is_empty() {
        return String::new();
    }
    let row = |server: &Server| {
        [
            server.name.clone(),
            server.kind.clone(),
            server.reloaded.map_or("not yet".to_owned(), time::utc),
            match &server.problem {
                Some(why) => plain(why).lines().next().unwrap_or_default().to_owned(),
                None => "-".to_owned(),
            },
        ]
    };
    let rows: Vec<_> = servers.iter().map(row).collect();
    table::render(["NAME", "KIND", "LAST RELOAD", "PROBLEM"], &rows)
}

/// Certificates of one promise together.
fn promises(report: &Report) -> String {
    let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for certificate in &report.certificates {
        by.entry(&certificate.promise).or_default().push(&certificate.name);
    }
    let line = |(promise, names): (&&str, &Vec<&str>)| format!("  {}: {promise}.\n", names_of(names));
    by.iter().filter(|(promise, _)| !promise.is_empty()).map(line).collect()
}

fn outage(says: &[Meaning]) -> String {
    if says.is_empty() {
        return "  Nothing of the configuration depends on KMS or on this run of the enclave.\n".to_owned();
    }
    let line = |Meaning { what, next }: &Meaning| {
        let next = next.map(|next| format!("    to avoid it: {next}\n"));
        format!("  {what}\n{}", next.unwrap_or_default())
    };
    says.iter().map(line).collect()
}

fn names_of(names: &[&str]) -> String {
    match names {
        [one, two, three, rest @ ..] if !rest.is_empty() => format!("{one}, {two}, {three} and {} more", rest.len()),
        names => names.join(", "),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The first are the most far-reaching; a thousand lines would hide the tables.
const SHOWN: usize = 20;
/// As long as a beginning of an id is taken for one.
const SHORT_ID: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::next::tests::certificate;
    use crate::commands::status::attention;

    fn shown(report: Report) -> String {
        let mut status = attention::tests::status(report);
        status.attention = attention::look(&status);
        status.outage = crate::commands::status::outage(&status.agent, None);
        text(&status, Painter::never())
    }

    #[test]
    fn what_is_well_is_said_first() {
        let report = Report {
            certificates: vec![certificate("served", 100 * 86_400)],
            clients: vec![Client {
                name: "nginx".to_owned(),
                credential: Some("0123456789abcdef".to_owned()),
                since: Some(0),
                ..Client::default()
            }],
            ..Report::default()
        };
        let text = shown(report);
        assert!(text.starts_with("All is well: 1 certificate is served.\n"), "{text}");
        for part in [
            "1970-04-11T00:00:00Z (100 days)",
            "01234567    1970-01-01T00:00:00Z (0 seconds)",
            "  www: nobody else has it.\n",
            "  each restart of the enclave ends the keys of www, which are born and not sealed",
            "\n    to avoid it: set sealed = \"default\" on them",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_is_wrong_comes_with_the_next_step_and_cannot_paint() {
        let report = Report {
            certificates: vec![Certificate {
                note: Some("bad\u{1b}[2J".to_owned()),
                ..certificate("failed", 100 * 86_400)
            }],
            ..Report::default()
        };
        let text = shown(report);
        assert!(
            text.starts_with("1 thing needs attention:\n  certificate www: failed: bad\\u{1b}[2J\n    next: "),
            "{text}"
        );
    }

    #[test]
    fn a_thousand_things_do_not_hide_the_tables() {
        let report = Report {
            certificates: (0..1_000).map(|_| certificate("failed", 0)).collect(),
            ..Report::default()
        };
        assert!(shown(report).contains("and 980 more"));
    }
}
