//! PID 1 of an image that tests boot to see that the machine, the kernel and the builder do what they say. One vsock port;
//! each connection is one question of one line:
//!
//! | question | answer |
//! |---|---|
//! | `document` | an attestation document |
//! | `files` | what the ramdisks brought, and what the kernel made before PID 1, a path a line |
//! | `command-line`, `clock`, `random` | a file of `/proc` or `/sys` |
//! | `end` | none: the machine ends |

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use aws_nitro_enclaves_nsm_api::driver::{nsm_init, nsm_process_request};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use vsock::{VMADDR_CID_ANY, VsockListener, VsockStream};

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    list(Path::new("/"), &mut files)?;
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::empty(), None)?;
    }
    let listener = VsockListener::bind_with_cid_port(VMADDR_CID_ANY, PORT)?;
    VsockStream::connect_with_cid_port(PARENT, KNOCK)?;
    loop {
        let (stream, _) = listener.accept()?;
        // A peer that goes away is its own affair.
        drop(answer(stream, &files));
    }
}

fn answer(mut stream: VsockStream, files: &[String]) -> io::Result<()> {
    let mut question = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut question)?;
    let answer = match question.trim_end() {
        "document" => document()?,
        "files" => files.join("\n").into_bytes(),
        "command-line" => fs::read("/proc/cmdline")?,
        "clock" => fs::read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?,
        "random" => fs::read("/sys/class/misc/hw_random/rng_current")?,
        "end" => return Ok(reboot(RebootCommand::Restart)?),
        _ => b"what?".to_vec(),
    };
    // The emulated device stalls on a single write above 32 KiB.
    answer.chunks(16 * 1024).try_for_each(|part| stream.write_all(part))
}

fn document() -> io::Result<Vec<u8>> {
    let device = nsm_init();
    let request = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: None,
    };
    match nsm_process_request(device, request) {
        Response::Attestation { document } => Ok(document),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

/// Every path below `dir`, a directory's with a slash at its end.
fn list(dir: &Path, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            found.push(format!("{}/", path.display()));
            list(&path, found)?;
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    Ok(())
}

/// Where it listens.
const PORT: u32 = 5000;

/// Where it tells that it listens.
const KNOCK: u32 = 5001;

/// The host, as the emulated machine's device has it.
const PARENT: u32 = 2;
