//! Arbitrary values of every message.

mod jobs;

use enclave_wire::control::{
    AgentReply, Attest, Attestation, BundleSource, ControlError, Counters, Create, CredentialInfo, EnclaveRequest,
    Freshness, Histogram, InstallChain, KeyCounters, KeyInfo, KeyPage, KmsAnswer, MechanismTimes, Memory, Narrow,
    Origin, Phase, PolicyBytes, Provision, Queue, Reply as ControlReply, RevokeCredential, S3Object, Sealed,
    SealingKey, Status, StoreState, Validity,
};
use enclave_wire::credential::{Challenge, CredentialId, Hello};
use enclave_wire::egress::Connect;
use enclave_wire::identity::{Certificate, CertificateRequest};
use enclave_wire::log::{Level, Record, Text};
use enclave_wire::objects::{Object, Objects};
use enclave_wire::signing::{Entries, Entry, FindByLabel, Label, List, Listing, Page, Reply, SignError, Signature};
use enclave_wire::{BootId, Chain, DnsName, KeyId, KeyType, Mechanism, Name, Spki, State, Usage};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) use jobs::{challenge, job, job_id, job_state, published};

pub(crate) fn key_id() -> impl Strategy<Value = KeyId> {
    any::<[u8; 32]>().prop_map(KeyId)
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}".prop_map(|text| Name::try_from(text.as_str()).unwrap())
}

pub(crate) fn dns_name() -> impl Strategy<Value = DnsName> {
    r"(\*\.)?[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,9}){0,3}"
        .prop_map(|text| DnsName::try_from(text.as_str()).unwrap())
}

pub(crate) fn key_type() -> impl Strategy<Value = KeyType> {
    let rsa = (256u16..=1024).prop_map(|bytes| KeyType::Rsa((bytes * 8).try_into().unwrap()));
    prop_oneof![
        rsa,
        select(vec![KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519])
    ]
}

pub(crate) fn mechanism() -> impl Strategy<Value = Mechanism> {
    select(Mechanism::ALL)
}

fn spki() -> impl Strategy<Value = Spki> {
    vec(any::<u8>(), 0..1200).prop_map(|bytes| Spki::try_from(bytes).unwrap())
}

fn chain() -> impl Strategy<Value = Chain> {
    let certificate = vec(any::<u8>(), 0..2000).prop_map(|bytes| Certificate::try_from(bytes).unwrap());
    vec(certificate, 0..=8).prop_map(|certificates| Chain::try_from(certificates).unwrap())
}

fn label() -> impl Strategy<Value = Label> {
    (name(), select(State::ALL)).prop_map(|(name, state)| Label::of(&name, state))
}

prop_compose! {
    fn entry()(
        id in key_id(), name in name(), generation: u32, key_type in key_type(), usage in select(Usage::ALL),
        state in select(State::ALL), spki in spki(),
    ) -> Entry {
        Entry { id, name, generation, key_type, usage, state, spki }
    }
}

prop_compose! {
    fn page()(version: u64, next: Option<u32>, entries in vec(entry(), 0..4)) -> Page {
        Page { version, next, entries: Entries(entries) }
    }
}

fn listing() -> impl Strategy<Value = Listing> {
    prop_oneof![Just(Listing::Unchanged), page().prop_map(Listing::Page)]
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    any::<([u8; 16], [u8; 32])>().prop_map(|(id, client_nonce)| Hello {
        credential: CredentialId(id),
        client_nonce,
    })
}

pub(crate) fn list() -> impl Strategy<Value = List> {
    any::<(u64, u32)>().prop_map(|(known_version, cursor)| List { known_version, cursor })
}

pub(crate) fn find_by_label() -> impl Strategy<Value = FindByLabel> {
    (label(), any::<u32>()).prop_map(|(label, cursor)| FindByLabel { label, cursor })
}

pub(crate) fn signing_reply() -> impl Strategy<Value = Reply> {
    let boot = any::<[u8; 16]>().prop_map(BootId);
    let signature = (key_id(), mechanism(), any::<u16>(), vec(any::<u8>(), 0..=1024)).prop_map(
        |(key, mechanism, input_len, signature)| Signature {
            key,
            mechanism,
            input_len,
            signature,
        },
    );
    let challenge = any::<([u8; 32], [u8; 32])>().prop_map(|(server_nonce, server_proof)| Challenge {
        server_nonce,
        server_proof,
    });
    prop_oneof![
        challenge.prop_map(Reply::Challenge),
        boot.clone().prop_map(Reply::Authenticated),
        listing().prop_map(Reply::Listing),
        vec(entry(), 0..2).prop_map(|entries| Reply::Found(Entries(entries))),
        listing().prop_map(Reply::Labelled),
        chain().prop_map(Reply::Chain),
        signature.prop_map(Reply::Signature),
        boot.prop_map(Reply::Pong),
        select(SignError::ALL).prop_map(Reply::Error),
    ]
}

