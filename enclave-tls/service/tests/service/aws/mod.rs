//! AWS as the service meets it: KMS and S3, in this process, behind the parent's egress plane.

mod ca;
mod passage;
mod s3;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use emulator_kms::{Config, Emulator, Key, Principal};
use enclave_kms::sigv4;
use enclave_policy::Policy;
use enclave_wire::control::{BundleSource, InstallAws, Provision, S3Object};
use enclave_wire::log::Text;
use enclave_wire::{DnsName, Usage};
use serde_json::{Value, json};

use super::agent::name;
use super::kept::Kept;
use super::lab::{NOW, POLICY, Setup, attestation_root, unique};
pub(crate) use ca::{Ca, Certified, pem};
pub(crate) use passage::Passage;
use s3::S3;

/// KMS, S3, and the way there.
pub(crate) struct Aws {
    pub(crate) kms: Emulator,
    /// Another region's.
    pub(crate) west: Emulator,
    /// The same keys, for whoever seals outside: without TLS, since it is the test that speaks to it.
    outside: Emulator,
    pub(crate) s3: S3,
    pub(crate) passage: Passage,
    pub(crate) ca: Ca,
}

/// What a key policy lets use a key: an image and a policy.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) pcr0: [u8; 48],
    pub(crate) pcr16: [u8; 48],
}

impl Aws {
    /// Where the KMS keys are for the usual image under the usual policy.
    pub(crate) fn new() -> Self {
        let aws = Self::for_pairs(Ca::new(), &[]);
        let pair = aws.pair(&aws.policy());
        Self::for_pairs(aws.ca, &[pair])
    }

    /// Where the KMS keys are for these. Whatever was encrypted before is the same under the same keys.
    pub(crate) fn for_pairs(ca: Ca, pairs: &[Pair]) -> Self {
        let mut config = config(pairs);
        let outside = Emulator::start(&config).unwrap();
        let server = ca.certify(&[KMS_HOST, WEST_HOST, S3_HOST]);
        config.tls = Some(emulator_kms::Tls {
            certificates: server.chain_pem(),
            key: server.key_pem(),
        });
        let kms = Emulator::start(&config).unwrap();
        config.region = "us-west-2".to_owned();
        config.keys = vec![key(pairs, WEST, 5)];
        let west = Emulator::start(&config).unwrap();
        let s3 = S3::start(&server);
        let hosts = BTreeMap::from([
            (KMS_HOST, kms.address()),
            (WEST_HOST, west.address()),
            (S3_HOST, s3.address),
        ]);
        Self {
            passage: Passage::start(&unique("egress"), hosts),
            kms,
            west,
            outside,
            s3,
            ca,
        }
    }

    /// The usual policy, with all that AWS needs.
    pub(crate) fn policy(&self) -> String {
        self.policy_of(POLICY, &[SEALING, OLD_SEALING])
    }

    /// `head` without what AWS needs, and the keys that seal.
    pub(crate) fn policy_of(&self, head: &str, sealing: &[&str]) -> String {
        format!(
            "{head}\n[attestation]\nroot_sha256 = \"{}\"\n[aws]\nregions = [\"us-east-1\", \"us-west-2\"]\nroots = [\"\"\"\n{}\"\"\"]\n\
             [sealing]\nkeys = {sealing:?}\n[bundles]\nkeys = [\"{BUNDLES}\"]\nforeign = true\n",
            hex::encode(attestation_root()),
            pem("CERTIFICATE", self.ca.der()),
        )
    }

    /// What measures the usual image under this policy.
    pub(crate) fn pair(&self, policy: &str) -> Pair {
        Pair {
            pcr0: [1; 48],
            pcr16: Policy::parse(policy.as_bytes()).unwrap().pcr16(),
        }
    }

    pub(crate) fn setup(&self, kept: &Arc<Kept>) -> Setup {
        self.setup_of(self.policy(), kept)
    }

    pub(crate) fn setup_of(&self, policy: String, kept: &Arc<Kept>) -> Setup {
        Setup {
            policy,
            egress: Some(self.passage.name.clone()),
            kept: Arc::clone(kept),
            ..Setup::default()
        }
    }

    /// How often KMS did this.
    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.kms.counters().operation(operation).succeeded
    }

    /// Requests of any kind that reached KMS.
    pub(crate) fn asked(&self) -> u64 {
        self.kms
            .counters()
            .operations
            .values()
            .map(|count| count.requests)
            .sum()
    }

    /// A ciphertext, as `enclave-tlsctl seal` and the AWS CLI get it.
    pub(crate) fn encrypt(&self, key: &str, plaintext: &[u8], context: &Value) -> String {
        let body = json!({"KeyId": key, "Plaintext": Base64::encode_string(plaintext), "EncryptionContext": context});
        let reply = ask(self.outside.address(), "Encrypt", &body);
        reply["CiphertextBlob"]
            .as_str()
            .unwrap_or_else(|| panic!("{reply}"))
            .to_owned()
    }

    /// A bundle of ours for a name.
    pub(crate) fn bundle(&self, name: &str, certified: &Certified) -> Value {
        let mut bundle = self.foreign(certified);
        let context = json!({"purpose": "bundle", "name": name});
        bundle["encryptedPrivateKey"] = self.encrypt(BUNDLES, certified.key_pem().as_bytes(), &context).into();
        bundle["enclaveTls"] = json!({"version": 1, "name": name, "keyArn": BUNDLES});
        bundle
    }

    /// A bundle of another program's, as ACM's association writes it.
    pub(crate) fn foreign(&self, certified: &Certified) -> Value {
        json!({
            "certificate": pem("CERTIFICATE", &certified.leaf),
            "certificateChain": pem("CERTIFICATE", &certified.issuer),
            "encryptedPrivateKey": self.encrypt(BUNDLES, certified.key_pem().as_bytes(), &json!({})),
            "encryptionMethod": "SYMMETRIC_DEFAULT",
        })
    }
}

