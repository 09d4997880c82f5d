//! CAA records (RFC 8659): found by climbing from a name to the top, and judged for one account.
//!
//! A diagnosis for the administrator, of what a CA that keeps to them would say: each CA looks for itself.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod message;
mod verdict;

use std::collections::HashMap;

use enclave_https::{Https, Method, Request, StatusCode, Url};
use enclave_wire::DnsName;
use enclave_wire::control::{CaaFinding, CaaVerdict};
use enclave_wire::log::Text;

use message::{MAX_ANSWER, Record};
pub(crate) use verdict::Issuer;

/// Looks records up at one resolver, each name once.
pub(crate) struct Lookup<'a> {
    ask: &'a dyn Resolver,
    known: HashMap<DnsName, Found>,
}

/// The records of one name, or why they are not known.
type Found = Result<Vec<Record>, String>;

/// Answers messages (RFC 8484).
pub(crate) trait Resolver: Sync {
    /// The answer to a message, or why there is none.
    fn answer(&self, question: Vec<u8>) -> Answered<'_>;
}

/// An answer on its way.
pub(crate) type Answered<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// A resolver that is asked over HTTPS.
pub(crate) struct OverHttps<'a> {
    pub(crate) https: &'a Https,
    pub(crate) url: &'a Url,
}

impl Resolver for OverHttps<'_> {
    fn answer(&self, question: Vec<u8>) -> Answered<'_> {
        Box::pin(async move {
            let request = Request {
                method: Method::POST,
                url: self.url,
                headers: vec![
                    ("content-type", MEDIA_TYPE.to_owned()),
                    ("accept", MEDIA_TYPE.to_owned()),
                ],
                body: question,
                max_reply: usize::from(MAX_ANSWER),
            };
            let reply = self.https.send(request).await.map_err(|error| error.to_string())?;
            if reply.status != StatusCode::OK {
                return Err(format!("the resolver answers {}", reply.status.as_u16()));
            }
            Ok(reply.body)
        })
    }
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(ask: &'a dyn Resolver) -> Self {
        Self {
            ask,
            known: HashMap::new(),
        }
    }

    /// What the records of a name come to for an issuer.
    pub(crate) async fn find(&mut self, name: &DnsName, issuer: &Issuer<'_>) -> CaaFinding {
        let (verdict, said) = match self.climb(name).await {
            Ok(None) => (CaaVerdict::Open, "no records, here or above".to_owned()),
            Ok(Some((owner, records))) => (issuer.judge(name, &records), shown(&owner, &records)),
            Err(why) => (CaaVerdict::Unknown, why),
        };
        CaaFinding {
            name: name.clone(),
            verdict,
            records: Text::lossy(&said),
        }
    }

    /// The records of the nearest name that has some: those are all that count.
    async fn climb(&mut self, name: &DnsName) -> Result<Option<(DnsName, Vec<Record>)>, String> {
        let mut at = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
        loop {
            let owner: DnsName = at.parse().map_err(|_| format!("{at} is no name"))?;
            let records = self.records(&owner).await.map_err(|why| format!("{owner}: {why}"))?;
            if !records.is_empty() {
                return Ok(Some((owner, records)));
            }
            let Some((_, parent)) = at.split_once('.') else {
                return Ok(None);
            };
            at = parent;
        }
    }

    async fn records(&mut self, owner: &DnsName) -> Found {
        if let Some(known) = self.known.get(owner) {
            return known.clone();
        }
        let answer = self.ask.answer(message::question(owner)).await;
        let found = answer.and_then(|answer| message::records(&answer, owner).map_err(|error| error.to_string()));
        self.known.insert(owner.clone(), found.clone());
        found
    }
}

/// As a zone file has them.
fn shown(owner: &DnsName, records: &[Record]) -> String {
    let one = |record: &Record| {
        let flags = if record.critical { 128 } else { 0 };
        format!("{flags} {} {:?}", record.tag, String::from_utf8_lossy(&record.value))
    };
    let records: Vec<String> = records.iter().map(one).collect();
    format!("{owner}: {}", records.join(", "))
}

const MEDIA_TYPE: &str = "application/dns-message";

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::message::tests::{answer, caa};
    use super::*;

    /// A zone of CAA records, which counts what it is asked.
    struct Zone {
        records: Vec<(&'static str, &'static str, &'static str)>,
        failing: &'static str,
        asked: Mutex<Vec<String>>,
    }

    impl Resolver for Zone {
        fn answer(&self, question: Vec<u8>) -> Answered<'_> {
            let mut name = String::new();
            let mut rest = &question[12..];
            while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
                let (label, after) = after.split_at(usize::from(*length));
                name += &format!("{}.", String::from_utf8_lossy(label));
                rest = after;
            }
            let name = name.trim_end_matches('.').to_owned();
            self.asked.lock().unwrap().push(name.clone());
            let own = self.records.iter().filter(|(owner, ..)| *owner == name);
            let own: Vec<_> = own
                .map(|(owner, tag, value)| (*owner, 257, caa(0, tag, value)))
                .collect();
            let code = if name == self.failing { 2 } else { 0 };
            let message = answer(&name, code, &own);
            Box::pin(async move { Ok(message) })
        }
    }

    fn zone(records: &[(&'static str, &'static str, &'static str)]) -> Zone {
        Zone {
            records: records.to_vec(),
            failing: "fails.example",
            asked: Mutex::default(),
        }
    }

    async fn find(zone: &Zone, names: &[&str]) -> Vec<(CaaVerdict, String)> {
        let identities = ["ca.example".parse().unwrap()];
        let issuer = Issuer {
            identities: &identities,
            account: "https://ca.example/1",
        };
        let mut lookup = Lookup::new(zone);
        let mut found = Vec::new();
        for name in names {
            let finding = lookup.find(&name.parse().unwrap(), &issuer).await;
            assert_eq!(finding.name.as_str(), *name);
            found.push((finding.verdict, finding.records.as_str().to_owned()));
        }
        found
    }

    #[tokio::test]
    async fn the_nearest_records_are_all_that_count() {
        let zone = zone(&[
            ("example", "issue", "else.example"),
            ("b.example", "issue", "ca.example; accounturi=https://ca.example/1"),
            ("c.b.example", "iodef", "mailto:a"),
        ]);
        let found = find(
            &zone,
            &[
                "a.b.example",
                "b.example",
                "*.b.example",
                "x.c.b.example",
                "z.example",
                "other",
            ],
        )
        .await;
        let pinned = (
            CaaVerdict::Pinned,
            "b.example: 0 issue \"ca.example; accounturi=https://ca.example/1\"".to_owned(),
        );
        assert_eq!(found[..3], [pinned.clone(), pinned.clone(), pinned]);
        assert_eq!(
            found[3],
            (CaaVerdict::Open, "c.b.example: 0 iodef \"mailto:a\"".to_owned())
        );
        assert_eq!(
            found[4],
            (CaaVerdict::Refused, "example: 0 issue \"else.example\"".to_owned())
        );
        assert_eq!(found[5], (CaaVerdict::Open, "no records, here or above".to_owned()));
        let mut asked = zone.asked.lock().unwrap().clone();
        let all = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!(all, asked.len(), "each name once");
    }

    #[tokio::test]
    async fn a_resolver_that_fails_says_nothing_of_the_names_above() {
        let zone = zone(&[("example", "issue", "ca.example")]);
        let found = find(&zone, &["a.fails.example"]).await;
        let why = "fails.example: the resolver failed, or does not trust what it found (SERVFAIL)";
        assert_eq!(found, [(CaaVerdict::Unknown, why.to_owned())]);
    }
}
