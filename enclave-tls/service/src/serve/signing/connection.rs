//! One connection: the handshake, then requests, one at a time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use enclave_wire::credential::{Challenge, Hello};
use enclave_wire::frame::{FrameError, Header, limit};
use enclave_wire::signing::{Entries, Reply, Request, Sign, SignError, Signature};
use enclave_wire::{DecodeError, KeyType, Mechanism};
use tokio::task::yield_now;

use super::authentication::Challenged;
use super::rsa::NotRun;
use super::{End, Link, Plane, busy, frame};
use crate::keystore::{Client, Key, Seat};
use crate::statistics::Statistics;

/// Serves one connection to its end.
pub(super) async fn serve(plane: &Plane, mut link: Link) -> End {
    let authentication = plane.state.platform.limits.authentication;
    let end = match tokio::time::timeout(authentication, handshake(plane, &mut link)).await {
        Err(_) => End::Deadline,
        Ok(Err(end)) => end,
        Ok(Ok(seat)) => match requests(plane, &mut link, &seat).await {
            Err(end) => end,
        },
    };
    farewell(&mut link, &end).await;
    end
}

async fn handshake(plane: &Plane, link: &mut Link) -> Result<Seat, End> {
    let header = link.next().await?;
    let Request::Hello(hello) = request(link, &header)? else {
        return Err(out_of_order());
    };
    let (challenge, challenged) = challenge(plane, &hello)?;
    reply(link, &header, &Reply::Challenge(challenge)).await?;

    let header = link.next().await?;
    let Request::Authenticate(proof) = request(link, &header)? else {
        return Err(out_of_order());
    };
    let credential = plane
        .authenticator
        .verify(challenged, &proof)
        .map_err(End::Authentication)?;
    let Some(seat) = credential.take_seat(plane.state.platform.limits.connections_per_credential) else {
        link.send(&busy()).await?;
        return Err(End::Busy);
    };
    link.allow(limit::SIGNING_REQUEST);
    reply(link, &header, &Reply::Authenticated(plane.state.boot)).await?;
    Ok(seat)
}

async fn requests(plane: &Plane, link: &mut Link, seat: &Seat) -> Result<Infallible, End> {
    let credential = seat.credential();
    // One that idles ends as soon as its credential does; awaited from here on, so that nothing is missed.
    let mut replaced = pin!(credential.replaced());
    replaced.as_mut().enable();
    if credential.is_replaced() {
        return Err(End::Replaced);
    }
    loop {
        let header = tokio::select! {
            biased;
            header = link.next() => header?,
            () = &mut replaced => return Err(End::Replaced),
        };
        if !link.has_waited() {
            // Who asks before the answer has come, of a thousand in a row, has one made for each turn of all the others.
            yield_now().await;
        }
        let begun = Instant::now();
        if credential.is_replaced() {
            return Err(End::Replaced);
        }
        // An answer that nobody reads is kept as its frame alone.
        let (frame, made) = {
            let answer = answer(plane, credential.client(), request(link, &header)?).await?;
            (framed(link, &header, &answer), mechanism(&answer))
        };
        link.send(&frame).await?;
        if let Some(mechanism) = made {
            plane.state.statistics.times.answered(mechanism, begun.elapsed());
        }
    }
}

async fn answer(plane: &Plane, client: &Client, request: Request<'_>) -> Result<Reply, End> {
    Ok(match request {
        Request::Hello(_) | Request::Authenticate(_) => return Err(out_of_order()),
        Request::List(list) => match client.list(list.known_version, list.cursor, PAGE) {
            Ok(listing) => Reply::Listing(listing),
            Err(error) => Reply::Error(error),
        },
        Request::FindById(id) => {
            let found = client.find(&id).map(|key| key.entry().clone());
            Reply::Found(Entries(found.into_iter().collect()))
        }
        Request::FindByLabel(find) => Reply::Labelled(client.find_by_label(&find.label, find.cursor, PAGE)),
        Request::Chain(id) => match client.find(&id) {
            Some(key) => Reply::Chain(key.chain().clone()),
            None => Reply::Error(SignError::NoSuchKey),
        },
        Request::Sign(sign) => match client.find(&sign.key) {
            Some(key) => signature(plane, client, key, &sign).await?,
            None => Reply::Error(SignError::NoSuchKey),
        },
        Request::Ping => Reply::Pong(plane.state.boot),
    })
}

