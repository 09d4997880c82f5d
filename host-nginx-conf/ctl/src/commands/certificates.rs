//! `certificates`: the inventory with its generations, and all about one certificate.

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::report::{Ask, Certificate, Generation, Renewal, Report, Told};
use serde::Serialize;

use super::{CommandError, Outcome, Session, next};
use crate::args;
use crate::show::plain;
use crate::{table, time};

#[derive(Serialize)]
struct CertificateJson {
    #[serde(flatten)]
    certificate: Certificate,
    /// Of the live generation; less than none: it has ended.
    days_left: Option<i64>,
    /// What to do; none where all is well.
    next: Option<String>,
    /// The directory that its servers read, as the root helper has it; with the name of one certificate, once the helper has answered.
    files: Option<String>,
}

pub(super) fn certificates(session: &Session, options: &args::Certificates) -> Result<Outcome, CommandError> {
    let report = session.report()?;
    let now = session.now();
    match &options.name {
        Some(name) => one(session, report, name.as_str(), now)?,
        None => all(session, report, now)?,
    }
    Ok(Outcome::Done)
}

fn all(session: &Session, report: Report, now: i64) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct AllJson {
        certificates: Vec<CertificateJson>,
    }
    let of = |certificate| CertificateJson::new(certificate, now);
    let json = AllJson {
        certificates: report.certificates.into_iter().map(of).collect(),
    };
    session.show(|| all_text(&json.certificates, now), &json)
}

fn one(session: &Session, report: Report, name: &str, now: i64) -> Result<(), CommandError> {
    let files = report.base.map(|base| format!("{base}/live/{name}"));
    let mut named = report
        .certificates
        .into_iter()
        .filter(|certificate| certificate.name == name);
    let certificate = named
        .next()
        .ok_or_else(|| CommandError::NoCertificate(name.to_owned()))?;
    let json = CertificateJson {
        files,
        ..CertificateJson::new(certificate, now)
    };
    session.show(|| one_text(&json, now), &json)
}

impl Session {
    /// The agent's report.
    pub(super) fn report(&self) -> Result<Report, CommandError> {
        match self.client.agent(Ask::Report)? {
            Told::Report(report) => Ok(*report),
            Told::Failed(why) => Err(CommandError::Agent(why)),
            Told::Logs { .. } | Told::Changes(_) | Told::History(_) | Told::Done => Err(ClientError::Unexpected.into()),
        }
    }

    /// Whether the agent keeps a certificate, or an account, of this name.
    pub(super) fn knows(&self, name: &str) -> Result<bool, CommandError> {
        let report = self.report()?;
        let mut certificates = report.certificates.iter().map(|certificate| &certificate.name);
        Ok(certificates.any(|its| its == name) || report.accounts.iter().any(|account| account.name == name))
    }
}

impl CertificateJson {
    fn new(certificate: Certificate, now: i64) -> Self {
        Self {
            days_left: next::ends_within(&certificate, now),
            next: next::next(&certificate, now),
            certificate,
            files: None,
        }
    }
}

fn all_text(certificates: &[CertificateJson], now: i64) -> String {
    if certificates.is_empty() {
        return "There are no certificates: add [[certificates]] to the configuration, then `systemctl reload enclave-tls-agent`.\n".to_owned();
    }
    let mut rows = Vec::new();
    for CertificateJson { certificate, .. } in certificates {
        let state = next::in_words(&certificate.state).to_owned();
        if certificate.generations.is_empty() {
            let none = || "-".to_owned();
            rows.push([certificate.name.clone(), none(), none(), none(), none(), state.clone()]);
        }
        for (index, generation) in certificate.generations.iter().enumerate() {
            // Name and state once, beside the first of its generations.
            let first = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
            rows.push([
                first(&certificate.name),
                generation.generation.to_string(),
                standing(generation),
                generation.not_after.map_or("-".to_owned(), |end| ends(end, now)),
                generation.id.chars().take(SHORT_ID).collect(),
                first(&state),
            ]);
        }
    }
    let mut text = table::render(["NAME", "GENERATION", "KEY", "ENDS", "ID", "STATE"], &rows);
    let waiting: Vec<_> = certificates
        .iter()
        .filter_map(|one| Some((one, one.next.as_ref()?)))
        .collect();
    if !waiting.is_empty() {
        text.push_str("\nNext:\n");
    }
    for (CertificateJson { certificate, .. }, next) in waiting {
        if let Some(note) = next::note(certificate) {
            text.push_str(&format!("  {}: {}\n    {next}\n", certificate.name, plain(note)));
        } else {
            text.push_str(&format!("  {}: {next}\n", certificate.name));
        }
    }
    text
}

