//! Cryptoki in safe code: one slot, its token, sessions, objects and signatures.

mod attributes;
pub mod backend;
mod certificate;
pub mod deadline;
mod der;
mod error;
mod find;
pub mod info;
mod inventory;
pub mod lock;
mod mechanism;
#[cfg(test)]
pub(crate) mod memory;
mod object;
mod public_key;
mod published;
mod search;
mod session;
mod sign;
mod template;

use cryptoki_sys as ck;
use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_USER_TYPE,
};

pub use attributes::Attribute;
use backend::{Backend, SocketId};
use deadline::{CALL, Deadline};
pub use error::Error;
pub use inventory::Inventory;
use lock::Lock;
pub use object::Object;
use session::{Active, Sessions};
use sign::SignOperation;
pub use sign::{Room, Signed};
pub use template::Template;

/// The state of an initialised library: everything that ends with `C_Finalize` or a fork.
pub struct Token {
    /// None where there is no configuration or no credential: then no token is present.
    backend: Option<Box<dyn Backend>>,
    inventory: Lock<Inventory>,
    sessions: Sessions,
}

impl Token {
    /// A token that knows what `inventory` knows.
    #[must_use]
    pub fn new(backend: Option<Box<dyn Backend>>, inventory: Inventory) -> Self {
        Self {
            backend,
            inventory: Lock::new(inventory),
            sessions: Sessions::default(),
        }
    }

