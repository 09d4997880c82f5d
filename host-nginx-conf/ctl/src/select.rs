//! Which key a command means.

use enclave_wire::control::KeyInfo;
use enclave_wire::{KeyId, Name};

use enclave_tls_admin::protocol::Entry;

/// What a command line says for a key: a name, an id, or the beginning of an id.
#[derive(Debug, Clone)]
pub(crate) struct Selector(String);

impl std::str::FromStr for Selector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Every id and its beginning is in the alphabet of names, too.
        Name::try_from(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| "a key is given by its name, its id in hexadecimal, or at least 8 digits of it")
    }
}

impl Selector {
    /// The one key that is meant. A whole id means that key alone; all else must mean one, as name or as beginning of an id.
    pub(crate) fn choose<'a, T: Identified>(&self, keys: &'a [T]) -> Result<&'a T, SelectError> {
        let digits = self.0.to_ascii_lowercase();
        if let Some(key) = keys.iter().find(|key| key.id().to_string() == digits) {
            return Ok(key);
        }
        let is_id = digits.len() >= MIN_DIGITS;
        let means = |key: &&T| key.name().as_str() == self.0 || is_id && key.id().to_string().starts_with(&digits);
        let found: Vec<_> = keys.iter().filter(means).collect();
        match found.as_slice() {
            [] if self.is_short_id() => Err(SelectError::TooShort(self.0.clone())),
            [] => Err(SelectError::NotFound(self.0.clone())),
            [one] => Ok(one),
            several => Err(SelectError::Several {
                said: self.0.clone(),
                meant: several.iter().map(|key| key.describe()).collect(),
            }),
        }
    }

    fn is_short_id(&self) -> bool {
        self.0.len() < MIN_DIGITS && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// Something that a [`Selector`] can mean.
pub(crate) trait Identified {
    fn id(&self) -> KeyId;
    fn name(&self) -> &Name;
    fn describe(&self) -> String;
}

impl Identified for KeyInfo {
    fn id(&self) -> KeyId {
        self.id
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn describe(&self) -> String {
        format!(
            "{} {} generation {} ({})",
            self.id, self.name, self.generation, self.state
        )
    }
}

impl Identified for Entry {
    fn id(&self) -> KeyId {
        self.id
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn describe(&self) -> String {
        format!(
            "{} {} generation {} (not in the service)",
            self.id, self.name, self.generation
        )
    }
}

/// Why no key was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SelectError {
    NotFound(String),
    TooShort(String),
    Several { said: String, meant: Vec<String> },
}

impl std::fmt::Display for SelectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound(said) => {
                write!(
                    f,
                    "the service has no key {said}; `enclave-tlsctl list` shows those that it has"
                )
            }
            Self::TooShort(said) => {
                write!(
                    f,
                    "no key has the name {said}; as the beginning of an id it needs at least {MIN_DIGITS} digits"
                )
            }
            Self::Several { said, meant } => {
                write!(f, "{said} means {} keys; give the id of one of them:", meant.len())?;
                meant.iter().try_for_each(|key| write!(f, "\n  {key}"))
            }
        }
    }
}

/// Fewer digits would soon mean more than one key.
const MIN_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::Usage;
    use enclave_wire::control::Origin;

    fn entry(first: u8, name: &str, generation: u32) -> Entry {
        let mut id = [0xab; 32];
        id[0] = first;
        Entry {
            id: KeyId(id),
            name: name.parse().unwrap(),
            generation,
            usage: Usage::Tls,
            origin: Origin::Born,
            kept: false,
        }
    }

    fn chosen(text: &str, keys: &[Entry]) -> Result<u8, SelectError> {
        text.parse::<Selector>().unwrap().choose(keys).map(|key| key.id.0[0])
    }

    #[test]
    fn a_key_is_meant_by_name_by_id_and_by_its_beginning() {
        let keys = [entry(1, "www", 1), entry(2, "api", 1), entry(2, "api2", 1)];
        assert_eq!(chosen("www", &keys), Ok(1));
        assert_eq!(chosen("01abABab", &keys), Ok(1));
        assert_eq!(chosen(&format!("01{}", "ab".repeat(31)), &keys), Ok(1));
        assert_eq!(chosen("api", &keys), Ok(2));
    }

    #[test]
    fn what_means_no_key_or_several_is_refused() {
        let keys = [entry(1, "www", 1), entry(2, "www", 2), entry(3, "01ababab", 1)];
        for (text, count) in [("www", 2), ("01ababab", 2)] {
            match chosen(text, &keys) {
                Err(SelectError::Several { meant, .. }) => assert_eq!(meant.len(), count),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(
            chosen("01ababa", &keys),
            Err(SelectError::TooShort("01ababa".to_owned()))
        );
        assert_eq!(
            chosen("04ababab", &keys),
            Err(SelectError::NotFound("04ababab".to_owned()))
        );
        assert!("../x".parse::<Selector>().is_err());
    }
}
