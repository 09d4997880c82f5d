//! Whether a KMS key keeps what the enclave promises: each action asked about, for everyone, with and without attestation.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::{Document, Effect, Listed, Named, Principals, Statement};
use super::evaluate::{Caller, Question, Rules, Shown};
use super::finding::{Finding, Name, Role, Severity};
use super::grant::{Grants, Metadata};
use super::measured::{Measured, register};

/// What is known of a key.
pub(crate) struct Subject {
    pub(crate) rules: Rules,
    pub(crate) grants: Option<Grants>,
    pub(crate) metadata: Option<Metadata>,
    /// The enclaves that shall use it; none: those of whose PCR0 the policy speaks.
    pub(crate) expected: Vec<Measured>,
    pub(crate) role: Role,
    /// Nobody may be able to change the policy.
    pub(crate) immutable: bool,
}

/// What lint says.
pub(crate) struct Report {
    pub(crate) role: Role,
    pub(crate) matrix: Vec<Answers>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) readers: Vec<String>,
    pub(crate) forgers: Vec<String>,
    pub(crate) changers: Vec<String>,
}

impl Report {
    /// How many findings make lint fail.
    pub(crate) fn above_notes(&self) -> usize {
        let above = |finding: &&Finding| finding.severity > Severity::Note;
        self.findings.iter().filter(above).count()
    }
}

/// Whether anybody may do something.
#[derive(Serialize)]
pub(crate) struct Answers {
    /// Without `kms:`.
    pub(crate) action: &'static str,
    /// Every expected enclave; none: no document goes with this action, or no enclave was expected.
    pub(crate) attested: Option<bool>,
    pub(crate) unattested: bool,
    /// An enclave in debug mode.
    pub(crate) debug: Option<bool>,
}

impl Subject {
    pub(crate) fn lint(&self) -> Report {
        let mut found = Found::default();
        self.attestable(&mut found);
        self.others(&mut found);
        self.parents(&mut found);
        self.enclaves(&mut found);
        self.grants(&mut found);
        structure(&self.rules.policy, &mut found);
        if let Some(metadata) = &self.metadata {
            about_the_key(metadata, &mut found);
        }
        found.into_report(self)
    }

    /// Actions that KMS answers to an enclave alone if it is asked with a document. Of whoever may more only the most is said.
    fn attestable(&self, found: &mut Found) {
        for caller in self.rules.callers() {
            for (action, unattested) in ATTESTABLE {
                if self.role == Role::Bundles && *unattested != Name::UnattestedDecrypt {
                    continue; // a data key or a secret of one's own is no private key in PEM
                }
                let worst = self.wider(*unattested).into_iter().find_map(|(name, shown)| {
                    let allowed = shown.iter().find_map(|shown| {
                        self.rules.allows(Question {
                            caller: &caller,
                            action,
                            shown,
                        })
                    });
                    allowed.map(|allowed| (name, allowed))
                });
                if let Some((name, allowed)) = worst {
                    found.add(name, said(&caller, &allowed.provided));
                }
            }
        }
    }

    /// What nobody may show and have an answer, the worst first.
    fn wider(&self, unattested: Name) -> [(Name, Vec<Shown>); 5] {
        let pairs = self.pairs();
        let policies = || pairs.iter().map(|pair| pair.pcr16.as_str()).chain([STRANGE]);
        let enclave = |pcr0: &str, pcr16: &str| Shown::Enclave {
            pcr0: pcr0.to_owned(),
            pcr16: pcr16.to_owned(),
        };
        let debug = policies().map(|pcr16| Shown::Debug {
            pcr16: pcr16.to_owned(),
        });
        let strangers = policies().map(|pcr16| enclave(STRANGE, pcr16));
        let unmeasured = pairs.iter().map(|pair| enclave(&pair.pcr0, STRANGE));
        // Without expectations nobody knows which pairs are meant, and none is wrong.
        let crossed = pairs
            .iter()
            .flat_map(|a| pairs.iter().map(|b| (&a.pcr0, &b.pcr16)))
            .filter(|(pcr0, pcr16)| {
                let is_meant = |pair: &Measured| pair.pcr0 == **pcr0 && pair.pcr16 == **pcr16;
                !self.expected.is_empty() && !pairs.iter().any(is_meant)
            })
            .map(|(pcr0, pcr16)| enclave(pcr0, pcr16));
        [
            (unattested, vec![Shown::Nothing]),
            (Name::DebugAllowed, debug.collect()),
            (Name::OtherImageAllowed, strangers.collect()),
            (Name::OtherPolicyAllowed, unmeasured.collect()),
            (Name::CrossPairAllowed, crossed.collect()),
        ]
    }

