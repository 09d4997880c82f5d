//! `decode(encode(x)) == x` for every message, and `encode(decode(b)) == b` for whatever bytes are accepted.

#![expect(clippy::unwrap_used, reason = "a test stops at the unexpected")]

mod strategies;

use enclave_wire::control::{AgentReply, EnclaveRequest, Reply as ControlReply, Request as ControlRequest};
use enclave_wire::egress::{Answer, Connect, EgressError};
use enclave_wire::frame::{HEADER_LEN, Header, encode_with, limit};
use enclave_wire::log::Record;
use enclave_wire::signing::{Reply, Request, Sign};
use enclave_wire::{Decode, Encode, Objects, Writer};
use proptest::collection::vec;
use proptest::prelude::*;

fn frame(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.into_bytes()
}

fn split(frame: &[u8], limit: usize) -> (Header, &[u8]) {
    let header = Header::decode(frame.first_chunk().unwrap(), limit).unwrap();
    let body = &frame[HEADER_LEN..];
    assert_eq!(header.body_len(), body.len());
    (header, body)
}

fn signing_request(request: &Request<'_>, id: u64) {
    let bytes = frame(|writer| request.write(writer, id));
    let (header, body) = split(&bytes, limit::SIGNING_REQUEST);
    assert_eq!(header.request_id, id);
    assert_eq!(Request::decode(&header, body).as_ref(), Ok(request));
}

fn control_request(request: &ControlRequest, id: u64) -> ControlRequest {
    let bytes = frame(|writer| request.write(writer, id));
    let (header, body) = split(&bytes, limit::CONTROL);
    let read = ControlRequest::decode(&header, body).unwrap();
    assert_eq!(frame(|writer| read.write(writer, id)), bytes);
    read
}

/// Decodes `body` as every message there is; what is accepted must be written back to the same bytes.
fn canonical(operation: u8, body: &[u8]) -> usize {
    let bytes = encode_with(operation, 7, |writer| writer.put(body)).into_bytes();
    let (header, body) = split(&bytes, limit::CONTROL);
    let mut accepted = 0;
    let mut same = |write: &dyn Fn(&mut Writer)| {
        assert_eq!(frame(write), bytes);
        accepted += 1;
    };
    if let Ok(request) = Request::decode(&header, body) {
        same(&|writer| request.write(writer, 7));
    }
    if let Ok(reply) = Reply::decode(&header, body) {
        same(&|writer| reply.write(writer, 7));
    }
    if let Ok(request) = ControlRequest::decode(&header, body) {
        same(&|writer| request.write(writer, 7));
    }
    if let Ok(reply) = ControlReply::decode(&header, body) {
        same(&|writer| reply.write(writer, 7));
    }
    if let Ok(request) = EnclaveRequest::decode(&header, body) {
        same(&|writer| request.write(writer, 7));
    }
    if let Ok(reply) = AgentReply::decode(&header, body) {
        same(&|writer| reply.write(writer, 7));
    }
    if let Ok(connect) = Connect::decode_frame(&header, body) {
        same(&|writer| connect.write(writer, 7));
    }
    if let Ok(answer) = Answer::decode(&header, body) {
        same(&|writer| answer.write(writer, 7));
    }
    if let Ok(record) = Record::decode_all(body) {
        assert_eq!(record.to_bytes(), body);
    }
    accepted
}

