//! The master process of a server, and the signal that has it reload.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use enclave_tls_config::{Kind, Server};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use super::workers;

/// A process that was found to be a server's master. The handle means this process for ever, whatever becomes of its number.
pub(crate) struct Master {
    pid: Pid,
    handle: OwnedFd,
}

/// Why a server was not told to reload.
#[derive(Debug)]
pub(crate) enum MasterError {
    /// The pid file cannot be read.
    File { path: PathBuf, source: io::Error },
    /// Others than root can write the pid file, so its word is nobody's.
    Writable(PathBuf),
    /// The pid file holds something else.
    NoPid(PathBuf),
    /// The process is of another user.
    Stranger { pid: Pid, uid: u32 },
    /// The process runs another program.
    OtherProgram { pid: Pid, runs: PathBuf, program: PathBuf },
    /// The process would be ended by the signal, or ignores it.
    Deaf { pid: Pid, signal: &'static str },
    /// The system refused.
    System { pid: Pid, source: io::Error },
}

impl fmt::Display for MasterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(
                f,
                "cannot read {}: {source}; correct `pid_file` in [servers]",
                path.display()
            ),
            Self::Writable(path) => write!(
                f,
                "{} can be written by others than root; have the server write it where only root can",
                path.display()
            ),
            Self::NoPid(path) => write!(
                f,
                "{} holds no process number; correct `pid_file` in [servers]",
                path.display()
            ),
            Self::Stranger { pid, uid } => write!(
                f,
                "process {pid} is of user {uid}, not root's; the pid file is old, or `pid_file` names a worker's"
            ),
            Self::OtherProgram { pid, runs, program } => write!(
                f,
                "process {pid} runs {} and not {}; remove the old pid file, or correct `program` in [servers]",
                runs.display(),
                program.display()
            ),
            Self::Deaf { pid, signal } => write!(
                f,
                "process {pid} does not reload on {signal}; run HAProxy in master-worker mode (-W), others as their packages do"
            ),
            Self::System { pid, source } => write!(f, "process {pid} was not told to reload: {source}"),
        }
    }
}

impl Master {
    /// Finds the master. None where the server does not run.
    pub(crate) fn find(server: &Server) -> Result<Option<Self>, MasterError> {
        let Some(pid) = read_pid(&server.pid_file)? else {
            return Ok(None);
        };
        let system = |source: io::Error| MasterError::System { pid, source };
        // The handle first: what is looked at next is this process, or the handle is of a dead one.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            // ESRCH: nobody has this number. EINVAL: it is a thread's.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(system(error.into())),
        };
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (uid, runs) = match owner_and_program(&process) {
            Ok(found) => found,
            // It has ended, or is ending.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(system(error)),
        };
        if uid != 0 && uid != geteuid().as_raw() {
            return Err(MasterError::Stranger { pid, uid });
        }
        if !is_program(&runs, &server.program) {
            return Err(MasterError::OtherProgram {
                pid,
                runs,
                program: server.program.clone(),
            });
        }
        Ok(Some(Self { pid, handle }))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// When it was started, in the kernel's ticks since boot.
    pub(crate) fn started(&self) -> Option<u64> {
        workers::started(self.pid())
    }

    /// Tells it to reload gracefully: new workers take new connections, old ones finish theirs.
    pub(crate) fn reload(&self, kind: Kind) -> Result<(), MasterError> {
        let system = |source: io::Error| MasterError::System { pid: self.pid, source };
        let (signal, called) = match kind {
            Kind::Nginx => (Signal::HUP, "SIGHUP"),
            Kind::Httpd => (Signal::USR1, "SIGUSR1"),
            Kind::Haproxy => (Signal::USR2, "SIGUSR2"),
        };
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).map_err(system)?;
        // A process that does not expect the signal would be ended by it.
        if !catches(&status, signal) {
            return Err(MasterError::Deaf {
                pid: self.pid,
                signal: called,
            });
        }
        pidfd_send_signal(&self.handle, signal).map_err(|error| system(error.into()))
    }
}

/// None where there is no pid file, or an empty one: the server is starting or ending.
fn read_pid(path: &Path) -> Result<Option<Pid>, MasterError> {
    let failed = |source| MasterError::File {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let owner_is_trusted = metadata.uid() == 0 || metadata.uid() == geteuid().as_raw();
    if !owner_is_trusted || metadata.mode() & 0o022 != 0 || !metadata.is_file() {
        return Err(MasterError::Writable(path.to_owned()));
    }
    let mut text = String::new();
    file.take(MAX_PID_FILE).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Ok(None),
        number => {
            let pid = number.parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
            pid.map(Some).ok_or_else(|| MasterError::NoPid(path.to_owned()))
        }
    }
}

fn owner_and_program(process: &Path) -> io::Result<(u32, PathBuf)> {
    Ok((fs::metadata(process)?.uid(), fs::read_link(process.join("exe"))?))
}

/// Also after an upgrade has replaced the file: then the kernel says so behind the path.
fn is_program(runs: &Path, program: &Path) -> bool {
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let mut deleted = program.clone().into_os_string();
    deleted.push(" (deleted)");
    runs == program || runs.as_os_str() == deleted
}

/// The set of caught signals is one bit each, from the lowest, for signal 1.
fn catches(status: &str, signal: Signal) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let set = set
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default();
    let bit = u32::try_from(signal.as_raw())
        .ok()
        .and_then(|number| number.checked_sub(1));
    bit.and_then(|bit| 1u64.checked_shl(bit))
        .is_some_and(|bit| set & bit != 0)
}

/// A number of seven digits and a line feed.
const MAX_PID_FILE: u64 = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::state::tests::Scratch;

    #[test]
    fn a_pid_file_is_one_number_that_only_root_can_write() {
        let scratch = Scratch::new();
        let path = scratch.path.join("pid");
        assert!(matches!(read_pid(&path), Ok(None)));
        for (text, expected) in [("", None), ("\n", None), ("4711\n", Some(4711)), (" 12", Some(12))] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(
                read_pid(&path).unwrap().map(|pid| pid.as_raw_nonzero().get()),
                expected,
                "{text:?}"
            );
        }
        for text in ["0", "1", "-1", "12 13", "x", "99999999999"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read_pid(&path), Err(MasterError::NoPid(_))), "{text:?}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(read_pid(&path), Err(MasterError::Writable(_))));
        std::os::unix::fs::symlink("pid", scratch.path.join("link")).unwrap();
        assert!(matches!(
            read_pid(&scratch.path.join("link")),
            Err(MasterError::File { .. })
        ));
    }

    #[test]
    fn a_program_is_known_by_its_path_also_after_an_upgrade() {
        let program = fs::canonicalize("/bin/sh").unwrap();
        assert!(is_program(&program, Path::new("/bin/sh")));
        let mut deleted = program.into_os_string();
        deleted.push(" (deleted)");
        assert!(is_program(Path::new(&deleted), Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/tmp/sh"), Path::new("/bin/sh")));
    }

    #[test]
    fn a_signal_is_sent_only_to_who_expects_it() {
        let status = "Name:\tx\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000201\n";
        assert!(catches(status, Signal::HUP));
        assert!(catches(status, Signal::USR1));
        assert!(!catches(status, Signal::USR2));
        assert!(!catches("Name:\tx\n", Signal::HUP));
    }
}
