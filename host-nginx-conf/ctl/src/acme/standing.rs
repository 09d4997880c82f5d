//! How a name stands by its CAA records: what the enclave found, in plain words.

use enclave_wire::control::{CaaFinding, CaaVerdict};
use serde::Serialize;

use super::found::{Found, Property, Set};
use super::lookup::Unlooked;

/// How a name of a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) certificate: String,
    /// The account that orders the certificate.
    account: String,
    pub(super) verdict: Verdict,
    /// The name whose records count.
    at: Option<String>,
    records: Vec<Found>,
    /// In which ways alone the account may prove the name; none: the records do not say.
    methods: Option<String>,
    /// In words, with what a stranger's account could still get.
    pub(super) says: String,
    /// What to do; none where there is nothing.
    pub(super) todo: Option<String>,
}

/// What the records come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Only accounts that they name get certificates, and this one does.
    Pinned,
    /// Any account of some CA does.
    NotPinned,
    /// Any account of any CA does.
    Open,
    /// This account does not: the next renewal fails.
    Refused,
    /// They could not be looked up.
    Unknown,
}

/// For what records are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) certificate: &'a str,
    pub(super) account: &'a str,
    /// How the certificate's names are proven; none: the CA asks for no proof.
    pub(super) method: Option<&'static str>,
}

impl Standing {
    /// What a finding of the enclave's says.
    pub(super) fn of(asked: &Asked<'_>, finding: &CaaFinding) -> Self {
        let said = finding.records.as_str();
        let set = Set::read(said);
        let words = Words {
            asked,
            said,
            issuing: set.as_ref().map(|set| set.issuing(asked.name)).unwrap_or_default(),
            set: set.as_ref(),
        };
        let (verdict, says, todo) = match finding.verdict {
            CaaVerdict::Pinned => words.pinned(),
            CaaVerdict::NotPinned => (Verdict::NotPinned, words.not_pinned(), Some(words.replace())),
            CaaVerdict::Open => (Verdict::Open, words.open(), Some(words.replace())),
            CaaVerdict::Refused => (Verdict::Refused, words.refused(), Some(words.replace())),
            CaaVerdict::Unknown => words.unknown(),
        };
        let methods = words.ours().and_then(|ours| ours.methods.map(str::to_owned));
        Self {
            name: asked.name.to_owned(),
            certificate: asked.certificate.to_owned(),
            account: asked.account.to_owned(),
            verdict,
            methods,
            at: set.as_ref().map(|set| set.owner.clone()),
            records: set.map(|set| set.records).unwrap_or_default(),
            says,
            todo,
        }
    }

    /// The records that count, as lines of a zone file.
    pub(super) fn lines(&self) -> Vec<String> {
        let owner = self.at.as_deref().unwrap_or_default();
        let line = |record: &Found| format!("{owner}. IN CAA {}", record.line());
        self.records.iter().map(line).collect()
    }

    /// Nothing was found out: why, and what to do.
    pub(super) fn unknown(asked: &Asked<'_>, why: &Unlooked) -> Self {
        Self {
            name: asked.name.to_owned(),
            certificate: asked.certificate.to_owned(),
            account: asked.account.to_owned(),
            verdict: Verdict::Unknown,
            at: None,
            records: Vec::new(),
            methods: None,
            says: why.says.clone(),
            todo: Some(why.todo.to_owned()),
        }
    }
}

/// What words are made of.
struct Words<'a> {
    asked: &'a Asked<'a>,
    /// The enclave's own.
    said: &'a str,
    /// None: there is none, or it did not come whole.
    set: Option<&'a Set>,
    issuing: Vec<Property<'a>>,
}