/// A valid frame of any kind, to be damaged.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        strategies::signing_reply().prop_map(|reply| frame(|writer| reply.write(writer, 7))),
        strategies::control_reply().prop_map(|reply| frame(|writer| reply.write(writer, 7))),
        strategies::provision()
            .prop_map(|provision| frame(|writer| ControlRequest::Provision(provision.clone()).write(writer, 7))),
        strategies::job().prop_map(|job| frame(|writer| ControlRequest::Begin(job.clone()).write(writer, 7))),
        strategies::enclave_request().prop_map(|request| frame(|writer| request.write(writer, 7))),
        strategies::agent_reply().prop_map(|reply| frame(|writer| reply.write(writer, 7))),
        strategies::connect().prop_map(|connect| frame(|writer| connect.write(writer, 7))),
        strategies::create().prop_map(|create| frame(|writer| ControlRequest::Create(create.clone()).write(writer, 7))),
        strategies::find_by_label()
            .prop_map(|find| frame(|writer| Request::FindByLabel(find.clone()).write(writer, 7))),
        strategies::policy().prop_map(|policy| frame(|writer| ControlRequest::Policy(policy.clone()).write(writer, 7))),
        (strategies::key_id(), strategies::mechanism(), vec(any::<u8>(), 0..200)).prop_map(
            |(key, mechanism, input)| {
                frame(|writer| {
                    Request::Sign(Sign {
                        key,
                        mechanism,
                        input: &input,
                    })
                    .write(writer, 7)
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn signing_requests(
        id: u64, key in strategies::key_id(), mechanism in strategies::mechanism(), input in vec(any::<u8>(), 0..=16_384),
        hello in strategies::hello(), list in strategies::list(), find in strategies::find_by_label(), proof: [u8; 32],
    ) {
        signing_request(&Request::Hello(hello), id);
        signing_request(&Request::Authenticate(proof), id);
        signing_request(&Request::List(list), id);
        signing_request(&Request::FindById(key), id);
        signing_request(&Request::FindByLabel(find), id);
        signing_request(&Request::Chain(key), id);
        signing_request(&Request::Sign(Sign { key, mechanism, input: &input }), id);
        signing_request(&Request::Ping, id);
    }

    #[test]
    fn signing_replies(reply in strategies::signing_reply(), id: u64) {
        let bytes = frame(|writer| reply.write(writer, id));
        let (header, body) = split(&bytes, limit::SIGNING_REPLY);
        prop_assert_eq!(Reply::decode(&header, body), Ok(reply));
    }

    #[test]
    fn control_requests(
        id: u64, create in strategies::create(), install in strategies::install_chain(), narrow in strategies::narrow(),
        policy in strategies::policy(), cursor: u32, provision in strategies::provision(), attest in strategies::attest(),
        blob in vec(any::<u8>(), 0..900), revoke in strategies::revoke_credential(), key in strategies::key_id(),
    ) {
        let read = control_request(&ControlRequest::RevokeCredential(revoke.clone()), id);
        prop_assert!(matches!(read, ControlRequest::RevokeCredential(read) if read == revoke));
        let read = control_request(&ControlRequest::Chain(key), id);
        prop_assert!(matches!(read, ControlRequest::Chain(read) if read == key));
        let read = control_request(&ControlRequest::Provision(provision.clone()), id);
        prop_assert!(matches!(read, ControlRequest::Provision(read) if read == provision));
        let read = control_request(&ControlRequest::Attest(attest.clone()), id);
        prop_assert!(matches!(read, ControlRequest::Attest(read) if read == attest));
        let read = control_request(&ControlRequest::Restore(blob.clone().try_into().unwrap()), id);
        prop_assert!(matches!(read, ControlRequest::Restore(read) if read.as_bytes() == blob));
        let read = control_request(&ControlRequest::Create(create.clone()), id);
        prop_assert!(matches!(read, ControlRequest::Create(read) if read == create));
        let read = control_request(&ControlRequest::InstallChain(install.clone()), id);
        prop_assert!(matches!(read, ControlRequest::InstallChain(read) if read == install));
        let read = control_request(&ControlRequest::Narrow(narrow), id);
        prop_assert!(matches!(read, ControlRequest::Narrow(read) if read == narrow));
        let read = control_request(&ControlRequest::Policy(policy.clone()), id);
        prop_assert!(matches!(read, ControlRequest::Policy(read) if read == policy));
        let read = control_request(&ControlRequest::List(cursor), id);
        prop_assert!(matches!(read, ControlRequest::List(read) if read == cursor));
    }

    #[test]
    fn jobs(job in strategies::job(), asked in strategies::job_id(), id: u64) {
        let read = control_request(&ControlRequest::Begin(job.clone()), id);
        prop_assert!(matches!(read, ControlRequest::Begin(read) if read == job));
        let read = control_request(&ControlRequest::Job(asked), id);
        prop_assert!(matches!(read, ControlRequest::Job(read) if read == asked));
    }

    #[test]
    fn enclave_requests(request in strategies::enclave_request(), id: u64) {
        let bytes = frame(|writer| request.write(writer, id));
        let (header, body) = split(&bytes, limit::CONTROL);
        prop_assert_eq!(EnclaveRequest::decode(&header, body), Ok(request));
    }

    #[test]
    fn agent_replies(reply in strategies::agent_reply(), id: u64) {
        let bytes = frame(|writer| reply.write(writer, id));
        let (header, body) = split(&bytes, limit::CONTROL);
        prop_assert_eq!(AgentReply::decode(&header, body), Ok(reply));
    }

    #[test]
    fn egress(connect in strategies::connect(), id: u64, error in proptest::sample::select(EgressError::ALL)) {
        let bytes = frame(|writer| connect.write(writer, id));
        let (header, body) = split(&bytes, limit::EGRESS);
        prop_assert_eq!(Connect::decode_frame(&header, body), Ok(connect));
        for answer in [Answer::Connected, Answer::Refused(error)] {
            let bytes = frame(|writer| answer.write(writer, id));
            let (header, body) = split(&bytes, limit::EGRESS);
            prop_assert_eq!(Answer::decode(&header, body), Ok(answer));
        }
    }

    #[test]
    fn control_replies(reply in strategies::control_reply(), id: u64) {
        let bytes = frame(|writer| reply.write(writer, id));
        let (header, body) = split(&bytes, limit::CONTROL);
        prop_assert_eq!(ControlReply::decode(&header, body), Ok(reply));
    }

    #[test]
    fn objects(objects in strategies::objects(), cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let mut file = objects.to_file();
        prop_assert_eq!(Objects::parse(&file), Ok(objects));
        prop_assert!(Objects::parse(&file[..cut.index(file.len())]).is_err());
        let at = at.index(file.len());
        file[at] = byte;
        if let Ok(read) = Objects::parse(&file) {
            prop_assert_eq!(read.to_file(), file);
        }
    }

    #[test]
    fn log_records(record in strategies::record()) {
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::decode_all(&bytes), Ok(record));
    }

    #[test]
    fn fuzz_random_bytes(operation: u8, body in vec(any::<u8>(), 0..300)) {
        canonical(operation, &body);
    }

    #[test]
    fn fuzz_damaged_frames(mut bytes in any_frame(), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut: prop::sample::Index) {
        let whole = canonical(bytes[5], &bytes[HEADER_LEN..]);
        prop_assert!(whole > 0);
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        canonical(bytes[5], &bytes[HEADER_LEN..]);
        let end = HEADER_LEN + cut.index(bytes.len() - HEADER_LEN + 1);
        canonical(bytes[5], &bytes[HEADER_LEN..end]);
    }
}
