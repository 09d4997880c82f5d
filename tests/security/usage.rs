//! threat_40: what a key's usage refuses, asked by a real PKCS#11 client. The service's own tests hold every vector of
//! the grammar; here is shown that the module passes the refusal on, exactly, and that no path leads around it.

use anyhow::{Context, Result, ensure};
use e2e::lab::client::{Client, Told};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};
use enclave_wire::signing::{Reply, Request, Sign, SignError};
use enclave_wire::{Hash, KeyId, Mechanism};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_40_tls_keys_refuse_digest_mechanisms,
    threat_40_tls_keys_refuse_what_is_no_handshake,
    threat_40_tls_client_keys_refuse_a_servers_handshake,
    threat_40_the_service_refuses_what_a_module_would_not_ask,
    threat_40_a_narrowed_key_refuses_digests,
];

fn threat_40_tls_keys_refuse_digest_mechanisms(lab: &Lab) -> Result<()> {
    for usage in ["tls", "tls-client"] {
        // CKM_ECDSA; CKM_RSA_PKCS, CKM_RSA_PKCS_PSS.
        for (kind, mechanisms) in [
            ("P-256", &["1041"][..]),
            ("RSA-2048", &["1", "d 256", "d 384", "d 512"]),
        ] {
            let key = lab.key_of(kind, usage, "born")?;
            for mechanism in mechanisms {
                let told = with_key(lab, key, &format!("sign_init {mechanism}"))?;
                // CKR_KEY_FUNCTION_NOT_PERMITTED
                told.expect(&opened("sign_init 68"))
                    .with_context(|| format!("{}, {mechanism}", key.label))?;
            }
        }
    }
    Ok(())
}