    /// Whether there is anything to talk to.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.backend.is_some()
    }

    /// What it knows of the service's keys, unless that is being changed just now.
    #[must_use]
    pub fn inventory(&self) -> Option<Inventory> {
        self.inventory.try_lock().map(|inventory| inventory.clone())
    }

    /// Each socket that is open now. Waits for no lock, and allocates nothing.
    pub fn each_socket(&self, each: &mut dyn FnMut(SocketId)) {
        if let Some(backend) = &self.backend {
            backend.each_socket(each);
        }
    }

    /// `C_GetSlotList`
    #[must_use]
    pub fn slots(&self, with_token_only: bool) -> &'static [CK_SLOT_ID] {
        if with_token_only && !self.is_present() {
            &[]
        } else {
            &[SLOT]
        }
    }

    /// `C_GetSlotInfo`
    pub fn slot_info(&self, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO, Error> {
        the_slot(slot)?;
        Ok(info::slot(self.is_present()))
    }

    /// `C_GetTokenInfo`
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Error> {
        self.backend_of(slot)?;
        let (open, writable, _) = self.sessions.counts();
        Ok(info::token(open, writable))
    }

    /// `C_GetMechanismList`
    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<&'static [CK_MECHANISM_TYPE], Error> {
        self.backend_of(slot)?;
        Ok(&mechanism::OFFERED)
    }

    /// `C_GetMechanismInfo`
    pub fn mechanism_info(&self, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, Error> {
        self.backend_of(slot)?;
        mechanism::info(kind)
    }

    /// `C_OpenSession`. A session for writing is opened too: clients ask for one out of habit, and what they would write is refused.
    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE, Error> {
        self.backend_of(slot)?;
        if flags & ck::CKF_SERIAL_SESSION == 0 {
            return Err(Error::SessionParallelNotSupported);
        }
        self.sessions.open(flags & ck::CKF_RW_SESSION != 0)
    }

    /// `C_CloseSession`
    pub fn close_session(&self, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        self.sessions.close(session)
    }

    /// `C_CloseAllSessions`
    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<(), Error> {
        the_slot(slot)?;
        self.sessions.close_all();
        Ok(())
    }

    /// `C_GetSessionInfo`
    pub fn session_info(&self, session: CK_SESSION_HANDLE) -> Result<CK_SESSION_INFO, Error> {
        let (writable, logged_in) = self.sessions.state(session)?;
        Ok(info::session(SLOT, writable, logged_in))
    }

    /// `C_Login`: any PIN will do, and none means anything. No key has its PIN asked for again, so no operation waits for that.
    pub fn log_in(&self, session: CK_SESSION_HANDLE, user: CK_USER_TYPE) -> Result<(), Error> {
        match user {
            ck::CKU_USER => self.sessions.log_in(session),
            ck::CKU_CONTEXT_SPECIFIC => self.session(session).and(Err(Error::OperationNotInitialized)),
            _ => Err(Error::UserTypeInvalid),
        }
    }

    /// `C_Logout`
    pub fn log_out(&self, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        self.sessions.log_out(session)
    }

    /// Whether there is such a session.
    pub fn session(&self, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        self.sessions.state(session).map(|_| ())
    }

    /// The object of a handle.
    pub fn object(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<Object, Error> {
        self.session(session)?;
        self.known(object)?.ok_or(Error::ObjectHandleInvalid)
    }

    /// What a handle means. A handle that this process never saw may come from the one that it was forked from, so the service is asked
    /// for its keys, once; every other costs no round trip.
    fn known(&self, handle: CK_OBJECT_HANDLE) -> Result<Option<Object>, Error> {
        let known = self.inventory.lock().object(handle);
        if known.is_some() {
            return Ok(known);
        }
        let learned = find::learn(self.backend_of(SLOT)?, &self.inventory, Deadline::within(CALL));
        let known = self.inventory.lock().object(handle);
        // Without the service's word an unknown handle is not known to be wrong.
        if known.is_none() {
            learned?;
        }
        Ok(known)
    }

    /// `C_FindObjectsInit`: here, not in `C_FindObjects`, the service is asked, so that a failure has a place to show.
    pub fn find_init(&self, session: CK_SESSION_HANDLE, template: &Template<'_>) -> Result<(), Error> {
        self.active(session, |active| {
            if active.find.is_some() {
                return Err(Error::OperationActive);
            }
            let backend = self.backend_of(SLOT)?;
            let found = find::find(backend, &self.inventory, template, Deadline::within(CALL))?;
            active.find = Some(found.into());
            Ok(())
        })
    }

    /// `C_FindObjects`: at most `count` handles, and none when all were given.
    pub fn find(&self, session: CK_SESSION_HANDLE, count: usize) -> Result<Vec<CK_OBJECT_HANDLE>, Error> {
        self.active(session, |active| {
            let found = active.find.as_mut().ok_or(Error::OperationNotInitialized)?;
            Ok(found.drain(..count.min(found.len())).collect())
        })
    }

    /// `C_FindObjectsFinal`
    pub fn find_final(&self, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        self.active(session, |active| {
            active.find.take().map(|_| ()).ok_or(Error::OperationNotInitialized)
        })
    }

    /// `C_SignInit`: decided here, without a round trip for a key that was seen.
    pub fn sign_init(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        parameter: &[u8],
        key: CK_OBJECT_HANDLE,
    ) -> Result<(), Error> {
        self.active(session, |active| {
            if active.sign.is_some() {
                return Err(Error::OperationActive);
            }
            let mechanism = mechanism::select(kind, parameter)?;
            active.sign = Some(match self.known(key)? {
                Some(Object::PrivateKey(key)) => SignOperation::new(&key, mechanism)?,
                Some(Object::PublicKey(_)) => return Err(Error::KeyFunctionNotPermitted),
                Some(Object::Certificate(_)) | None => return Err(Error::KeyHandleInvalid),
            });
            Ok(())
        })
    }

    /// `C_Sign`. Between parts it has no place, and ends what they began (PKCS#11 2.40, 5.11).
    pub fn sign(&self, session: CK_SESSION_HANDLE, data: &[u8], room: Room) -> Result<Signed, Error> {
        self.active(session, |active| {
            let operation = active.sign.as_ref().ok_or(Error::OperationNotInitialized)?;
            if operation.parts().is_some() {
                active.sign = None;
                return Err(Error::OperationNotInitialized);
            }
            self.end_signature(active, Some(data), room)
        })
    }

    /// `C_SignUpdate`
    pub fn sign_update(&self, session: CK_SESSION_HANDLE, part: &[u8]) -> Result<(), Error> {
        self.active(session, |active| {
            let operation = active.sign.as_mut().ok_or(Error::OperationNotInitialized)?;
            let updated = operation.update(part);
            if updated.is_err() {
                active.sign = None;
            }
            updated
        })
    }

    /// `C_SignFinal`
    pub fn sign_final(&self, session: CK_SESSION_HANDLE, room: Room) -> Result<Signed, Error> {
        self.active(session, |active| self.end_signature(active, None, room))
    }

    /// `C_SessionCancel`, and `C_SignInit` without a mechanism. Whether there was something to cancel.
    pub fn cancel(&self, session: CK_SESSION_HANDLE, operations: CK_FLAGS) -> Result<bool, Error> {
        self.active(session, |active| {
            let sign = operations & ck::CKF_SIGN != 0 && active.sign.take().is_some();
            let find = operations & ck::CKF_FIND_OBJECTS != 0 && active.find.take().is_some();
            Ok(sign || find)
        })
    }

    /// Signs what was given or gathered. Whatever comes of it ends the operation, but for a length and a lack of room.
    fn end_signature(&self, active: &mut Active, data: Option<&[u8]>, room: Room) -> Result<Signed, Error> {
        let operation = active.sign.take().ok_or(Error::OperationNotInitialized)?;
        if let Some(answer) = operation.without_signing(room) {
            active.sign = Some(operation);
            return Ok(answer);
        }
        let request = operation.request(data.or(operation.parts()).unwrap_or_default())?;
        let signature = self.backend_of(SLOT)?.sign(request, Deadline::within(CALL))?;
        Ok(Signed::Signature(signature))
    }

    fn active<T>(
        &self,
        session: CK_SESSION_HANDLE,
        body: impl FnOnce(&mut Active) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.sessions.get(session)?;
        let mut active = session.active.lock();
        body(&mut active)
    }

    fn backend_of(&self, slot: CK_SLOT_ID) -> Result<&dyn Backend, Error> {
        the_slot(slot)?;
        self.backend.as_deref().ok_or(Error::TokenNotPresent)
    }
}

fn the_slot(slot: CK_SLOT_ID) -> Result<(), Error> {
    if slot == SLOT {
        Ok(())
    } else {
        Err(Error::SlotIdInvalid)
    }
}

/// The only slot. Not 0, which some clients take for "none".
const SLOT: CK_SLOT_ID = 1;

#[cfg(test)]
mod tests;
