//! What the commands and the agent say to each other on the admin socket.
//!
//! Frames are those of the control plane, with operations of their own and a limit of [`LIMIT`]; one question and one answer per
//! connection. Only processes of the same version of this program speak it, so it needs no compatibility.
//!
//! | byte | question | body |
//! |---|---|---|
//! | 0x70 | forward | keep `bool`, `bytes32`: a whole frame of the control plane, for the enclave |
//! | 0x71 | records | nothing |
//! | 0x72 | parent | nothing |
//! | 0x73 | agent | `bytes32`: JSON, [`Ask`] |
//!
//! | byte | answer | body |
//! |---|---|---|
//! | 0xf0 | outcome | record (0 nothing to record; 1 recorded; 3 failed, and `text<4096>`: why), `bytes32`: the enclave's frame |
//! | 0xf1 | records | directory `bool`, `list<entry, 24000>`; entry = key id, name, generation u32, usage, origin, kept `bool` |
//! | 0xf2 | parent | [`Parent`] |
//! | 0xf3 | agent | `bytes32`: JSON, [`Told`] |
//! | 0xff | unable | one byte of [`Unable`] |
//!
//! `keep` asks that an imported key be copied into the replay directory; for other requests it says nothing.

mod parent;

use enclave_wire::control::{Origin, Reply, Request};
use enclave_wire::frame::{ERROR, Header, limit, write};
use enclave_wire::log::Text;
use enclave_wire::{Decode, DecodeError, Encode, KeyId, Name, Reader, Usage, Writer};
use zeroize::Zeroizing;

use crate::frames::Frame;
use crate::report::{Ask, Told};
pub use parent::{Aws, Egress, Host, Kind, Logs, Parent, Standing, Stranger, Waiting};

/// What a command asks of the agent. It has no `Debug`: it may carry a private key.
pub enum Question {
    /// Pass this to the enclave.
    Forward { keep: bool, request: Box<Request> },
    /// What does the replay directory hold?
    Records,
    /// What went between it and the enclave?
    Parent,
    /// What the agent does by itself.
    Agent(Ask),
}

/// What the agent answers.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// What the enclave answered, and what became of it on disk.
    Outcome { record: Record, reply: Reply },
    /// What the replay directory holds.
    Records(Records),
    /// What went between it and the enclave.
    Parent(Parent),
    /// What the agent does by itself.
    Agent(Told),
    /// There is no answer of the enclave.
    Unable(Unable),
}

/// What became of a request in the replay directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// It is not of a kind that is recorded.
    Nothing,
    /// It is recorded.
    Done,
    /// It could not be written, so a restart will undo it.
    Failed(Text<4096>),
}

/// What the replay directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// Whether there is one.
    pub directory: bool,
    /// The keys that it names.
    pub entries: Vec<Entry>,
}

/// A key that the replay directory names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: KeyId,
    pub name: Name,
    pub generation: u32,
    pub usage: Usage,
    pub origin: Origin,
    /// Whether it is imported again after a restart; otherwise only its name is known.
    pub kept: bool,
}

/// Why there is no answer of the enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// The question was not understood.
    Malformed,
    /// The enclave is not connected.
    Away,
    /// The enclave is connected, and the replay is not finished.
    Replaying,
    /// The enclave, or its own rules, refused the replay directory's policy, so nothing else is possible.
    PolicyRefused,
    /// Other commands were first for as long as this one may wait.
    Busy,
    /// The enclave did not answer in time; it may have done what was asked.
    Deadline,
    /// The connection ended before the answer; the enclave may have done what was asked.
    Cut,
}

impl Unable {
    const ALL: [(Self, u8); 7] = [
        (Self::Malformed, 1),
        (Self::Away, 2),
        (Self::Replaying, 3),
        (Self::PolicyRefused, 4),
        (Self::Busy, 5),
        (Self::Deadline, 6),
        (Self::Cut, 7),
    ];
}

impl Question {
    /// Writes the whole frame.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Forward { keep, request } => write(writer, FORWARD, 0, |body| {
                put_bool(body, *keep);
                let mut inner = Writer::new();
                request.write(&mut inner, 0);
                body.bytes32(&Zeroizing::new(inner.into_bytes()));
            }),
            Self::Records => write(writer, RECORDS, 0, |_| ()),
            Self::Parent => write(writer, PARENT, 0, |_| ()),
            Self::Agent(ask) => write(writer, AGENT, 0, |body| put_json(body, ask)),
        }
    }

    /// Reads a frame.
    pub fn read(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&frame.body);
        let question = match frame.header.operation {
            FORWARD => {
                let keep = get_bool(&mut reader)?;
                let (header, body) = inner(&mut reader)?;
                let request = Request::decode(&header, body).map_err(|_| DecodeError::Invalid)?;
                Self::Forward {
                    keep,
                    request: Box::new(request),
                }
            }
            RECORDS => Self::Records,
            PARENT => Self::Parent,
            AGENT => Self::Agent(get_json(&mut reader)?),
            _ => return Err(DecodeError::UnknownTag),
        };
        reader.finish()?;
        Ok(question)
    }
}