prop_compose! {
    fn key_info()(
        id in key_id(), name in name(), generation: u32, key_type in key_type(), usage in select(Usage::ALL),
        state in select(State::ALL), origin in select(Origin::ALL), dns_names in vec(dns_name(), 0..4),
        clients in vec(name(), 0..4), spki in spki(), validity in option::of(any::<(i64, i64)>()),
        sealed in option::of(sealed()),
    ) -> KeyInfo {
        let validity = validity.map(|(not_before, not_after)| Validity { not_before, not_after });
        let (dns_names, clients) = (dns_names.try_into().unwrap(), clients.try_into().unwrap());
        KeyInfo { id, name, generation, key_type, usage, state, origin, dns_names, clients, spki, validity, sealed }
    }
}

prop_compose! {
    pub(crate) fn create()(
        name in name(), key_type in key_type(), usage in select(Usage::ALL), dns_names in vec(dns_name(), 0..4),
        clients in vec(name(), 0..4), sealed in option::of(name()),
    ) -> Create {
        let (dns_names, clients) = (dns_names.try_into().unwrap(), clients.try_into().unwrap());
        Create { name, key_type, usage, dns_names, clients, sealed }
    }
}

fn sealed() -> impl Strategy<Value = Sealed> {
    (name(), any::<u64>(), select(Freshness::ALL)).prop_map(|(group, number, freshness)| Sealed {
        group,
        number,
        freshness,
    })
}

pub(crate) fn provision() -> impl Strategy<Value = Provision> {
    let text = "[ -~]{0,32}";
    let source = prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(|json| BundleSource::Document(json.try_into().unwrap())),
        (text, text, text).prop_map(|(region, bucket, key)| BundleSource::S3(S3Object {
            region: Text::lossy(&region),
            bucket: Text::lossy(&bucket),
            key: Text::lossy(&key),
        })),
    ];
    (create(), text, source).prop_map(|(create, kms_key, source)| Provision {
        name: create.name,
        usage: create.usage,
        dns_names: create.dns_names,
        clients: create.clients,
        sealed: create.sealed,
        kms_key: Text::lossy(&kms_key),
        source,
    })
}

pub(crate) fn enclave_request() -> impl Strategy<Value = EnclaveRequest> {
    prop_oneof![
        select(vec![EnclaveRequest::Ping, EnclaveRequest::NeedCredentials]),
        store_state().prop_map(EnclaveRequest::StoreState),
        challenge().prop_map(EnclaveRequest::Publish),
        challenge().prop_map(EnclaveRequest::Withdraw),
        job_id().prop_map(EnclaveRequest::Ended),
    ]
}

pub(crate) fn agent_reply() -> impl Strategy<Value = AgentReply> {
    prop_oneof![
        select(vec![
            AgentReply::Pong,
            AgentReply::Stored,
            AgentReply::CredentialsNoted,
            AgentReply::Withdrawn,
            AgentReply::EndNoted,
        ]),
        published().prop_map(AgentReply::Published),
        select(ControlError::ALL).prop_map(AgentReply::Error),
    ]
}

fn store_state() -> impl Strategy<Value = StoreState> {
    (name(), any::<u64>(), vec(any::<u8>(), 0..900)).prop_map(|(name, number, blob)| StoreState {
        name,
        number,
        blob: blob.try_into().unwrap(),
    })
}

pub(crate) fn attest() -> impl Strategy<Value = Attest> {
    (vec(any::<u8>(), 0..=64), vec(key_id(), 0..4)).prop_map(|(nonce, keys)| Attest {
        nonce: nonce.try_into().unwrap(),
        keys: keys.try_into().unwrap(),
    })
}

pub(crate) fn connect() -> impl Strategy<Value = Connect> {
    (dns_name(), any::<u16>()).prop_map(|(host, port)| Connect { host, port })
}

pub(crate) fn install_chain() -> impl Strategy<Value = InstallChain> {
    (key_id(), chain()).prop_map(|(key, chain)| InstallChain { key, chain })
}

pub(crate) fn revoke_credential() -> impl Strategy<Value = RevokeCredential> {
    (name(), any::<[u8; 16]>()).prop_map(|(client, id)| RevokeCredential {
        client,
        id: CredentialId(id),
    })
}

pub(crate) fn narrow() -> impl Strategy<Value = Narrow> {
    (key_id(), select(Usage::ALL)).prop_map(|(key, usage)| Narrow { key, usage })
}

pub(crate) fn policy() -> impl Strategy<Value = Option<PolicyBytes>> {
    option::of(vec(any::<u8>(), 0..600).prop_map(|bytes| bytes.try_into().unwrap()))
}

fn sealing_key() -> impl Strategy<Value = SealingKey> {
    ("[ -~]{0,256}", select(KmsAnswer::ALL), any::<u32>()).prop_map(|(kms_key, answers, missing)| SealingKey {
        kms_key: Text::lossy(&kms_key),
        answers,
        missing,
    })
}

