//! What to do about one certificate: decided here, without asking anybody.

use std::cmp::Reverse;

use enclave_tls_config::{Acme, Certificate, Source};
use enclave_wire::control::KeyInfo;
use enclave_wire::{DnsName, Name, State};

/// What a look at a certificate's keys comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// What the enclave shall be asked for.
    pub(super) step: Option<Step>,
    /// The generation that servers shall use, if there is one: the newest that has a certificate.
    pub(super) live: Option<&'a KeyInfo>,
    /// What else there is to say.
    pub(super) note: Option<Note>,
}

/// What the enclave shall be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A new key.
    Create,
    /// The key of a bundle.
    Provision,
}

/// What an administrator should know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A key waits for its certificate: its id.
    NeedsChain(String),
    /// The enclave orders a certificate for the first key of it.
    IsOrdered,
    /// The key cannot be used by these clients, which were added after it was made.
    LacksClients(Vec<Name>),
    /// The certificate has ended.
    Expired,
    /// Its sealed state, or its bundle, is not open: why.
    NotOpen(String),
    /// It is not sealed as the inventory says.
    SealedOtherwise,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeedsChain(id) => write!(
                f,
                "have a CA sign its request (`enclave-tlsctl csr {id}`), then `enclave-tlsctl install {id} CHAIN.pem`"
            ),
            Self::IsOrdered => f.write_str("the enclave orders its first certificate"),
            Self::LacksClients(clients) => {
                let names: Vec<_> = clients.iter().map(Name::as_str).collect();
                write!(
                    f,
                    "its key was made before {} could use it; for a key that it can use: `enclave-tlsctl retire` this one",
                    names.join(", ")
                )
            }
            Self::Expired => f.write_str("its certificate has ended, so its key signs no more; install another"),
            Self::NotOpen(why) => write!(f, "what is stored of it is not open: {why}"),
            Self::SealedOtherwise => f.write_str(
                "its key is not sealed as `sealed` says, which decides only when a key is made; for another key: `enclave-tlsctl retire` \
                 all generations of it",
            ),
        }
    }
}

/// Looks at all generations of a certificate, in any order. `not_open` says why what is stored of it is not open, where something is:
/// then nothing new is made in its place, for it comes back. `bundle_changed` says whether its bundle is another than was given last.
pub(super) fn plan<'a>(
    wanted: &Certificate,
    clients: &[&Name],
    keys: &'a [KeyInfo],
    not_open: Option<&str>,
    bundle_changed: bool,
    now: i64,
) -> Plan<'a> {
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort_by_key(|key| (Reverse(key.generation), key.id));
    let standing = || keys.iter().copied().filter(|key| key.state == State::Live);
    let fitting = || standing().filter(|key| fits(wanted, key));
    let live = fitting()
        .find(|key| key.validity.is_some())
        // Until a key that fits has its certificate, servers keep what they have.
        .or_else(|| standing().find(|key| key.validity.is_some()));
    let has_none = fitting().next().is_none();
    let missing = not_open.is_none() && (bundle_changed || has_none);
    let step = missing.then_some(match wanted.source {
        Source::Csr { .. } | Source::Acme(_) => Step::Create,
        Source::Bundle { .. } => Step::Provision,
    });
    let note = not_open
        .filter(|_| has_none)
        .map(|why| Note::NotOpen(why.to_owned()))
        .or_else(|| pending(wanted, fitting().next(), live))
        .or_else(|| live.filter(|key| has_ended(key, now)).map(|_| Note::Expired))
        .or_else(|| live.and_then(|key| lacks(key, clients)))
        .or_else(|| {
            live.filter(|key| is_sealed_otherwise(wanted, key))
                .map(|_| Note::SealedOtherwise)
        });
    Plan { step, live, note }
}

/// Whether a key is what the inventory asks for.
pub(super) fn fits(wanted: &Certificate, key: &KeyInfo) -> bool {
    let (type_fits, any_names) = match &wanted.source {
        Source::Csr { key_type } | Source::Acme(Acme { key_type, .. }) => (key.key_type == *key_type, false),
        Source::Bundle { .. } => (true, wanted.dns_names.is_empty()),
    };
    type_fits && key.usage == wanted.usage && (any_names || are_same(key.dns_names.items(), &wanted.dns_names))
}

