//! What the agent itself knows: its egress, its AWS credentials, the enclave's log, and what the service has not been given yet.

use enclave_wire::control::ControlError;
use enclave_wire::log::Text;
use enclave_wire::{Decode, DecodeError, DnsName, Encode, Name, Reader, Writer};

/// The parent's side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parent {
    /// With `--egress`.
    pub egress: Option<Egress>,
    /// With `--aws`.
    pub aws: Option<Aws>,
    /// With `--logs`.
    pub logs: Option<Logs>,
    /// What is in the replay directory, comes through AWS, and is not in the service.
    pub waiting: Vec<Waiting>,
}

/// What went through the egress since the agent started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Egress {
    /// The allow-list, in its order.
    pub hosts: Vec<Host>,
    /// Hosts that were asked for and are not on it: the first of them.
    pub strangers: Vec<Stranger>,
    /// Requests for others still.
    pub more_strangers: u64,
    /// What did not begin with a request.
    pub malformed: u64,
    /// Connections that found no place even to be refused in.
    pub dropped: u64,
}

/// A host of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub host: DnsName,
    pub port: u16,
    /// Connections now.
    pub open: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes to the host.
    pub up: u64,
    /// Bytes from it.
    pub down: u64,
    /// Refused: no address that may be used, or no answer.
    pub unreachable: u64,
    /// Refused: too many connections.
    pub busy: u64,
    /// Closed: what came first was no ClientHello.
    pub not_tls: u64,
    /// Closed: a ClientHello for another name, or for none.
    pub other_name: u64,
}

/// A host that is not on the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub host: DnsName,
    pub port: u16,
    pub refused: u64,
}

/// How it stands with the service's AWS credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aws {
    /// Whether there are some.
    pub loaded: bool,
    /// When they end, in seconds since 1970, UTC; none: not known.
    pub expires: Option<i64>,
    /// How often the service took some.
    pub installed: u64,
    /// Why the last attempt failed, if it did.
    pub failure: Option<Text<4096>>,
}

/// What came of the enclave's log since the agent started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logs {
    /// Records that were printed.
    pub records: u64,
    /// Records that were not: the enclave dropped them, a connection lost them, or there were too many to print.
    pub dropped: u64,
    /// Connections that were closed, for what came was no record.
    pub malformed: u64,
    /// The last record of level error. The last of a boot is one, and says why that ended.
    pub last_error: Option<Text<4096>>,
}

/// A name's sealed state, or a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub name: Name,
    pub kind: Kind,
    pub standing: Standing,
}

/// How a key comes through AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    State,
    Bundle,
}

/// Whether it will be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is its turn soon, or now.
    Queued,
    /// It was refused for a reason that may pass, and is tried again.
    Later(ControlError),
    /// It was refused.
    Refused(ControlError),
    /// Its file cannot be used; the log says why.
    Unreadable,
}

impl Encode for Parent {
    fn encode(&self, writer: &mut Writer) {
        self.egress.encode(writer);
        self.aws.encode(writer);
        self.logs.encode(writer);
        writer.list(self.waiting.get(..MAX_WAITING).unwrap_or(&self.waiting));
    }
}

impl Decode for Parent {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            egress: Option::decode(reader)?,
            aws: Option::decode(reader)?,
            logs: Option::decode(reader)?,
            waiting: reader.list(MAX_WAITING)?,
        })
    }
}

/// Both ways, the fields in their order.
macro_rules! fields {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl Encode for $type {
            fn encode(&self, writer: &mut Writer) {
                $(self.$field.encode(writer);)*
            }
        }

        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Decode::decode(reader)?),* })
            }
        }
    )*};
}
fields! {
    Host { host, port, open, connections, up, down, unreachable, busy, not_tls, other_name }
    Stranger { host, port, refused }
    Logs { records, dropped, malformed, last_error }
    Waiting { name, kind, standing }
}

