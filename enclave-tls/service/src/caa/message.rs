//! The two messages that a look-up of CAA records takes (RFC 1035): a question, and the answer to that question.
//!
//! Only what an answer to it can hold is read: names, whose labels must be a host's, and records of the classes and types that lead to
//! CAA records. Everything else of a message is bounded and passed over.

use enclave_wire::DnsName;

/// The question for the CAA records of a name, to a resolver that does all the work (RFC 8484: its id is 0).
pub(super) fn question(name: &DnsName) -> Vec<u8> {
    let mut message = Vec::new();
    // No id; recursion desired; one question, and one record of the fourth section.
    for number in [0, RECURSION_DESIRED, 1, 0, 0, 1] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    for label in name.as_str().split('.') {
        // A DNS name's labels have at most 63 bytes.
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&CAA.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    // EDNS (RFC 6891): the root's name, OPT, the longest answer, no flags, no options.
    message.push(0);
    for number in [OPT, MAX_ANSWER, 0, 0, 0] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    message
}

/// A CAA record (RFC 8659, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who does not know the tag must not issue.
    pub(super) critical: bool,
    /// In lower case.
    pub(super) tag: String,
    /// As it is.
    pub(super) value: Vec<u8>,
}

/// What an answer is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageError {
    /// It is no answer to this question.
    NotTheAnswer,
    /// It was cut.
    Truncated,
    /// The resolver failed: this response code.
    Failed(u8),
    /// It is no DNS message.
    Malformed,
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotTheAnswer => f.write_str("the answer is to another question"),
            Self::Truncated => f.write_str("the answer was cut"),
            Self::Failed(2) => f.write_str("the resolver failed, or does not trust what it found (SERVFAIL)"),
            Self::Failed(5) => f.write_str("the resolver refuses to look (REFUSED)"),
            Self::Failed(code) => write!(f, "the resolver answers with code {code}"),
            Self::Malformed => f.write_str("the answer is no DNS message"),
        }
    }
}