impl Words<'_> {
    /// What says that this account may: one that takes its method, before others.
    fn ours(&self) -> Option<&Property<'_>> {
        let named = || {
            self.issuing
                .iter()
                .filter(|one| one.account == Some(self.asked.account))
        };
        let fits = |one: &&Property<'_>| self.asked.method.is_none_or(|method| one.takes(method));
        named().find(fits).or_else(|| named().next())
    }

    fn records(&self) -> String {
        match self.set {
            Some(set) if set.owner == self.asked.name => "its own records".to_owned(),
            Some(set) => format!("the records at {}, which count for it,", set.owner),
            None => format!("the records that count for it ({})", self.said),
        }
    }

    fn pinned(&self) -> (Verdict, String, Option<String>) {
        let records = self.records();
        let stranger = "A stranger's account gets no certificate for it from a CA that honours RFC 8657";
        let ours = self.ours();
        let others = self.others();
        match (ours.map(|ours| ours.methods), self.asked.method) {
            (Some(Some(methods)), Some(method)) if ours.is_some_and(|ours| !ours.takes(method)) => (
                Verdict::Refused,
                format!(
                    "{records} name the account, but let it prove the name by {methods} only, and the certificate is proven by {method}: \
                     its next renewal fails. {stranger}"
                ),
                Some(self.replace()),
            ),
            (Some(Some(methods)), _) => (
                Verdict::Pinned,
                format!("{records} pin it to the account{others}, and to {methods}. {stranger}"),
                None,
            ),
            (Some(None), Some(_)) => (
                Verdict::Pinned,
                format!("{records} pin it to the account{others}, but not to a way of proving the name. {stranger}"),
                Some(format!("to pin that too, {}", self.replace())),
            ),
            (Some(None), None) => (
                Verdict::Pinned,
                format!("{records} pin it to the account{others}, in whatever way its CA proves names. {stranger}"),
                None,
            ),
            (None, _) => (
                Verdict::Pinned,
                format!("{records} pin it to the enclave's account. {stranger}"),
                None,
            ),
        }
    }

    fn not_pinned(&self) -> String {
        let anyone = self.anyones();
        let cas = if anyone.is_empty() {
            "a CA".to_owned()
        } else {
            anyone.join(" and of ")
        };
        format!(
            "{} name no account for all that they allow: any account of {cas} gets a certificate for it, if who has it answers a challenge, \
             as root on this instance can",
            self.records()
        )
    }

    fn open(&self) -> String {
        let stranger = "any account of any CA gets a certificate for it, if who has it answers a challenge, as root on this instance can";
        match self.set {
            Some(_) => format!("{} do not say who may issue: {stranger}", self.records()),
            None => format!("there are no CAA records at it or above it: {stranger}"),
        }
    }

    fn refused(&self) -> String {
        let stranger = match self.anyones().as_slice() {
            [] => "Nor does any account that they do not name".to_owned(),
            cas => format!("Any account of {} does", cas.join(" and of ")),
        };
        format!(
            "{} let this account have no certificate for it: its next renewal fails. {stranger}",
            self.records()
        )
    }

    fn unknown(&self) -> (Verdict, String, Option<String>) {
        let (says, todo) = match self.set {
            Some(_) => (
                format!(
                    "{} cannot be judged: the CA's directory does not say by which domain records name it (caaIdentities)",
                    self.records()
                ),
                "compare them with what the CA's documentation says".to_owned(),
            ),
            None => (
                format!("the lookup failed at {}", self.said),
                "does the resolver of the policy's [dns] answer, has [egress] allow its host, and do roots in [dns] fit? Then look again"
                    .to_owned(),
            ),
        };
        (Verdict::Unknown, says, Some(todo))
    }

    /// The CAs that any account may ask.
    fn anyones(&self) -> Vec<&str> {
        let mut domains: Vec<&str> = Vec::new();
        if self.set.is_some_and(Set::forbids_all) {
            return domains;
        }
        for one in &self.issuing {
            if one.account.is_none() && !one.domain.is_empty() && !domains.contains(&one.domain) {
                domains.push(one.domain);
            }
        }
        domains
    }

    /// The accounts that are named beside this one.
    fn others(&self) -> String {
        let mut accounts: Vec<&str> = self.issuing.iter().filter_map(|one| one.account).collect();
        accounts.retain(|account| *account != self.asked.account);
        accounts.dedup();
        match accounts.as_slice() {
            [] => String::new(),
            named => format!(" and to {}", named.join(" and ")),
        }
    }

    fn replace(&self) -> String {
        let base = self.asked.name.strip_prefix("*.").unwrap_or(self.asked.name);
        format!(
            "put the records that `enclave-tlsctl acme caa --from-agent` prints for {base} into its zone, in place of its CAA records there"
        )
    }
}

#[cfg(test)]
mod tests {
    use enclave_wire::log::Text;

    use super::*;

    const ACCOUNT: &str = "https://ca.example/1";

    fn of(name: &str, method: Option<&'static str>, verdict: CaaVerdict, records: &str) -> Standing {
        let finding = CaaFinding {
            name: name.parse().unwrap(),
            verdict,
            records: Text::lossy(records),
        };
        let asked = Asked {
            name,
            certificate: "www",
            account: ACCOUNT,
            method,
        };
        Standing::of(&asked, &finding)
    }

