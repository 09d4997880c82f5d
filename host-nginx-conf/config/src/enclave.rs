//! `[enclave]`: the image, its machine, and where the planes are.

use std::path::PathBuf;

use enclave_wire::Name;
use enclave_wire::address::Address;
use serde::Deserialize;
use toml::Spanned;

use crate::form::{Table, Word};
use crate::paths;
use crate::reading::{Reading, Refused};

/// The enclave's image and machine. All of it is decided when the enclave starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enclave {
    /// `image`: the EIF. Its measurements lie beside it, with `.json` in place of `.eif`.
    pub image: PathBuf,
    /// `name`: what `nitro-cli` calls the enclave.
    pub name: Name,
    /// `cid`: its vsock context id, 4 to 4,294,967,294.
    pub cid: u32,
    /// `cpus`: vCPUs, at least 1.
    pub cpus: u32,
    /// `memory`: MiB, at least 64.
    pub memory: u32,
    /// `policy`: the parent's policy, which the enclave intersects with the image's.
    pub policy: Option<PathBuf>,
    /// `nitro_cli`: the program that starts and describes enclaves.
    pub nitro_cli: PathBuf,
    /// `signing`: what servers' modules dial. Never `vsock:any`.
    pub signing: Address,
    /// `control`: where the agent listens for the enclave's control connection.
    pub control: Address,
    /// `egress`: where the agent listens for connections out of the enclave.
    pub egress: Address,
    /// `logs`: where the agent listens for the enclave's log.
    pub logs: Address,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    image: Option<Word>,
    name: Option<Word>,
    cid: Option<Spanned<i64>>,
    cpus: Option<Spanned<i64>>,
    memory: Option<Spanned<i64>>,
    policy: Option<Word>,
    nitro_cli: Option<Word>,
    signing: Option<Word>,
    control: Option<Word>,
    egress: Option<Word>,
    logs: Option<Word>,
}

pub(crate) fn read(form: Option<Spanned<Table<Form>>>, reading: &mut Reading) -> Result<Enclave, Refused> {
    let Some(form) = form else {
        return Err(reading.wrong(0..0, NO_ENCLAVE));
    };
    let table = form.span();
    let Table(form) = form.into_inner();
    let image = match form.image {
        Some(image) => paths::read(image, "image", reading),
        None => Err(reading.wrong(table, NO_IMAGE)),
    };
    let name = reading.word_or(form.name, "name", DEFAULT_NAME, crate::form::name);
    let cid = reading.number_or(form.cid, "cid", DEFAULT_CID, MIN_CID..=MAX_CID, CID);
    let cpus = reading.number_or(form.cpus, "cpus", DEFAULT_CPUS, 1..=MAX_CPUS, CPUS);
    let memory = reading.number_or(form.memory, "memory", DEFAULT_MEMORY, MIN_MEMORY..=MAX_MEMORY, MEMORY);
    let policy = form
        .policy
        .map(|policy| paths::read(policy, "policy", reading))
        .transpose();
    let nitro_cli = paths::read_or(form.nitro_cli, "nitro_cli", DEFAULT_NITRO_CLI, reading);
    let signing = signing(form.signing, &cid, reading);
    let control = listening(form.control, "control", CONTROL_PORT, reading);
    let egress = listening(form.egress, "egress", EGRESS_PORT, reading);
    let logs = listening(form.logs, "logs", LOGS_PORT, reading);
    Ok(Enclave {
        image: image?,
        name: name?,
        cid: cid?,
        cpus: cpus?,
        memory: memory?,
        policy: policy?,
        nitro_cli: nitro_cli?,
        signing: signing?,
        control: control?,
        egress: egress?,
        logs: logs?,
    })
}

/// What is dialled: it names the enclave by the CID that the enclave will have.
fn signing(given: Option<Word>, cid: &Result<u32, Refused>, reading: &mut Reading) -> Result<Address, Refused> {
    let Some(given) = given else {
        let port = SIGNING_PORT;
        return match cid {
            Ok(cid) => Ok(Address::Vsock { cid: Some(*cid), port }),
            Err(Refused { .. }) => Ok(Address::Vsock { cid: None, port }),
        };
    };
    let at = given.span();
    match (reading.word(given, "signing", crate::form::address)?, cid) {
        (Address::Vsock { cid: None, port }, _) => Err(reading.wrong(
            at,
            format!("signing is dialled, and nobody can dial vsock:any: write vsock:CID:{port} with the enclave's cid"),
        )),
        (Address::Vsock { cid: Some(dialled), port }, Ok(cid)) if dialled != *cid => Err(reading.wrong(
            at,
            format!("signing names CID {dialled}, but the enclave's cid is {cid}: write vsock:{cid}:{port}, or leave signing out"),
        )),
        (address, _) => Ok(address),
    }
}

/// What the agent listens on: every CID below 4 is the parent's own.
fn listening(given: Option<Word>, key: &'static str, port: u32, reading: &mut Reading) -> Result<Address, Refused> {
    let Some(given) = given else {
        return Ok(reading.socket(Address::Vsock { cid: None, port }, None, key));
    };
    let at = given.span();
    match reading.word(given, key, crate::form::address)? {
        Address::Vsock { cid: Some(cid), port } if cid >= MIN_CID => Err(reading.wrong(
            at,
            format!("{key} is where the parent listens, and CID {cid} is not the parent: write vsock:any:{port}"),
        )),
        address @ (Address::UnixPath(_) | Address::UnixAbstract(_) | Address::Vsock { .. }) => {
            Ok(reading.socket(address, Some(at), key))
        }
    }
}

const NO_ENCLAVE: &str = "there is no [enclave]: add it, with image = \"/usr/share/enclave-tls/enclave-tls.eif\"";
const NO_IMAGE: &str = "[enclave] has no image: add image = \"/usr/share/enclave-tls/enclave-tls.eif\"";
const CID: &str = "0 to 3 are taken, and 4294967295 means any: write a number from 4, as 16";
const CPUS: &str = "write 1 to 1024; an x86 instance gives whole cores, which are 2";
const MEMORY: &str = "it is in MiB, and no image starts in less than 64: write 128 or more";

/// What packages call it.
const DEFAULT_NAME: &str = "enclave-tls";
/// The first CID that `nitro-cli`'s own examples use.
const DEFAULT_CID: u32 = 16;
/// 0 to 2 are the hypervisor's, the local one and the host's; 3 is the parent instance of a Nitro enclave.
const MIN_CID: u32 = 4;
/// The next one means any.
const MAX_CID: u32 = u32::MAX - 1;
/// One core of an x86 instance, which has two threads and is given whole.
const DEFAULT_CPUS: u32 = 2;
/// More than any instance has.
const MAX_CPUS: u32 = 1_024;
/// MiB. The image, a thousand keys and as many connections, twice over.
const DEFAULT_MEMORY: u32 = 128;
/// MiB. What `nitro-cli` gives at least.
const MIN_MEMORY: u32 = 64;
/// MiB. 16 TiB: more than any instance has.
const MAX_MEMORY: u32 = 16_777_216;
/// Where Amazon's package puts it.
const DEFAULT_NITRO_CLI: &str = "/usr/bin/nitro-cli";
/// The ports that the image listens on and dials.
const SIGNING_PORT: u32 = 4_430;
const CONTROL_PORT: u32 = 440;
const EGRESS_PORT: u32 = 441;
const LOGS_PORT: u32 = 442;
