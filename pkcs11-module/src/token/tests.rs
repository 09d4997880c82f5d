//! The token over a service in memory.

use std::sync::Arc;

use cryptoki_sys as ck;
use enclave_wire::mechanism::MAX_INPUT;
use enclave_wire::{Mechanism, Usage};
use sha2::{Digest, Sha256};

use super::backend::{SignFailure, Unavailable};
use super::memory::{Memory, ed25519, p256, rsa_2048};
use super::*;

struct Fixture {
    service: Arc<Memory>,
    token: Token,
    session: CK_SESSION_HANDLE,
}

impl Fixture {
    /// A P-256 key and an Ed25519 key of usage `tls`, an RSA key of usage `digest`.
    fn new() -> Self {
        let mut rsa = rsa_2048("rsa", 1);
        rsa.usage = Usage::Digest;
        let service = Arc::new(Memory::new(vec![p256("ec", 1), ed25519("ed", 1), rsa]));
        let token = Token::new(Some(Box::new(service.clone())), Inventory::default());
        let session = token.open_session(SLOT, ck::CKF_SERIAL_SESSION).unwrap();
        Self {
            service,
            token,
            session,
        }
    }

    fn object(&self, label: &str, class: u64) -> CK_OBJECT_HANDLE {
        let template = Template::new(vec![(ck::CKA_LABEL, label.as_bytes())]);
        self.token.find_init(self.session, &template).unwrap();
        let found = self.token.find(self.session, 9).unwrap();
        self.token.find_final(self.session).unwrap();
        let class = class.to_ne_bytes();
        let is = |handle: &&u64| {
            let object = self.token.object(self.session, **handle).unwrap();
            matches!(object.attribute(ck::CKA_CLASS), Attribute::Value(value) if *value == class)
        };
        *found.iter().find(is).unwrap()
    }

    fn init(&self, label: &str, kind: CK_MECHANISM_TYPE) -> Result<(), Error> {
        let key = self.object(label, ck::CKO_PRIVATE_KEY);
        self.token.sign_init(self.session, kind, &[], key)
    }

    fn sign(&self, data: &[u8], room: usize) -> Result<Signed, Error> {
        self.token.sign(self.session, data, Room::Bytes(room))
    }

    fn signs(&self) -> usize {
        self.service.calls().iter().filter(|call| *call == "sign").count()
    }
}

fn signature(mechanism: Mechanism, input: &[u8], length: usize) -> Signed {
    let mut bytes = vec![mechanism.byte()];
    bytes.extend_from_slice(&Sha256::digest(input));
    bytes.resize(length, 0);
    Signed::Signature(bytes)
}

#[test]
fn a_length_query_makes_no_round_trip_and_keeps_the_operation() {
    let fixture = Fixture::new();
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    let query = || fixture.token.sign(fixture.session, b"m", Room::Query);
    assert_eq!(query(), Ok(Signed::Length(64)));
    assert_eq!(fixture.sign(b"m", 63), Ok(Signed::TooSmall(64)));
    assert_eq!(fixture.signs(), 0);
    assert_eq!(fixture.sign(b"m", 64), Ok(signature(Mechanism::EcdsaSha256, b"m", 64)));
    assert_eq!(fixture.signs(), 1);
    assert_eq!(query(), Err(Error::OperationNotInitialized));
}

#[test]
fn parts_are_signed_as_one_message_in_every_form() {
    let fixture = Fixture::new();
    for (label, kind, mechanism, parts, length) in [
        (
            "ec",
            ck::CKM_ECDSA_SHA384,
            Mechanism::EcdsaSha384,
            [&b"one"[..], b"two"],
            64,
        ),
        ("ed", ck::CKM_EDDSA, Mechanism::Ed25519, [b"", b"two"], 64),
        ("rsa", ck::CKM_RSA_PKCS, Mechanism::RsaPkcs1, [&[7; 50], &[8]], 256),
    ] {
        fixture.init(label, kind).unwrap();
        for part in parts {
            fixture.token.sign_update(fixture.session, part).unwrap();
        }
        let room = Room::Bytes(length - 1);
        assert_eq!(
            fixture.token.sign_final(fixture.session, room),
            Ok(Signed::TooSmall(length))
        );
        let signed = fixture.token.sign_final(fixture.session, Room::Bytes(length));
        assert_eq!(signed, Ok(signature(mechanism, &parts.concat(), length)));
    }
}

#[test]
fn a_signature_of_one_part_has_no_place_between_others_and_ends_them() {
    let fixture = Fixture::new();
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    fixture.token.sign_update(fixture.session, b"one").unwrap();
    assert_eq!(fixture.sign(b"two", 64), Err(Error::OperationNotInitialized));
    let end = fixture.token.sign_final(fixture.session, Room::Bytes(64));
    assert_eq!(end, Err(Error::OperationNotInitialized));
}

