//! What the agent knows of names, accounts and methods.

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::report::{Ask, Certificate, Report, Told};
use enclave_wire::control::KeyInfo;
use enclave_wire::{DnsName, KeyId};

use super::AcmeError;
use super::record::{AccountUrl, Method};
use crate::commands::{CommandError, Session};

/// A certificate that an account of the enclave orders.
pub(super) struct Ordered {
    pub(super) certificate: String,
    pub(super) names: Vec<DnsName>,
    pub(super) account: AccountUrl,
    /// The account's key, and the URL of the CA's directory.
    pub(super) key: KeyId,
    pub(super) directory: String,
    /// Empty: the CA asks for no proof.
    pub(super) methods: Vec<Method>,
}

/// Every certificate of the inventory that an account orders, or that of a name. Where one has no registered account yet, or no key that
/// would say its names, there are none: a set that leaves a name out would look whole.
pub(super) fn certificates(session: &Session, only: Option<&str>) -> Result<Vec<Ordered>, CommandError> {
    let report = match session.client.agent(Ask::Report)? {
        Told::Report(report) => report,
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Logs { .. } | Told::Changes(_) | Told::History(_) | Told::Done => {
            return Err(ClientError::Unexpected.into());
        }
    };
    let keys = session.keys()?;
    chosen(&report, only)?
        .into_iter()
        .map(|certificate| one(certificate, &keys, &report))
        .collect::<Result<_, _>>()
        .map_err(CommandError::Acme)
}

fn chosen<'a>(report: &'a Report, only: Option<&str>) -> Result<Vec<&'a Certificate>, CommandError> {
    let is_ordered = |certificate: &&Certificate| certificate.renewal.is_some();
    let Some(name) = only else {
        let ordered: Vec<_> = report.certificates.iter().filter(is_ordered).collect();
        return match ordered.is_empty() {
            true => Err(CommandError::Acme(AcmeError::NothingOrdered)),
            false => Ok(ordered),
        };
    };
    let mut certificates = report.certificates.iter();
    let named = certificates.find(|certificate| certificate.name == name);
    let named = named.ok_or_else(|| CommandError::NoCertificate(name.to_owned()))?;
    let ordered = Some(named).filter(is_ordered);
    let ordered = ordered.ok_or_else(|| CommandError::Acme(AcmeError::NotOrdered(name.to_owned())))?;
    Ok(vec![ordered])
}

fn one(certificate: &Certificate, keys: &[KeyInfo], report: &Report) -> Result<Ordered, AcmeError> {
    let early = || AcmeError::NotRegistered(certificate.name.clone());
    let key = |id: &str| keys.iter().find(|key| key.id.to_string() == id);
    let renewal = certificate.renewal.as_ref().ok_or_else(early)?;
    let account = report.accounts.iter().find(|account| account.name == renewal.account);
    let account = account.ok_or_else(early)?;
    let url = account.url.as_deref().ok_or_else(early)?;
    let methods = match renewal.challenge.as_str() {
        "http-01" => vec![Method::Http01],
        "dns-01" => vec![Method::Dns01],
        _ => Vec::new(),
    };
    let generations = certificate.generations.iter().rev();
    let newest = generations.filter_map(|generation| key(&generation.id)).next();
    Ok(Ordered {
        certificate: certificate.name.clone(),
        names: newest.ok_or_else(early)?.dns_names.items().to_vec(),
        account: url.parse().map_err(|_| early())?,
        key: account.key.as_deref().and_then(key).ok_or_else(early)?.id,
        directory: account.directory.clone(),
        methods,
    })
}

#[cfg(test)]
mod tests {
    use enclave_tls_admin::report::{Account, Generation, Renewal};
    use enclave_wire::control::Origin;
    use enclave_wire::{KeyType, State, Usage};

    use super::*;

    const URL: &str = "https://ca.example/acct/1";

    fn key(number: u8, names: &[&str]) -> KeyInfo {
        let names: Vec<DnsName> = names.iter().map(|name| name.parse().unwrap()).collect();
        KeyInfo {
            id: KeyId([number; 32]),
            name: "www".parse().unwrap(),
            generation: 1,
            key_type: KeyType::P256,
            usage: Usage::Tls,
            state: State::Live,
            origin: Origin::Born,
            dns_names: names.try_into().unwrap(),
            clients: Vec::new().try_into().unwrap(),
            spki: Vec::new().try_into().unwrap(),
            validity: None,
            sealed: None,
        }
    }

    fn report(challenge: &str, url: Option<&str>) -> Report {
        Report {
            accounts: vec![Account {
                name: "ca".to_owned(),
                directory: "https://ca.example/dir".to_owned(),
                key: Some(KeyId([9; 32]).to_string()),
                url: url.map(str::to_owned),
                ..Account::default()
            }],
            certificates: vec![
                Certificate {
                    name: "www".to_owned(),
                    generations: vec![Generation {
                        id: KeyId([1; 32]).to_string(),
                        ..Generation::default()
                    }],
                    renewal: Some(Renewal {
                        account: "ca".to_owned(),
                        challenge: challenge.to_owned(),
                        ..Renewal::default()
                    }),
                    ..Certificate::default()
                },
                Certificate {
                    name: "signed".to_owned(),
                    ..Certificate::default()
                },
            ],
            ..Report::default()
        }
    }

    fn ordered(challenge: &str, url: Option<&str>, keys: &[KeyInfo]) -> Result<Ordered, AcmeError> {
        let report = report(challenge, url);
        one(&report.certificates[0], keys, &report)
    }

    #[test]
    fn a_certificate_is_pinned_to_the_account_that_orders_it_and_to_its_method() {
        let keys = [key(1, &["*.a.example"]), key(9, &[])];
        let made = ordered("dns-01", Some(URL), &keys).unwrap();
        assert_eq!((made.methods, made.names.len()), (vec![Method::Dns01], 1));
        assert_eq!((made.account, made.key), (URL.parse().unwrap(), KeyId([9; 32])));
        assert_eq!(ordered("none", Some(URL), &keys).unwrap().methods, []);
        for early in [
            ordered("http-01", None, &keys),
            ordered("http-01", Some(URL), &keys[..1]),
            ordered("http-01", Some(URL), &keys[1..]),
            ordered("http-01", Some("not a url"), &keys),
        ] {
            assert!(matches!(early, Err(AcmeError::NotRegistered(name)) if name == "www"));
        }
    }

    #[test]
    fn those_that_an_account_orders_are_meant_or_the_one_that_is_named() {
        let mut report = report("http-01", Some(URL));
        let names = |chosen: Vec<&Certificate>| chosen.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(chosen(&report, None).unwrap()), ["www"]);
        assert_eq!(names(chosen(&report, Some("www")).unwrap()), ["www"]);
        let other = chosen(&report, Some("signed"));
        assert!(matches!(other, Err(CommandError::Acme(AcmeError::NotOrdered(name))) if name == "signed"));
        let none = chosen(&report, Some("mail"));
        assert!(matches!(none, Err(CommandError::NoCertificate(name)) if name == "mail"));
        report.certificates.remove(0);
        let empty = chosen(&report, None);
        assert!(matches!(empty, Err(CommandError::Acme(AcmeError::NothingOrdered))));
    }
}
