//! Searches for the components and encodings of known private keys, byte by byte.

use super::{Found, Key, Order};

/// Something to search for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) component: &'static str,
    pub(super) order: Order,
    pub(super) bytes: Vec<u8>,
}

/// All patterns of all keys, by their first two bytes.
pub(super) struct KnownSearch<'a> {
    buckets: Vec<Vec<(usize, &'a Pattern)>>,
}

impl<'a> KnownSearch<'a> {
    pub(super) fn new(keys: &'a [Key]) -> Self {
        let mut buckets = vec![Vec::new(); 1 << 16];
        for (index, key) in keys.iter().enumerate() {
            for pattern in key.patterns() {
                if let [first, second, ..] = pattern.bytes[..] {
                    buckets[bucket(first, second)].push((index, pattern));
                }
            }
        }
        Self { buckets }
    }

    pub(super) fn search(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        for (offset, pair) in bytes.windows(2).enumerate() {
            for (key, pattern) in &self.buckets[bucket(pair[0], pair[1])] {
                if bytes[offset..].starts_with(&pattern.bytes) {
                    found.push(Found {
                        key: *key,
                        component: pattern.component,
                        order: pattern.order,
                        offset,
                    });
                }
            }
        }
        found
    }
}

fn bucket(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyscan::testkeys;

    #[test]
    fn every_component_and_encoding_of_an_rsa_key_is_found_where_it_is() {
        check(
            Key::private("k", testkeys::rsa_2048_pem()).unwrap(),
            &[
                "PKCS#1 DER",
                "PKCS#1 PEM",
                "PKCS#8 DER",
                "PKCS#8 PEM",
                "d",
                "dP",
                "dQ",
                "p",
                "q",
                "qInv",
            ],
        );
    }

    #[test]
    fn every_component_and_encoding_of_an_ec_key_is_found_where_it_is() {
        check(
            Key::private("k", testkeys::p256_pem()).unwrap(),
            &["PKCS#8 DER", "PKCS#8 PEM", "SEC1 DER", "SEC1 PEM", "d"],
        );
    }

    fn check(key: Key, components: &[&str]) {
        let keys = [key];
        let search = KnownSearch::new(&keys);
        assert_eq!(search.search(&testkeys::noise(100_000)), []);
        let mut seen: Vec<_> = keys[0].patterns().iter().map(|pattern| pattern.component).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, components);
        for pattern in keys[0].patterns() {
            let mut bytes = testkeys::noise(pattern.bytes.len() + 100);
            bytes[33..33 + pattern.bytes.len()].copy_from_slice(&pattern.bytes);
            let found = search.search(&bytes);
            let expected = Found {
                key: 0,
                component: pattern.component,
                order: pattern.order,
                offset: 33,
            };
            assert!(found.contains(&expected), "{} {:?}", pattern.component, pattern.order);
        }
    }
}
