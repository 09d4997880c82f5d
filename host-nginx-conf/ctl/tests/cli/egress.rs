//! Egress: what is carried, what is refused, and what is counted.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::egress::{Answer, Connect, EgressError};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::config::Config;
use crate::stack::Stack;

/// An agent whose allow-list has `kms.example:443`, mapped to a host of the test's own, and what more is given: mapped or not.
fn listening(name: &str, more: &[(&str, Option<SocketAddr>)]) -> (Stack, TcpListener) {
    let mut stack = Stack::new(name);
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let all = [&[("kms.example:443", Some(host.local_addr().unwrap()))], more].concat();
    let allow: Vec<_> = all.iter().map(|(host, _)| format!("{host:?}")).collect();
    let resolve = all
        .iter()
        .filter_map(|(host, address)| Some(format!("{host:?} = \"{}\"\n", (*address)?)));
    let config = Config {
        more: format!(
            "[egress]\nallow = [{}]\n\n[egress.resolve]\n{}",
            allow.join(", "),
            resolve.collect::<String>()
        ),
        ..stack.config()
    };
    stack.start_agent_with(&config, &[]);
    (stack, host)
}

fn socket(stack: &Stack) -> std::path::PathBuf {
    stack.dir.join("egress.sock")
}

fn dial(stack: &Stack) -> UnixStream {
    let stream = UnixStream::connect(socket(stack)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ask(stack: &Stack, host: &str, port: u16) -> (UnixStream, Answer) {
    let mut stream = dial(stack);
    let mut writer = Writer::new();
    let connect = Connect {
        host: host.parse().unwrap(),
        port,
    };
    connect.write(&mut writer, 7);
    stream.write_all(&writer.into_bytes()).unwrap();
    let answer = answer(&mut stream, 7);
    (stream, answer)
}

fn answer(stream: &mut UnixStream, id: u64) -> Answer {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).unwrap();
    let header = Header::decode(&head, limit::EGRESS).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(header.request_id, id);
    Answer::decode(&header, &body).unwrap()
}

fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut bytes = Vec::new();
    let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The counters. The service is not asked, but there has to be one.
fn egress(stack: &Stack) -> serde_json::Value {
    let _fake = crate::fake::Fake::start(&stack.control());
    stack.json(&["stats"])["egress"].clone()
}

#[test]
fn bytes_pass_both_ways_each_direction_ends_by_itself_and_all_is_counted() {
    let (stack, host) = listening("egress-carry", &[]);
    let (mut enclave, answer) = ask(&stack, "kms.example", 443);
    assert_eq!(answer, Answer::Connected);
    let (mut host, _) = host.accept().unwrap();
    let hello = hello("kms.example");
    let up = [&hello[..], &[7; 100_000]].concat();
    let down = vec![9; 200_000];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            enclave.write_all(&up).unwrap();
            enclave.shutdown(Shutdown::Write).unwrap();
            let mut got = Vec::new();
            enclave.read_to_end(&mut got).unwrap();
            assert!(got == down, "what the host said, after our own end");
        });
        let mut got = Vec::new();
        host.read_to_end(&mut got).unwrap();
        assert!(got == up, "the ClientHello too, and then its end");
        host.write_all(&down).unwrap();
        drop(host);
    });
    let counted = egress(&stack);
    let host = &counted["hosts"][0];
    assert_eq!(host["host"], "kms.example:443");
    assert_eq!((&host["connections"], &host["bytes_up"]), (&1.into(), &up.len().into()));
    assert_eq!(host["bytes_down"], down.len());
    assert_eq!(
        host["refused"],
        serde_json::json!({"unreachable": 0, "busy": 0, "not_tls": 0, "other_name": 0})
    );
}

#[test]
fn what_is_not_on_the_list_is_refused_and_named() {
    let (stack, host) = listening("egress-list", &[]);
    host.set_nonblocking(true).unwrap();
    for (name, port) in [
        ("s3.example", 443),
        ("kms.example", 80),
        ("kms.example.evil", 443),
        ("s3.example", 443),
    ] {
        let (mut stream, answer) = ask(&stack, name, port);
        assert_eq!(answer, Answer::Refused(EgressError::NotAllowed));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends");
    }
    assert!(host.accept().is_err(), "nobody was connected to");
    let counted = egress(&stack);
    assert_eq!(
        counted["not_allowed"][0],
        serde_json::json!({"host": "s3.example:443", "refused": 2})
    );
    assert_eq!(counted["not_allowed"].as_array().unwrap().len(), 3);
    let log = stack.log();
    assert_eq!(log.matches("the service asked for s3.example:443").count(), 1, "{log}");
}

