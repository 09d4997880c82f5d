//! The command line of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use enclave_policy::aws::KeyArn;

use super::document::account_of;
use super::finding::Role;
use super::measured::{Measured, register};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compute what an enclave measures of its policy
    Pcr16(OnePolicy),
    /// Print what is left of a policy under that of the image: what an enclave has in force
    Merge(OnePolicy),
    /// Write the policy of a KMS key, and of the role that uses it, for measured enclaves alone
    Generate(Generate),
    /// Say who can read, forge or change what a KMS key protects; with --iam alone, whether the instance's role could get certificates
    Lint(Lint),
}

#[derive(Args)]
pub(crate) struct OnePolicy {
    /// The policy that the parent gives the enclave; without --image-policy, the one in force
    pub(crate) file: PathBuf,
    /// The policy in the image, which the other only narrows
    #[arg(long, value_name = "FILE")]
    pub(crate) image_policy: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Generate {
    /// The KMS key
    #[arg(long, value_name = "ARN")]
    pub(crate) key_arn: KeyArn,
    /// The role of a parent instance; repeat it for more
    #[arg(long = "role", value_name = "ARN", required = true, value_parser = principal)]
    pub(crate) roles: Vec<String>,
    /// An image and its policy; repeat it for the old and the new of an upgrade
    #[arg(long, value_name = "PCR0:PCR16", required_unless_present = "pcr0")]
    pub(crate) measured: Vec<Measured>,
    /// The image, where there is one pair
    #[arg(long, value_name = "HEX", requires = "pcr16", value_parser = register)]
    pub(crate) pcr0: Option<String>,
    /// Its policy
    #[arg(long, value_name = "HEX", requires = "pcr0", value_parser = register)]
    pub(crate) pcr16: Option<String>,
    /// What the key is for
    #[arg(long = "for", value_name = "WHAT", value_enum, default_value = "sealing")]
    pub(crate) role: Role,
    /// Whoever may change the policy, and with it everything; repeat it for more
    #[arg(long = "admin", value_name = "ARN", required_unless_present = "immutable", conflicts_with = "immutable", value_parser = principal)]
    pub(crate) admins: Vec<String>,
    /// Whoever may encrypt bundles (`seal`); repeat it for more
    #[arg(long = "sealer", value_name = "ARN", value_parser = principal)]
    pub(crate) sealers: Vec<String>,
    /// Let nobody ever change the policy, nor disable or delete the key
    #[arg(long)]
    pub(crate) immutable: bool,
}

impl Generate {
    /// Why this would give the parent instance, where root is the adversary, more than the enclave's own requests.
    pub(crate) fn gives_it_away(&self) -> Option<String> {
        let is_parents = |other: &&String| self.roles.contains(other);
        if let Some(role) = self.roles.iter().find(|role| role.ends_with(":root")) {
            return Some(format!(
                "--role {role} is the whole account; name the role of the parent instance"
            ));
        }
        if let Some(admin) = self.admins.iter().find(is_parents) {
            return Some(format!(
                "--admin {admin} is the parent instance's role too: root there could change the policy, and read everything"
            ));
        }
        self.sealers.iter().find(is_parents).map(|sealer| {
            format!("--sealer {sealer} is the parent instance's role too: root there could make bundles of keys that it knows")
        })
    }
}

#[derive(Args)]
pub(crate) struct Lint {
    /// The key's policy: from `policy generate`, or `aws kms get-key-policy`
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["key_arn", "iam"],
        conflicts_with = "key_arn"
    )]
    pub(crate) policy: Option<PathBuf>,
    /// Its grants, from `aws kms list-grants`
    #[arg(long, value_name = "FILE", conflicts_with = "key_arn", requires = "policy")]
    pub(crate) grants: Option<PathBuf>,
    /// What it is, from `aws kms describe-key`
    #[arg(long, value_name = "FILE", conflicts_with = "key_arn", requires = "policy")]
    pub(crate) metadata: Option<PathBuf>,
    /// Ask AWS for all three
    #[arg(long, value_name = "ARN")]
    pub(crate) key_arn: Option<KeyArn>,
    /// With a key: IAM policies of its account. Without: all policies of the instance's role, which then are what is judged
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) iam: Vec<PathBuf>,
    /// An image and its policy that shall use the key, and no other; repeat it for more
    #[arg(long, value_name = "PCR0:PCR16")]
    pub(crate) expect: Vec<Measured>,
    /// What the key is for
    #[arg(long = "for", value_name = "WHAT", value_enum, default_value = "sealing")]
    pub(crate) role: Role,
    /// Fail if anybody can change the policy
    #[arg(long)]
    pub(crate) immutable: bool,
}

/// One user, role or account; a pattern would be more than was meant.
fn principal(text: &str) -> Result<String, &'static str> {
    let named = text.split(':').nth(5).unwrap_or_default();
    let is_principal = text.starts_with("arn:")
        && text.split(':').nth(2) == Some("iam")
        && account_of(text).is_some()
        && (named == "root" || named.starts_with("role/") || named.starts_with("user/"))
        && !text.contains(['*', '?', '$']);
    if is_principal {
        Ok(text.to_owned())
    } else {
        Err("give one principal, as arn:aws:iam::111122223333:role/NAME (or user/NAME, or root)")
    }
}