/// In whatever order.
fn are_same(one: &[DnsName], two: &[DnsName]) -> bool {
    let sorted = |names: &[DnsName]| {
        let mut names: Vec<_> = names.iter().map(DnsName::as_str).map(str::to_owned).collect();
        names.sort();
        names
    };
    one == two || (one.len() == two.len() && sorted(one) == sorted(two))
}

fn pending(wanted: &Certificate, newest: Option<&KeyInfo>, live: Option<&KeyInfo>) -> Option<Note> {
    let waits = newest.filter(|key| key.validity.is_none())?;
    match (&wanted.source, live) {
        (Source::Acme(_), None) => Some(Note::IsOrdered),
        // A renewal is nobody's trouble, until its order fails.
        (Source::Acme(_), Some(_)) => None,
        (Source::Csr { .. } | Source::Bundle { .. }, _) => Some(Note::NeedsChain(waits.id.to_string())),
    }
}

fn lacks(key: &KeyInfo, clients: &[&Name]) -> Option<Note> {
    let lacking: Vec<_> = clients
        .iter()
        .filter(|client| !key.clients.items().contains(client))
        .map(|client| (*client).clone())
        .collect();
    (!lacking.is_empty()).then_some(Note::LacksClients(lacking))
}

fn is_sealed_otherwise(wanted: &Certificate, key: &KeyInfo) -> bool {
    key.sealed.as_ref().map(|sealed| &sealed.group) != wanted.sealed.as_ref()
}

fn has_ended(key: &KeyInfo, now: i64) -> bool {
    key.validity.is_some_and(|validity| validity.not_after < now)
}

#[cfg(test)]
mod tests {
    use enclave_tls_config::Config;
    use enclave_wire::Usage;

    use super::*;
    use crate::keeper::tests::{Made, config, key};

    const NOW: i64 = 1_800_000_100;

    fn wanted(more: &str) -> Config {
        config(&format!(
            "[[certificates]]\nname = \"www\"\nservers = [\"main\"]\ndns_names = [\"a.example\", \"b.example\"]\n{more}\n"
        ))
    }

    fn csr() -> Config {
        wanted("source = \"csr\"\nkey_type = \"p-256\"")
    }

    fn bundle() -> Config {
        wanted(
            "source = \"bundle\"\nbundle = \"/b.json\"\nkms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"",
        )
    }

    fn live(made: &Made) -> Made {
        Made {
            valid: Some((NOW - 10, NOW + 10)),
            ..made.clone()
        }
    }

    /// The step, the live generation, and the note's first words.
    fn look(
        config: &Config,
        keys: &[KeyInfo],
        not_open: Option<&str>,
        changed: bool,
    ) -> (Option<Step>, Option<u32>, String) {
        let certificate = config.certificates.values().next().unwrap();
        let plan = plan(
            certificate,
            &config.clients_of(certificate),
            keys,
            not_open,
            changed,
            NOW,
        );
        let note = plan.note.map(|note| format!("{note:?}")).unwrap_or_default();
        let word = note.split(['(', ' ']).next().unwrap_or_default().to_owned();
        (plan.step, plan.live.map(|key| key.generation), word)
    }