/// Of a signature that was made.
fn mechanism(answer: &Reply) -> Option<Mechanism> {
    if let Reply::Signature(made) = answer {
        Some(made.mechanism)
    } else {
        None
    }
}

async fn signature(plane: &Plane, client: &Client, key: Arc<Key>, sign: &Sign<'_>) -> Result<Reply, End> {
    let made = make_signature(plane, client, &key, sign).await;
    let result = match made {
        Ok(result) => result,
        Err(NotRun::Busy) => {
            plane.state.statistics.busy.count();
            return Ok(Reply::Error(SignError::Busy));
        }
        Err(NotRun::Panicked) => return Err(End::Failed("the operation panicked")),
    };
    key.count(sign.mechanism, result.as_ref().map(|_| ()).map_err(|error| *error));
    Ok(match result {
        Ok(signature) => Reply::Signature(Signature {
            key: sign.key,
            mechanism: sign.mechanism,
            // An input is at most 16 KiB, or the request would not have been read.
            input_len: u16::try_from(sign.input.len()).unwrap_or(u16::MAX),
            signature,
        }),
        Err(error) => Reply::Error(error),
    })
}

/// An elliptic curve signs where it stands: handing it over would cost as much as the signature. RSA takes 20 to 500 times as long,
/// and waits for a core of its own where it is not alone.
async fn make_signature(
    plane: &Plane,
    client: &Client,
    key: &Arc<Key>,
    sign: &Sign<'_>,
) -> Result<Result<Vec<u8>, SignError>, NotRun> {
    if key.has_expired(|| plane.state.platform.clock.now_unix()) {
        return Ok(Err(SignError::Failed));
    }
    match key.entry().key_type {
        KeyType::P256 | KeyType::P384 | KeyType::P521 | KeyType::Ed25519 => {
            Ok(measured(&plane.state.statistics, key, sign.mechanism, sign.input))
        }
        KeyType::Rsa(_) => {
            let (key, mechanism, input) = (Arc::clone(key), sign.mechanism, sign.input.to_vec());
            let statistics = Arc::clone(&plane.state.statistics);
            plane
                .rsa
                .run(client.name(), move || measured(&statistics, &key, mechanism, &input))
                .await
        }
    }
}

/// Signs, and notes how long a signature that was made took: without waiting for a thread, and without the connection.
fn measured(statistics: &Statistics, key: &Key, mechanism: Mechanism, input: &[u8]) -> Result<Vec<u8>, SignError> {
    let begun = Instant::now();
    let signature = key.signing().sign(key.usage(), mechanism, input)?;
    statistics.times.executed(mechanism, begun.elapsed());
    Ok(signature)
}

fn challenge(plane: &Plane, hello: &Hello) -> Result<(Challenge, Challenged), End> {
    let challenge = plane.authenticator.challenge(&plane.state.keys, hello);
    challenge.map_err(|_| End::Failed("no random numbers"))
}

fn request<'a>(link: &'a Link, header: &Header) -> Result<Request<'a>, End> {
    Request::decode(header, link.body(header)).map_err(End::Refused)
}

async fn reply(link: &mut Link, header: &Header, reply: &Reply) -> Result<(), End> {
    let reply = framed(link, header, reply);
    link.send(&reply).await
}

/// The reply to the frame in front, which is taken away.
fn framed(link: &mut Link, header: &Header, reply: &Reply) -> Vec<u8> {
    link.consume(header);
    frame(reply, header.request_id)
}

/// Tells a peer that is still there what it did, where the protocol has a word for it.
async fn farewell(link: &mut Link, end: &End) {
    let error = match end {
        End::Refused(FrameError::Version) => SignError::Version,
        End::Refused(_) => SignError::Malformed,
        End::Authentication(_) => SignError::AuthenticationFailed,
        End::Closed | End::Deadline | End::Replaced | End::Busy | End::Io(_) | End::Failed(_) => return,
    };
    // The frame at fault is still in front. Whether the peer reads the answer or not, its connection ends.
    let _ = link.send(&frame(&Reply::Error(error), link.refused_id())).await;
}

/// The protocol knows this operation, but not here.
fn out_of_order() -> End {
    End::Refused(FrameError::Body(DecodeError::UnknownTag))
}

/// What the entries of one page may have: some sixty keys. A client may leave a page unread on each of its connections.
const PAGE: usize = 8_192 - 64;
