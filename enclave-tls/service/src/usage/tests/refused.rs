//! Threat 40: what is not a TLS handshake of the key's own side is not signed. One named vector for each form.

use aws_lc_rs::agreement;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use enclave_wire::Usage;

use super::messages::{certificate_verify, padded, point, server_key_exchange, shares, with_randoms};
use super::permitted_at_all;

const SERVER: &str = "TLS 1.3, server CertificateVerify";
const CLIENT: &str = "TLS 1.3, client CertificateVerify";

#[track_caller]
fn refused(message: &[u8]) {
    assert!(!permitted_at_all(Usage::Tls, message), "a tls key signs it");
    assert!(
        !permitted_at_all(Usage::TlsClient, message),
        "a tls-client key signs it"
    );
}

#[test]
fn threat_40_client_certificate_verify_by_a_server_key() {
    assert!(!permitted_at_all(Usage::Tls, &certificate_verify(CLIENT, 32)));
    assert!(!permitted_at_all(Usage::Tls, &certificate_verify(CLIENT, 48)));
}

#[test]
fn threat_40_server_messages_by_a_client_key() {
    assert!(!permitted_at_all(Usage::TlsClient, &certificate_verify(SERVER, 32)));
    for (group, share) in shares() {
        assert!(!permitted_at_all(Usage::TlsClient, &server_key_exchange(group, &share)));
    }
}

/// RFC 9345, section 4.2: the certificate and the credential follow, here in every length that a prefix check would let by.
#[test]
fn threat_40_delegated_credentials() {
    for context in ["TLS, server delegated credentials", "TLS, client delegated credentials"] {
        for length in [32, 48, 300] {
            refused(&certificate_verify(context, length));
        }
    }
}

/// RFC 9261, section 5.2.2.
#[test]
fn threat_40_exported_authenticators() {
    for length in [32, 48] {
        refused(&certificate_verify("Exported Authenticator", length));
    }
    // Padded so that the whole is as long as what is allowed.
    refused(&certificate_verify(
        "Exported Authenticator",
        32 + SERVER.len() - "Exported Authenticator".len(),
    ));
}

/// draft-yasskin-http-origin-signed-responses: 64 spaces, the context, 0, 32 and the certificate's SHA-256, and more.
#[test]
fn threat_40_signed_http_exchanges() {
    for context in ["HTTP Exchange 1", "HTTP Exchange 1 b2", "HTTP Exchange 1 b3"] {
        refused(&padded(
            64,
            context,
            &[&[32][..], &[0x11; 32], &[0; 8], &[0; 8]].concat(),
        ));
        refused(&certificate_verify(context, 32 + SERVER.len() - context.len()));
    }
}

/// RFC 5246, section 7.4.8: every handshake message so far, of which the first is a ClientHello.
#[test]
fn threat_40_tls12_client_certificate_verify() {
    let mut transcript = vec![1, 0, 0, 0xc0, 3, 3];
    transcript.extend([0x77; 32]);
    transcript.push(32);
    transcript.extend([0x66; 32]);
    for length in [100, 130, 133, 146, 1_000] {
        transcript.resize(length, 0x33);
        refused(&transcript);
    }
}

#[test]
fn threat_40_63_and_65_spaces() {
    for context in [SERVER, CLIENT] {
        for length in [31, 32, 33, 47, 48, 49] {
            refused(&padded(63, context, &vec![0x5a; length]));
            refused(&padded(65, context, &vec![0x5a; length]));
        }
        let mut other_padding = certificate_verify(context, 32);
        other_padding[63] = b'\t';
        refused(&other_padding);
    }
}

#[test]
fn threat_40_transcript_hashes_of_other_lengths() {
    for length in [0, 1, 20, 28, 31, 33, 47, 49, 64, 80] {
        refused(&certificate_verify(SERVER, length));
        refused(&certificate_verify(CLIENT, length));
    }
}

#[test]
fn threat_40_other_context_strings() {
    for context in [
        "tls 1.3, server CertificateVerify",
        "TLS 1.3, server CertificateVerifx",
        "TLS 1.3, server",
        "",
    ] {
        refused(&certificate_verify(context, 32));
    }
    let mut unterminated = certificate_verify(SERVER, 32);
    unterminated[64 + SERVER.len()] = 1;
    refused(&unterminated);
}

/// RFC 4492, section 5.4: explicit_prime and explicit_char2 spell out a curve, which may be a weak one of the attacker's own.
#[test]
fn threat_40_explicit_curves() {
    for curve_type in [0, 1, 2, 4, 0xff] {
        let mut message = server_key_exchange(0x0017, &point(&agreement::ECDH_P256));
        message[64] = curve_type;
        refused(&message);
    }
    // explicit_prime: p, a, b, base, order, cofactor, each behind its length.
    let number = [&[32][..], &[0xff; 32]].concat();
    refused(&with_randoms(
        &[&[1][..], &number.repeat(5), &[1, 1], &[65, 4], &[7; 64]].concat(),
    ));
}

#[test]
fn threat_40_points_off_the_curve() {
    let curves = [
        (0x0017, &agreement::ECDH_P256),
        (0x0018, &agreement::ECDH_P384),
        (0x0019, &agreement::ECDH_P521),
    ];
    for (group, curve) in curves {
        let good = point(curve);
        assert!(permitted_at_all(Usage::Tls, &server_key_exchange(group, &good)));
        let mut off = good.clone();
        *off.last_mut().unwrap() ^= 1;
        refused(&server_key_exchange(group, &off));
        // The coordinates must be below the field's prime, too.
        let mut large = good.clone();
        large[1..].fill(0xff);
        refused(&server_key_exchange(group, &large));
        refused(&server_key_exchange(
            group,
            &[&[4], &vec![0; good.len() - 1][..]].concat(),
        ));
    }
}

