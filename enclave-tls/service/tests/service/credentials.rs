//! A client's credentials: seen, rolled over with an overlap, and taken away.

use std::time::{Duration, Instant};

use enclave_wire::control::ControlError;
use enclave_wire::signing::{Request, SignError};

use super::client::{Client, Failed, Identity};
use super::lab::Lab;

/// The agent sees which credential is still in use, so that it takes the old one away when nobody needs it.
#[test]
fn a_credential_is_rolled_over_with_an_overlap() {
    let mut lab = Lab::new();
    let old = lab.client();
    let next = Identity::new();
    lab.agent.install("www", &next);
    lab.agent.install("api", &Identity::new());
    let [api, first, second] = lab.agent.credentials().try_into().unwrap();
    assert_eq!((api.client.as_str(), first.id, second.id), ("api", lab.www.id, next.id));
    assert_eq!((first.connections, first.authenticated), (1, 1));
    assert_eq!(
        (second.connections, second.authenticated, second.last_authenticated_ms),
        (0, 0, None)
    );

    let new = lab.open(&next);
    drop(old);
    lab.until(|lab| lab.statistics.connections.get() == 1);
    let uptime = lab.agent.status().uptime_ms;
    let [_, first, second] = lab.agent.credentials().try_into().unwrap();
    assert_eq!((first.connections, second.connections, second.authenticated), (0, 1, 1));
    assert!(
        first.last_authenticated_ms <= second.last_authenticated_ms && second.last_authenticated_ms <= Some(uptime)
    );
    assert_eq!(lab.agent.revoke("www", lab.www.id), Ok(()));
    assert_eq!(lab.agent.credentials().len(), 2);
    assert_eq!(Client::open(&lab.signing, &lab.www).err(), Some(Failed::ServiceProof));
    drop(new);
}

/// threat_10: what is revoked is of no use from then on, on connections that are open as well.
#[test]
fn threat_10_a_revoked_credential_ends_its_connections() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    let next = Identity::new();
    lab.agent.install("www", &next);
    let (mut idle, mut kept) = (lab.client(), lab.open(&next));
    let begun = Instant::now();
    lab.agent.revoke("www", lab.www.id).unwrap();
    assert!(
        idle.is_closed() && begun.elapsed() < Duration::from_secs(5),
        "it asked for nothing"
    );
    assert!(kept.sign(key, enclave_wire::Mechanism::Ecdsa, &[1; 32]).is_ok());

    assert_eq!(lab.agent.revoke("www", lab.www.id), Ok(()), "said again");
    lab.agent.install("api", &Identity::new());
    assert_eq!(lab.agent.revoke("api", next.id), Err(ControlError::NoSuchClient));
    assert!(kept.call(&Request::Ping).is_ok());
    lab.agent.revoke("www", next.id).unwrap();
    assert!(kept.is_closed());
    let mut late = Client::dial(&lab.signing).unwrap();
    assert_eq!(late.hello(&next).err(), Some(Failed::ServiceProof));
    assert_eq!(
        late.authenticate([0; 32]),
        Err(Failed::Refused(SignError::AuthenticationFailed))
    );

    // The client is known still, and so are its keys.
    let third = Identity::new();
    lab.agent.install("www", &third);
    assert!(
        lab.open(&third)
            .sign(key, enclave_wire::Mechanism::Ecdsa, &[1; 32])
            .is_ok()
    );
}
