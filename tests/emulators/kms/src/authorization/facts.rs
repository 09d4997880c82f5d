//! The facts of a request that conditions can speak of.

use std::collections::BTreeMap;

use crate::arn::Caller;
use crate::blob::hex;
use crate::recipient::Recipient;

/// Condition keys and their values in one request. A key that is not here is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    values: BTreeMap<String, Vec<String>>,
    encryption_context: BTreeMap<String, String>,
}

impl Facts {
    pub(crate) fn of_caller(caller: &Caller, region: &str, tls: bool) -> Self {
        Self::default()
            .with("aws:PrincipalArn", caller.principal_arn())
            .with("aws:PrincipalAccount", &caller.account)
            .with("aws:PrincipalType", caller.principal_type())
            .with("aws:PrincipalIsAWSService", "false")
            .with("aws:ViaAWSService", "false")
            .with("aws:RequestedRegion", region)
            .with("aws:SecureTransport", if tls { "true" } else { "false" })
            .with("kms:CallerAccount", &caller.account)
    }

    /// Names of condition keys are the same in either case.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.values.insert(key.to_ascii_lowercase(), vec![value.to_owned()]);
        self
    }

    /// A key with several values; with none it is absent.
    pub(crate) fn with_all<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        if !values.is_empty() {
            self.values.insert(key.to_ascii_lowercase(), values);
        }
        self
    }

    pub(crate) fn with_encryption_context(self, context: &BTreeMap<String, String>) -> Self {
        let mut facts = self.with_all("kms:EncryptionContextKeys", context.keys().map(String::as_str));
        for (key, value) in context {
            facts = facts.with(&format!("kms:EncryptionContext:{key}"), value);
        }
        facts.encryption_context = context.clone();
        facts
    }

    /// What the NSM says, in lower-case hexadecimal. Without a recipient none of these keys is there, and then a negated operator
    /// holds: this is what an explicit Deny of unattested requests stands on.
    pub(crate) fn with_recipient(self, recipient: Option<&Recipient>) -> Self {
        let mut facts = self;
        for (index, value) in recipient.iter().flat_map(|recipient| &recipient.pcrs) {
            let value = hex(value);
            facts = facts.with(&format!("kms:RecipientAttestation:PCR{index}"), &value);
            if *index == 0 {
                facts = facts.with("kms:RecipientAttestation:ImageSha384", &value);
            }
        }
        facts
    }

    /// The values of a key, whose name is in lower case.
    pub(crate) fn get(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// What a grant's constraint is compared with.
    pub(crate) fn encryption_context(&self) -> &BTreeMap<String, String> {
        &self.encryption_context
    }
}
