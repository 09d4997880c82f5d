//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use enclave_wire::control::Opaque;
use enclave_wire::log::Text;
use enclave_wire::{DnsName, KeyType, Name, Usage};

use crate::select::Selector;
use enclave_tls_admin::{hex, printable, s3};

use crate::{acm, acme, check, import_acm, kms_policy, seal, show, support, verify};

/// Administers an enclave, its keys and its certificates from the parent instance.
///
/// It speaks to the agent (enclave-tls-agent.service), never to the enclave.
#[derive(Parser)]
#[command(name = "enclave-tlsctl", version, after_help = KEY_HELP)]
pub(crate) struct Cli {
    /// The agent's socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/enclave-tls/admin.sock"
    )]
    pub(crate) socket: PathBuf,
    /// Print JSON: one document, and where lines follow each other (logs, status --watch) one on each line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show where everything stands, and what needs attention
    Status(Status),
    /// Show each certificate with its generations; with NAME all about one
    Certificates(Certificates),
    /// Show the newest lines of the log, the agent's and the enclave's
    Logs(Logs),
    /// Look at everything that can be looked at without starting anything
    Check(check::Options),
    /// Make a client's credential anew, now; the old one is taken for a while
    RotateCredential(RotateCredential),
    /// Give certificates new keys; servers change over by themselves, and older keys end after grace_hours
    Rotate(Rotate),
    /// Have servers get an older generation again
    Rollback(Rollback),
    /// Show what became of a certificate, and when
    History(History),
    /// Have a certificate revoked
    Revoke(Revoke),
    /// Write a file for whoever helps you, with no secret in it
    SupportBundle(support::Options),
    /// Write a configuration out of that of AWS's ACM for Nitro Enclaves (acm.yaml)
    ImportAcm(import_acm::Options),
    /// Make a credential for a client (a web server) and tell the enclave its verifier
    Credential(Credential),
    /// Create a key inside the enclave; it never leaves it
    Create(Create),
    /// Get a certificate request for a key, as PEM
    Csr(Csr),
    /// Install a certificate chain for a key
    Install(Install),
    /// Import a private key, where the enclave's policy allows it
    Import(Import),
    /// List the keys
    List,
    /// Mark a key as superseded by a newer generation; it still signs
    Supersede(KeyOnly),
    /// Wipe a key: it never signs again
    Retire(Retire),
    /// Narrow a key's usage, from digest to tls or tls-client
    Narrow(Narrow),
    /// Provision a certificate from a bundle: KMS opens its key for the attested service alone
    Provision(Provision),
    /// Get a proof of which keys the service holds, for `verify`
    Attest(Attest),
    /// Verify that a document and a statement prove which code holds which keys
    Verify(verify::Options),
    /// Encrypt a private key under a KMS key, as a bundle for `provision`
    Seal(seal::Options),
    /// Compute what an enclave measures of its policy, and write or examine the policy of its KMS key
    Policy(kms_policy::Options),
    /// Set up AWS Certificate Manager's ACME endpoints: endpoints, domains, bindings, accounts
    Acm(acm::Options),
    /// Prepare accounts at certificate authorities: external account bindings, CAA records
    Acme(acme::Options),
    /// Show what the enclave counted since its start, and what the agent carried
    Stats,
}