pub(crate) fn control_reply() -> impl Strategy<Value = ControlReply> {
    let policy = option::of(any::<[u8; 16]>().prop_map(|part| [part; 3].concat().try_into().unwrap()));
    let status = (
        any::<[u8; 16]>(),
        "[ -~]{0,32}",
        select(Phase::ALL),
        any::<(u64, i64)>(),
        "[ -~]{0,32}",
        policy,
        vec(sealing_key(), 0..=4),
    )
        .prop_map(
            |(boot, version, phase, (uptime_ms, now), source, policy_sha384, sealing)| Status {
                boot: BootId(boot),
                version: Text::lossy(&version),
                phase,
                uptime_ms,
                now,
                clock_source: Text::lossy(&source),
                policy_sha384,
                sealing: sealing.try_into().unwrap(),
            },
        );
    let attestation = (vec(any::<u8>(), 0..900), vec(any::<u8>(), 0..900)).prop_map(|(document, statement)| {
        ControlReply::Attested(Attestation {
            document: document.try_into().unwrap(),
            statement: statement.try_into().unwrap(),
        })
    });
    let restored = vec(key_id(), 0..5).prop_map(|ids| ControlReply::Restored(ids.try_into().unwrap()));
    let keys = (any::<(u32, Option<u32>)>(), vec(key_info(), 0..3)).prop_map(|((total, next), keys)| KeyPage {
        total,
        next,
        keys: keys.try_into().unwrap(),
    });
    let request =
        vec(any::<u8>(), 0..900).prop_map(|bytes| ControlReply::Csr(CertificateRequest::try_from(bytes).unwrap()));
    prop_oneof![
        select(vec![
            ControlReply::Pong,
            ControlReply::PolicyTaken,
            ControlReply::Serving,
            ControlReply::CredentialInstalled,
            ControlReply::CredentialRevoked,
            ControlReply::AwsInstalled,
            ControlReply::Retired
        ]),
        status.prop_map(ControlReply::Status),
        key_info().prop_map(ControlReply::Created),
        key_info().prop_map(ControlReply::ChainInstalled),
        key_info().prop_map(ControlReply::Imported),
        key_info().prop_map(ControlReply::Superseded),
        key_info().prop_map(ControlReply::Reinstated),
        key_info().prop_map(ControlReply::Provisioned),
        attestation,
        restored,
        key_info().prop_map(ControlReply::Narrowed),
        request,
        keys.prop_map(ControlReply::Keys),
        counters().prop_map(ControlReply::Statistics),
        vec(credential_info(), 0..4).prop_map(|list| ControlReply::Credentials(list.try_into().unwrap())),
        option::of(chain()).prop_map(ControlReply::Chain),
        job_state().prop_map(ControlReply::Begun),
        option::of(job_state()).prop_map(ControlReply::Job),
        select(ControlError::ALL).prop_map(ControlReply::Error),
    ]
}

prop_compose! {
    fn histogram()(counts: [u64; 15], sum_us: u64) -> Histogram {
        Histogram { counts, sum_us }
    }
}

prop_compose! {
    fn mechanism_times()(mechanism in mechanism(), execution in histogram(), total in histogram()) -> MechanismTimes {
        MechanismTimes { mechanism, execution, total }
    }
}

prop_compose! {
    fn key_counters()(key in key_id(), mechanism in mechanism(), signed: u64, refused: u64, failed: u64) -> KeyCounters {
        KeyCounters { key, mechanism, signed, refused, failed }
    }
}

prop_compose! {
    fn queue()(running: u32, waiting: u32, waiting_most: u32, done: u64, shed: u64) -> Queue {
        Queue { running, waiting, waiting_most, done, shed }
    }
}

prop_compose! {
    fn counters()(
        connections: u32, numbers: [u64; 7], attestation_age_s: Option<u64>, available: Option<u64>, reserved: u64, queue in queue(),
        mechanisms in vec(mechanism_times(), 0..3), keys in vec(key_counters(), 0..5),
    ) -> Counters {
        let [accepted, busy, authentication_failures, malformed, deadlines, control_connections, log_lines_dropped] = numbers;
        let (mechanisms, keys) = (mechanisms.try_into().unwrap(), keys.try_into().unwrap());
        let memory = Memory { available, reserved };
        Counters {
            connections, accepted, busy, authentication_failures, malformed, deadlines, queue, control_connections,
            log_lines_dropped, attestation_age_s, memory, mechanisms, keys,
        }
    }
}

prop_compose! {
    fn credential_info()(
        client in name(), id: [u8; 16], connections: u32, authenticated: u64, last_authenticated_ms: Option<u64>,
    ) -> CredentialInfo {
        CredentialInfo { client, id: CredentialId(id), connections, authenticated, last_authenticated_ms }
    }
}

pub(crate) fn objects() -> impl Strategy<Value = Objects> {
    let object = (entry(), chain()).prop_map(|(entry, chain)| Object { entry, chain });
    vec(object, 0..4).prop_map(|objects| objects.try_into().unwrap())
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let numbers = any::<(u64, u32, u64)>();
    (numbers, select(Level::ALL), "[ -~]{0,128}", "[ -~]{0,300}").prop_map(
        |((sequence, dropped, uptime_us), level, target, message)| Record {
            sequence,
            dropped,
            uptime_us,
            level,
            target: Text::lossy(&target),
            message: Text::lossy(&message),
        },
    )
}
