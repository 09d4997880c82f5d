//! Who gets in, and what the others are told.

use std::time::{Duration, Instant};

use enclave_tls::platform::Limits;
use enclave_wire::Mechanism;
use enclave_wire::frame::{FrameError, HEADER_LEN, Header, limit};
use enclave_wire::signing::{Reply, Request, SignError};

use super::client::{Client, Failed, Identity};
use super::lab::Lab;

#[test]
fn both_sides_prove_themselves() {
    let mut lab = Lab::new();
    let (mut client, boot) = Client::open(&lab.signing, &lab.www).unwrap();
    assert_eq!(client.call(&Request::Ping).unwrap(), Reply::Pong(boot));
    assert_eq!(lab.agent.status().boot, boot);
}

#[test]
fn a_wrong_proof_is_refused() {
    let lab = Lab::new();
    let mut client = Client::dial(&lab.signing).unwrap();
    client.hello(&lab.www).unwrap();
    assert_eq!(
        client.authenticate([0; 32]),
        Err(Failed::Refused(SignError::AuthenticationFailed))
    );
    assert!(client.is_closed());
    lab.until(|lab| lab.statistics.authentication_failures.get() == 1);
}

/// threat_10: without the credential nothing is to be had, and what a stranger hears does not tell whether a credential exists.
#[test]
fn threat_10_an_unknown_credential_is_answered_like_a_wrong_one() {
    let lab = Lab::new();
    let stranger = Identity::new();
    let mut client = Client::dial(&lab.signing).unwrap();
    assert_eq!(client.hello(&stranger).err(), Some(Failed::ServiceProof));
    assert_eq!(
        client.authenticate([0; 32]),
        Err(Failed::Refused(SignError::AuthenticationFailed))
    );
    assert!(client.is_closed());
}

#[test]
fn a_proof_of_another_connection_is_refused() {
    let lab = Lab::new();
    let mut first = Client::dial(&lab.signing).unwrap();
    let transcript = first.hello(&lab.www).unwrap();
    let mut second = Client::dial(&lab.signing).unwrap();
    second.hello(&lab.www).unwrap();
    let proof = lab.www.mac(&transcript.client_input());
    assert_eq!(
        second.authenticate(proof),
        Err(Failed::Refused(SignError::AuthenticationFailed))
    );
    assert!(first.authenticate(proof).is_ok(), "it was right for its own");
}

#[test]
fn what_is_out_of_order_ends_the_connection() {
    let lab = Lab::new();
    let malformed = Reply::Error(SignError::Malformed);
    let mut client = Client::dial(&lab.signing).unwrap();
    assert_eq!(client.call(&Request::Ping).unwrap(), malformed);
    assert!(client.is_closed());
    let mut client = Client::dial(&lab.signing).unwrap();
    assert_eq!(client.call(&Request::Authenticate([0; 32])).unwrap(), malformed);
    assert!(client.is_closed());
    let mut client = lab.client();
    assert_eq!(client.call(&Request::Authenticate([0; 32])).unwrap(), malformed);
    assert!(client.is_closed());
    let mut client = Client::dial(&lab.signing).unwrap();
    client.hello(&lab.www).unwrap();
    assert_eq!(
        client.hello(&lab.www).err(),
        Some(Failed::Refused(SignError::Malformed))
    );
    lab.until(|lab| lab.statistics.malformed.get() == 4);
}

#[test]
fn another_version_is_named() {
    use std::io::Write as _;
    let lab = Lab::new();
    let mut client = lab.client();
    let mut frame = client.frame(&Request::Ping);
    frame[4] = 2;
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.read().unwrap().1, Reply::Error(SignError::Version));
    assert!(client.is_closed());
    let header = Header::decode(frame.first_chunk::<HEADER_LEN>().unwrap(), limit::SIGNING_REQUEST);
    assert_eq!(header, Err(FrameError::Version));
}