#[test]
fn what_is_too_long_is_refused_and_ends_the_operation() {
    let fixture = Fixture::new();
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    assert_eq!(fixture.sign(&vec![0; MAX_INPUT + 1], 64), Err(Error::DataLenRange));
    assert_eq!(fixture.sign(b"", 64), Err(Error::OperationNotInitialized));
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    let update = |length| fixture.token.sign_update(fixture.session, &vec![0; length]);
    update(MAX_INPUT).unwrap();
    assert_eq!(update(1), Err(Error::DataLenRange));
    assert_eq!(update(1), Err(Error::OperationNotInitialized));
    assert_eq!(fixture.signs(), 0);
}

#[test]
fn a_wrong_mechanism_or_key_is_refused_without_a_round_trip() {
    let fixture = Fixture::new();
    assert_eq!(fixture.init("ec", ck::CKM_ECDSA), Err(Error::KeyFunctionNotPermitted));
    assert_eq!(fixture.init("ec", ck::CKM_RSA_PKCS), Err(Error::KeyTypeInconsistent));
    assert_eq!(fixture.init("ec", ck::CKM_RSA_X_509), Err(Error::MechanismInvalid));
    assert_eq!(
        fixture.init("rsa", ck::CKM_RSA_PKCS_PSS),
        Err(Error::MechanismParamInvalid)
    );
    let public = fixture.object("ec", ck::CKO_PUBLIC_KEY);
    let init = |key| fixture.token.sign_init(fixture.session, ck::CKM_ECDSA_SHA256, &[], key);
    assert_eq!(init(public), Err(Error::KeyFunctionNotPermitted));
    assert_eq!(init(12345), Err(Error::KeyHandleInvalid));
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    assert_eq!(fixture.init("ec", ck::CKM_ECDSA_SHA256), Err(Error::OperationActive));
    assert_eq!(fixture.signs(), 0);
}

#[test]
fn the_services_refusals_have_codes_of_their_own() {
    for (failure, error) in [
        (SignFailure::NoSuchKey, Error::KeyHandleInvalid),
        (SignFailure::UsageRefused, Error::FunctionRejected),
        (SignFailure::InputLength, Error::DataLenRange),
        (SignFailure::Failed, Error::FunctionFailed),
        (
            SignFailure::Unavailable(Unavailable::Stalled),
            Error::Device(Unavailable::Stalled),
        ),
    ] {
        let fixture = Fixture::new();
        fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
        fixture.service.refuse(failure);
        assert_eq!(fixture.sign(b"m", 64), Err(error));
        assert_eq!(fixture.sign(b"m", 64), Err(Error::OperationNotInitialized));
    }
}

#[test]
fn signing_and_finding_do_not_exclude_each_other() {
    let fixture = Fixture::new();
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    let template = Template::default();
    fixture.token.find_init(fixture.session, &template).unwrap();
    assert_eq!(
        fixture.token.find_init(fixture.session, &template),
        Err(Error::OperationActive)
    );
    assert_eq!(fixture.token.find(fixture.session, 4).map(|found| found.len()), Ok(4));
    assert!(fixture.sign(b"m", 64).is_ok());
    assert_eq!(fixture.token.find(fixture.session, 4).map(|found| found.len()), Ok(2));
    assert_eq!(fixture.token.find(fixture.session, 4), Ok(vec![]));
    fixture.token.find_final(fixture.session).unwrap();
    assert_eq!(
        fixture.token.find(fixture.session, 4),
        Err(Error::OperationNotInitialized)
    );
}

#[test]
fn cancelling_ends_what_is_named() {
    let fixture = Fixture::new();
    fixture.init("ec", ck::CKM_ECDSA_SHA256).unwrap();
    assert_eq!(fixture.token.cancel(fixture.session, ck::CKF_FIND_OBJECTS), Ok(false));
    assert_eq!(fixture.token.cancel(fixture.session, ck::CKF_SIGN), Ok(true));
    assert_eq!(fixture.sign(b"m", 64), Err(Error::OperationNotInitialized));
}

#[test]
fn a_known_key_signs_while_finds_fail() {
    let fixture = Fixture::new();
    let key = fixture.object("ec", ck::CKO_PRIVATE_KEY);
    let token = Token::new(
        Some(Box::new(fixture.service.clone())),
        fixture.token.inventory().unwrap(),
    );
    let session = token.open_session(SLOT, ck::CKF_SERIAL_SESSION).unwrap();
    token.sign_init(session, ck::CKM_ECDSA_SHA256, &[], key).unwrap();
    assert!(token.sign(session, b"m", Room::Bytes(64)).is_ok());
    assert_eq!(token.close_session(session + 1), Err(Error::SessionHandleInvalid));
}