    /// The expected pairs; where none is given, every PCR0 of which the policy speaks with every PCR16.
    fn pairs(&self) -> Vec<Measured> {
        if !self.expected.is_empty() {
            return self.expected.clone();
        }
        let images = values_of(&self.rules.policy, "kms:RecipientAttestation:ImageSha384");
        let mut policies = values_of(&self.rules.policy, "kms:RecipientAttestation:PCR16");
        if policies.is_empty() {
            policies.push(STRANGE.to_owned());
        }
        let pair = |pcr0: &String, pcr16: &String| Measured {
            pcr0: pcr0.clone(),
            pcr16: pcr16.clone(),
        };
        images
            .iter()
            .filter(|image| register(image).is_ok())
            .flat_map(|pcr0| policies.iter().map(move |pcr16| pair(pcr0, pcr16)))
            .collect()
    }

    /// Actions that no enclave needs, and nobody else should have.
    fn others(&self, found: &mut Found) {
        for caller in self.rules.callers() {
            for (action, name) in OTHERS {
                let question = Question {
                    caller: &caller,
                    action,
                    shown: &Shown::Nothing,
                };
                if let Some(allowed) = self.rules.allows(question) {
                    found.add(*name, said(&caller, &allowed.provided));
                }
            }
        }
    }

    /// Whoever asks for an enclave is its parent, and must not be able to change what the enclave relies on.
    fn parents(&self, found: &mut Found) {
        let shown: Vec<Shown> = self.pairs().iter().map(Shown::from).collect();
        for caller in self.rules.callers() {
            let question = |action, shown| Question {
                caller: &caller,
                action,
                shown,
            };
            let is_parent = shown
                .iter()
                .any(|shown| self.rules.allows_by_document(question("Decrypt", shown)));
            let changes = self.rules.allows(question("PutKeyPolicy", &Shown::Nothing));
            if let Some(changes) = changes.filter(|_| is_parent) {
                found.add(Name::ParentCanChangePolicy, said(&caller, &changes.provided));
            }
        }
    }

    /// Each expected enclave can do its work, by whichever role.
    fn enclaves(&self, found: &mut Found) {
        let needed: &[&str] = match self.role {
            Role::Sealing => &["Decrypt", "GenerateDataKey"],
            Role::Bundles => &["Decrypt"],
        };
        let callers = self.rules.callers();
        for pair in &self.expected {
            let shown = Shown::from(pair);
            for action in needed {
                let allowed = callers.iter().any(|caller| {
                    let question = Question {
                        caller,
                        action,
                        shown: &shown,
                    };
                    self.rules.allows(question).is_some()
                });
                if !allowed {
                    let short = |digits: &str| digits.chars().take(8).collect::<String>();
                    let about = format!(
                        "kms:{action} by PCR0 {}…, PCR16 {}…",
                        short(&pair.pcr0),
                        short(&pair.pcr16)
                    );
                    found.add(Name::EnclaveDenied, about);
                }
            }
        }
    }

    /// A grant allows what the policy does not certainly deny, whatever is shown.
    fn grants(&self, found: &mut Found) {
        for grant in self.grants.iter().flat_map(|grants| &grants.grants) {
            let grantee = grant.grantee();
            for operation in &grant.operations {
                let Some((_, name)) = GRANTED.iter().find(|(known, _)| known == operation) else {
                    continue;
                };
                let open = |shown: &Shown| {
                    !self.rules.denies(Question {
                        caller: &grantee,
                        action: operation,
                        shown,
                    })
                };
                let takes_a_document = ATTESTABLE.iter().any(|(action, _)| action == operation);
                let is_open = open(&Shown::Nothing)
                    || takes_a_document && self.wider(*name).iter().any(|(_, shown)| shown.iter().any(open));
                if is_open {
                    found.add(*name, grant.describe());
                }
            }
        }
    }