fn threat_40_tls_keys_refuse_what_is_no_handshake(lab: &Lab) -> Result<()> {
    let server = b"TLS 1.3, server CertificateVerify";
    let good = verify(64, server, 32);
    for kind in ["P-256", "RSA-2048"] {
        let key = lab.key_of(kind, "tls", "born")?;
        signs(lab, key, &good)?;
        for (what, message) in [
            ("nothing", Vec::new()),
            ("a bare digest", vec![0xd1; 32]),
            (
                "a client's CertificateVerify",
                verify(64, b"TLS 1.3, client CertificateVerify", 32),
            ),
            (
                "a delegated credential",
                verify(64, b"TLS, server delegated credentials", 32),
            ),
            ("63 spaces", verify(63, server, 32)),
            ("65 spaces", verify(65, server, 32)),
            ("no hash", verify(64, server, 0)),
            ("a hash of SHA-1", verify(64, server, 20)),
            ("a hash of 31 bytes", verify(64, server, 31)),
            ("a hash of SHA-512", verify(64, server, 64)),
            ("a byte too many", [&good[..], &[0]].concat()),
            (
                "TLS 1.2 with finite-field DHE",
                [&[0x11; 64][..], &[0x01, 0x00], &[0x22; 256]].concat(),
            ),
            (
                "a certificate request",
                [&[0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x00][..], &[0x33; 253]].concat(),
            ),
            ("a JWS", b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UifQ".to_vec()),
        ] {
            refuses(lab, key, &message).with_context(|| format!("{kind}: {what}"))?;
        }
    }
    Ok(())
}

fn threat_40_tls_client_keys_refuse_a_servers_handshake(lab: &Lab) -> Result<()> {
    for kind in ["P-256", "RSA-2048"] {
        let key = lab.key_of(kind, "tls-client", "born")?;
        signs(lab, key, &verify(64, b"TLS 1.3, client CertificateVerify", 32))?;
        refuses(lab, key, &verify(64, b"TLS 1.3, server CertificateVerify", 32)).with_context(|| kind.to_owned())?;
    }
    Ok(())
}

/// A client without our module can ask for anything: the service decides, not the module.
fn threat_40_the_service_refuses_what_a_module_would_not_ask(lab: &Lab) -> Result<()> {
    let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let digest_info = [&Hash::Sha256.digest_info_prefix()[..], &[0xd1; 32]].concat();
    let good = verify(64, b"TLS 1.3, server CertificateVerify", 32);
    for (kind, mechanism, input) in [
        ("P-256", Mechanism::Ecdsa, &[0xd1; 32][..]),
        ("RSA-2048", Mechanism::RsaPkcs1, &digest_info),
        ("RSA-2048", Mechanism::RsaPssDigestSha256, &[0xd1; 32]),
        // TLS 1.3 signs RSA by PSS only, and P-256 with SHA-256 only.
        ("RSA-2048", Mechanism::RsaPkcs1Sha256, &good),
        ("P-256", Mechanism::EcdsaSha512, &good),
        // Another type's mechanism.
        ("P-256", Mechanism::RsaPssSha256, &good),
        ("RSA-2048", Mechanism::EcdsaSha256, &good),
    ] {
        let key = id_of(lab.key_of(kind, "tls", "born")?)?;
        let reply = connection.ask(&Request::Sign(Sign { key, mechanism, input }))?;
        ensure!(
            reply == Reply::Error(SignError::UsageRefused),
            "{kind}, {mechanism:?}: {reply:?}"
        );
    }
    Ok(())
}

fn threat_40_a_narrowed_key_refuses_digests(lab: &Lab) -> Result<()> {
    let made = TestKey::create(lab, "lab-e2e-narrowed", "P-256", "digest", WEB_SERVERS)?;
    let sign = format!("sign_init 1041; sign {}", "d1".repeat(32));
    with_key(lab, &made.key, &sign)?.expect(&opened("sign_init 0; sign 0"))?;
    lab.ctl(&["narrow", &made.key.id, "--usage", "tls"])?;
    with_key(lab, &made.key, &sign)?.expect(&opened("sign_init 68; sign 91"))?;
    ensure!(
        lab.ctl(&["narrow", &made.key.id, "--usage", "digest"]).is_err(),
        "a usage was widened"
    );
    Ok(())
}

/// The mechanism that hashes with SHA-256, for the key's type: CKM_ECDSA_SHA256 or CKM_SHA256_RSA_PKCS_PSS.
fn hashing(key: &Key) -> &'static str {
    if key.kind.starts_with("RSA") { "43 256" } else { "1044" }
}

fn signs(lab: &Lab, key: &Key, message: &[u8]) -> Result<()> {
    asked(lab, key, message)?.expect(&opened("sign_init 0; sign 0"))
}

fn refuses(lab: &Lab, key: &Key, message: &[u8]) -> Result<()> {
    asked(lab, key, message)?.expect(&opened("sign_init 0; sign 200")) // CKR_FUNCTION_REJECTED
}

fn asked(lab: &Lab, key: &Key, message: &[u8]) -> Result<Told> {
    let message = if message.is_empty() {
        "-".to_owned()
    } else {
        hex::encode(message)
    };
    with_key(lab, key, &format!("sign_init {}; sign {message}", hashing(key)))
}

fn with_key(lab: &Lab, key: &Key, calls: &str) -> Result<Told> {
    Client::compile()?.run(lab, &format!("initialize null; open; find {}; {calls}", key.id))
}

fn opened(calls: &str) -> String {
    format!("initialize 0; open 0; find 0; {calls}")
}

fn id_of(key: &Key) -> Result<KeyId> {
    Ok(KeyId(
        hex::decode(&key.id)?
            .try_into()
            .map_err(|_| anyhow::anyhow!("not a key's id"))?,
    ))
}

/// RFC 8446, section 4.4.3, and what is not.
fn verify(spaces: usize, context: &[u8], hash_len: usize) -> Vec<u8> {
    [&vec![0x20; spaces], context, &[0], &vec![0x5a; hash_len]].concat()
}
