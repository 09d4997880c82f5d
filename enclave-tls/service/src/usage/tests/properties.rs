//! The grammar against a second reading of it, written byte by byte and with other code for the curves.

use enclave_wire::{KeyType, Mechanism, Usage};
use proptest::prelude::*;

use super::super::handshake::{HandshakeMessage, certificate_verify, server_key_exchange};
use super::super::permits;
use super::{key_types, messages};

/// Messages near the grammar: valid ones, with one byte replaced, cut, lengthened, or the head of one and the tail of another.
fn near_messages() -> impl Strategy<Value = Vec<u8>> {
    let valid = || proptest::sample::select(valid_messages());
    prop_oneof![
        valid(),
        mutated(),
        (valid(), any::<prop::sample::Index>()).prop_map(|(m, cut)| m[..cut.index(m.len())].to_vec()),
        (valid(), proptest::collection::vec(any::<u8>(), 1..4)).prop_map(|(m, tail)| [m, tail].concat()),
        (valid(), valid(), 0usize..150)
            .prop_map(|(head, tail, at)| { [&head[..at.min(head.len())], &tail[at.min(tail.len())..]].concat() }),
        proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

/// One byte of a valid message replaced. The bytes that decide are as likely as all others together.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let place = prop_oneof![any::<prop::sample::Index>().prop_map(|i| i.index(1_000)), 60usize..100];
    (proptest::sample::select(valid_messages()), place, any::<u8>()).prop_map(|(mut message, place, byte)| {
        let place = place % message.len();
        message[place] = byte;
        message
    })
}

fn valid_messages() -> Vec<Vec<u8>> {
    let verifies = ["TLS 1.3, server CertificateVerify", "TLS 1.3, client CertificateVerify"]
        .into_iter()
        .flat_map(|context| [32, 48].map(|length| messages::certificate_verify(context, length)));
    let exchanges = messages::shares()
        .into_iter()
        .map(|(group, share)| messages::server_key_exchange(group, &share));
    verifies.chain(exchanges).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn threat_40_the_two_forms_are_disjoint(message in near_messages()) {
        let forms = [certificate_verify(&message), server_key_exchange(&message)];
        prop_assert!(forms.iter().filter(|form| form.is_some()).count() <= 1);
        prop_assert_eq!(HandshakeMessage::parse(&message), forms[0].or(forms[1]));
    }

    #[test]
    fn threat_40_a_changed_message_is_refused_or_valid_by_a_second_reading(message in near_messages()) {
        for key_type in key_types() {
            for mechanism in Mechanism::ALL {
                for usage in [Usage::Tls, Usage::TlsClient] {
                    prop_assert_eq!(
                        permits(usage, key_type, *mechanism, &message),
                        second_reading(usage, key_type, *mechanism, &message),
                        "{} {} {:?} {:02x?}", usage, key_type, mechanism, message
                    );
                }
            }
        }
    }
}

/// The policy's words, once more.
fn second_reading(usage: Usage, key_type: KeyType, mechanism: Mechanism, message: &[u8]) -> bool {
    let rsa = matches!(key_type, KeyType::Rsa(_));
    let pss = [0x31, 0x32, 0x33].contains(&mechanism.byte()) && rsa;
    let pkcs1 = [0x11, 0x12, 0x13].contains(&mechanism.byte()) && rsa;
    let edwards = mechanism.byte() == 0x60 && key_type == KeyType::Ed25519;
    let own_hash = matches!(
        (key_type, mechanism.byte()),
        (KeyType::P256, 0x51) | (KeyType::P384, 0x52) | (KeyType::P521, 0x53)
    );
    let curve = matches!(key_type, KeyType::P256 | KeyType::P384 | KeyType::P521);
    let any_hash = curve && [0x51, 0x52, 0x53].contains(&mechanism.byte());
    match usage {
        Usage::Tls if is_verify(message, b's') => pss || own_hash || edwards,
        Usage::Tls if is_exchange(message) => pss || pkcs1 || any_hash || edwards,
        Usage::TlsClient if is_verify(message, b'c') => pss || own_hash || edwards,
        _ => false,
    }
}

fn is_verify(message: &[u8], side: u8) -> bool {
    let context: &[u8] = if side == b's' {
        b"TLS 1.3, server CertificateVerify"
    } else {
        b"TLS 1.3, client CertificateVerify"
    };
    [130, 146].contains(&message.len())
        && (0..64).all(|at| message[at] == 0x20)
        && (0..context.len()).all(|at| message[64 + at] == context[at])
        && message[97] == 0
}

fn is_exchange(message: &[u8]) -> bool {
    if message.len() < 68 || message[64] != 3 || message[65] != 0 {
        return false;
    }
    let (length, share) = (usize::from(message[67]), &message[68..]);
    if share.len() != length {
        return false;
    }
    match (message[66], length) {
        (0x17, 65) => share[0] == 4 && p256::PublicKey::from_sec1_bytes(share).is_ok(),
        (0x18, 97) => share[0] == 4 && p384::PublicKey::from_sec1_bytes(share).is_ok(),
        (0x19, 133) => share[0] == 4 && p521::PublicKey::from_sec1_bytes(share).is_ok(),
        (0x1d, 32) | (0x1e, 56) => true,
        _ => false,
    }
}