/// A stranger makes the service keep no more than a hello.
#[test]
fn threat_05_a_stranger_has_no_room_for_a_request() {
    use std::io::Write as _;
    let lab = Lab::new();
    let header = |length: u32| [&length.to_be_bytes()[..], &[1, 1], &7u64.to_be_bytes()].concat();
    let mut stranger = Client::dial(&lab.signing).unwrap();
    stranger.stream.write_all(&header(65)).unwrap();
    assert_eq!(stranger.read().unwrap().1, Reply::Error(SignError::Malformed));
    assert!(stranger.is_closed());
    // Once it has authenticated the same length is that of a request.
    let mut client = lab.client();
    client.stream.write_all(&header(65)).unwrap();
    client.stream.write_all(&[0; 55]).unwrap();
    assert_eq!(
        client.read().unwrap().1,
        Reply::Error(SignError::Malformed),
        "a hello out of order, but a whole one"
    );
}

#[test]
fn a_handshake_has_one_second_in_all() {
    let lab = Lab::new();
    let begun = Instant::now();
    let mut silent = Client::dial(&lab.signing).unwrap();
    let mut halfway = Client::dial(&lab.signing).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    halfway.hello(&lab.www).unwrap();
    assert!(silent.is_closed() && halfway.is_closed());
    let taken = begun.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(3)).contains(&taken),
        "{taken:?}"
    );
    lab.until(|lab| lab.statistics.deadlines.get() == 2);
}

/// A second credential is valid beside the first; a third takes the first one's place and ends what it had open.
#[test]
fn credentials_roll_over() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    let (second, third) = (Identity::new(), Identity::new());
    let mut old = lab.client();
    lab.agent.install("www", &second);
    for client in [&mut old, &mut lab.open(&second)] {
        assert!(client.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
    // The same again changes nothing.
    lab.agent.install("www", &second);
    assert!(old.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    lab.agent.install("www", &third);
    assert!(old.call(&Request::Ping).is_err(), "closed");
    assert_eq!(Client::open(&lab.signing, &lab.www).err(), Some(Failed::ServiceProof));
    for identity in [&second, &third] {
        assert!(lab.open(identity).sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
}

/// threat_08: connections over a limit are told so and closed; those that are here go on.
#[test]
fn threat_08_the_257th_connection_of_a_credential_is_busy() {
    let mut lab = Lab::new();
    let other = Identity::new();
    lab.agent.install("other", &other);
    let mut clients: Vec<Client> = (0..256).map(|_| lab.client()).collect();
    assert_eq!(
        Client::open(&lab.signing, &lab.www).err(),
        Some(Failed::Refused(SignError::Busy))
    );
    for client in &mut clients {
        assert!(client.call(&Request::Ping).is_ok());
    }
    assert!(
        lab.open(&other).call(&Request::Ping).is_ok(),
        "another credential has its own"
    );
    lab.until(|lab| lab.statistics.busy.get() == 1);
    clients.pop();
    lab.until(|lab| lab.statistics.connections.get() == 255);
    assert!(lab.client().call(&Request::Ping).is_ok(), "the place is free again");
}

/// threat_08: 5,000 connects, of which none authenticates, disturb nobody who is here.
#[test]
fn threat_08_a_connect_storm_leaves_existing_clients_alone() {
    let mut lab = Lab::with(Limits {
        authentication: Duration::from_secs(20),
        ..Limits::default()
    });
    let key = lab.key("lab-a", "P-256").id;
    let mut client = lab.client();
    let mut storm: Vec<Client> = (0..1_023).map(|_| Client::dial(&lab.signing).unwrap()).collect();
    lab.until(|lab| lab.statistics.connections.get() == 1_024);
    for _ in 0..4_000 {
        let mut refused = Client::dial(&lab.signing).unwrap();
        let (header, reply) = refused.read().unwrap();
        assert_eq!((header.request_id, reply), (0, Reply::Error(SignError::Busy)));
        assert!(refused.is_closed());
        assert!(client.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
    assert_eq!(lab.statistics.busy.get(), 4_000);
    storm.clear();
    lab.until(|lab| lab.statistics.connections.get() == 1);
    assert!(lab.client().call(&Request::Ping).is_ok());
}