    #[test]
    fn threat_54_a_pinned_name_says_where_to_whom_and_how() {
        let ours = format!("0 issue \"ca.example; accounturi={ACCOUNT}; validationmethods=http-01\"");
        let set = format!("a.example: {ours}, 0 issue \"ca.example; accounturi=https://ca.example/2\"");
        let standing = of("www.a.example", Some("http-01"), CaaVerdict::Pinned, &set);
        assert_eq!((standing.verdict, standing.todo.as_deref()), (Verdict::Pinned, None));
        assert_eq!(
            standing.says,
            "the records at a.example, which count for it, pin it to the account and to https://ca.example/2, and to http-01. A \
             stranger's account gets no certificate for it from a CA that honours RFC 8657"
        );
        assert_eq!(
            (
                standing.at.as_deref(),
                standing.methods.as_deref(),
                standing.records.len()
            ),
            (Some("a.example"), Some("http-01"), 2)
        );
        // Pinned to the account, which proves its names in another way: the CA would refuse it.
        let other = of(
            "a.example",
            Some("dns-01"),
            CaaVerdict::Pinned,
            &format!("a.example: {ours}"),
        );
        assert_eq!(other.verdict, Verdict::Refused);
        assert!(
            other
                .says
                .starts_with("its own records name the account, but let it prove the name by http-01 only")
        );
        assert!(other.todo.is_some());
        // ACM's endpoints ask for no proof.
        let none = of("a.example", None, CaaVerdict::Pinned, &format!("a.example: {ours}"));
        assert_eq!(none.verdict, Verdict::Pinned);
    }

    #[test]
    fn a_pin_without_a_method_is_one_that_could_say_more() {
        let set = format!("a.example: 0 issue \"ca.example; accounturi={ACCOUNT}\"");
        let standing = of("a.example", Some("http-01"), CaaVerdict::Pinned, &set);
        assert_eq!((standing.verdict, standing.methods.as_deref()), (Verdict::Pinned, None));
        assert_eq!(
            standing.todo.as_deref(),
            Some(
                "to pin that too, put the records that `enclave-tlsctl acme caa --from-agent` prints for a.example into its zone, in place of \
                 its CAA records there"
            )
        );
        assert_eq!(of("a.example", None, CaaVerdict::Pinned, &set).todo, None);
    }

    #[test]
    fn threat_54_what_a_strangers_account_could_get_is_said() {
        let records = format!("a.example: 0 issue \"ca.example; accounturi={ACCOUNT}\", 0 issue \"else.example\"");
        let standing = of("a.example", Some("http-01"), CaaVerdict::NotPinned, &records);
        assert_eq!(standing.verdict, Verdict::NotPinned);
        assert!(
            standing.says.contains("any account of else.example gets"),
            "{}",
            standing.says
        );
        assert!(standing.todo.unwrap().contains("--from-agent` prints for a.example"));

        let none = of(
            "*.a.example",
            Some("dns-01"),
            CaaVerdict::Open,
            "no records, here or above",
        );
        assert!(
            none.says
                .starts_with("there are no CAA records at it or above it: any account of any CA")
        );
        assert!(none.todo.unwrap().contains("prints for a.example"));
        let other = of("b.a.example", None, CaaVerdict::Open, "a.example: 0 iodef \"mailto:x\"");
        assert!(
            other
                .says
                .starts_with("the records at a.example, which count for it, do not say")
        );

        let refused = of(
            "a.example",
            None,
            CaaVerdict::Refused,
            "a.example: 0 issue \"else.example\"",
        );
        assert!(
            refused
                .says
                .ends_with("its next renewal fails. Any account of else.example does")
        );
        let nobody = of("a.example", None, CaaVerdict::Refused, "a.example: 0 issue \";\"");
        assert!(nobody.says.ends_with("Nor does any account that they do not name"));
    }

    #[test]
    fn what_is_not_known_says_why() {
        let failed = of(
            "a.example",
            None,
            CaaVerdict::Unknown,
            "example: the resolver answers 502",
        );
        assert_eq!(failed.says, "the lookup failed at example: the resolver answers 502");
        assert!(failed.todo.unwrap().contains("[egress] allow"));
        let nameless = of(
            "a.example",
            None,
            CaaVerdict::Unknown,
            "a.example: 0 issue \"ca.example\"",
        );
        assert!(nameless.says.contains("caaIdentities"), "{}", nameless.says);
        // A set that is too long to come whole is judged all the same.
        let cut = of(
            "a.example",
            None,
            CaaVerdict::Pinned,
            "a.example: 0 issue \"ca.example; acc",
        );
        assert_eq!((cut.verdict, cut.at), (Verdict::Pinned, None));
        assert!(cut.says.contains("(a.example: 0 issue"), "{}", cut.says);
    }
}