/// The CAA records of a name, from the answer to [`question`]; none where the name has none, or is none.
pub(super) fn records(answer: &[u8], name: &DnsName) -> Result<Vec<Record>, MessageError> {
    let mut reader = Reader { whole: answer, at: 0 };
    let _id = reader.number()?;
    let flags = reader.number()?;
    let [questions, answers, _authorities, _additional] =
        [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
    if flags & RESPONSE == 0 || flags & OPERATION != 0 || questions != 1 {
        return Err(MessageError::NotTheAnswer);
    }
    if reader.name()? != name.as_str() || reader.number()? != CAA || reader.number()? != INTERNET {
        return Err(MessageError::NotTheAnswer);
    }
    if flags & TRUNCATED != 0 {
        return Err(MessageError::Truncated);
    }
    match u8::try_from(flags & CODE).map_err(|_| MessageError::Malformed)? {
        // No such name: it has no records, and its parent may have some.
        NO_ERROR | NO_SUCH_NAME => {}
        code => return Err(MessageError::Failed(code)),
    }
    let answers = (0..answers).map(|_| reader.answer()).collect::<Result<Vec<_>, _>>()?;
    collected(&answers, name)
}

/// The records at the end of the aliases that lead from the name.
fn collected(answers: &[Answer], name: &DnsName) -> Result<Vec<Record>, MessageError> {
    let mut owner = name.as_str();
    // Each alias leads on once, so one that leads in a circle comes to an end too.
    for _ in answers {
        let alias = answers.iter().find_map(|answer| match &answer.data {
            Data::Alias(to) if answer.owner == owner => Some(to),
            Data::Alias(_) | Data::Caa(_) | Data::Other => None,
        });
        match alias {
            Some(to) => owner = to,
            None => break,
        }
    }
    let found = answers.iter().filter_map(|answer| match &answer.data {
        Data::Caa(record) => Some((answer.owner == owner).then(|| record.clone())),
        Data::Alias(_) | Data::Other => None,
    });
    // A record of another name was not asked for.
    found
        .collect::<Option<Vec<_>>>()
        .filter(|records| records.len() <= MAX_RECORDS)
        .ok_or(MessageError::NotTheAnswer)
}

struct Answer {
    owner: String,
    data: Data,
}

enum Data {
    Alias(String),
    Caa(Record),
    /// Signatures (RFC 4034), and the aliases of whole zones, of which a resolver makes a plain one (RFC 6672).
    Other,
}

struct Reader<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let end = self.at.checked_add(count).ok_or(MessageError::Malformed)?;
        let bytes = self.whole.get(self.at..end).ok_or(MessageError::Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, MessageError> {
        self.take(1)?.first().copied().ok_or(MessageError::Malformed)
    }

    fn number(&mut self) -> Result<u16, MessageError> {
        let bytes = self.take(2)?.try_into().map_err(|_| MessageError::Malformed)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn answer(&mut self) -> Result<Answer, MessageError> {
        let owner = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        let _time_to_live = self.take(4)?;
        let length = usize::from(self.number()?);
        let end = self.at.checked_add(length).ok_or(MessageError::Malformed)?;
        let data = match (class, kind) {
            (INTERNET, CAA) => Data::Caa(record(self.take(length)?)?),
            (INTERNET, CNAME) => Data::Alias(self.name()?),
            _ => {
                self.take(length)?;
                Data::Other
            }
        };
        if self.at != end {
            return Err(MessageError::Malformed);
        }
        Ok(Answer { owner, data })
    }

    /// A name, in lower case. What follows it is read next, also where its end stands elsewhere (RFC 1035, section 4.1.4).
    fn name(&mut self) -> Result<String, MessageError> {
        let mut labels: Vec<String> = Vec::new();
        let mut length = 0usize;
        let mut after = None;
        // A pointer must lead back, before all that was read of the name, so that following ends.
        let mut before = self.at;
        loop {
            let first = self.byte()?;
            match first {
                0 => break,
                1..=63 => {
                    let label = label(self.take(usize::from(first))?)?;
                    length = length.saturating_add(label.len()).saturating_add(1);
                    if length > MAX_NAME {
                        return Err(MessageError::Malformed);
                    }
                    labels.push(label);
                }
                192..=255 => {
                    let low = usize::from(self.byte()?);
                    let target = usize::from(first & 0x3f).saturating_mul(256).saturating_add(low);
                    if target >= before {
                        return Err(MessageError::Malformed);
                    }
                    after = after.or(Some(self.at));
                    before = target;
                    self.at = target;
                }
                64..=191 => return Err(MessageError::Malformed),
            }
        }
        self.at = after.unwrap_or(self.at);
        Ok(labels.join("."))
    }
}

/// A label of printable ASCII without a dot: aliases and signers may have underscores, say, and none is used but compared.
fn label(bytes: &[u8]) -> Result<String, MessageError> {
    let plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
    let text = plain.then(|| std::str::from_utf8(bytes).ok()).flatten();
    text.map(str::to_ascii_lowercase).ok_or(MessageError::Malformed)
}

fn record(data: &[u8]) -> Result<Record, MessageError> {
    let (flags, rest) = data.split_first().ok_or(MessageError::Malformed)?;
    let (length, rest) = rest.split_first().ok_or(MessageError::Malformed)?;
    let (tag, value) = rest
        .split_at_checked(usize::from(*length))
        .ok_or(MessageError::Malformed)?;
    let is_tag = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric);
    let tag = is_tag.then(|| std::str::from_utf8(tag).ok()).flatten();
    Ok(Record {
        critical: flags & CRITICAL != 0,
        tag: tag.ok_or(MessageError::Malformed)?.to_ascii_lowercase(),
        value: value.to_vec(),
    })
}

const CAA: u16 = 257;
const CNAME: u16 = 5;
const OPT: u16 = 41;
const INTERNET: u16 = 1;
const RESPONSE: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const CODE: u16 = 0x000f;
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;
/// The flag of a record that whoever does not understand it must not pass over.
const CRITICAL: u8 = 0x80;
/// RFC 1035, section 2.3.4.
const MAX_NAME: usize = 255;
/// The longest answer that is read. Names have a few CAA records of under 200 bytes.
pub(super) const MAX_ANSWER: u16 = 16_384;
/// More of one name say nothing that could be shown.
const MAX_RECORDS: usize = 100;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    /// An answer with these records, each of an owner, a type and its data; owners are written out.
    pub(crate) fn answer(to: &str, flags: u16, records: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = question(&name(to));
        message.truncate(message.len().saturating_sub(11));
        message.splice(2..4, (RESPONSE | flags).to_be_bytes());
        message.splice(6..8, u16::try_from(records.len()).unwrap().to_be_bytes());
        message.splice(10..12, [0, 0]);
        for (owner, kind, data) in records {
            message.extend(written(owner));
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        message
    }

    pub(crate) fn written(name: &str) -> Vec<u8> {
        let labels = name
            .split('.')
            .map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
    }

    pub(crate) fn caa(flags: u8, tag: &str, value: &str) -> Vec<u8> {
        let head = [flags, u8::try_from(tag.len()).unwrap()];
        [&head, tag.as_bytes(), value.as_bytes()].concat()
    }

    #[test]
    fn the_question_is_one_for_caa_records() {
        let expected = "0000 0100 0001 0000 0000 0001 01 61 07 6578616d706c65 00 0101 0001 00 0029 4000 0000 0000 0000";
        assert_eq!(
            question(&name("a.example")),
            hex::decode(expected.replace(' ', "")).unwrap()
        );
    }

    #[test]
    fn records_and_the_aliases_that_lead_to_them() {
        let issue = Record {
            critical: false,
            tag: "issue".to_owned(),
            value: b"ca.example".to_vec(),
        };
        let read =
            |records: &[(&str, u16, Vec<u8>)]| super::records(&answer("a.example", 0, records), &name("a.example"));
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(
            read(&[("a.example", CAA, caa(0, "issue", "ca.example"))]),
            Ok(vec![issue.clone()])
        );
        let critical = Record {
            critical: true,
            tag: "policy".to_owned(),
            value: Vec::new(),
        };
        assert_eq!(
            read(&[
                ("A.Example", CAA, caa(0x80, "Policy", "")),
                ("a.example", CAA, caa(1, "ISSUE", "ca.example")),
                ("a.example", 46, vec![0; 40]),
            ]),
            Ok(vec![critical, issue.clone()])
        );
        assert_eq!(
            read(&[
                ("b_.example", CAA, caa(0, "issue", "ca.example")),
                ("a.example", CNAME, written("c.example")),
                ("c.example", CNAME, written("b_.example")),
            ]),
            Ok(vec![issue])
        );
        let circle = [
            ("a.example", CNAME, written("b.example")),
            ("b.example", CNAME, written("a.example")),
        ];
        assert_eq!(read(&circle), Ok(Vec::new()));
    }

    #[test]
    fn no_such_name_has_no_records_and_a_failure_is_none() {
        let coded = |code| super::records(&answer("a.example", code, &[]), &name("a.example"));
        assert_eq!(coded(3), Ok(Vec::new()));
        for code in [1, 2, 4, 5, 15] {
            assert_eq!(coded(code), Err(MessageError::Failed(u8::try_from(code).unwrap())));
        }
        assert_eq!(coded(TRUNCATED), Err(MessageError::Truncated));
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let whole = answer("a.example", 0, &[]);
        let read = |message: &[u8], to: &str| super::records(message, &name(to));
        assert_eq!(read(&whole, "b.example"), Err(MessageError::NotTheAnswer));
        let question_itself = question(&name("a.example"));
        assert_eq!(read(&question_itself, "a.example"), Err(MessageError::NotTheAnswer));
        let with = |at: usize, byte: u8| {
            let mut message = whole.clone();
            message[at] = byte;
            read(&message, "a.example")
        };
        assert_eq!(with(2, 0xc0), Err(MessageError::NotTheAnswer), "another operation");
        assert_eq!(with(5, 0), Err(MessageError::NotTheAnswer), "no question");
        assert_eq!(with(5, 2), Err(MessageError::NotTheAnswer), "two questions");
        assert_eq!(
            with(whole.len() - 4, 0),
            Err(MessageError::NotTheAnswer),
            "another type"
        );
        assert_eq!(
            with(whole.len() - 1, 3),
            Err(MessageError::NotTheAnswer),
            "another class"
        );
        let others = answer("a.example", 0, &[("b.example", CAA, caa(0, "issue", ";"))]);
        assert_eq!(read(&others, "a.example"), Err(MessageError::NotTheAnswer));
        let many = vec![("a.example", CAA, caa(0, "issue", ";")); 101];
        let many = answer("a.example", 0, &many);
        assert_eq!(read(&many, "a.example"), Err(MessageError::NotTheAnswer));
    }

    /// Names that end elsewhere in the message: back, and never forward or in a circle.
    #[test]
    fn pointers_lead_back_only() {
        let data = caa(0, "issue", "ca.example");
        let pointed = |pointer: [u8; 2]| {
            let mut message = answer("a.example", 0, &[("x", CAA, data.clone())]);
            let at = message.len() - data.len() - 10 - 3;
            message.splice(at..at + 3, pointer);
            super::records(&message, &name("a.example"))
        };
        assert_eq!(pointed([0xc0, 12]).map(|records| records.len()), Ok(1));
        // Itself, what follows it, beyond the message, the flags, and a label of another kind.
        for pointer in [[0xc0, 27], [0xc0, 40], [0xff, 0xff], [0x40, 12], [0x80, 12]] {
            assert_eq!(pointed(pointer), Err(MessageError::Malformed), "{pointer:?}");
        }
        assert_eq!(pointed([0xc0, 14]), Err(MessageError::NotTheAnswer), "another name");
    }

    #[test]
    fn what_is_no_caa_record_is_refused() {
        for data in [
            vec![],
            vec![0],
            vec![0, 0],
            vec![0, 9, b'i'],
            caa(0, "is-sue", "x"),
            caa(0, "\u{e9}", "x"),
        ] {
            let message = answer("a.example", 0, &[("a.example", CAA, data.clone())]);
            assert_eq!(
                super::records(&message, &name("a.example")),
                Err(MessageError::Malformed),
                "{data:?}"
            );
        }
        let beyond = answer(
            "a.example",
            0,
            &[("a.example", CNAME, [written("b.example"), vec![0]].concat())],
        );
        assert_eq!(
            super::records(&beyond, &name("a.example")),
            Err(MessageError::Malformed)
        );
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_refused() {
        let whole = answer("a.example", 0, &[("a.example", CAA, caa(0, "issue", "ca.example"))]);
        for length in 0..whole.len() {
            assert!(
                super::records(&whole[..length], &name("a.example")).is_err(),
                "{length}"
            );
        }
    }

    proptest! {
        /// threat_49: whatever a resolver, or who sits before it, answers.
        #[test]
        fn threat_49_no_answer_panics(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut: prop::sample::Index, random in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = answer("a.example", 0, &[
                ("a.example", CNAME, written("b.example")), ("b.example", CAA, caa(0, "issue", "ca.example")),
            ]);
            for (at, byte) in edits {
                let at = at.index(message.len());
                message[at] = byte;
            }
            message.truncate(cut.index(message.len().saturating_add(1)));
            let _ = super::records(&message, &name("a.example"));
            let _ = super::records(&random, &name("a.example"));
        }
    }
}