/// RFC 8422 leaves the uncompressed form alone; the library would take these three.
#[test]
fn threat_40_points_in_other_forms() {
    for (group, curve) in [(0x0017, &agreement::ECDH_P256), (0x0018, &agreement::ECDH_P384)] {
        let good = point(curve);
        let half = good.len() / 2;
        let parity = good.last().unwrap() & 1;
        let mut hybrid = good.clone();
        hybrid[0] = 6 | parity;
        refused(&server_key_exchange(group, &hybrid));
        let mut compressed = good[..=half].to_vec();
        compressed[0] = 2 | parity;
        refused(&server_key_exchange(group, &compressed));
        refused(&server_key_exchange(group, &[0]));
    }
}

#[test]
fn threat_40_groups_and_lengths_that_do_not_agree() {
    for (group, share) in shares() {
        let good = server_key_exchange(group, &share);
        refused(&good[..good.len() - 1]);
        refused(&[&good[..], &[0]].concat());
        let mut longer = good.clone();
        longer[67] += 1;
        refused(&longer);
        refused(&[&longer[..], &[0]].concat());
        let mut shorter = good.clone();
        shorter[67] -= 1;
        refused(&shorter);
        for other in [0x0000, 0x0015, 0x0016, 0x001a, 0x001f, 0x0100, 0x11ec, 0x6399] {
            refused(&server_key_exchange(other, &share));
        }
        for (other, _) in shares().into_iter().filter(|(other, _)| *other != group) {
            refused(&server_key_exchange(other, &share));
        }
    }
    refused(&with_randoms(&[3, 0, 0x17]));
    refused(&with_randoms(&[]));
}

/// RFC 5246, section 7.4.3: dh_p, dh_g, dh_Ys, each behind two bytes of length. A length of 0x0300 begins as named_curve does, and
/// one of 0x544c as `TL`.
#[test]
fn threat_40_finite_field_diffie_hellman() {
    for length in [256u16, 384, 512, 0x0300, 1024, 0x0317, 0x544c] {
        let number = vec![0xff; usize::from(length)];
        let parameters = [
            &length.to_be_bytes()[..],
            &number,
            &[0, 1, 2],
            &length.to_be_bytes()[..],
            &number,
        ]
        .concat();
        refused(&with_randoms(&parameters));
        refused(&[&[b' '; 64][..], &parameters].concat());
    }
    // A prime of 768 bytes that begins like a P-256 point's header.
    let mut parameters = vec![3, 0, 0x17, 65, 4];
    parameters.resize(2 + 768 + 3 + 2 + 768, 0x55);
    refused(&with_randoms(&parameters));
}

/// RFC 2986: a SEQUENCE of version 0, subject, key and attributes.
#[test]
fn threat_40_certificate_requests_and_certificates() {
    refused(&[&[0x30, 0x81, 0x7f, 0x02, 0x01, 0x00, 0x30][..], &[0x31; 123]].concat());
    refused(
        &[
            &[0x30, 0x82, 0x01, 0x0a, 0xa0, 0x03, 0x02, 0x01, 0x02][..],
            &[0x31; 262],
        ]
        .concat(),
    );
}

/// RFC 7515, section 5.1: two base64url texts and a dot. ACME's account keys sign such.
#[test]
fn threat_40_json_web_signatures() {
    refused(b"eyJhbGciOiJFUzI1NiIsImtpZCI6Imh0dHBzOi8vYWNtZS5leGFtcGxlL2FjY3QvMSJ9.eyJzdWIiOiJhbnlvbmUifQ");
    refused(&[&b"eyJhbGciOiJQUzI1NiJ9."[..], &[b'Q'; 109]].concat());
}

/// RFC 6960, section 4.2.1: ResponseData.
#[test]
fn threat_40_ocsp_responses() {
    let produced_at = b"\x18\x0f20261101000000Z";
    refused(
        &[
            &[0x30, 0x81, 0x7f, 0xa2, 0x16, 0x04, 0x14][..],
            &[0x11; 20],
            produced_at,
            &[0x30; 85],
        ]
        .concat(),
    );
}

/// RFC 4252, section 7 (a user's authentication), and RFC 4253, section 8 (a host key's exchange hash, signed whole).
#[test]
fn threat_40_ssh() {
    let mut login = [
        &[0, 0, 0, 32][..],
        &[0x5e; 32],
        &[50],
        &[0, 0, 0, 4],
        b"root",
        &[0, 0, 0, 14],
    ]
    .concat();
    login.extend(b"ssh-connection\0\0\0\x09publickey\x01\0\0\0\x0dssh-ed25519");
    refused(&login);
    login.resize(130, 0);
    refused(&login);
    refused(digest(&SHA256, b"exchange hash").as_ref());
}

#[test]
fn threat_40_bare_digests() {
    let server = certificate_verify(SERVER, 32);
    for algorithm in [&SHA1_FOR_LEGACY_USE_ONLY, &SHA256, &SHA384, &SHA512] {
        refused(digest(algorithm, &server).as_ref());
    }
    refused(&[]);
    refused(&[0; 36]);
    for hash in enclave_wire::Hash::ALL {
        refused(&[&hash.digest_info_prefix()[..], &vec![0x5a; hash.digest_len()]].concat());
    }
}