    fn matrix(&self) -> Vec<Answers> {
        let callers = self.rules.callers();
        let anyone = |action: &str, shown: &Shown| {
            let asks = |caller: &Caller| self.rules.allows(Question { caller, action, shown }).is_some();
            callers.iter().any(asks)
        };
        let debug = Shown::Debug {
            pcr16: self
                .pairs()
                .first()
                .map_or_else(|| STRANGE.to_owned(), |pair| pair.pcr16.clone()),
        };
        let attestable = ATTESTABLE.iter().map(|(action, _)| Answers {
            action,
            attested: (!self.expected.is_empty())
                .then(|| self.expected.iter().all(|pair| anyone(action, &Shown::from(pair)))),
            unattested: anyone(action, &Shown::Nothing),
            debug: Some(anyone(action, &debug)),
        });
        let others = OTHERS.iter().map(|(action, _)| Answers {
            action,
            attested: None,
            unattested: anyone(action, &Shown::Nothing),
            debug: None,
        });
        attestable.chain(others).collect()
    }

    fn severity(&self, name: Name) -> Severity {
        match (name, self.role) {
            (Name::PolicyCanBeChanged, _) if self.immutable => Severity::Error,
            // A bundle is made by whoever may encrypt, and says so by its origin.
            (Name::EncryptAllowed, Role::Bundles) => Severity::Note,
            _ => name.severity(),
        }
    }
}

impl From<&Measured> for Shown {
    fn from(pair: &Measured) -> Self {
        Self::Enclave {
            pcr0: pair.pcr0.clone(),
            pcr16: pair.pcr16.clone(),
        }
    }
}

/// Findings by their name, each with what it is about.
#[derive(Default)]
struct Found(BTreeMap<Name, Vec<String>>);

impl Found {
    fn add(&mut self, name: Name, about: String) {
        let all = self.0.entry(name).or_default();
        if !all.contains(&about) {
            all.push(about);
        }
    }

    fn who(&self, names: &[Name]) -> Vec<String> {
        let mut who: Vec<String> = names
            .iter()
            .filter_map(|name| self.0.get(name))
            .flatten()
            .cloned()
            .collect();
        who.sort();
        who.dedup();
        who
    }

    fn into_report(self, subject: &Subject) -> Report {
        let (readers, forgers, changers) = (self.who(READS), self.who(FORGES), self.who(CHANGES));
        let finding = |(name, about)| Finding {
            name,
            severity: subject.severity(name),
            about,
        };
        let mut findings: Vec<Finding> = self.0.into_iter().map(finding).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Report {
            role: subject.role,
            matrix: subject.matrix(),
            findings,
            readers,
            forgers,
            changers,
        }
    }
}

fn said(caller: &Caller, provided: &[String]) -> String {
    if provided.is_empty() {
        caller.to_string()
    } else {
        format!("{caller} (as far as {} allows)", provided.join(", "))
    }
}

/// What is suspicious by its form alone.
fn structure(policy: &Document, found: &mut Found) {
    for (place, statement) in policy.statements.iter().enumerate() {
        if !statement.is_effective() {
            found.add(Name::IneffectiveStatement, statement.name(place));
            continue;
        }
        if statement.effect == Effect::Deny {
            continue;
        }
        let name = match statement.principals() {
            Some(Principals::AllBut(_)) => Some(Name::NotPrincipal),
            Some(Principals::Only(list)) if list.contains(&Named::Everyone) => Some(Name::WildcardPrincipal),
            Some(Principals::Only(_)) | None => None,
        };
        if let Some(name) = name {
            found.add(name, statement.name(place));
        }
        if matches!(statement.actions(), Some(Listed::AllBut(_))) {
            found.add(Name::NotAction, statement.name(place));
        }
    }
}

