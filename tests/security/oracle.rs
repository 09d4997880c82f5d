//! threat_42: absent, retired and another credential's key look the same. `timing/oracle.rs` asks whether they do in time.

use anyhow::{Result, ensure};
use e2e::lab::Lab;
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::signing::{Connection, Frame};
use e2e::lab::suite::Test;
use e2e::lab::unseen::Unseen;
use enclave_wire::frame::{ERROR, encode_with};
use enclave_wire::signing::{Request, Sign, SignError};
use enclave_wire::{KeyId, Mechanism};

pub(super) const TESTS: &[Test] = e2e::tests![threat_42_absent_retired_and_anothers_key_are_equal_to_the_byte,];

fn threat_42_absent_retired_and_anothers_key_are_equal_to_the_byte(lab: &Lab) -> Result<()> {
    let unseen = Unseen::make(lab)?;
    for request in ["sign", "a digest that is none", "find", "chain"] {
        let mut replies = Vec::new();
        for key in unseen.ids {
            // A connection each, so that the request ids are the same.
            let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
            replies.push(connection.exchange(&asking(request, key))?);
        }
        ensure!(
            replies.iter().all(|reply| Some(reply) == replies.first()),
            "{request}: {replies:?}"
        );
        if request != "find" {
            let no_such_key = encode_with(ERROR, 3, |body| body.put(&[SignError::NoSuchKey.byte()])).into_bytes();
            ensure!(replies.first() == Some(&Frame(no_such_key)), "{request}: {replies:?}");
        }
    }
    // The control: a key of one's own is another answer.
    let own = TestKey::create(lab, "lab-e2e-own", "P-256", "digest", WEB_SERVERS)?;
    let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let reply = connection.exchange(&asking("sign", own.id()?))?;
    ensure!(reply.0.len() > 64, "no signature by a key of one's own: {reply:?}");
    Ok(())
}

fn asking(what: &str, key: KeyId) -> Request<'static> {
    let sign = |input| {
        Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input,
        })
    };
    match what {
        "find" => Request::FindById(key),
        "chain" => Request::Chain(key),
        "sign" => sign(&[0xd1; 32]),
        _ => sign(&[]),
    }
}
