//! Each operation of the signing plane as the token asks for it, and the binding of each reply to its request.

use std::sync::Arc;

use enclave_wire::signing::{Entries, Entry, FindByLabel, Label, List, Listing, Page, Reply, Request, Sign, SignError};
use enclave_wire::{Chain, KeyId, Objects};

use super::connection::{Connection, ExchangeError};
use super::{CallError, Client};
use crate::token::backend::{Backend, Listed, SignFailure, SignRequest, Snapshot, SocketId, Unavailable};
use crate::token::deadline::Deadline;

impl Backend for Client {
    fn list(&self, known: Option<Snapshot>, deadline: Deadline) -> Result<Listed, Unavailable> {
        self.call(deadline, |connection, deadline| list(connection, known, deadline))
            .map_err(unavailable)
    }

    fn find_by_id(&self, id: KeyId, deadline: Deadline) -> Result<Option<Entry>, Unavailable> {
        let found = self.call(deadline, |connection, deadline| {
            let Reply::Found(Entries(entries)) = connection.exchange(&Request::FindById(id), deadline)? else {
                return Err(ExchangeError::Protocol);
            };
            let is_bound = entries.len() <= 1 && entries.iter().all(|entry| entry.id == id);
            if is_bound {
                Ok(entries)
            } else {
                Err(ExchangeError::Protocol)
            }
        });
        match found {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(CallError::Answer(SignError::NoSuchKey)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn find_by_label(&self, label: &Label, deadline: Deadline) -> Result<Vec<Entry>, Unavailable> {
        self.call(deadline, |connection, deadline| {
            find_by_label(connection, label, deadline)
        })
        .map_err(unavailable)
    }

    fn chain(&self, id: KeyId, deadline: Deadline) -> Result<Option<Chain>, Unavailable> {
        let chain = self.call(deadline, |connection, deadline| {
            let Reply::Chain(chain) = connection.exchange(&Request::Chain(id), deadline)? else {
                return Err(ExchangeError::Protocol);
            };
            Ok(chain)
        });
        match chain {
            Err(CallError::Answer(SignError::NoSuchKey)) => Ok(None),
            chain => chain.map(Some).map_err(unavailable),
        }
    }

    fn sign(&self, request: SignRequest<'_>, deadline: Deadline) -> Result<Vec<u8>, SignFailure> {
        self.call(deadline, |connection, deadline| sign(connection, request, deadline))
            .map_err(|error| match error {
                CallError::Answer(SignError::NoSuchKey) => SignFailure::NoSuchKey,
                CallError::Answer(SignError::UsageRefused) => SignFailure::UsageRefused,
                CallError::Answer(SignError::InputLength) => SignFailure::InputLength,
                CallError::Answer(SignError::Failed) => SignFailure::Failed,
                error @ (CallError::Unavailable(_) | CallError::OutOfTime | CallError::Answer(_)) => {
                    SignFailure::Unavailable(unavailable(error))
                }
            })
    }

    fn published(&self) -> Option<Arc<Objects>> {
        let mut settings = self.settings.lock();
        settings.read_objects_again();
        settings.objects().cloned()
    }

    fn each_socket(&self, each: &mut dyn FnMut(SocketId)) {
        self.registry.sockets().for_each(each);
    }
}

/// Asks whether the service is there, in the run that authenticated.
pub(super) fn ping(connection: &mut Connection, deadline: Deadline) -> Result<(), ExchangeError> {
    let Reply::Pong(boot) = connection.exchange(&Request::Ping, deadline)? else {
        return Err(ExchangeError::Protocol);
    };
    if boot == connection.boot() {
        Ok(())
    } else {
        Err(ExchangeError::Protocol)
    }
}

/// A reply that does not name this very key, mechanism and length, or is no signature of this key's length, is another request's.
fn sign(connection: &mut Connection, request: SignRequest<'_>, deadline: Deadline) -> Result<Vec<u8>, ExchangeError> {
    let asked = Request::Sign(Sign {
        key: request.key,
        mechanism: request.mechanism,
        input: request.input,
    });
    let Reply::Signature(reply) = connection.exchange(&asked, deadline)? else {
        return Err(ExchangeError::Protocol);
    };
    let is_bound = reply.key == request.key
        && reply.mechanism == request.mechanism
        && usize::from(reply.input_len) == request.input.len()
        && reply.signature.len() == request.key_type.signature_len();
    if is_bound {
        Ok(reply.signature)
    } else {
        Err(ExchangeError::Protocol)
    }
}

fn list(connection: &mut Connection, known: Option<Snapshot>, deadline: Deadline) -> Result<Listed, ExchangeError> {
    let boot = connection.boot();
    let known = known
        .filter(|known| known.boot == boot)
        .map_or(0, |known| known.version);
    let read = pages(|cursor, version| {
        let list = List {
            known_version: version.unwrap_or(known),
            cursor,
        };
        let Reply::Listing(listing) = connection.exchange(&Request::List(list), deadline)? else {
            return Err(ExchangeError::Protocol);
        };
        Ok(listing)
    })?;
    match read {
        Some((version, entries)) => Ok(Listed::All(Snapshot { boot, version }, entries)),
        None if known != 0 => Ok(Listed::Unchanged),
        None => Err(ExchangeError::Protocol),
    }
}

fn find_by_label(connection: &mut Connection, label: &Label, deadline: Deadline) -> Result<Vec<Entry>, ExchangeError> {
    let read = pages(|cursor, _| {
        let find = FindByLabel {
            label: label.clone(),
            cursor,
        };
        let Reply::Labelled(listing) = connection.exchange(&Request::FindByLabel(find), deadline)? else {
            return Err(ExchangeError::Protocol);
        };
        Ok(listing)
    })?;
    match read {
        Some((_, entries)) if entries.iter().all(|entry| entry.label() == *label) => Ok(entries),
        _ => Err(ExchangeError::Protocol),
    }
}

/// Reads every page, and begins again where the listing changed meanwhile. None where it is unchanged.
fn pages(
    mut page_at: impl FnMut(u32, Option<u64>) -> Result<Listing, ExchangeError>,
) -> Result<Option<(u64, Vec<Entry>)>, ExchangeError> {
    let mut read: Option<(u64, Vec<Entry>)> = None;
    let mut cursor = 0;
    loop {
        let version = read.as_ref().map(|(version, _)| *version);
        let Page { version, next, entries } = match page_at(cursor, version) {
            Ok(Listing::Page(page)) if version.is_none_or(|version| version == page.version) => page,
            Ok(Listing::Unchanged) if read.is_none() => return Ok(None),
            Ok(Listing::Page(_)) | Err(ExchangeError::Answer(SignError::ListChanged)) if read.is_some() => {
                // The deadline bounds how often this can happen.
                read = None;
                cursor = 0;
                continue;
            }
            Ok(_) => return Err(ExchangeError::Protocol),
            Err(error) => return Err(error),
        };
        let (_, all) = read.get_or_insert((version, Vec::new()));
        all.try_reserve(entries.0.len())?;
        all.extend(entries.0);
        match next {
            None => return Ok(read),
            // Cursors only go on: a listing has an end.
            Some(next) if next > cursor && all.len() <= MAX_KEYS => cursor = next,
            Some(_) => return Err(ExchangeError::Protocol),
        }
    }
}

fn unavailable(error: CallError) -> Unavailable {
    match error {
        CallError::Unavailable(cause) => cause,
        CallError::OutOfTime => Unavailable::Stalled,
        CallError::Answer(_) => Unavailable::Protocol,
    }
}

/// Far above what a credential sees, and a bound on what a hostile service can have this process hold.
const MAX_KEYS: usize = 16_384;
