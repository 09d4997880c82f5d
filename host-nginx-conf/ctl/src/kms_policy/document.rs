//! Policies of KMS keys and of IAM, as AWS writes them in JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::json;

/// A policy's statements.
pub(crate) struct Document {
    pub(crate) statements: Vec<Statement>,
}

/// One statement.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Statement {
    #[serde(default)]
    sid: String,
    pub(crate) effect: Effect,
    principal: Option<PrincipalForm>,
    not_principal: Option<PrincipalForm>,
    action: Option<OneOrMany>,
    not_action: Option<OneOrMany>,
    resource: Option<OneOrMany>,
    not_resource: Option<OneOrMany>,
    /// Operator → condition key → values.
    #[serde(default)]
    pub(crate) condition: BTreeMap<String, BTreeMap<String, Values>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// What a statement lists, or everything else.
#[derive(Clone, Copy)]
pub(crate) enum Listed<'a, T: ?Sized> {
    Only(&'a T),
    AllBut(&'a T),
}

/// A principal, as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// `*`.
    Everyone,
    /// An account, by its number: whoever its IAM policies say.
    Account(String),
    /// The ARN of a user, a role or a session, or the id that remains of a deleted one.
    Principal(String),
    /// A service of AWS, or an identity provider.
    Service(String),
}

/// Why a file is no policy.
#[derive(Debug)]
pub(crate) enum DocumentError {
    /// Not JSON, or JSON of something else.
    Form(String),
    /// More statements than a policy of 32 KiB can hold.
    TooMany,
}

impl std::fmt::Display for DocumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form(why) => write!(
                f,
                "{why}; give a policy document, or what `aws kms get-key-policy` or `policy generate` printed"
            ),
            Self::TooMany => f.write_str("it has more statements than AWS takes"),
        }
    }
}

impl Document {
    /// Reads a policy: bare, as `aws kms get-key-policy` wraps it in a string, or as `policy generate` prints it.
    pub(crate) fn parse(text: &str) -> Result<Self, DocumentError> {
        let form = |error: serde_json::Error| DocumentError::Form(error.to_string());
        let tree = json(text.as_bytes()).map_err(form)?;
        let wrapped = tree.get("Policy").and_then(Value::as_str);
        let tree = match (wrapped, tree.get("key_policy")) {
            (Some(inner), _) => json(inner.as_bytes()).map_err(form)?,
            (None, Some(inner)) => inner.clone(),
            (None, None) => tree,
        };
        let file: File = serde_json::from_value(tree).map_err(form)?;
        let statements = match file.statement {
            Statements::Many(many) => many,
            Statements::One(one) => vec![*one],
        };
        if statements.len() > MAX_STATEMENTS {
            return Err(DocumentError::TooMany);
        }
        Ok(Self { statements })
    }

    pub(crate) fn of(&self, effect: Effect) -> impl Iterator<Item = &Statement> {
        self.statements
            .iter()
            .filter(move |statement| statement.effect == effect)
    }
}

impl Statement {
    /// Its name for people, by its place where it has none.
    pub(crate) fn name(&self, place: usize) -> String {
        if self.sid.is_empty() {
            format!("statement {}", place.saturating_add(1))
        } else {
            format!("statement \"{}\"", self.sid)
        }
    }

    /// Whom it speaks of; none in an IAM policy, which speaks of whoever has it.
    pub(crate) fn principals(&self) -> Option<Principals> {
        match (&self.principal, &self.not_principal) {
            (Some(form), _) => Some(Principals::Only(form.named())),
            (None, Some(form)) => Some(Principals::AllBut(form.named())),
            (None, None) => None,
        }
    }

    pub(crate) fn actions(&self) -> Option<Listed<'_, [String]>> {
        listed(self.action.as_ref(), self.not_action.as_ref())
    }

    pub(crate) fn resources(&self) -> Option<Listed<'_, [String]>> {
        listed(self.resource.as_ref(), self.not_resource.as_ref())
    }

    /// KMS stores a statement without actions or resources, and it has no effect: a Deny so written denies nothing.
    pub(crate) fn is_effective(&self) -> bool {
        self.actions().is_some() && self.resources().is_some()
    }
}

/// The principals of a statement, or everyone else.
pub(crate) enum Principals {
    Only(Vec<Named>),
    AllBut(Vec<Named>),
}

/// The account in an ARN.
pub(crate) fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| is_account(account))
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn listed<'a>(only: Option<&'a OneOrMany>, but: Option<&'a OneOrMany>) -> Option<Listed<'a, [String]>> {
    match (only, but) {
        (Some(list), _) => Some(Listed::Only(list.items())),
        (None, Some(list)) => Some(Listed::AllBut(list.items())),
        (None, None) => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "Version")]
    _version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: Statements,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statements {
    Many(Vec<Statement>),
    One(Box<Statement>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn items(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A condition's values; AWS takes booleans and numbers as their text.
#[derive(Deserialize)]
#[serde(from = "Value")]
pub(crate) struct Values(pub(crate) Vec<String>);

impl From<Value> for Values {
    fn from(value: Value) -> Self {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value {
            Value::Array(many) => Self(many.into_iter().map(text).collect()),
            one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                Self(vec![text(one)])
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PrincipalForm {
    Everyone(String),
    Kinds(BTreeMap<String, OneOrMany>),
}

impl PrincipalForm {
    fn named(&self) -> Vec<Named> {
        match self {
            Self::Everyone(text) => vec![named_aws(text)],
            Self::Kinds(kinds) => kinds
                .iter()
                .flat_map(|(kind, items)| items.items().iter().map(move |item| named(kind, item)))
                .collect(),
        }
    }
}

fn named(kind: &str, item: &str) -> Named {
    if kind == "AWS" {
        named_aws(item)
    } else {
        Named::Service(item.to_owned())
    }
}

fn named_aws(item: &str) -> Named {
    match account_of(item) {
        _ if item == "*" => Named::Everyone,
        _ if is_account(item) => Named::Account(item.to_owned()),
        Some(account) if item.ends_with(":root") => Named::Account(account.to_owned()),
        _ => Named::Principal(item.to_owned()),
    }
}

const ACCOUNT_DIGITS: usize = 12;
/// A key policy has at most 32 KiB, and a statement hardly fewer than 64 bytes.
const MAX_STATEMENTS: usize = 512;