    #[test]
    fn threat_39_every_rule_of_what_a_certificate_needs() {
        let base = Made {
            dns_names: &["b.example", "a.example"],
            ..Made::of("www", 1)
        };
        let made = |change: fn(&mut Made)| {
            let mut made = base.clone();
            change(&mut made);
            made
        };
        let pending = key(&base);
        let one = key(&live(&base));
        let two = key(&live(&made(|made| made.generation = 2)));
        let two_pending = key(&made(|made| made.generation = 2));
        let superseded = key(&live(&made(|made| made.state = State::Superseded)));
        let two_superseded = key(&live(&made(|made| {
            made.state = State::Superseded;
            made.generation = 2;
        })));
        let other_type = key(&live(&made(|made| {
            made.key_type = "p-384".parse().unwrap();
            made.generation = 2;
        })));
        let other_usage = key(&live(&made(|made| made.usage = Usage::TlsClient)));
        let fewer_names = key(&live(&made(|made| made.dns_names = &["a.example"])));
        let ended = key(&Made {
            valid: Some((NOW - 10, NOW - 1)),
            ..base.clone()
        });
        let stranger = key(&live(&made(|made| made.clients = &["other"])));
        let sealed = key(&live(&made(|made| made.sealed = true)));
        let (create, provision) = (Some(Step::Create), Some(Step::Provision));
        let (csr, bundle) = (csr(), bundle());
        type Row<'a> = (
            &'a str,
            &'a Config,
            &'a [&'a KeyInfo],
            Option<&'a str>,
            bool,
            (Option<Step>, Option<u32>, &'a str),
        );
        let table: &[Row<'_>] = &[
            ("nothing is there", &csr, &[], None, false, (create, None, "")),
            (
                "its state is not open",
                &csr,
                &[],
                Some("KMS"),
                false,
                (None, None, "NotOpen"),
            ),
            (
                "an older one does not replace what is not open",
                &csr,
                &[&fewer_names],
                Some("KMS"),
                false,
                (None, Some(1), "NotOpen"),
            ),
            (
                "another state of the name is open",
                &csr,
                &[&one],
                Some("KMS"),
                false,
                (None, Some(1), ""),
            ),
            (
                "it waits for its certificate",
                &csr,
                &[&pending],
                None,
                false,
                (None, None, "NeedsChain"),
            ),
            ("it is live", &csr, &[&one], None, false, (None, Some(1), "")),
            (
                "the newest is live",
                &csr,
                &[&one, &two],
                None,
                false,
                (None, Some(2), ""),
            ),
            ("in any order", &csr, &[&two, &one], None, false, (None, Some(2), "")),
            (
                "the newest waits, the older serves",
                &csr,
                &[&one, &two_pending],
                None,
                false,
                (None, Some(1), "NeedsChain"),
            ),
            (
                "a superseded one is not live",
                &csr,
                &[&superseded],
                None,
                false,
                (create, None, ""),
            ),
            (
                "an administrator went back",
                &csr,
                &[&one, &two_superseded],
                None,
                false,
                (None, Some(1), ""),
            ),
            (
                "another type serves until one that fits does",
                &csr,
                &[&other_type],
                None,
                false,
                (create, Some(2), ""),
            ),
            (
                "one that fits goes first",
                &csr,
                &[&one, &other_type],
                None,
                false,
                (None, Some(1), ""),
            ),
            (
                "one that fits waits, another serves",
                &csr,
                &[&pending, &other_type],
                None,
                false,
                (None, Some(2), "NeedsChain"),
            ),
            (
                "another usage",
                &csr,
                &[&other_usage],
                None,
                false,
                (create, Some(1), ""),
            ),
            ("other names", &csr, &[&fewer_names], None, false, (create, Some(1), "")),
            (
                "its certificate has ended",
                &csr,
                &[&ended],
                None,
                false,
                (None, Some(1), "Expired"),
            ),
            (
                "a client was added",
                &csr,
                &[&stranger],
                None,
                false,
                (None, Some(1), "LacksClients"),
            ),
            (
                "it is sealed and should not be",
                &csr,
                &[&sealed],
                None,
                false,
                (None, Some(1), "SealedOtherwise"),
            ),
            ("no bundle was given", &bundle, &[], None, true, (provision, None, "")),
            (
                "the enclave has lost it",
                &bundle,
                &[],
                None,
                false,
                (provision, None, ""),
            ),
            (
                "a bundle that is not open is not given again",
                &bundle,
                &[],
                Some("KMS"),
                true,
                (None, None, "NotOpen"),
            ),
            ("the same bundle", &bundle, &[&one], None, false, (None, Some(1), "")),
            ("a newer bundle", &bundle, &[&one], None, true, (provision, Some(1), "")),
            (
                "a bundle has any type",
                &bundle,
                &[&other_type],
                None,
                false,
                (None, Some(2), ""),
            ),
            (
                "a bundle has the names that are asked for",
                &bundle,
                &[&fewer_names],
                None,
                false,
                (provision, Some(1), ""),
            ),
        ];
        for (what, config, keys, not_open, changed, (step, generation, note)) in table {
            let keys: Vec<_> = keys.iter().map(|key| (*key).clone()).collect();
            let expected = (*step, *generation, (*note).to_owned());
            assert_eq!(look(config, &keys, *not_open, *changed), expected, "{what}");
        }
    }
}