impl Answer {
    /// Writes the whole frame.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Outcome { record, reply } => write(writer, OUTCOME, 0, |body| {
                record.encode(body);
                let mut inner = Writer::new();
                reply.write(&mut inner, 0);
                body.bytes32(&inner.into_bytes());
            }),
            Self::Records(records) => write(writer, RECORDS | REPLY, 0, |body| {
                put_bool(body, records.directory);
                body.list(records.entries.get(..MAX_ENTRIES).unwrap_or(&records.entries));
            }),
            Self::Parent(parent) => write(writer, PARENT | REPLY, 0, |body| parent.encode(body)),
            Self::Agent(told) => write(writer, AGENT | REPLY, 0, |body| put_json(body, told)),
            Self::Unable(why) => write(writer, ERROR, 0, |body| {
                let byte = Unable::ALL
                    .iter()
                    .find(|(unable, _)| unable == why)
                    .map_or(0, |(_, byte)| *byte);
                byte.encode(body);
            }),
        }
    }

    /// Reads a frame.
    pub fn read(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&frame.body);
        let answer = match frame.header.operation {
            OUTCOME => {
                let record = Record::decode(&mut reader)?;
                let (header, body) = inner(&mut reader)?;
                let reply = Reply::decode(&header, body).map_err(|_| DecodeError::Invalid)?;
                Self::Outcome { record, reply }
            }
            RECORDS_ANSWER => Self::Records(Records {
                directory: get_bool(&mut reader)?,
                entries: reader.list(MAX_ENTRIES)?,
            }),
            PARENT_ANSWER => Self::Parent(Parent::decode(&mut reader)?),
            AGENT_ANSWER => Self::Agent(get_json(&mut reader)?),
            ERROR => {
                let byte = u8::decode(&mut reader)?;
                let known = Unable::ALL.iter().find(|(_, code)| *code == byte);
                Self::Unable(known.ok_or(DecodeError::UnknownTag)?.0)
            }
            _ => return Err(DecodeError::UnknownTag),
        };
        reader.finish()?;
        Ok(answer)
    }
}

impl Encode for Record {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Nothing => writer.put(&[0]),
            Self::Done => writer.put(&[1]),
            Self::Failed(why) => {
                writer.put(&[3]);
                why.encode(writer);
            }
        }
    }
}

impl Decode for Record {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(Self::Nothing),
            1 => Ok(Self::Done),
            3 => Ok(Self::Failed(Text::decode(reader)?)),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl Encode for Entry {
    fn encode(&self, writer: &mut Writer) {
        self.id.encode(writer);
        self.name.encode(writer);
        self.generation.encode(writer);
        self.usage.encode(writer);
        self.origin.encode(writer);
        put_bool(writer, self.kept);
    }
}

impl Decode for Entry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: KeyId::decode(reader)?,
            name: Name::decode(reader)?,
            generation: u32::decode(reader)?,
            usage: Usage::decode(reader)?,
            origin: Origin::decode(reader)?,
            kept: get_bool(reader)?,
        })
    }
}

/// A whole frame of the control plane inside another's body.
fn inner<'a>(reader: &mut Reader<'a>) -> Result<(Header, &'a [u8]), DecodeError> {
    let frame = reader.bytes32(MAX_INNER)?;
    let (head, body) = frame.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let header = Header::decode(head, limit::CONTROL).map_err(|_| DecodeError::Invalid)?;
    if header.body_len() == body.len() {
        Ok((header, body))
    } else {
        Err(DecodeError::Truncated)
    }
}

/// JSON of these types is always written; if it were not, the reader would refuse nothing at all.
fn put_json(writer: &mut Writer, value: &impl serde::Serialize) {
    writer.bytes32(&serde_json::to_vec(value).unwrap_or_default());
}

fn get_json<T: serde::de::DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T, DecodeError> {
    serde_json::from_slice(reader.bytes32(MAX_JSON)?).map_err(|_| DecodeError::Invalid)
}

fn put_bool(writer: &mut Writer, value: bool) {
    u8::from(value).encode(writer);
}

fn get_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match u8::decode(reader)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::UnknownTag),
    }
}