#[test]
fn without_a_backend_there_is_a_slot_and_no_token() {
    let token = Token::new(None, Inventory::default());
    assert_eq!((token.slots(false), token.slots(true)), (&[SLOT][..], &[][..]));
    assert_eq!(token.slot_info(SLOT).unwrap().flags & ck::CKF_TOKEN_PRESENT, 0);
    assert_eq!(token.token_info(SLOT).err(), Some(Error::TokenNotPresent));
    let open = |slot, flags| token.open_session(slot, flags);
    assert_eq!(open(SLOT, ck::CKF_SERIAL_SESSION), Err(Error::TokenNotPresent));
    assert_eq!(open(SLOT + 1, ck::CKF_SERIAL_SESSION), Err(Error::SlotIdInvalid));
}

#[test]
fn any_pin_logs_in_once() {
    let fixture = Fixture::new();
    let log_in = |user| fixture.token.log_in(fixture.session, user);
    assert_eq!(log_in(ck::CKU_USER), Ok(()));
    assert_eq!(log_in(ck::CKU_USER), Err(Error::UserAlreadyLoggedIn));
    assert_eq!(log_in(ck::CKU_SO), Err(Error::UserTypeInvalid));
    assert_eq!(log_in(ck::CKU_CONTEXT_SPECIFIC), Err(Error::OperationNotInitialized));
    assert_eq!(
        fixture.token.session_info(fixture.session).unwrap().state,
        ck::CKS_RO_USER_FUNCTIONS
    );
    assert_eq!(
        fixture.token.open_session(SLOT, 0),
        Err(Error::SessionParallelNotSupported)
    );
}

#[test]
fn a_handle_of_a_process_that_knew_the_key_means_it_here_too() {
    let fixture = Fixture::new();
    let key = fixture.object("ec", ck::CKO_PRIVATE_KEY);
    let service = Arc::new(Memory::new(vec![p256("ec", 1)]));
    let token = Token::new(Some(Box::new(service.clone())), Inventory::default());
    let session = token.open_session(SLOT, ck::CKF_SERIAL_SESSION).unwrap();
    for _ in 0..2 {
        token.sign_init(session, ck::CKM_ECDSA_SHA256, &[], key).unwrap();
        token.cancel(session, ck::CKF_SIGN).unwrap();
    }
    assert_eq!(service.calls(), ["list all"], "once");
    assert_eq!(
        token.sign_init(session, ck::CKM_ECDSA_SHA256, &[], key ^ 4),
        Err(Error::KeyHandleInvalid)
    );
}

#[test]
fn threat_57_while_the_service_is_away_an_unknown_handle_is_not_said_to_be_wrong() {
    let key = Fixture::new().object("ec", ck::CKO_PRIVATE_KEY);
    let service = Arc::new(Memory::new(vec![p256("ec", 1)]));
    let token = Token::new(Some(Box::new(service.clone())), Inventory::default());
    let session = token.open_session(SLOT, ck::CKF_SERIAL_SESSION).unwrap();
    let init = |key| token.sign_init(session, ck::CKM_ECDSA_SHA256, &[], key);
    service.leave(Unavailable::Unreachable);
    assert_eq!(init(key), Err(Error::Device(Unavailable::Unreachable)));
    service.publish();
    assert_eq!(init(key ^ 4), Err(Error::Device(Unavailable::Unreachable)));
    assert_eq!(init(key), Ok(()));
    let signed = token.sign(session, b"m", Room::Bytes(64));
    assert_eq!(signed, Err(Error::Device(Unavailable::Unreachable)));
}

#[test]
fn a_key_that_only_the_file_names_signs_as_soon_as_the_service_has_it() {
    let fixture = Fixture::new();
    let entry = p256("ec", 1);
    fixture.service.publish();
    fixture.service.remove(entry.id);
    let key = fixture.object("ec", ck::CKO_PRIVATE_KEY);
    let sign = || {
        fixture
            .token
            .sign_init(fixture.session, ck::CKM_ECDSA_SHA256, &[], key)
            .unwrap();
        let before = fixture.service.calls().len();
        let signed = fixture.sign(b"m", 64);
        assert_eq!(fixture.service.calls().len().abs_diff(before), 1, "one round trip");
        signed
    };
    assert_eq!(sign(), Err(Error::KeyHandleInvalid));
    fixture.service.add(entry);
    assert_eq!(sign(), Ok(signature(Mechanism::EcdsaSha256, b"m", 64)));
}

#[test]
fn a_handle_of_another_process_means_what_the_file_names() {
    let key = Fixture::new().object("ec", ck::CKO_PRIVATE_KEY);
    let fixture = Fixture::new();
    fixture.service.publish();
    fixture.service.remove(p256("ec", 1).id);
    let init = |key| fixture.token.sign_init(fixture.session, ck::CKM_ECDSA_SHA256, &[], key);
    assert_eq!(init(key ^ 4), Err(Error::KeyHandleInvalid));
    assert_eq!(init(key), Ok(()));
}
