//! What an outage of KMS together with a restart of the enclave would mean: the one place that has the words, for `status` and `check`.

use serde::Serialize;

/// Names of certificates, by what a restart of the enclave does to their keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AfterRestart<'a> {
    /// Born and not sealed.
    ends: Vec<&'a str>,
    /// Sealed under the policy's KMS keys.
    sealed: Vec<&'a str>,
    /// From a bundle, whose one KMS key opens it again.
    bundles: Vec<&'a str>,
}

/// In how many regions the policy has sealing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regions {
    /// The policy in force is not known now.
    NotKnown,
    Known(usize),
}

/// One thing that it would mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meaning {
    pub what: String,
    /// What to change so that it would not; none where nothing is lost or late.
    pub next: Option<&'static str>,
}

impl<'a> AfterRestart<'a> {
    /// Counts a certificate in.
    pub fn add(&mut self, name: &'a str, is_of_bundle: bool, is_sealed: bool) {
        match (is_sealed, is_of_bundle) {
            (true, _) => self.sealed.push(name),
            (false, true) => self.bundles.push(name),
            (false, false) => self.ends.push(name),
        }
    }

    /// What it would mean; nothing where nothing depends on KMS or on one run of the enclave.
    pub fn meaning(&self, regions: Regions) -> Vec<Meaning> {
        let mut all = Vec::new();
        if !self.ends.is_empty() {
            all.push(Meaning {
                what: format!(
                    "each restart of the enclave ends the keys of {}, which are born and not sealed: new ones are made, and need new \
                     certificates",
                    list(&self.ends)
                ),
                next: Some("set sealed = \"default\" on them, and name a KMS key under [sealing] keys in the policy"),
            });
        }
        if !self.sealed.is_empty() {
            all.push(sealed(&list(&self.sealed), regions));
        }
        if !self.bundles.is_empty() {
            all.push(Meaning {
                what: late(&list(&self.bundles)),
                next: Some(
                    "set sealed = \"default\" on them, with sealing keys in two regions; running enclaves go on without KMS",
                ),
            });
        }
        all
    }
}

fn sealed(whose: &str, regions: Regions) -> Meaning {
    match regions {
        Regions::Known(count @ 2..) => Meaning {
            what: format!(
                "{whose} are sealed under keys of {count} regions: a restart is served while KMS answers in one of them"
            ),
            next: None,
        },
        Regions::Known(0 | 1) => Meaning {
            what: late(whose),
            next: Some(
                "add a KMS key of a second region to [sealing] keys in the policy, and its host to [egress] allow; restart the enclave \
                 once, and its states open by either",
            ),
        },
        Regions::NotKnown => Meaning {
            what: format!(
                "while KMS is out in every region of the policy's sealing keys, a restart of the enclave leaves {whose} unserved until \
                 one answers again; nothing is lost"
            ),
            next: None,
        },
    }
}

fn late(whose: &str) -> String {
    format!(
        "while KMS is out, a restart of the enclave leaves {whose} unserved until it answers again; nothing is lost"
    )
}

/// Some names out of many: a thousand certificates are one line.
fn list(names: &[&str]) -> String {
    match names {
        [one, two, three, rest @ ..] if !rest.is_empty() => format!("{one}, {two}, {three} and {} more", rest.len()),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(certificates: &[(&'static str, bool, bool)]) -> AfterRestart<'static> {
        let mut after = AfterRestart::default();
        for (name, is_of_bundle, is_sealed) in certificates {
            after.add(name, *is_of_bundle, *is_sealed);
        }
        after
    }

    #[test]
    fn a_second_region_is_advised_only_where_there_is_none() {
        let after = of(&[("www", false, true), ("api", true, true)]);
        for count in [0, 1] {
            let [one] = &after.meaning(Regions::Known(count))[..] else {
                panic!("one meaning")
            };
            assert!(one.what.contains("leaves www, api unserved"), "{}", one.what);
            assert!(one.next.is_some_and(|next| next.contains("second region")));
        }
        let [two] = &after.meaning(Regions::Known(2))[..] else {
            panic!("one meaning")
        };
        assert!(two.what.contains("keys of 2 regions") && two.next.is_none(), "{two:?}");
        let [unknown] = &after.meaning(Regions::NotKnown)[..] else {
            panic!("one meaning")
        };
        assert_eq!(unknown.next, None, "it may have a second one already");
    }

    #[test]
    fn each_kind_of_key_has_its_own_meaning() {
        let after = of(&[("born", false, false), ("bundle", true, false), ("sealed", false, true)]);
        let said: Vec<_> = after
            .meaning(Regions::Known(1))
            .into_iter()
            .map(|one| one.what)
            .collect();
        assert_eq!(said.len(), 3);
        assert!(said[0].contains("ends the keys of born,"), "{}", said[0]);
        assert!(said[1].contains("leaves sealed unserved"), "{}", said[1]);
        assert!(said[2].contains("leaves bundle unserved"), "{}", said[2]);
        assert_eq!(of(&[]).meaning(Regions::Known(1)), []);
        let many = of(&[
            ("a", false, false),
            ("b", false, false),
            ("c", false, false),
            ("d", false, false),
        ]);
        assert!(
            many.meaning(Regions::NotKnown)[0]
                .what
                .contains("of a, b, c and 1 more, which")
        );
    }
}
