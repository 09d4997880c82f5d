//! How far what is promised of a key reaches, by where it came from: `status` and `verify` say the same.

use enclave_wire::control::Origin;

/// Who else may have a key, and no less.
pub fn who_else(origin: Origin, sealed: bool) -> &'static str {
    match (origin, sealed) {
        (Origin::Born, false) => "nobody else has it, ever; it ends with this run of the service",
        (Origin::Born, true) => "nobody else has it, while nobody can change the policy of the KMS key that seals it",
        (Origin::Imported, false) => {
            "whoever had the key before the import, and whoever read it on this machine, may have it too"
        }
        (Origin::Imported, true) => {
            "whoever had the key before the import, whoever read it on this machine, and who can change the policy of the KMS key that \
             seals it, may have it too"
        }
        (Origin::Bundle, false) => {
            "whoever made or wrapped the key, and who can change the policy of the KMS key that opens it, may have it too"
        }
        (Origin::Bundle, true) => {
            "whoever made or wrapped the key, and who can change the policy of a KMS key that opens or seals it, may have it too"
        }
    }
}

/// An origin as a statement names it, and whether it says that the key's state is sealed.
pub fn origin_of(text: &str) -> Option<(Origin, bool)> {
    let (origin, sealed) = match text.strip_suffix("-sealed") {
        Some(origin) => (origin, true),
        None => (text, false),
    };
    let known = Origin::ALL.iter().find(|known| known.to_string() == origin);
    known.map(|known| (*known, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_of_a_sealed_key_is_never_more_than_of_one_that_is_not() {
        for origin in Origin::ALL {
            assert_ne!(who_else(*origin, true), who_else(*origin, false));
        }
        for sealed in [false, true] {
            assert!(who_else(Origin::Bundle, sealed).contains("whoever made or wrapped"));
        }
    }

    #[test]
    fn every_origin_of_a_statement_is_known_by_its_own_name() {
        for origin in Origin::ALL {
            assert_eq!(origin_of(&origin.to_string()), Some((*origin, false)));
            assert_eq!(origin_of(&format!("{origin}-sealed")), Some((*origin, true)));
        }
        for strange in ["acm-export", "Born", "born-sealed-sealed", "-sealed", ""] {
            assert_eq!(origin_of(strange), None, "{strange}");
        }
    }
}
