//! A machine made of namespaces. Nothing of it is left when PID 1 ends.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::log::Record;
use enclave_wire::{Decode as _, Reader};

/// A machine before it starts.
pub(super) struct Namespace {
    pub(super) program: PathBuf,
    pub(super) random: Random,
    pub(super) clock: Clock,
    behaviour: String,
    dir: PathBuf,
}

pub(super) enum Random {
    Nsm,
    Another,
}

pub(super) enum Clock {
    Any,
    Required,
}

/// How it went.
pub(super) struct Run {
    pub(super) records: Vec<Record>,
    pub(super) printed: String,
    status: ExitStatus,
}

impl Namespace {
    pub(super) fn new(behaviour: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("enclave-init-machine-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for below in ["root", "run"] {
            std::fs::create_dir_all(dir.join(below)).unwrap();
        }
        Self {
            program: std::env::current_exe().unwrap(),
            random: Random::Nsm,
            clock: Clock::Any,
            behaviour: behaviour.to_owned(),
            dir,
        }
    }

    pub(super) fn run(self) -> Run {
        let run = self.dir.join("run");
        self.write_files(&run);
        let logs = UnixListener::bind(run.join("logs")).unwrap();
        let beat = UnixListener::bind(run.join("beat")).unwrap();
        let reader = std::thread::spawn(move || records(&logs));
        let heart = std::thread::spawn(move || answer(&beat));
        let output = Command::new("unshare")
            .args([
                "--pid",
                "--mount",
                "--net",
                "--fork",
                "--kill-child",
                "sh",
                "-euc",
                SCRIPT,
                "sh",
            ])
            .args([&self.dir.join("root"), &run, &self.program])
            .arg(match self.random {
                Random::Nsm => "nsm-hwrng",
                Random::Another => "virtio_rng.0",
            })
            .arg(&self.behaviour)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // Nobody else connects any more; these end the threads that wait for somebody.
        drop(UnixStream::connect(run.join("logs")));
        drop(UnixStream::connect(run.join("beat")));
        heart.join().unwrap();
        Run {
            records: reader.join().unwrap(),
            printed: [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat(),
            status: output.status,
        }
    }

    fn write_files(&self, run: &Path) {
        let nsm = run.join("nsm");
        std::fs::create_dir(&nsm).unwrap();
        let register = |index| format!("pcr{index} = \"{}\"\n", format!("a{index}").repeat(48));
        std::fs::write(nsm.join("nsm.toml"), [0, 1, 2].map(register).concat()).unwrap();
        let root = hex::encode(emulator_nsm::Pki::open(&nsm).unwrap().root_sha256());
        let any = matches!(self.clock, Clock::Any);
        let policy = format!(
            "version = 1\nimports = false\n[keys]\n[attestation]\nroot_sha256 = \"{root}\"\n[clock]\nany_source = {any}\n"
        );
        std::fs::write(run.join("policy.toml"), policy).unwrap();
        std::fs::write(run.join("cmdline"), COMMAND_LINE).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Run {
    /// The messages, in order, without the heartbeat's: it comes when the parent answers.
    pub(super) fn said(&self) -> Vec<&str> {
        let messages = self.records.iter().map(|record| record.message.as_str());
        messages.filter(|message| *message != HEARTBEAT).collect()
    }

    /// Whether the parent answered.
    pub(super) fn was_heard(&self) -> bool {
        self.records.iter().any(|record| record.message.as_str() == HEARTBEAT)
    }

    /// The last of them.
    pub(super) fn reason(&self) -> &str {
        self.records
            .last()
            .map_or("nothing was said", |record| record.message.as_str())
    }

    /// In a namespace the kernel ends PID 1 as by SIGHUP for a restart, and as by SIGINT for a power-off.
    pub(super) fn ended_by_restart(&self) -> bool {
        self.status.signal() == Some(1) || self.status.code() == Some(129)
    }
}

/// Whether this user may make such a machine here.
pub(super) fn is_possible() -> Result<(), String> {
    let probe = Command::new("unshare")
        .args([
            "--pid", "--mount", "--net", "--fork", "mount", "-t", "tmpfs", "none", "/mnt",
        ])
        .output()
        .map_err(|error| format!("no unshare: {error}"))?;
    if probe.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&probe.stderr).trim().to_owned())
    }
}

fn records(listener: &UnixListener) -> Vec<Record> {
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    let (mut records, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(header, limit::LOG).unwrap();
        let (body, after) = after.split_at(header.body_len());
        records.push(Record::decode(&mut Reader::new(body)).unwrap());
        rest = after;
    }
    records
}

fn answer(listener: &UnixListener) {
    let mut stream = listener.accept().unwrap().0;
    let mut byte = [0];
    if stream.read_exact(&mut byte).is_ok() {
        stream.write_all(&byte).unwrap();
    }
}

const HEARTBEAT: &str = "the parent answered Nitro's heartbeat";

/// Root, shared directory, program, source of random numbers, behaviour. The program is linked to the system's libraries in a debug build.
const SCRIPT: &str = r#"
mount -t tmpfs none "$1"
cd "$1"
mkdir -p dev proc run sys/class/misc/hw_random sys/devices/system/clocksource/clocksource0
for dir in /usr /lib /lib64; do
    [ -d "$dir" ] && mkdir ".$dir" && mount --bind "$dir" ".$dir"
done
mount --bind "$2" run
mount -t proc none proc
mount --bind run/cmdline proc/cmdline
cp "$3" init
cp run/policy.toml policy.toml
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/urandom c 1 9
mknod -m 444 dev/hwrng c 1 9
echo "$4" > sys/class/misc/hw_random/rng_current
echo tsc > sys/devices/system/clocksource/clocksource0/current_clocksource
exec chroot . /init "$5"
"#;

/// The image's, in place of this machine's own.
const COMMAND_LINE: &str = include_str!("../../../../packaging/eif/command-line");