const FORWARD: u8 = 0x70;
const RECORDS: u8 = 0x71;
const PARENT: u8 = 0x72;
const AGENT: u8 = 0x73;
const REPLY: u8 = enclave_wire::frame::REPLY;
const OUTCOME: u8 = FORWARD | REPLY;
const RECORDS_ANSWER: u8 = RECORDS | REPLY;
const PARENT_ANSWER: u8 = PARENT | REPLY;
const AGENT_ANSWER: u8 = AGENT | REPLY;
/// A report on 1,000 certificates of several generations each has about 1 MB.
const MAX_JSON: usize = LIMIT - 64;
/// A frame of the control plane, its length field included.
const MAX_INNER: usize = limit::CONTROL + 4;
/// The service holds 20,000 keys; some that a restart lost may be named beside them. An entry has at most 106 bytes.
const MAX_ENTRIES: usize = 24_000;
/// Any answer or question: a frame of the control plane and a reason of 4 KiB, or the longest list of entries.
pub const LIMIT: usize = 2_621_440;

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::control::{ControlError, Import};
    use enclave_wire::frame::HEADER_LEN;

    fn frame(bytes: Vec<u8>) -> Frame {
        let header = Header::decode(bytes.first_chunk().unwrap(), LIMIT).unwrap();
        assert_eq!(header.body_len(), bytes.len() - HEADER_LEN);
        Frame {
            header,
            body: Zeroizing::new(bytes[HEADER_LEN..].to_vec()),
        }
    }

    fn written(write: impl FnOnce(&mut Writer)) -> Frame {
        let mut writer = Writer::new();
        write(&mut writer);
        frame(writer.into_bytes())
    }

    fn entry(kept: bool) -> Entry {
        Entry {
            id: KeyId([7; 32]),
            name: "a".repeat(64).parse().unwrap(),
            generation: 3,
            usage: Usage::Digest,
            origin: Origin::Born,
            kept,
        }
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let records = Records {
            directory: true,
            entries: vec![entry(true); MAX_ENTRIES],
        };
        let outcome = |record| Answer::Outcome {
            record,
            reply: Reply::Error(ControlError::KeyExists),
        };
        let mut answers = vec![
            outcome(Record::Nothing),
            outcome(Record::Done),
            outcome(Record::Failed(Text::lossy("no space"))),
            Answer::Records(records),
            Answer::Records(Records::default()),
            Answer::Parent(Parent::default()),
        ];
        answers.extend(Unable::ALL.map(|(why, _)| Answer::Unable(why)));
        for answer in answers {
            assert_eq!(Answer::read(&written(|w| answer.write(w))).as_ref(), Ok(&answer));
        }
    }

    #[test]
    fn a_forwarded_import_arrives_whole_and_nothing_may_follow_it() {
        let question = Question::Forward {
            keep: true,
            request: Box::new(Request::Import(Import {
                name: "www".parse().unwrap(),
                usage: Usage::Tls,
                dns_names: vec![].try_into().unwrap(),
                clients: vec![].try_into().unwrap(),
                sealed: None,
                pkcs8: vec![9; 8192].try_into().ok().unwrap(),
            })),
        };
        let mut frame = written(|w| question.write(w));
        let Ok(Question::Forward { keep: true, request }) = Question::read(&frame) else {
            panic!("another question");
        };
        let Request::Import(import) = *request else {
            panic!("another request");
        };
        assert_eq!(import.pkcs8.as_bytes(), [9; 8192]);
        frame.body.push(0);
        assert_eq!(Question::read(&frame).err(), Some(DecodeError::Trailing));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic_and_what_they_accept_has_one_form(
            operation in proptest::sample::select(vec![FORWARD, RECORDS, PARENT, OUTCOME, RECORDS_ANSWER, PARENT_ANSWER, ERROR, 0]),
            body in proptest::collection::vec(0u8..20, 0..120),
        ) {
            let sent = frame(enclave_wire::frame::encode_with(operation, 0, |writer| writer.put(&body)).into_bytes());
            drop(Question::read(&sent));
            if let Ok(answer) = Answer::read(&sent) {
                proptest::prop_assert_eq!(Answer::read(&written(|w| answer.write(w))), Ok(answer));
            }
        }
    }

    #[test]
    fn an_inner_frame_that_is_cut_or_too_long_is_refused() {
        let whole = written(|w| {
            Question::Forward {
                keep: false,
                request: Box::new(Request::List(0)),
            }
            .write(w);
        });
        for (at, value, error) in [
            (0, 2, DecodeError::UnknownTag),  // keep is neither 0 nor 1
            (4, 9, DecodeError::Truncated),   // the inner frame is shorter than a header
            (8, 13, DecodeError::Truncated),  // the inner length is not that of its bytes
            (9, 2, DecodeError::Invalid),     // another version
            (10, 0x55, DecodeError::Invalid), // no such operation
        ] {
            let mut frame = Frame {
                header: whole.header,
                body: whole.body.clone(),
            };
            frame.body[at] = value;
            assert_eq!(Question::read(&frame).err(), Some(error), "byte {at}");
        }
    }
}
