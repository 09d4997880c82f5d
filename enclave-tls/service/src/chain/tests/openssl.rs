//! Chains that openssl made: `tests/vectors/chains/make.sh`.

use enclave_wire::control::ControlError;
use enclave_wire::{DnsName, Spki, Usage};

use super::super::validate;
use super::chain;

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/chains/",
            $name,
            ".der"
        ))
        .as_slice()
    };
}

/// 2030-01-01 00:00:00 UTC.
const NOW: i64 = 1_893_456_000;

fn spki(der: &[u8]) -> Spki {
    Spki::try_from(der.to_vec()).unwrap()
}

#[test]
fn a_servers_chain() {
    let names: Vec<DnsName> = ["example.com", "www.example.com", "*.example.net"]
        .map(|name| name.parse().unwrap())
        .into();
    let whole = chain(&[vector!("server"), vector!("intermediate"), vector!("root")]);
    let key = spki(vector!("server.spki"));
    let valid = validate(&whole, &key, Usage::Tls, &names, NOW).unwrap();
    assert_eq!(valid.served, chain(&[vector!("server"), vector!("intermediate")]));
    assert!(valid.validity.not_before < NOW && NOW < valid.validity.not_after);
    assert_eq!(
        validate(&whole, &key, Usage::Tls, &names, 0),
        Err(ControlError::ChainNotYetValid)
    );
    assert_eq!(
        validate(&whole, &key, Usage::Tls, &names[1..], NOW),
        Err(ControlError::ChainNames)
    );
}

#[test]
fn a_clients_chain() {
    let whole = chain(&[vector!("client"), vector!("client-root")]);
    let key = spki(vector!("client.spki"));
    let valid = validate(&whole, &key, Usage::TlsClient, &[], NOW).unwrap();
    assert_eq!(valid.served, chain(&[vector!("client")]));
    assert_eq!(
        validate(&whole, &key, Usage::Tls, &[], NOW),
        Err(ControlError::ChainExtendedKeyUsage)
    );
}

/// openssl verifies them, so that nothing is wrong but what is said.
#[test]
fn weak_algorithms_and_keys_are_called_so_and_not_another_issuers() {
    let names: Vec<DnsName> = ["example.com", "www.example.com", "*.example.net"]
        .map(|name| name.parse().unwrap())
        .into();
    let key = spki(vector!("server.spki"));
    for (leaf, root, error) in [
        (vector!("sha1"), vector!("root"), ControlError::ChainAlgorithm),
        (vector!("salt-20"), vector!("root"), ControlError::ChainAlgorithm),
        (
            vector!("rsa-1024"),
            vector!("rsa-1024-root"),
            ControlError::ChainIssuerKey,
        ),
    ] {
        let refused = validate(&chain(&[leaf, root]), &key, Usage::Tls, &names, NOW);
        assert_eq!(refused, Err(error));
    }
}