fn about_the_key(metadata: &Metadata, found: &mut Found) {
    let mut add = |name, text: &Option<String>| found.add(name, text.clone().unwrap_or_default());
    match metadata.origin.as_deref() {
        Some("EXTERNAL") => add(Name::ImportedMaterial, &metadata.origin),
        Some("AWS_KMS") | None => {}
        Some(_) => add(Name::CustomKeyStore, &metadata.origin),
    }
    if metadata
        .key_spec
        .as_deref()
        .is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
    {
        add(Name::WrongKeySpec, &metadata.key_spec);
    }
    if metadata.key_state.as_deref().is_some_and(|state| state != "Enabled") {
        add(Name::KeyNotEnabled, &metadata.key_state);
    }
    if metadata.key_manager.as_deref() == Some("AWS") {
        add(Name::AwsManaged, &metadata.key_manager);
    }
    if metadata.multi_region == Some(true) {
        add(Name::MultiRegionReplica, &metadata.arn);
    }
}

/// Every value that a policy compares a condition key with, in lower case.
fn values_of(policy: &Document, key: &str) -> Vec<String> {
    let of = |statement: &Statement| -> Vec<String> {
        let keys = statement.condition.values().flatten();
        keys.filter(|(name, _)| name.eq_ignore_ascii_case(key))
            .flat_map(|(_, values)| values.0.iter().map(|value| value.to_ascii_lowercase()))
            .collect()
    };
    let mut values: Vec<String> = policy.statements.iter().flat_map(of).collect();
    values.sort();
    values.dedup();
    values
}

/// A PCR that no policy names.
const STRANGE: &str =
    "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// The actions that take an attestation document, and what each is without one.
const ATTESTABLE: &[(&str, Name)] = &[
    ("Decrypt", Name::UnattestedDecrypt),
    ("DeriveSharedSecret", Name::UnattestedDeriveSharedSecret),
    ("GenerateDataKey", Name::ForgeByGenerateDataKey),
    ("GenerateDataKeyPair", Name::ForgeByGenerateDataKeyPair),
];
/// The actions that take none.
const OTHERS: &[(&str, Name)] = &[
    ("Encrypt", Name::EncryptAllowed),
    ("ReEncryptFrom", Name::ReencryptFrom),
    ("ReEncryptTo", Name::ReencryptTo),
    ("GenerateDataKeyWithoutPlaintext", Name::GenerateWithoutPlaintext),
    ("GenerateDataKeyPairWithoutPlaintext", Name::GenerateWithoutPlaintext),
    ("CreateGrant", Name::CreateGrantAllowed),
    ("ImportKeyMaterial", Name::ImportKeyMaterialAllowed),
    ("ReplicateKey", Name::ReplicateAllowed),
    ("PutKeyPolicy", Name::PolicyCanBeChanged),
];
/// What a grant's operation is without attestation.
const GRANTED: &[(&str, Name)] = &[
    ("Decrypt", Name::GrantDecrypt),
    ("DeriveSharedSecret", Name::GrantDecrypt),
    ("Encrypt", Name::GrantForge),
    ("GenerateDataKey", Name::GrantForge),
    ("GenerateDataKeyPair", Name::GrantForge),
    ("GenerateDataKeyWithoutPlaintext", Name::GrantForge),
    ("GenerateDataKeyPairWithoutPlaintext", Name::GrantForge),
    ("ReEncryptFrom", Name::GrantReencrypt),
    ("ReEncryptTo", Name::GrantReencrypt),
    ("CreateGrant", Name::GrantCreateGrant),
];
const READS: &[Name] = &[
    Name::UnattestedDecrypt,
    Name::UnattestedDeriveSharedSecret,
    Name::DebugAllowed,
    Name::OtherImageAllowed,
    Name::OtherPolicyAllowed,
    Name::CrossPairAllowed,
    Name::ReencryptFrom,
    Name::GrantDecrypt,
    Name::GrantReencrypt,
];
const FORGES: &[Name] = &[
    Name::UnattestedDecrypt, // whoever reads a data key can seal with it
    Name::ForgeByGenerateDataKey,
    Name::ForgeByGenerateDataKeyPair,
    Name::DebugAllowed,
    Name::OtherImageAllowed,
    Name::OtherPolicyAllowed,
    Name::CrossPairAllowed,
    Name::EncryptAllowed,
    Name::ReencryptTo,
    Name::ImportKeyMaterialAllowed,
    Name::GrantDecrypt,
    Name::GrantForge,
    Name::GrantReencrypt,
];
const CHANGES: &[Name] = &[
    Name::PolicyCanBeChanged,
    Name::ParentCanChangePolicy,
    Name::ReplicateAllowed,
];
