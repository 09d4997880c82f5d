//! Policies: the JSON, parsed strictly, and what it says of a request.

use serde::Deserialize;

use super::Question;
use super::actions::matches_some_action;
use super::condition::Condition;
use super::pattern::{matches, matches_ignoring_case};
use super::principal::{Meant, Principals, Written};
use crate::json::{Distinct, OneOrMany};

/// A key policy or an identity policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    Identity,
}

/// What is wrong with a policy. The emulator evaluates all that it takes: what it cannot evaluate it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("not a policy: {0}")]
    Json(String),
    #[error("longer than 32 kilobytes")]
    TooLong,
    #[error("the version is neither 2012-10-17 nor 2008-10-17")]
    Version,
    #[error("there is no statement")]
    Empty,
    #[error("two statements have the Sid {0:?}")]
    Sid(String),
    #[error("a statement needs {0}")]
    Missing(&'static str),
    #[error("a statement cannot have {0} here")]
    Excess(&'static str),
    #[error("not a principal: {0:?}")]
    Principal(String),
    #[error("no action of KMS: {0:?}")]
    Action(String),
    #[error("not a resource: {0:?}")]
    Resource(String),
    #[error("not a condition operator: {0:?}")]
    Operator(String),
    #[error("not a condition key: {0:?}")]
    ConditionKey(String),
    #[error("not a value that {0:?} is compared with")]
    ConditionValue(String),
    #[error("{0:?} has several values: ForAnyValue or ForAllValues")]
    Quantifier(String),
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) denied: bool,
    /// An Allow means the caller itself. In an identity policy every Allow does.
    pub(crate) direct: bool,
    /// An Allow means the caller's account.
    pub(crate) delegated: bool,
}

impl Policy {
    pub(crate) fn parse(text: &str, kind: Kind) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY {
            return Err(PolicyError::TooLong);
        }
        let raw: RawPolicy = serde_json::from_str(text).map_err(|error| PolicyError::Json(error.to_string()))?;
        if !matches!(raw.version.as_str(), "2012-10-17" | "2008-10-17") {
            return Err(PolicyError::Version);
        }
        let raw = raw.statement.into_vec();
        let sids: Vec<&String> = raw.iter().filter_map(|statement| statement.sid.as_ref()).collect();
        if let Some(twice) = sids
            .iter()
            .enumerate()
            .find(|(at, sid)| sids.iter().skip(at + 1).any(|other| other == *sid))
        {
            return Err(PolicyError::Sid((*twice.1).clone()));
        }
        let statements: Vec<_> = raw
            .into_iter()
            .map(|raw| Statement::parse(raw, kind))
            .collect::<Result<_, _>>()?;
        if statements.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(Self { statements })
    }

    pub(crate) fn judge(&self, question: Question<'_>) -> Judged {
        let mut judged = Judged::default();
        for statement in self.statements.iter().filter(|statement| statement.concerns(question)) {
            match (statement.effect, statement.means(question)) {
                (_, Meant::Not) => {}
                (Effect::Deny, Meant::ByAccount | Meant::Itself) => judged.denied = true,
                (Effect::Allow, Meant::ByAccount) => judged.delegated = true,
                (Effect::Allow, Meant::Itself) => judged.direct = true,
            }
        }
        judged
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    /// None in an identity policy: whoever it belongs to.
    principals: Option<Principals>,
    actions: Actions,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Actions {
    These(Vec<String>),
    AllBut(Vec<String>),
}

impl Statement {
    fn parse(raw: RawStatement, kind: Kind) -> Result<Self, PolicyError> {
        for (there, name) in [
            (raw.not_principal.is_some(), "NotPrincipal"),
            (raw.not_resource.is_some(), "NotResource"),
            (kind == Kind::Identity && raw.principal.is_some(), "Principal"),
        ] {
            if there {
                return Err(PolicyError::Excess(name));
            }
        }
        let principals = raw.principal.map(Principals::parse).transpose()?;
        if kind == Kind::Key && principals.is_none() {
            return Err(PolicyError::Missing("Principal"));
        }
        Ok(Self {
            effect: raw.effect,
            principals,
            actions: Actions::parse(raw.action, raw.not_action, kind)?,
            resources: parse_resources(raw.resource)?,
            conditions: parse_conditions(raw.condition)?,
        })
    }

    fn concerns(&self, question: Question<'_>) -> bool {
        self.actions.include(question.action)
            && self.resources.iter().any(|pattern| matches(pattern, question.resource))
            && self.conditions.iter().all(|condition| condition.holds(question.facts))
    }

    fn means(&self, question: Question<'_>) -> Meant {
        match &self.principals {
            None => Meant::Itself,
            Some(principals) => principals.mean(question.caller),
        }
    }
}

impl Actions {
    fn parse(
        these: Option<OneOrMany<String>>,
        not: Option<OneOrMany<String>>,
        kind: Kind,
    ) -> Result<Self, PolicyError> {
        let (actions, patterns) = match (these, not) {
            (Some(these), None) => (Self::These as fn(_) -> _, these.into_vec()),
            (None, Some(not)) => (Self::AllBut as fn(_) -> _, not.into_vec()),
            (None, None) => return Err(PolicyError::Missing("Action or NotAction")),
            (Some(_), Some(_)) => return Err(PolicyError::Excess("both Action and NotAction")),
        };
        for pattern in &patterns {
            let of_kms = kind == Kind::Key || pattern.starts_with("kms:");
            if (of_kms && !matches_some_action(pattern)) || (pattern != "*" && !pattern.contains(':')) {
                return Err(PolicyError::Action(pattern.clone()));
            }
        }
        if patterns.is_empty() {
            return Err(PolicyError::Missing("Action or NotAction"));
        }
        Ok(actions(patterns))
    }

    fn include(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches_ignoring_case(pattern, action));
        match self {
            Self::These(patterns) => any(patterns),
            Self::AllBut(patterns) => !any(patterns),
        }
    }
}

fn parse_resources(raw: Option<OneOrMany<String>>) -> Result<Vec<String>, PolicyError> {
    let resources = raw.ok_or(PolicyError::Missing("Resource"))?.into_vec();
    match resources
        .iter()
        .find(|text| *text != "*" && (!text.starts_with("arn:") || text.contains("${")))
    {
        Some(bad) => Err(PolicyError::Resource(bad.clone())),
        None if resources.is_empty() => Err(PolicyError::Missing("Resource")),
        None => Ok(resources),
    }
}

fn parse_conditions(raw: RawConditions) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in raw.0 {
        for (key, values) in keys.0 {
            let values = values.into_vec().into_iter().map(Scalar::into_text).collect();
            conditions.push(Condition::parse(&operator, &key, values)?);
        }
    }
    Ok(conditions)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawPolicy {
    version: String,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    sid: Option<String>,
    effect: Effect,
    principal: Option<Written>,
    not_principal: Option<Written>,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: RawConditions,
}

type RawConditions = Distinct<Distinct<OneOrMany<Scalar>>>;

/// A condition's value: JSON's booleans are as good as their names.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Truth(bool),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// KMS's limit.
const MAX_POLICY: usize = 32 * 1_024;
