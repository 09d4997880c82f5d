//! What the replay directory learns from a request that the enclave granted.

use enclave_wire::BootId;
use enclave_wire::control::{ControlError, Reply, Request};
use enclave_wire::credential::Verifier;
use enclave_wire::log::Text;

use crate::store::{Credential, ItemError, Store};
use enclave_tls_admin::protocol::Record;

/// Records a request and its reply. With `keep` an imported key is copied; otherwise its name is noted, like a born key's.
pub(crate) fn record(store: &Store, boot: BootId, keep: bool, request: &Request, reply: &Reply) -> Record {
    match write(store, boot, keep, request, reply) {
        Ok(true) => Record::Done,
        Ok(false) => Record::Nothing,
        Err(error) => Record::Failed(Text::lossy(&error.to_string())),
    }
}

/// Whether it is now on disk.
fn write(store: &Store, boot: BootId, keep: bool, request: &Request, reply: &Reply) -> Result<bool, ItemError> {
    match (request, reply) {
        (Request::InstallCredential(new), Reply::CredentialInstalled) => {
            let credential = Credential {
                id: new.id,
                verifier: Verifier(new.verifier.0),
            };
            store.add_credential(&new.client, credential).map(|()| true)
        }
        (Request::RevokeCredential(revoke), Reply::CredentialRevoked) => {
            store.remove_credential(&revoke.client, revoke.id).map(|()| true)
        }
        // What is sealed comes back by its state, which is on disk already: with its chain, its usage and its place.
        (_, Reply::Created(key) | Reply::Imported(key) | Reply::Provisioned(key)) if key.sealed.is_some() => Ok(false),
        (Request::Provision(provision), Reply::Provisioned(key)) => store.keep_bundle(key, provision).map(|()| true),
        (Request::Import(import), Reply::Imported(key)) if keep => store.keep_key(key, &import.pkcs8).map(|()| true),
        (Request::Import(_), Reply::Imported(key)) | (Request::Create(_), Reply::Created(key)) => {
            store.note_volatile(key, boot).map(|()| false)
        }
        (Request::InstallChain(install), Reply::ChainInstalled(_)) => store.put_chain(install.key, &install.chain),
        (Request::Supersede(_), Reply::Superseded(key))
        | (Request::Reinstate(_), Reply::Reinstated(key))
        | (Request::Narrow(_), Reply::Narrowed(key)) => store.amend(key, boot),
        // A key that the enclave does not hold may still be here: one that a restart lost, or that the replay could not give.
        (Request::Retire(id), Reply::Retired | Reply::Error(ControlError::NoSuchKey)) => store.forget(*id),
        // Refused, or nothing that a restart would lose. A new operation has to say which.
        (
            Request::Ping
            | Request::Status
            | Request::Policy(_)
            | Request::Ready
            | Request::InstallCredential(_)
            | Request::InstallAws(_)
            | Request::Credentials
            | Request::RevokeCredential(_)
            | Request::Create(_)
            | Request::Csr(_)
            | Request::InstallChain(_)
            | Request::Import(_)
            | Request::List(_)
            | Request::Supersede(_)
            | Request::Reinstate(_)
            | Request::Retire(_)
            | Request::Narrow(_)
            | Request::Provision(_)
            | Request::Restore(_)
            | Request::Chain(_)
            | Request::Statistics
            | Request::Attest(_)
            // A chain that an order brings is in the key's sealed state; that of a key which is not sealed is gone with it.
            | Request::Begin(_)
            | Request::Job(_),
            _,
        ) => Ok(false),
    }
}
