//! What the service counted since its start.

use std::collections::BTreeMap;

use enclave_wire::Mechanism;
use enclave_wire::control::Counters;

use super::text::{Kind, Page};

/// A key's certificate and generation, by its id.
pub(super) type Keys = BTreeMap<String, (String, String)>;

pub(super) fn write(page: &mut Page, counters: &Counters, keys: &Keys) {
    signatures(page, counters, keys);
    let mut made = page.family(
        "enclave_tls_signing_execution_seconds",
        Kind::Histogram,
        "Time to make a signature alone, by mechanism.",
    );
    for times in counters.mechanisms.items() {
        made.histogram(&[("mechanism", mechanism(times.mechanism))], &times.execution);
    }
    let mut total = page.family(
        "enclave_tls_signing_duration_seconds",
        Kind::Histogram,
        "Time from a decoded request to its written reply, by mechanism.",
    );
    for times in counters.mechanisms.items() {
        total.histogram(&[("mechanism", mechanism(times.mechanism))], &times.total);
    }
    connections(page, counters);
    queue(page, counters);
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    page.one(
        "enclave_tls_control_connections_total",
        counter,
        "Connections from the service to the agent; one more than it was lost.",
        Some(counters.control_connections),
    );
    page.one(
        "enclave_tls_service_log_lines_dropped_total",
        counter,
        "Lines of the service's log that PID 1 of the enclave did not take in time.",
        Some(counters.log_lines_dropped),
    );
    page.one(
        "enclave_tls_attestation_age_seconds",
        gauge,
        "Time since the NSM last gave the service an attestation document.",
        counters.attestation_age_s,
    );
    page.one(
        "enclave_tls_enclave_memory_available_bytes",
        gauge,
        "Memory that the enclave's kernel can still give.",
        counters.memory.available,
    );
    page.one(
        "enclave_tls_enclave_memory_reserved_bytes",
        gauge,
        "Memory kept for connections and requests: with less available, no key is taken.",
        Some(counters.memory.reserved),
    );
}

fn signatures(page: &mut Page, counters: &Counters, keys: &Keys) {
    let mut family = page.family(
        "enclave_tls_signatures_total",
        Kind::Counter,
        "Requests for signatures, by key, mechanism and result: made, refused by the key's usage, or failed.",
    );
    let nobody = (String::new(), String::new());
    for counted in counters.keys.items() {
        let id = counted.key.to_string();
        let (certificate, generation) = keys.get(&id).unwrap_or(&nobody);
        for (result, count) in [
            ("made", counted.signed),
            ("refused", counted.refused),
            ("failed", counted.failed),
        ] {
            let labels = [
                ("certificate", certificate.as_str()),
                ("generation", generation),
                ("key", id.get(..16).unwrap_or(&id)),
                ("mechanism", mechanism(counted.mechanism)),
                ("result", result),
            ];
            family.sample(&labels, count);
        }
    }
}

fn connections(page: &mut Page, counters: &Counters) {
    page.one(
        "enclave_tls_signing_connections",
        Kind::Gauge,
        "Connections of web servers to the service, now.",
        Some(counters.connections),
    );
    for (name, help, count) in [
        (
            "enclave_tls_signing_connections_accepted_total",
            "Connections of the signing plane that were accepted.",
            counters.accepted,
        ),
        (
            "enclave_tls_signing_busy_total",
            "Connections and requests refused as busy.",
            counters.busy,
        ),
        (
            "enclave_tls_signing_authentication_failures_total",
            "Handshakes of clients that failed.",
            counters.authentication_failures,
        ),
        (
            "enclave_tls_signing_malformed_total",
            "Frames of the signing plane that were refused.",
            counters.malformed,
        ),
        (
            "enclave_tls_signing_deadlines_missed_total",
            "Deadlines that a peer missed.",
            counters.deadlines,
        ),
    ] {
        page.one(name, Kind::Counter, help, Some(count));
    }
}

fn queue(page: &mut Page, counters: &Counters) {
    let queue = &counters.queue;
    for (name, help, count) in [
        (
            "enclave_tls_queue_running",
            "RSA operations that run now.",
            queue.running,
        ),
        (
            "enclave_tls_queue_waiting",
            "RSA operations that wait now.",
            queue.waiting,
        ),
        (
            "enclave_tls_queue_waiting_most",
            "The most RSA operations that waited at once.",
            queue.waiting_most,
        ),
    ] {
        page.one(name, Kind::Gauge, help, Some(count));
    }
    for (name, help, count) in [
        (
            "enclave_tls_queue_done_total",
            "RSA operations that were run.",
            queue.done,
        ),
        (
            "enclave_tls_queue_shed_total",
            "RSA operations that found no place to wait; they are among those refused as busy.",
            queue.shed,
        ),
    ] {
        page.one(name, Kind::Counter, help, Some(count));
    }
}

const fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::RsaPkcs1 => "rsa-pkcs1",
        Mechanism::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
        Mechanism::RsaPkcs1Sha384 => "rsa-pkcs1-sha384",
        Mechanism::RsaPkcs1Sha512 => "rsa-pkcs1-sha512",
        Mechanism::RsaPssDigestSha256 => "rsa-pss-digest-sha256",
        Mechanism::RsaPssDigestSha384 => "rsa-pss-digest-sha384",
        Mechanism::RsaPssDigestSha512 => "rsa-pss-digest-sha512",
        Mechanism::RsaPssSha256 => "rsa-pss-sha256",
        Mechanism::RsaPssSha384 => "rsa-pss-sha384",
        Mechanism::RsaPssSha512 => "rsa-pss-sha512",
        Mechanism::Ecdsa => "ecdsa",
        Mechanism::EcdsaSha256 => "ecdsa-sha256",
        Mechanism::EcdsaSha384 => "ecdsa-sha384",
        Mechanism::EcdsaSha512 => "ecdsa-sha512",
        Mechanism::Ed25519 => "ed25519",
    }
}
