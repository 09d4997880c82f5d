//! The signing plane: what a module may ask, and every answer there is.

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, byte_enum, message};
use crate::credential::{Challenge, Hello};
use crate::frame::{ERROR, FrameError, Header, REPLY, write};
use crate::identity::{BootId, Chain, KeyId, KeyType, MAX_NAME, Name, Spki, State, Usage};
use crate::mechanism::{MAX_INPUT, MAX_SIGNATURE, Mechanism};

/// A request. The input of a signature is borrowed from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens the handshake.
    Hello(Hello),
    /// The client's proof: ends the handshake.
    Authenticate([u8; 32]),
    /// The keys that the credential sees, a page of them.
    List(List),
    /// The key of this id.
    FindById(KeyId),
    /// The keys of this label, a page of them.
    FindByLabel(FindByLabel),
    /// A key's certificates.
    Chain(KeyId),
    /// A signature.
    Sign(Sign<'a>),
    /// Nothing but an answer.
    Ping,
}

impl<'a> Request<'a> {
    /// Reads the body of the request that `header` announces.
    pub fn decode(header: &Header, body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let request = match header.operation {
            operation::HELLO => Self::Hello(Hello::decode(&mut reader)?),
            operation::AUTHENTICATE => Self::Authenticate(reader.array()?),
            operation::LIST => Self::List(List::decode(&mut reader)?),
            operation::FIND_BY_ID => Self::FindById(KeyId::decode(&mut reader)?),
            operation::FIND_BY_LABEL => Self::FindByLabel(FindByLabel::decode(&mut reader)?),
            operation::CHAIN => Self::Chain(KeyId::decode(&mut reader)?),
            operation::SIGN => Self::Sign(Sign::decode(&mut reader)?),
            operation::PING => Self::Ping,
            _ => return Err(DecodeError::UnknownTag.into()),
        };
        reader.finish()?;
        Ok(request)
    }

    /// Appends the whole frame of this request.
    pub fn write(&self, writer: &mut Writer, request_id: u64) {
        write(writer, self.operation(), request_id, |body| match self {
            Self::Hello(hello) => hello.encode(body),
            Self::Authenticate(proof) => body.put(proof),
            Self::List(list) => list.encode(body),
            Self::FindById(id) | Self::Chain(id) => id.encode(body),
            Self::FindByLabel(find) => find.encode(body),
            Self::Sign(sign) => sign.encode(body),
            Self::Ping => (),
        });
    }

    /// The operation of this request.
    #[must_use]
    pub fn operation(&self) -> u8 {
        match self {
            Self::Hello(_) => operation::HELLO,
            Self::Authenticate(_) => operation::AUTHENTICATE,
            Self::List(_) => operation::LIST,
            Self::FindById(_) => operation::FIND_BY_ID,
            Self::FindByLabel(_) => operation::FIND_BY_LABEL,
            Self::Chain(_) => operation::CHAIN,
            Self::Sign(_) => operation::SIGN,
            Self::Ping => operation::PING,
        }
    }
}

/// A request for a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign<'a> {
    /// The key.
    pub key: KeyId,
    /// How.
    pub mechanism: Mechanism,
    /// Over what: at most [`MAX_INPUT`] bytes.
    pub input: &'a [u8],
}