#[test]
fn this_machine_is_not_reached_by_a_name_that_leads_to_it() {
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = local.local_addr().unwrap().port();
    // 127.0.0.1, as a number that the system's resolver takes for an address and that is a DNS name all the same.
    let name = "0x7f000001";
    let (stack, _host) = listening("egress-local", &[(&format!("{name}:{port}"), None)]);
    let (_, answer) = ask(&stack, name, port);
    assert_eq!(answer, Answer::Refused(EgressError::Unreachable));
    local.set_nonblocking(true).unwrap();
    assert!(local.accept().is_err(), "nobody was connected to");
    let counted = &egress(&stack)["hosts"][0];
    assert_eq!(counted["host"], format!("{name}:{port}"));
    assert_eq!(counted["refused"]["unreachable"], 1);
    stack.wait_for_log("its name leads to this machine or to a link-local address");
}

#[test]
fn a_host_that_is_away_or_a_name_that_leads_nowhere_is_unreachable() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = [("closed.example:443", Some(closed)), ("nowhere.invalid:443", None)];
    let (stack, _host) = listening("egress-away", &away);
    for name in ["closed.example", "nowhere.invalid"] {
        let (_, answer) = ask(&stack, name, 443);
        assert_eq!(answer, Answer::Refused(EgressError::Unreachable), "{name}");
    }
}

#[test]
fn threat_31_what_does_not_begin_with_a_client_hello_for_the_host_does_not_reach_it() {
    let (stack, host) = listening("egress-hello", &[]);
    for first in [
        hello("s3.example"),
        hello("192.0.2.1"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let (mut enclave, answer) = ask(&stack, "kms.example", 443);
        assert_eq!(answer, Answer::Connected);
        let (mut host, _) = host.accept().unwrap();
        enclave.write_all(&first).unwrap();
        let mut got = Vec::new();
        host.read_to_end(&mut got).unwrap();
        assert!(got.is_empty(), "{got:?}");
        // Closed with bytes unread, the socket says so by a reset.
        assert!(enclave.read(&mut [0]).map_or(true, |count| count == 0));
    }
    let counted = egress(&stack);
    let refused = &counted["hosts"][0]["refused"];
    assert_eq!((&refused["other_name"], &refused["not_tls"]), (&2.into(), &1.into()));
    assert_eq!(counted["hosts"][0]["bytes_up"], 0);
}

#[test]
fn threat_01_what_is_no_request_is_refused_and_silence_is_not_waited_for() {
    let (stack, _host) = listening("egress-malformed", &[]);
    let mut silent = dial(&stack);
    let mut garbage = dial(&stack);
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(&mut garbage, 0), Answer::Refused(EgressError::Malformed));
    let mut other = dial(&stack);
    let frame = enclave_wire::frame::encode_with(2, 5, |_| ());
    other.write_all(&frame.into_bytes()).unwrap();
    assert_eq!(answer(&mut other, 5), Answer::Refused(EgressError::Malformed));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it is closed");
    assert_eq!(egress(&stack)["malformed"], 3);
}

#[test]
fn threat_08_beyond_so_many_connections_the_next_is_told_that_there_are_too_many() {
    let (stack, host) = listening("egress-busy", &[]);
    let hello = hello("kms.example");
    let mut held = Vec::new();
    for _ in 0..64 {
        let (mut enclave, answer) = ask(&stack, "kms.example", 443);
        assert_eq!(answer, Answer::Connected);
        enclave.write_all(&hello).unwrap();
        held.push((enclave, host.accept().unwrap()));
    }
    assert_eq!(ask(&stack, "kms.example", 443).1, Answer::Refused(EgressError::Busy));
    held.pop();
    let free = || ask(&stack, "kms.example", 443).1 == Answer::Connected;
    assert!((0..100).any(|_| free() || {
        std::thread::sleep(Duration::from_millis(20));
        false
    }));
    let counted = egress(&stack);
    assert!(
        counted["hosts"][0]["refused"]["busy"].as_u64().unwrap() >= 1,
        "{counted}"
    );
}

#[test]
fn what_lets_others_in_and_what_means_nothing_is_refused() {
    let stack = Stack::new("egress-usage");
    let open = stack.dir.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    for (egress, expected) in [
        (
            format!("unix:{}/egress.sock", open.display()),
            "who can reach the egress socket",
        ),
        ("unix:@e".to_owned(), "set `egress` under [enclave] to unix:/PATH"),
    ] {
        let error = stack.refused(&Config {
            egress,
            ..stack.config()
        });
        assert!(error.contains(expected), "{error}");
    }
    for (wrong, line) in [
        ("[egress]\nallow = [\"1.2.3.4:443\"]", 18),
        ("[egress]\nallow = [\"*.example:443\"]", 18),
        ("[egress]\nallow = [\"localhost:443\"]", 18),
        ("[egress.resolve]\n\"a.example:443\" = \"127.0.0.1:443\"", 18),
        ("[aws]\nkms_host = \"kms-fips.us-east-1.amazonaws.com\"", 18),
    ] {
        let more = format!("{wrong}\n");
        let error = stack.refused(&Config { more, ..stack.config() });
        assert!(error.contains(&format!("config.toml:{line}:")), "{wrong}: {error}");
    }
}