fn one_text(json: &CertificateJson, now: i64) -> String {
    let certificate = &json.certificate;
    let mut rows = vec![
        ("name", certificate.name.clone()),
        ("state", next::in_words(&certificate.state).to_owned()),
    ];
    rows.extend(next::note(certificate).map(|note| ("note", plain(note))));
    rows.extend(json.next.clone().map(|next| ("next", next)));
    rows.extend([
        (
            "key comes from",
            match certificate.source.as_str() {
                "csr" => "the enclave, where it is born (csr)".to_owned(),
                "acme" => "the enclave, where it is born; a CA certifies it there (acme)".to_owned(),
                "bundle" => "a bundle, which KMS opens for the enclave alone (bundle)".to_owned(),
                other => other.to_owned(),
            },
        ),
        (
            "may sign",
            match certificate.usage.as_str() {
                "digest" => "digest (weaker: whatever its servers send)".to_owned(),
                other => other.to_owned(),
            },
        ),
        (
            "renewal",
            certificate
                .renewal
                .as_ref()
                .map_or_else(|| "-".to_owned(), |renewal| renewed(renewal, now)),
        ),
        (
            "seen from outside",
            certificate.outside.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("who else has it", certificate.promise.clone()),
        ("servers", certificate.servers.join(", ")),
        (
            "servers read",
            json.files.clone().unwrap_or_else(|| NO_HELPER.to_owned()),
        ),
    ]);
    let rows: Vec<_> = rows.into_iter().map(|(what, value)| [what.to_owned(), value]).collect();
    let mut text = table::indented(&rows);
    if !certificate.generations.is_empty() {
        let rows: Vec<_> = certificate
            .generations
            .iter()
            .map(|generation| row(generation, now))
            .collect();
        text.push('\n');
        text.push_str(&table::render(["GENERATION", "KEY", "BEGINS", "ENDS", "ID"], &rows));
    }
    text
}

/// When it is renewed, and how that stands.
fn renewed(renewal: &Renewal, now: i64) -> String {
    let next = match (&renewal.next, &renewal.progress) {
        (Some(at), _) => {
            let why = renewal.why.as_deref().unwrap_or("its schedule");
            format!("{} ({}), by {why}", time::utc(*at), in_days(time::days(now, *at)))
        }
        (None, Some(progress)) => format!("ordered: {}", plain(progress)),
        (None, None) => "ordered".to_owned(),
    };
    let mut says = format!("{next}; account {}, {}", renewal.account, renewal.challenge);
    if let Some(last) = renewal.last {
        says.push_str(&format!("; last on {}", time::utc(last)));
    }
    if let (count @ 1.., Some(problem)) = (renewal.failures, &renewal.problem) {
        says.push_str(&format!("; failed {count} times: {}", plain(problem)));
    }
    if let Some(explanation) = &renewal.explanation {
        says.push_str(&format!("; the CA says why: {}", plain(explanation)));
    }
    says
}

fn in_days(days: i64) -> String {
    match days {
        ..=-1 => "due".to_owned(),
        0 => "today".to_owned(),
        days => format!("in {days} days"),
    }
}

fn row(generation: &Generation, now: i64) -> [String; 5] {
    [
        generation.generation.to_string(),
        standing(generation),
        generation.not_before.map_or("-".to_owned(), time::utc),
        generation.not_after.map_or("-".to_owned(), |end| ends(end, now)),
        generation.id.clone(),
    ]
}

fn standing(generation: &Generation) -> String {
    match (generation.is_live, generation.state.as_str()) {
        (true, state) => format!("{state}, with servers"),
        (false, "pending") => "waits for its certificate".to_owned(),
        (false, "superseded") => "superseded, still signs".to_owned(),
        (false, state) => state.to_owned(),
    }
}

fn ends(end: i64, now: i64) -> String {
    match time::days(now, end) {
        days if days < 0 => format!("{} (ended)", time::utc(end)),
        days => format!("{} ({days} days)", time::utc(end)),
    }
}

/// As long as a beginning of an id is taken for one.
const SHORT_ID: usize = 8;
const NO_HELPER: &str =
    "not known: enclave-tls-apply has not answered the agent yet (`systemctl status enclave-tls-apply.socket`)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::next::tests::certificate;

    #[test]
    fn one_certificate_is_told_in_full() {
        let json = CertificateJson {
            files: Some("/srv/tls/live/www".to_owned()),
            ..CertificateJson::new(certificate("served", 100 * 86_400), 0)
        };
        let text = one_text(&json, 0);
        for part in [
            "state              served\n",
            "the enclave, where it is born (csr)",
            "servers read       /srv/tls/live/www\n",
            &format!(
                "1           live, with servers  1970-01-01T00:00:00Z  1970-04-11T00:00:00Z (100 days)  {}",
                "ab".repeat(32)
            ),
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let value = serde_json::to_value(&json).unwrap();
        assert_eq!(
            (&value["name"], &value["days_left"], &value["next"]),
            (&"www".into(), &100.into(), &().into())
        );
    }

    #[test]
    fn where_the_helper_writes_is_not_guessed() {
        let text = one_text(&CertificateJson::new(certificate("served", 0), 0), 0);
        assert!(
            text.contains("servers read       not known: enclave-tls-apply has not"),
            "{text}"
        );
    }

    #[test]
    fn the_list_says_what_to_do_below_itself() {
        let mut pending = certificate("waiting-for-certificate", 0);
        pending.generations[0].is_live = false;
        pending.generations[0].state = "pending".to_owned();
        pending.generations[0].not_after = None;
        let text = all_text(&[CertificateJson::new(pending, 0)], 0);
        assert!(
            text.contains("www   1           waits for its certificate  -     abababab  waits for its certificate\n"),
            "{text}"
        );
        assert!(
            text.contains("Next:\n  www: have a CA sign its request (`enclave-tlsctl csr abab"),
            "{text}"
        );
        assert!(all_text(&[], 0).contains("add [[certificates]]"));
    }
}
