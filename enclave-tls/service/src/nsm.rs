//! The Nitro Secure Module of the enclave that this runs in: the device `/dev/nsm`.
//!
//! AWS's crate speaks to the device; this opens it, once, and turns its answers into those of [`Nsm`].

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use aws_nitro_enclaves_nsm_api::api::{ErrorCode, Request, Response};
use aws_nitro_enclaves_nsm_api::driver::nsm_process_request;
use enclave_attestation::{Bound, Nsm, NsmError, Pcr, Register};

/// The device, open. Several threads may ask at once: the kernel lets one at a time through.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens the device. Only an enclave has one.
    pub fn open() -> io::Result<Self> {
        File::options().read(true).write(true).open(PATH).map(Self)
    }

    fn ask(&self, request: Request) -> Response {
        nsm_process_request(self.0.as_raw_fd(), request)
    }
}

impl Nsm for Device {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        let given = |field: Option<&[u8]>| field.map(|bytes| bytes.to_vec().into());
        let request = Request::Attestation {
            user_data: given(bound.user_data),
            nonce: given(bound.nonce),
            public_key: given(bound.public_key),
        };
        match self.ask(request) {
            Response::Attestation { document } => Ok(document),
            other => Err(refusal(&other)),
        }
    }

    fn extend(&self, index: u8, data: &[u8]) -> Result<Pcr, NsmError> {
        let request = Request::ExtendPCR {
            index: index.into(),
            data: data.to_vec(),
        };
        match self.ask(request) {
            Response::ExtendPCR { data } => pcr(data),
            other => Err(refusal(&other)),
        }
    }

    fn lock_below(&self, count: u8) -> Result<(), NsmError> {
        // The device locks from 0 up to, and without, its argument, as this trait words it.
        match self.ask(Request::LockPCRs { range: count.into() }) {
            Response::LockPCRs => Ok(()),
            other => Err(refusal(&other)),
        }
    }

    fn register(&self, index: u8) -> Result<Register, NsmError> {
        match self.ask(Request::DescribePCR { index: index.into() }) {
            Response::DescribePCR { lock, data } => Ok(Register {
                value: pcr(data)?,
                locked: lock,
            }),
            other => Err(refusal(&other)),
        }
    }
}

fn pcr(data: Vec<u8>) -> Result<Pcr, NsmError> {
    data.try_into().map_err(|_| NsmError::Refused)
}

/// What an answer means that is not the one asked for.
fn refusal(response: &Response) -> NsmError {
    match response {
        Response::Error(ErrorCode::ReadOnlyIndex) => NsmError::Locked,
        Response::Error(ErrorCode::InvalidArgument | ErrorCode::InvalidIndex | ErrorCode::InputTooLarge) => {
            NsmError::Argument
        }
        // The crate says the same of a device that failed, of an answer that it cannot read, and of the NSM's own fault.
        Response::Error(ErrorCode::InternalError) => NsmError::Device,
        _ => NsmError::Refused,
    }
}

const PATH: &str = "/dev/nsm";

#[cfg(test)]
mod tests {
    use super::*;

    /// The NSM's own names for its refusals, as it writes them.
    #[test]
    fn refusals_are_told_apart() {
        for (code, error) in [
            (ErrorCode::ReadOnlyIndex, NsmError::Locked),
            (ErrorCode::InvalidIndex, NsmError::Argument),
            (ErrorCode::InvalidArgument, NsmError::Argument),
            (ErrorCode::InputTooLarge, NsmError::Argument),
            (ErrorCode::InternalError, NsmError::Device),
            (ErrorCode::InvalidOperation, NsmError::Refused),
            (ErrorCode::BufferTooSmall, NsmError::Refused),
        ] {
            assert_eq!(refusal(&Response::Error(code)), error);
        }
        assert_eq!(refusal(&Response::LockPCRs), NsmError::Refused);
    }

    #[test]
    fn a_register_has_48_bytes() {
        assert_eq!(pcr(vec![7; 48]), Ok([7; 48]));
        assert_eq!(pcr(vec![7; 47]), Err(NsmError::Refused));
        assert_eq!(pcr(vec![7; 64]), Err(NsmError::Refused));
    }

    /// A file that is no NSM: the call fails, and nothing is made up.
    #[test]
    fn another_file_answers_nothing() {
        let device = Device(File::open("/dev/null").unwrap());
        assert_eq!(device.attest(&Bound::default()), Err(NsmError::Device));
        assert_eq!(device.register(16), Err(NsmError::Device));
        assert_eq!(device.extend(16, &[1]), Err(NsmError::Device));
        assert_eq!(device.lock_below(32), Err(NsmError::Device));
    }
}
