//! Messages as TLS peers build them.

use aws_lc_rs::agreement::{self, PrivateKey};

/// 64 spaces, a context string, a zero byte and a transcript hash of `length` bytes.
pub(super) fn certificate_verify(context: &str, length: usize) -> Vec<u8> {
    padded(64, context, &vec![0x5a; length])
}

pub(super) fn padded(spaces: usize, context: &str, rest: &[u8]) -> Vec<u8> {
    [&vec![b' '; spaces], context.as_bytes(), &[0], rest].concat()
}

/// Two randoms and named-curve parameters, whose length field says what follows.
pub(super) fn server_key_exchange(group: u16, share: &[u8]) -> Vec<u8> {
    with_randoms(
        &[
            &[3],
            &group.to_be_bytes()[..],
            &[u8::try_from(share.len()).unwrap()],
            share,
        ]
        .concat(),
    )
}

pub(super) fn with_randoms(parameters: &[u8]) -> Vec<u8> {
    [&[0xc1; 32], &[0x5e; 32], parameters].concat()
}

/// A key share of every group that is allowed.
pub(super) fn shares() -> Vec<(u16, Vec<u8>)> {
    vec![
        (0x0017, point(&agreement::ECDH_P256)),
        (0x0018, point(&agreement::ECDH_P384)),
        (0x0019, point(&agreement::ECDH_P521)),
        (0x001d, vec![9; 32]),
        (0x001e, vec![5; 56]),
    ]
}

/// A fresh point, uncompressed.
pub(super) fn point(curve: &'static agreement::Algorithm) -> Vec<u8> {
    PrivateKey::generate(curve)
        .unwrap()
        .compute_public_key()
        .unwrap()
        .as_ref()
        .to_vec()
}
