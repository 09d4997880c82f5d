//! Grants and metadata of a KMS key, as the AWS command line prints them.

use serde::Deserialize;

use super::evaluate::Caller;

/// What `aws kms list-grants` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Grants {
    pub(crate) grants: Vec<Grant>,
    /// The listing goes on.
    #[serde(default)]
    truncated: bool,
}

/// One grant. Its constraints are left out: they know encryption contexts only, which whoever asks chooses.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Grant {
    #[serde(default)]
    grant_id: String,
    #[serde(default)]
    name: Option<String>,
    grantee_principal: String,
    pub(crate) operations: Vec<String>,
}

/// What `aws kms describe-key` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Description {
    pub(crate) key_metadata: Metadata,
}

/// What KMS says of a key itself.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Metadata {
    pub(crate) arn: Option<String>,
    pub(crate) key_spec: Option<String>,
    pub(crate) key_state: Option<String>,
    pub(crate) key_manager: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) multi_region: Option<bool>,
}

impl Grants {
    /// Reads a whole listing: a grant on the next page may be the one that matters.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let grants: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if grants.truncated {
            return Err("the listing is truncated; let `aws kms list-grants` fetch all pages".to_owned());
        }
        Ok(grants)
    }
}

impl Grant {
    pub(crate) fn grantee(&self) -> Caller {
        if self.grantee_principal.starts_with("arn:") {
            Caller::Principal(self.grantee_principal.clone())
        } else {
            Caller::Service(self.grantee_principal.clone())
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let name = name.unwrap_or(if self.grant_id.is_empty() {
            "without a name"
        } else {
            &self.grant_id
        });
        format!("{} by grant {name}", self.grantee_principal)
    }
}