#[derive(Args)]
#[command(after_help = STATUS_HELP)]
pub(crate) struct Status {
    /// Show it again every 2 seconds, with signatures a second
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct Certificates {
    /// A certificate of the configuration
    #[arg(value_parser = name)]
    pub(crate) name: Option<Name>,
}

#[derive(Args)]
pub(crate) struct Logs {
    /// Go on with the lines to come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many lines to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lines: u32,
}

#[derive(Args)]
pub(crate) struct RotateCredential {
    /// A client of the configuration
    #[arg(value_parser = name)]
    pub(crate) client: Name,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(crate) struct Rotate {
    /// A certificate of the configuration
    #[arg(value_parser = name, group = "which")]
    pub(crate) name: Option<Name>,
    /// All of them, one after another
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// All at once, not one after another. When a CA said to come again is waited for all the same
    #[arg(long)]
    pub(crate) now: bool,
    /// No key that is there is to be trusted: new ones are made. Once clients see them, the enclave has the CA revoke what it ordered for
    /// the older keys, and they are wiped without waiting for grace_hours. What other CAs must revoke is said: --dry-run shows all
    #[arg(long, requires = "reason")]
    pub(crate) revoke: bool,
    /// Why
    #[arg(long, requires = "revoke")]
    pub(crate) reason: Option<Reason>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Why a certificate is revoked, as RFC 5280 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        }
    }
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// A certificate of the configuration
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// The generation that servers shall have; without it the newest before the one that they have
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) to: Option<u32>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args)]
pub(crate) struct History {
    /// A certificate, also one that left the configuration
    #[arg(value_parser = name)]
    pub(crate) name: Name,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// A certificate of the configuration, or the whole id of a key
    #[arg(value_name = "NAME|KEY")]
    pub(crate) what: String,
    /// Why
    #[arg(long)]
    pub(crate) reason: Reason,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Credential {
    /// The client's name
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// Where to write the credential (mode 0640)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The group that may read it: a name of /etc/group, or a number
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What a new key is given, born or imported.
#[derive(Args)]
pub(crate) struct Attributes {
    /// What the key may sign: tls, tls-client or digest (weaker: whatever a client sends)
    #[arg(long, value_parser = usage)]
    pub(crate) usage: Usage,
    /// A DNS name that its certificate carries; repeat it for more
    #[arg(long = "dns-name", value_name = "DNS-NAME", value_parser = dns_name, value_delimiter = ',')]
    pub(crate) dns_names: Vec<DnsName>,
    /// A client that may use the key; repeat it for more
    #[arg(long = "client", value_name = "CLIENT", value_parser = name, value_delimiter = ',', required = true)]
    pub(crate) clients: Vec<Name>,
    /// Seal the name's keys under the policy's KMS key, so that a restart keeps them; names of one GROUP share a data key
    #[arg(long, value_name = "GROUP", value_parser = name, num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    pub(crate) sealed: Option<Name>,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The certificate's name; a key of the same name becomes its next generation
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// rsa-2048, rsa-3072, rsa-4096, p-256, p-384, p-521 or ed25519
    #[arg(long = "type", value_name = "TYPE", value_parser = key_type)]
    pub(crate) key_type: KeyType,
    #[command(flatten)]
    pub(crate) attributes: Attributes,
}

#[derive(Args)]
pub(crate) struct Csr {
    /// A key
    pub(crate) key: Selector,
    /// Write the request here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Install {
    /// A key
    pub(crate) key: Selector,
    /// The chain in PEM: leaf first, then its issuers
    #[arg(value_name = "CHAIN.pem")]
    pub(crate) chain: PathBuf,
}

#[derive(Args)]
pub(crate) struct Import {
    /// The certificate's name; a key of the same name becomes its next generation
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// The private key: PKCS#8 in PEM, not encrypted
    #[arg(value_name = "KEY.pem")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) attributes: Attributes,
    /// Install this chain too
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// Keep a copy of the private key in the directory of the agent, and import it again after a restart
    #[arg(long, conflicts_with = "sealed")]
    pub(crate) keep: bool,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub(crate) struct Provision {
    /// The certificate's name; a key of the same name becomes its next generation
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// The bundle, as `enclave-tlsctl seal` writes it
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) bundle: Option<PathBuf>,
    /// Where the bundle is in S3; the service reads it
    #[arg(long, value_name = "s3://BUCKET/KEY", group = "source", requires = "region")]
    pub(crate) s3: Option<s3::Location>,
    /// The region of the bucket
    #[arg(long, value_name = "REGION", value_parser = text::<32>, conflicts_with = "bundle")]
    pub(crate) region: Option<Text<32>>,
    /// The ARN of the KMS key that opens it
    #[arg(long, value_name = "ARN", value_parser = text::<256>)]
    pub(crate) kms_key: Text<256>,
    #[command(flatten)]
    pub(crate) attributes: Attributes,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("freshness").required(true)))]
pub(crate) struct Attest {
    /// The nonce of whoever wants the proof, in hexadecimal: 1 to 64 bytes
    #[arg(long, value_name = "HEX", group = "freshness", value_parser = nonce)]
    pub(crate) nonce: Option<Opaque<64>>,
    /// Draw 32 random bytes
    #[arg(long, group = "freshness")]
    pub(crate) random: bool,
    /// Where to write the attestation document
    #[arg(long, value_name = "FILE")]
    pub(crate) document: PathBuf,
    /// Where to write the statement that it binds
    #[arg(long, value_name = "FILE")]
    pub(crate) statement: PathBuf,
    /// A key that the statement shall name; repeat it for more. Without any it names all keys
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<Selector>,
}

#[derive(Args)]
pub(crate) struct KeyOnly {
    /// A key
    pub(crate) key: Selector,
}

