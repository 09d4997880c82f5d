//! The public objects file: what a module shows of the keys while nobody can be asked.

use crate::codec::{DecodeError, Reader, Writer, message};
use crate::identity::Chain;
use crate::signing::Entry;

/// The contents of the file: each key once, in the order of their ids. So there is one file for one set of keys, and a writer can tell
/// by comparison whether there is anything to write.
///
/// All of it is public and nothing vouches for it: it is as trustworthy as its directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects(Vec<Object>);

message! {
    /// A key, and the certificates that go with it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Object {
        /// The key, as the service shows it.
        entry: Entry,
        /// Its chain, empty where none is installed.
        chain: Chain,
    }
}

/// Why a file was refused. Its writer is at fault, and a reader does as if there were no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectsError {
    /// It does not begin as such a file does.
    NotObjects,
    /// It has another version of the form.
    Version(u8),
    /// It is longer than [`Objects::MAX_FILE`].
    TooLong,
    /// What follows the version has another form.
    Body(DecodeError),
}

/// Why these keys make no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatherError {
    /// More than [`Objects::MAX_COUNT`] keys, or more of them than [`Objects::MAX_FILE`] holds: leave some out.
    TooMany,
    /// A key comes twice: its id is the hash of its public key, so the two are one.
    Twice,
}

impl Objects {
    /// As many keys as an enclave holds: 10,000 certificates, each in two generations.
    pub const MAX_COUNT: usize = 20_000;
    /// 10,000 keys with 6 KB of certificates each, more than a usual chain has. A process that loads a module has all of it in memory.
    pub const MAX_FILE: usize = 64 * 1024 * 1024;

    /// Reads the contents of a file.
    pub fn parse(file: &[u8]) -> Result<Self, ObjectsError> {
        if file.len() > Self::MAX_FILE {
            return Err(ObjectsError::TooLong);
        }
        let body = file.strip_prefix(MAGIC).ok_or(ObjectsError::NotObjects)?;
        let (version, body) = body.split_first().ok_or(DecodeError::Truncated)?;
        if *version != VERSION {
            return Err(ObjectsError::Version(*version));
        }
        let mut reader = Reader::new(body);
        let objects: Vec<Object> = reader.list(Self::MAX_COUNT)?;
        reader.finish()?;
        if !objects.is_sorted_by(|one, next| one.entry.id < next.entry.id) {
            return Err(ObjectsError::Body(DecodeError::NotCanonical));
        }
        Ok(Self(objects))
    }

    /// The contents of a file.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(MAGIC);
        writer.put(&[VERSION]);
        writer.list(&self.0);
        writer.into_bytes()
    }

    /// The keys, in the order of their ids.
    #[must_use]
    pub fn as_slice(&self) -> &[Object] {
        &self.0
    }
}

impl TryFrom<Vec<Object>> for Objects {
    type Error = GatherError;

    /// Puts keys into the file's order.
    fn try_from(mut objects: Vec<Object>) -> Result<Self, GatherError> {
        if objects.len() > Self::MAX_COUNT {
            return Err(GatherError::TooMany);
        }
        objects.sort_by_key(|object| object.entry.id);
        if !objects.is_sorted_by(|one, next| one.entry.id < next.entry.id) {
            return Err(GatherError::Twice);
        }
        let objects = Self(objects);
        if objects.to_file().len() > Self::MAX_FILE {
            return Err(GatherError::TooMany);
        }
        Ok(objects)
    }
}

impl From<DecodeError> for ObjectsError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl std::fmt::Display for ObjectsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotObjects => f.write_str("no public objects file: have the agent write it again"),
            Self::Version(version) => write!(
                f,
                "a public objects file of version {version}, and version {VERSION} is known: install agent and module of one release"
            ),
            Self::TooLong => write!(f, "a public objects file above {} bytes", Objects::MAX_FILE),
            Self::Body(error) => write!(
                f,
                "a damaged public objects file, {error}: have the agent write it again"
            ),
        }
    }
}

impl std::error::Error for ObjectsError {}

impl std::fmt::Display for GatherError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => write!(
                f,
                "a public objects file holds {} keys and {} bytes: spread the certificates over more clients",
                Objects::MAX_COUNT,
                Objects::MAX_FILE
            ),
            Self::Twice => f.write_str("a key comes twice in a public objects file: give it once"),
        }
    }
}

impl std::error::Error for GatherError {}

/// Tells what the file is, to people too. It ends with a zero, so no text file begins so.
const MAGIC: &[u8] = b"enclave-tls objects\0";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Certificate, KeyId, KeyType, Name, Spki, State, Usage};

    fn object(id: u8, chain_bytes: usize) -> Object {
        let certificates = vec![Certificate::try_from(vec![id; 8_000]).unwrap(); chain_bytes / 8_000];
        let entry = Entry {
            id: KeyId([id; 32]),
            name: Name::try_from("www").unwrap(),
            generation: 1,
            key_type: KeyType::P256,
            usage: Usage::Tls,
            state: State::Live,
            spki: Spki::try_from(vec![id; 91]).unwrap(),
        };
        Object {
            entry,
            chain: Chain::try_from(certificates).unwrap(),
        }
    }

    #[test]
    fn one_set_of_keys_has_one_file() {
        let gather = |ids: &[u8]| Objects::try_from(ids.iter().map(|id| object(*id, 0)).collect::<Vec<_>>());
        let objects = gather(&[3, 1, 2]).unwrap();
        assert_eq!(objects, gather(&[2, 3, 1]).unwrap());
        assert_eq!(Objects::parse(&objects.to_file()), Ok(objects));
        assert_eq!(gather(&[1, 2, 1]), Err(GatherError::Twice));
        assert_eq!(Objects::parse(&Objects::default().to_file()), Ok(Objects::default()));
    }

    #[test]
    fn another_order_is_refused() {
        for ids in [[2, 1], [1, 1]] {
            let file = Objects(ids.map(|id| object(id, 0)).to_vec()).to_file();
            assert_eq!(Objects::parse(&file), Err(DecodeError::NotCanonical.into()));
        }
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let many = vec![object(1, 0); Objects::MAX_COUNT + 1];
        assert_eq!(Objects::try_from(many.clone()), Err(GatherError::TooMany));
        assert_eq!(
            Objects::parse(&Objects(many).to_file()),
            Err(DecodeError::TooLong.into())
        );
        let mut large = vec![object(1, 48_000); 1_400];
        for (number, object) in (0u16..).zip(&mut large) {
            object.entry.id.0[..2].copy_from_slice(&number.to_be_bytes());
        }
        assert_eq!(Objects::try_from(large.clone()), Err(GatherError::TooMany));
        assert_eq!(Objects::parse(&Objects(large).to_file()), Err(ObjectsError::TooLong));
    }

    #[test]
    fn another_file_and_another_version_are_told_apart() {
        let file = Objects::default().to_file();
        assert_eq!(Objects::parse(b""), Err(ObjectsError::NotObjects));
        assert_eq!(Objects::parse(&file[1..]), Err(ObjectsError::NotObjects));
        assert_eq!(Objects::parse(MAGIC), Err(DecodeError::Truncated.into()));
        let mut other = file.clone();
        other[MAGIC.len()] = 2;
        assert_eq!(Objects::parse(&other), Err(ObjectsError::Version(2)));
        assert_eq!(
            Objects::parse(&[file, vec![0]].concat()),
            Err(DecodeError::Trailing.into())
        );
    }
}