impl Encode for Egress {
    fn encode(&self, writer: &mut Writer) {
        writer.list(self.hosts.get(..MAX_HOSTS).unwrap_or(&self.hosts));
        writer.list(self.strangers.get(..MAX_HOSTS).unwrap_or(&self.strangers));
        [self.more_strangers, self.malformed, self.dropped]
            .iter()
            .for_each(|count| count.encode(writer));
    }
}

impl Decode for Egress {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            hosts: reader.list(MAX_HOSTS)?,
            strangers: reader.list(MAX_HOSTS)?,
            more_strangers: u64::decode(reader)?,
            malformed: u64::decode(reader)?,
            dropped: u64::decode(reader)?,
        })
    }
}

impl Encode for Aws {
    fn encode(&self, writer: &mut Writer) {
        super::put_bool(writer, self.loaded);
        self.expires.encode(writer);
        self.installed.encode(writer);
        self.failure.encode(writer);
    }
}

impl Decode for Aws {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            loaded: super::get_bool(reader)?,
            expires: Option::decode(reader)?,
            installed: u64::decode(reader)?,
            failure: Option::decode(reader)?,
        })
    }
}

impl Encode for Kind {
    fn encode(&self, writer: &mut Writer) {
        super::put_bool(writer, *self == Self::Bundle);
    }
}

impl Decode for Kind {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(if super::get_bool(reader)? {
            Self::Bundle
        } else {
            Self::State
        })
    }
}

impl Encode for Standing {
    fn encode(&self, writer: &mut Writer) {
        let (tag, why) = match self {
            Self::Queued => (0, None),
            Self::Later(why) => (1, Some(why)),
            Self::Refused(why) => (2, Some(why)),
            Self::Unreadable => (3, None),
        };
        writer.put(&[tag]);
        if let Some(why) = why {
            why.encode(writer);
        }
    }
}

impl Decode for Standing {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(Self::Queued),
            1 => ControlError::decode(reader).map(Self::Later),
            2 => ControlError::decode(reader).map(Self::Refused),
            3 => Ok(Self::Unreadable),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

/// More than anybody lists by hand.
const MAX_HOSTS: usize = 1_000;
/// As many names as the service holds keys. Each has at most 70 bytes.
const MAX_WAITING: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read_as_it_was_written() {
        let host = Host {
            host: "kms.us-east-1.amazonaws.com".parse().unwrap(),
            port: 443,
            open: 1,
            connections: 2,
            up: 3,
            down: 4,
            unreachable: 5,
            busy: 6,
            not_tls: 7,
            other_name: 8,
        };
        let stranger = Stranger {
            host: "example.com".parse().unwrap(),
            port: 80,
            refused: 9,
        };
        let standings = [
            Standing::Queued,
            Standing::Later(ControlError::AwsUnavailable),
            Standing::Refused(ControlError::AwsDenied),
            Standing::Unreadable,
        ];
        let waiting = standings.map(|standing| Waiting {
            name: "www".parse().unwrap(),
            kind: if standing == Standing::Queued {
                Kind::State
            } else {
                Kind::Bundle
            },
            standing,
        });
        let parent = Parent {
            egress: Some(Egress {
                hosts: vec![host; 2],
                strangers: vec![stranger],
                more_strangers: 10,
                malformed: 11,
                dropped: 12,
            }),
            aws: Some(Aws {
                loaded: true,
                expires: Some(-1),
                installed: 13,
                failure: Some(Text::lossy("IMDS")),
            }),
            logs: Some(Logs {
                records: 14,
                dropped: 15,
                malformed: 16,
                last_error: Some(Text::lossy("init: the service ended with code 1")),
            }),
            waiting: waiting.to_vec(),
        };
        for parent in [parent, Parent::default()] {
            assert_eq!(Parent::decode_all(&parent.to_bytes()), Ok(parent));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_has_one_form(bytes in proptest::collection::vec(0u8..4, 0..80)) {
            if let Ok(parent) = Parent::decode_all(&bytes) {
                proptest::prop_assert_eq!(parent.to_bytes(), bytes);
            }
        }
    }
}