/// Asks for a name's certificate from this bundle.
pub(crate) fn provision(label: &str, bundle: &Value) -> Provision {
    Provision {
        name: name(label),
        usage: Usage::Tls,
        dns_names: Vec::<DnsName>::new().try_into().unwrap(),
        clients: vec![name("www")].try_into().unwrap(),
        sealed: None,
        kms_key: Text::lossy(BUNDLES),
        source: BundleSource::Document(bundle.to_string().into_bytes().try_into().unwrap()),
    }
}

/// An object of the one bucket.
pub(crate) fn object(key: &str) -> BundleSource {
    BundleSource::S3(S3Object {
        region: Text::lossy("us-east-1"),
        bucket: Text::lossy("bundles"),
        key: Text::lossy(key),
    })
}

/// The parent's credentials, for an hour.
pub(crate) fn credentials() -> InstallAws {
    InstallAws {
        access_key_id: Text::lossy("ASIAPARENT"),
        secret_access_key: b"parent-secret".to_vec().try_into().ok().unwrap(),
        session_token: Some(b"parent-token".to_vec().try_into().ok().unwrap()),
        expires: Some(NOW + 3_600),
        kms_host: None,
        s3_host: None,
    }
}

fn config(pairs: &[Pair]) -> Config {
    let mut config = Config::new("us-east-1", "111122223333");
    let principal = |id: &str, secret: &str, token: Option<&str>, arn: &str, iam: Option<String>| Principal {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: token.map(str::to_owned),
        expires: None,
        arn: arn.to_owned(),
        iam,
    };
    let everything = statements(&[json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*"})]);
    let (role, admin) = (
        "arn:aws:sts::111122223333:assumed-role/parent/i-1",
        "arn:aws:iam::111122223333:user/admin",
    );
    config.principals = vec![
        principal("ASIAPARENT", "parent-secret", Some("parent-token"), role, None),
        principal("AKIAADMIN", "admin-secret", None, admin, Some(everything)),
    ];
    let ours = [(SEALING, 1), (OLD_SEALING, 2), (BUNDLES, 3), (OTHER, 4)];
    config.keys = ours.map(|(arn, material)| key(pairs, arn, material)).into();
    config.attestation_root_sha256 = Some(hex::encode(attestation_root()));
    config.now_offset_seconds = NOW - machine_time();
    config
}

fn key(pairs: &[Pair], arn: &str, material: u8) -> Key {
    Key {
        arn: Some(arn.to_owned()),
        policy: Some(key_policy(pairs)),
        material: Some(hex::encode([material; 32])),
        ..Key::default()
    }
}

/// The account's administrators do as they may; the parent's role only in an image under a policy that is paired with it.
fn key_policy(pairs: &[Pair]) -> String {
    let mut all = vec![json!({
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*",
    })];
    all.extend(pairs.iter().map(|pair| {
        json!({
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/parent"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
            "Condition": {"StringEqualsIgnoreCase": {
                "kms:RecipientAttestation:PCR0": hex::encode(pair.pcr0),
                "kms:RecipientAttestation:PCR16": hex::encode(pair.pcr16),
            }},
        })
    }));
    statements(&all)
}

fn statements(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// A call of the administrator's.
fn ask(to: SocketAddr, operation: &str, body: &Value) -> Value {
    let (host, target, body) = (to.to_string(), format!("TrentService.{operation}"), body.to_string());
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("host", &host),
        ("x-amz-target", &target),
    ];
    let request = sigv4::Request {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        body: body.as_bytes(),
        body_hash_header: false,
    };
    let identity = sigv4::Identity {
        access_key_id: "AKIAADMIN",
        secret_access_key: "admin-secret",
        session_token: None,
    };
    let scope = sigv4::Scope {
        region: "us-east-1",
        service: "kms",
    };
    let signed = sigv4::sign(&request, &identity, &scope, NOW).unwrap();
    let own = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let reply = passage::post(to, own.chain(signed), body.as_bytes());
    serde_json::from_slice(&reply).unwrap()
}

fn machine_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

pub(crate) const SEALING: &str = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000001";
/// May still open.
pub(crate) const OLD_SEALING: &str = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000002";
pub(crate) const BUNDLES: &str = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000003";
/// In no policy of an enclave.
pub(crate) const OTHER: &str = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000004";
/// Of another region.
pub(crate) const WEST: &str = "arn:aws:kms:us-west-2:111122223333:key/00000000-0000-4000-8000-000000000005";
pub(crate) const WEST_HOST: &str = "kms.us-west-2.amazonaws.com";
pub(crate) const KMS_HOST: &str = "kms.us-east-1.amazonaws.com";
pub(crate) const S3_HOST: &str = "s3.us-east-1.amazonaws.com";