impl<'a> Sign<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let key = KeyId::decode(reader)?;
        let mechanism = Mechanism::decode(reader)?;
        Ok(Self {
            key,
            mechanism,
            input: reader.bytes16(MAX_INPUT)?,
        })
    }

    fn encode(&self, writer: &mut Writer) {
        self.key.encode(writer);
        self.mechanism.encode(writer);
        writer.bytes16(self.input);
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Hello`].
    Challenge(Challenge),
    /// To [`Request::Authenticate`].
    Authenticated(BootId),
    /// To [`Request::List`].
    Listing(Listing),
    /// To [`Request::FindById`]: one entry, or none.
    Found(Entries),
    /// To [`Request::FindByLabel`].
    Labelled(Listing),
    /// To [`Request::Chain`]: empty where none is installed.
    Chain(Chain),
    /// To [`Request::Sign`].
    Signature(Signature),
    /// To [`Request::Ping`].
    Pong(BootId),
    /// To any request.
    Error(SignError),
}

impl Reply {
    /// Reads the body of the reply that `header` announces.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, FrameError> {
        if header.operation == ERROR {
            return Ok(Self::Error(SignError::decode_all(body)?));
        }
        if !header.is_reply() {
            return Err(DecodeError::UnknownTag.into());
        }
        Ok(match header.operation ^ REPLY {
            operation::HELLO => Self::Challenge(Challenge::decode_all(body)?),
            operation::AUTHENTICATE => Self::Authenticated(BootId::decode_all(body)?),
            operation::LIST => Self::Listing(Listing::decode_all(body)?),
            operation::FIND_BY_ID => Self::Found(Entries::decode_all(body)?),
            operation::FIND_BY_LABEL => Self::Labelled(Listing::decode_all(body)?),
            operation::CHAIN => Self::Chain(Chain::decode_all(body)?),
            operation::SIGN => Self::Signature(Signature::decode_all(body)?),
            operation::PING => Self::Pong(BootId::decode_all(body)?),
            _ => return Err(DecodeError::UnknownTag.into()),
        })
    }

    /// Appends the whole frame of this reply.
    pub fn write(&self, writer: &mut Writer, request_id: u64) {
        write(writer, self.operation(), request_id, |body| match self {
            Self::Challenge(challenge) => challenge.encode(body),
            Self::Authenticated(boot) | Self::Pong(boot) => boot.encode(body),
            Self::Listing(listing) | Self::Labelled(listing) => listing.encode(body),
            Self::Found(entries) => entries.encode(body),
            Self::Chain(chain) => chain.encode(body),
            Self::Signature(signature) => signature.encode(body),
            Self::Error(error) => error.encode(body),
        });
    }

    fn operation(&self) -> u8 {
        match self {
            Self::Challenge(_) => operation::HELLO | REPLY,
            Self::Authenticated(_) => operation::AUTHENTICATE | REPLY,
            Self::Listing(_) => operation::LIST | REPLY,
            Self::Found(_) => operation::FIND_BY_ID | REPLY,
            Self::Labelled(_) => operation::FIND_BY_LABEL | REPLY,
            Self::Chain(_) => operation::CHAIN | REPLY,
            Self::Signature(_) => operation::SIGN | REPLY,
            Self::Pong(_) => operation::PING | REPLY,
            Self::Error(_) => ERROR,
        }
    }
}

byte_enum! {
    /// Every error that the signing plane can answer. None says more than its caller may know.
    pub enum SignError {
        /// Not this protocol, or out of order. The connection ends.
        Malformed = 0x01,
        /// Another version of the protocol. The connection ends.
        Version = 0x02,
        /// The proof is wrong or the credential unknown. The connection ends.
        AuthenticationFailed = 0x03,
        /// Absent, retired, or another credential's key.
        NoSuchKey = 0x04,
        /// The key's usage or type refuses this mechanism or this message.
        UsageRefused = 0x05,
        /// The mechanism takes no input of this length.
        InputLength = 0x06,
        /// The listing changed since its first page: begin again.
        ListChanged = 0x07,
        /// Too much at once: try again, with jitter.
        Busy = 0x08,
        /// The signature could not be made, or failed its check.
        Failed = 0x09,
    }
}

message! {
    /// Asks for a page of the listing.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct List {
        /// The version that the client holds; 0 for none.
        known_version: u64,
        /// Where the page begins.
        cursor: u32,
    }
}

message! {
    /// Asks for the keys of a label.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FindByLabel {
        /// The label.
        label: Label,
        /// Where the page begins.
        cursor: u32,
    }
}

/// A page of what a credential sees, or the word that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The version that the client holds is current.
    Unchanged,
    /// A page.
    Page(Page),
}

impl Decode for Listing {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(Self::Unchanged),
            1 => Ok(Self::Page(Page::decode(reader)?)),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl Encode for Listing {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Unchanged => writer.put(&[0]),
            Self::Page(page) => {
                writer.put(&[1]);
                page.encode(writer);
            }
        }
    }
}

message! {
    /// A page of a listing.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Page {
        /// Counts the changes of what the credential sees, from 1.
        version: u64,
        /// Where the next page begins, if there is one.
        next: Option<u32>,
        /// The keys.
        entries: Entries,
    }
}

/// The keys of one page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries(pub Vec<Entry>);

impl Decode for Entries {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.list(MAX_ENTRIES)?))
    }
}

impl Encode for Entries {
    fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0);
    }
}

message! {
    /// A key, as a client sees it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Entry {
        /// SHA-256 of its SPKI.
        id: KeyId,
        /// Its certificate's name.
        name: Name,
        /// Which generation of that certificate, from 1.
        generation: u32,
        /// Its type.
        key_type: KeyType,
        /// What it may sign.
        usage: Usage,
        /// Where the generation stands.
        state: State,
        /// The public key.
        spki: Spki,
    }
}

impl Entry {
    /// The label that clients see: a superseded generation says so, and can never be taken for the live one.
    #[must_use]
    pub fn label(&self) -> Label {
        Label::of(&self.name, self.state)
    }
}

/// `CKA_LABEL`: a name, and whether that generation is superseded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// The label of a generation in this state.
    #[must_use]
    pub fn of(name: &Name, state: State) -> Self {
        Self(match state {
            State::Live => name.as_str().to_owned(),
            State::Superseded => format!("{name}{SUPERSEDED}"),
        })
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Label {
    type Error = DecodeError;

    fn try_from(text: &str) -> Result<Self, DecodeError> {
        Name::try_from(text.strip_suffix(SUPERSEDED).unwrap_or(text))?;
        Ok(Self(text.to_owned()))
    }
}

impl Decode for Label {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::try_from(reader.text(MAX_LABEL)?)
    }
}

impl Encode for Label {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(self.0.as_bytes());
    }
}

/// A signature, bound to what asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that signed.
    pub key: KeyId,
    /// How.
    pub mechanism: Mechanism,
    /// The length of the input that was signed.
    pub input_len: u16,
    /// The signature: at most [`MAX_SIGNATURE`] bytes.
    pub signature: Vec<u8>,
}

impl Decode for Signature {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: KeyId::decode(reader)?,
            mechanism: Mechanism::decode(reader)?,
            input_len: u16::decode(reader)?,
            signature: reader.bytes16(MAX_SIGNATURE)?.to_vec(),
        })
    }
}

impl Encode for Signature {
    fn encode(&self, writer: &mut Writer) {
        self.key.encode(writer);
        self.mechanism.encode(writer);
        self.input_len.encode(writer);
        writer.bytes16(&self.signature);
    }
}

/// The operations, as `PROTOCOL.md` numbers them.
pub mod operation {
    /// [`Request::Hello`](super::Request::Hello).
    pub const HELLO: u8 = 0x01;
    /// [`Request::Authenticate`](super::Request::Authenticate).
    pub const AUTHENTICATE: u8 = 0x02;
    /// [`Request::List`](super::Request::List).
    pub const LIST: u8 = 0x03;
    /// [`Request::FindById`](super::Request::FindById).
    pub const FIND_BY_ID: u8 = 0x04;
    /// [`Request::FindByLabel`](super::Request::FindByLabel).
    pub const FIND_BY_LABEL: u8 = 0x05;
    /// [`Request::Chain`](super::Request::Chain).
    pub const CHAIN: u8 = 0x06;
    /// [`Request::Sign`](super::Request::Sign).
    pub const SIGN: u8 = 0x07;
    /// [`Request::Ping`](super::Request::Ping).
    pub const PING: u8 = 0x08;
}

/// More than a frame can hold, so the frame's own limit decides; it bounds what a count may claim.
const MAX_ENTRIES: usize = 4_096;
/// What a superseded generation's label ends with.
const SUPERSEDED: &str = " (superseded)";
/// A name, and [`SUPERSEDED`].
const MAX_LABEL: usize = MAX_NAME + SUPERSEDED.len();
