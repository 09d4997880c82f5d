//! What the instance's role must not be able to do: a name that does not change, a sentence, advice, and the actions.

/// A right that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) danger: Danger,
    /// Which statement of which file allows what, or what IAM answered.
    pub(crate) about: Vec<String>,
}

macro_rules! dangers {
    ($($variant:ident $text:literal $is_error:literal $sentence:literal $advice:literal [$($action:literal),*];)*) => {
        /// What a right is good for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Danger { $($variant),* }

        impl Danger {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its text, which scripts may compare.
            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            pub(crate) fn is_error(self) -> bool {
                match self { $(Self::$variant => $is_error),* }
            }

            pub(crate) fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }

            pub(crate) fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),* }
            }

            /// The actions, some of them patterns.
            pub(crate) fn actions(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($action),*]),* }
            }
        }
    };
}

dangers! {
    AcmeEndpoint "acme-endpoint" true
        "the role may use ACM's ACME endpoints: root on the parent makes an account of its own there, and gets certificates for keys of its own"
        "take acm:*Acme* from the role; whoever sets up the enclave's account does it with a role of their own"
        ["acm:*Acme*"];
    ZoneWriting "zone-writing" true
        "the role may write DNS records: root on the parent proves to any CA that the names are its own, and gets certificates for keys of its own"
        "take it from the role; where records must be written for challenges, let another role do it that this instance cannot take on"
        ["route53:ChangeResourceRecordSets", "route53:CreateTrafficPolicyInstance", "route53:UpdateTrafficPolicyInstance",
         "lightsail:CreateDomainEntry", "lightsail:UpdateDomainEntry"];
    Delegation "domain-delegation" true
        "the role may move a domain to other name servers or another owner, and so write its records elsewhere"
        "take route53domains:* from the role"
        ["route53domains:UpdateDomainNameservers", "route53domains:TransferDomain*", "route53domains:AcceptDomainTransfer*"];
    CertificateExport "certificate-export" true
        "the role may export certificates with their private keys from ACM"
        "take acm:ExportCertificate from the role"
        ["acm:ExportCertificate"];
    PrivateCa "private-ca" false
        "the role may have a private CA issue certificates for keys of its own, which whoever trusts that CA believes"
        "take acm-pca:IssueCertificate from the role, unless nobody trusts that CA for these names"
        ["acm-pca:IssueCertificate"];
    WidensItself "widens-itself" true
        "the role may give itself or others more rights, all of the above too"
        "take it from the role: an instance changes no IAM policies"
        ["iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutUserPolicy", "iam:AttachUserPolicy", "iam:PutGroupPolicy",
         "iam:AttachGroupPolicy", "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion", "iam:UpdateAssumeRolePolicy",
         "iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:DeleteRolePermissionsBoundary"];
    TakesOnRoles "takes-on-roles" false
        "the role may take on other roles, whose rights are then root's on the parent too"
        "lint the policies of these roles as well, or take sts:AssumeRole from this one"
        ["sts:AssumeRole"];
    HasPrincipal "has-principal" true
        "a statement names a principal: this is no policy of a role, and nothing is judged by it"
        "give the policies of the role: aws iam get-role-policy, and aws iam get-policy-version for those that are attached"
        [];
}

impl Danger {
    /// The actions that IAM can be asked about, which takes no patterns.
    pub(crate) fn named(self) -> Vec<&'static str> {
        let own = self.actions().iter().copied().filter(|action| !action.contains('*'));
        let patterns = ACME.iter().copied().filter(|_| self == Self::AcmeEndpoint);
        let transfers = TRANSFERS.iter().copied().filter(|_| self == Self::Delegation);
        own.chain(patterns).chain(transfers).collect()
    }
}

/// Those of `acm:*Acme*` that make accounts or let them do more.
const ACME: [&str; 6] = [
    "acm:CreateAcmeEndpoint",
    "acm:UpdateAcmeEndpoint",
    "acm:CreateAcmeExternalAccountBinding",
    "acm:GetAcmeExternalAccountBindingCredentials",
    "acm:CreateAcmeDomainValidation",
    "acm:UpdateAcmeDomainValidation",
];
const TRANSFERS: [&str; 2] = [
    "route53domains:TransferDomainToAnotherAwsAccount",
    "route53domains:AcceptDomainTransferFromAnotherAwsAccount",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_danger_has_a_name_a_sentence_and_actions_that_iam_can_be_asked_about() {
        let texts: BTreeSet<_> = Danger::ALL.iter().map(|danger| danger.text()).collect();
        assert_eq!(texts.len(), Danger::ALL.len());
        for danger in Danger::ALL {
            assert!(!danger.advice().is_empty() && !danger.sentence().is_empty());
            assert_eq!(
                danger.named().is_empty(),
                *danger == Danger::HasPrincipal,
                "{}",
                danger.text()
            );
            for pattern in danger.actions() {
                let is_asked = |action: &&str| crate::kms_policy::is_like(action, pattern);
                assert!(danger.named().iter().any(is_asked), "{pattern}");
            }
        }
    }
}
