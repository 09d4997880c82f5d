//! Golden frames are accepted and written back; negative ones are refused, each for the reason beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the unexpected")]

use enclave_wire::control::{AgentReply, EnclaveRequest, Reply as ControlReply, Request as ControlRequest};
use enclave_wire::egress::{Answer, Connect};
use enclave_wire::frame::{FrameError, HEADER_LEN, Header, encode_with, limit};
use enclave_wire::log::{RECORD, Record};
use enclave_wire::objects::ObjectsError;
use enclave_wire::signing::{Reply, Request};
use enclave_wire::{Decode, DecodeError, Encode, Objects, Writer};

#[test]
fn golden() {
    let mut count = 0;
    for [what, name, hexadecimal] in lines(include_str!("vectors/golden.txt")) {
        let frame = bytes(hexadecimal);
        assert_eq!(decode(what, &frame).as_ref(), Ok(&frame), "{what} {name}");
        count += 1;
    }
    assert_eq!(count, 89, "a vector was lost");
}

#[test]
fn negative() {
    let mut count = 0;
    for [what, name, error, hexadecimal] in lines(include_str!("vectors/negative.txt")) {
        let expected = match error {
            "length" => FrameError::Length,
            "version" => FrameError::Version,
            "truncated" => FrameError::Body(DecodeError::Truncated),
            "trailing" => FrameError::Body(DecodeError::Trailing),
            "too-long" => FrameError::Body(DecodeError::TooLong),
            "unknown-tag" => FrameError::Body(DecodeError::UnknownTag),
            "invalid" => FrameError::Body(DecodeError::Invalid),
            other => panic!("an error with no meaning: {other}"),
        };
        assert_eq!(decode(what, &bytes(hexadecimal)), Err(expected), "{what} {name}");
        count += 1;
    }
    assert_eq!(count, 94, "a vector was lost");
}

#[test]
fn objects() {
    let mut count = 0;
    for [name, outcome, hexadecimal] in lines(include_str!("vectors/objects.txt")) {
        let file = bytes(hexadecimal);
        let expected = match outcome {
            "accepted" => Ok(file.clone()),
            "not-objects" => Err(ObjectsError::NotObjects),
            "version" => Err(ObjectsError::Version(2)),
            "file-too-long" => Err(ObjectsError::TooLong),
            "truncated" => Err(DecodeError::Truncated.into()),
            "trailing" => Err(DecodeError::Trailing.into()),
            "too-long" => Err(DecodeError::TooLong.into()),
            "invalid" => Err(DecodeError::Invalid.into()),
            "not-canonical" => Err(DecodeError::NotCanonical.into()),
            other => panic!("an outcome with no meaning: {other}"),
        };
        // Not `assert_eq`, which would print 64 MiB.
        assert!(Objects::parse(&file).map(|read| read.to_file()) == expected, "{name}");
        count += 1;
    }
    assert_eq!(count, 11, "a vector was lost");
}

/// Decodes a frame as a peer would, and encodes what it found.
fn decode(what: &str, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
    let limit = match what {
        "signing-request" => limit::SIGNING_REQUEST,
        "signing-reply" => limit::SIGNING_REPLY,
        "egress-request" | "egress-reply" => limit::EGRESS,
        "log" => limit::LOG,
        _ => limit::CONTROL,
    };
    let header = Header::decode(frame.first_chunk().unwrap(), limit)?;
    let body = &frame[HEADER_LEN..];
    let id = header.request_id;
    let mut writer = Writer::new();
    match what {
        "signing-request" => Request::decode(&header, body)?.write(&mut writer, id),
        "signing-reply" => Reply::decode(&header, body)?.write(&mut writer, id),
        "control-request" => ControlRequest::decode(&header, body)?.write(&mut writer, id),
        "control-reply" => ControlReply::decode(&header, body)?.write(&mut writer, id),
        "enclave-request" => EnclaveRequest::decode(&header, body)?.write(&mut writer, id),
        "agent-reply" => AgentReply::decode(&header, body)?.write(&mut writer, id),
        "egress-request" => Connect::decode_frame(&header, body)?.write(&mut writer, id),
        "egress-reply" => Answer::decode(&header, body)?.write(&mut writer, id),
        "log" => {
            let record = Record::decode_all(body)?;
            writer = encode_with(RECORD, id, |body| record.encode(body));
        }
        other => panic!("a plane with no meaning: {other}"),
    }
    Ok(writer.into_bytes())
}

fn lines<const N: usize>(file: &str) -> impl Iterator<Item = [&str; N]> {
    file.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        fields
            .try_into()
            .unwrap_or_else(|fields| panic!("a line of another form: {fields:?}"))
    })
}

/// Hexadecimal parts joined by `+`; `XX*N` stands for N times XX.
fn bytes(text: &str) -> Vec<u8> {
    text.split('+')
        .flat_map(|part| match part.split_once('*') {
            None => hex::decode(part).unwrap(),
            Some((unit, count)) => hex::decode(unit).unwrap().repeat(count.parse().unwrap()),
        })
        .collect()
}
