//! What the agent knows of names, accounts and methods.

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::report::{Ask, Certificate, Report, Told};
use enclave_wire::DnsName;

use super::AcmeError;
use super::record::{AccountUrl, Method};
use crate::commands::{CommandError, Session};

/// A certificate that an account of the enclave orders.
pub(super) struct Ordered {
    pub(super) names: Vec<DnsName>,
    pub(super) account: AccountUrl,
    /// Empty: the CA asks for no proof.
    pub(super) methods: Vec<Method>,
}

/// Every certificate of the inventory whose account is registered. Where one has no account yet, or no key that would say its names,
/// there are no records: a set that leaves a name out would look whole.
pub(super) fn certificates(session: &Session) -> Result<Vec<Ordered>, CommandError> {
    let report = match session.client.agent(Ask::Report)? {
        Told::Report(report) => report,
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Logs { .. } | Told::Changes(_) | Told::History(_) | Told::Done => {
            return Err(ClientError::Unexpected.into());
        }
    };
    let keys = session.keys()?;
    let names = |certificate: &Certificate| {
        let ids = certificate.generations.iter().map(|generation| generation.id.as_str());
        let newest = ids
            .rev()
            .find_map(|id| keys.iter().find(|key| key.id.to_string() == id));
        newest.map(|key| key.dns_names.items().to_vec())
    };
    let ordered = report
        .certificates
        .iter()
        .filter(|certificate| certificate.renewal.is_some());
    let ordered: Vec<_> = ordered
        .map(|certificate| one(certificate, names(certificate), &report))
        .collect();
    if ordered.is_empty() {
        return Err(CommandError::Acme(AcmeError::NothingOrdered));
    }
    ordered
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(CommandError::Acme)
}

fn one(certificate: &Certificate, names: Option<Vec<DnsName>>, report: &Report) -> Result<Ordered, AcmeError> {
    let early = || AcmeError::NotRegistered(certificate.name.clone());
    let renewal = certificate.renewal.as_ref().ok_or_else(early)?;
    let account = report.accounts.iter().find(|account| account.name == renewal.account);
    let url = account.and_then(|account| account.url.as_deref()).ok_or_else(early)?;
    let methods = match renewal.challenge.as_str() {
        "http-01" => vec![Method::Http01],
        "dns-01" => vec![Method::Dns01],
        _ => Vec::new(),
    };
    Ok(Ordered {
        names: names.ok_or_else(early)?,
        account: url.parse().map_err(|_| early())?,
        methods,
    })
}

#[cfg(test)]
mod tests {
    use enclave_tls_admin::report::{Account, Renewal};

    use super::*;

    fn ordered(challenge: &str, url: Option<&str>, names: Option<&[&str]>) -> Result<Ordered, AcmeError> {
        let report = Report {
            accounts: vec![Account {
                name: "ca".to_owned(),
                url: url.map(str::to_owned),
                ..Account::default()
            }],
            ..Report::default()
        };
        let certificate = Certificate {
            name: "www".to_owned(),
            renewal: Some(Renewal {
                account: "ca".to_owned(),
                challenge: challenge.to_owned(),
                ..Renewal::default()
            }),
            ..Certificate::default()
        };
        let names = names.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        one(&certificate, names, &report)
    }

    #[test]
    fn a_certificate_is_pinned_to_the_account_that_orders_it_and_to_its_method() {
        let url = "https://ca.example/acct/1";
        let made = ordered("dns-01", Some(url), Some(&["*.a.example"])).unwrap();
        assert_eq!((made.methods, made.names.len()), (vec![Method::Dns01], 1));
        assert_eq!(made.account, url.parse().unwrap());
        assert_eq!(ordered("none", Some(url), Some(&["a.example"])).unwrap().methods, []);
        for early in [
            ordered("http-01", None, Some(&["a.example"])),
            ordered("http-01", Some(url), None),
            ordered("http-01", Some("not a url"), Some(&["a.example"])),
        ] {
            assert!(matches!(early, Err(AcmeError::NotRegistered(name)) if name == "www"));
        }
    }
}