#[derive(Args)]
pub(crate) struct Retire {
    /// A key
    pub(crate) key: Selector,
    /// Do not ask. Without a terminal it never asks
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Narrow {
    /// A key
    pub(crate) key: Selector,
    /// What it may sign from now on: tls or tls-client
    #[arg(long, value_parser = usage)]
    pub(crate) usage: Usage,
}

fn name(text: &str) -> Result<Name, &'static str> {
    text.parse()
        .map_err(|_| "a name is 1 to 64 of A-Z a-z 0-9 - _ . and begins with a letter or a digit")
}

fn dns_name(text: &str) -> Result<DnsName, &'static str> {
    text.parse()
        .map_err(|_| "a DNS name is in lower case (IDNA names as xn--…); only its first label may be *")
}

fn key_type(text: &str) -> Result<KeyType, &'static str> {
    text.parse()
        .map_err(|_| "a type is rsa-2048, rsa-3072, rsa-4096, p-256, p-384, p-521 or ed25519")
}

fn usage(text: &str) -> Result<Usage, &'static str> {
    text.parse().map_err(|_| "a usage is tls, tls-client or digest")
}

fn text<const MAX: usize>(said: &str) -> Result<Text<MAX>, String> {
    printable::exact(said).ok_or_else(|| format!("1 to {MAX} printable ASCII characters"))
}

fn nonce(text: &str) -> Result<Opaque<64>, &'static str> {
    hex::bytes(text)
        .filter(|nonce| !nonce.is_empty())
        .and_then(|nonce| nonce.try_into().ok())
        .ok_or("a nonce is 1 to 64 bytes, in lower-case hexadecimal")
}

/// Ends the program because of its command line, of which not more is said than anybody reads.
pub(crate) fn refuse(error: &clap::Error) -> ! {
    let whole = error.render().to_string();
    let said = show::shortened(&whole);
    if said == whole {
        error.exit();
    }
    show::say_beside(said.trim_end());
    std::process::exit(error.exit_code());
}

/// Ends the program as a wrong command line does, where only the command can tell.
pub(crate) fn wrong_usage(message: &str) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{message}\n")).exit()
}

const KEY_HELP: &str = "KEY is a name, if it means exactly one key, or a hexadecimal id, or the unique beginning of one (8 digits \
or more).\nExit status: 0 done, 1 not done (the reason is on standard error), 2 wrong usage, 3 done and something needs attention (status, \
check).";

const STATUS_HELP: &str = "Exit status: 0 all is served and well, 1 the agent did not answer, 3 it answered and something needs attention \
(a certificate that is not served or ends within 14 days, a refused configuration, an enclave that is away, a server that refused, …). With \
--json: `well` and `attention`.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_after_the_command() {
        let cli = Cli::try_parse_from(["enclave-tlsctl", "list", "--json", "--socket", "/x"]).unwrap();
        assert!(cli.json);
        assert_eq!(cli.socket, PathBuf::from("/x"));
    }

    #[test]
    fn a_rotation_is_of_one_or_of_all_and_a_revocation_has_a_reason() {
        let rotate = |words: &[&str]| Cli::try_parse_from(["enclave-tlsctl", "rotate"].iter().chain(words)).is_ok();
        assert!(rotate(&["www"]) && rotate(&["--all", "--now"]) && rotate(&["www", "--dry-run"]));
        assert!(rotate(&["www", "--revoke", "--reason", "key-compromise"]));
        assert!(!rotate(&[]) && !rotate(&["www", "--all"]) && !rotate(&["--now"]));
        assert!(!rotate(&["www", "--revoke"]) && !rotate(&["www", "--reason", "superseded"]));
        assert!(!rotate(&["www", "--revoke", "--reason", "bored"]));
        for reason in <Reason as clap::ValueEnum>::value_variants() {
            let words = ["enclave-tlsctl", "revoke", "www", "--reason", reason.as_str()];
            assert!(Cli::try_parse_from(words).is_ok(), "{reason:?}");
        }
    }

    #[test]
    fn what_no_key_can_be_is_wrong_usage() {
        let create = |extra: &[&str]| {
            let base = ["enclave-tlsctl", "create", "www", "--type", "p-256", "--usage", "tls"];
            Cli::try_parse_from(base.iter().chain(extra)).is_ok()
        };
        assert!(create(&["--client", "nginx", "--dns-name", "a.example,b.example"]));
        assert!(!create(&[]), "a key that nobody may use");
        assert!(!create(&["--client", "nginx", "--dns-name", "A.example"]));
        assert!(!create(&["--client", "../nginx"]));
        assert!(!create(&["--client", "nginx", "--type", "rsa-1024"]));
    }
}
