//! The directory of one lab: what lies where in it, and who may read it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A lab's directory. The workers' user, `www-data`, must reach some of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    root: PathBuf,
}

impl Place {
    /// Takes an empty or absent directory for a new lab.
    pub(super) fn claim(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let place = Self {
            root: dir.canonicalize()?,
        };
        let mut entries = fs::read_dir(&place.root)?;
        ensure!(entries.next().is_none(), "{} is not empty", dir.display());
        let socket = place.control_address();
        ensure!(
            socket.len() < SOCKET_PATH_MAX,
            "{} is too long a path for the sockets in it",
            dir.display()
        );
        fs::write(
            place.marker(),
            "A lab of enclave-tls. `cargo xtask lab down` removes all that is here.\n",
        )?;
        // Others may pass through, not look around.
        let mode = fs::metadata(&place.root)?.permissions().mode() | 0o011;
        fs::set_permissions(&place.root, fs::Permissions::from_mode(mode))?;
        for (below, mode) in DIRECTORIES {
            let path = place.root.join(below);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(place)
    }

    /// Finds the lab that `claim` made.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let place = Self {
            root: dir
                .canonicalize()
                .with_context(|| format!("no lab in {}", dir.display()))?,
        };
        ensure!(place.marker().exists(), "{} holds no lab", dir.display());
        Ok(place)
    }

    /// Removes everything that is in the directory and, if nothing else needs it, the directory.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("the lab's files cannot be removed")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `lab.json`.
    pub(crate) fn description(&self) -> PathBuf {
        self.root.join("lab.json")
    }

    pub(super) fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    /// The agent's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.root.join("policy.toml")
    }

    /// The PKCS#11 module, for everybody.
    pub(super) fn module(&self) -> PathBuf {
        self.root.join("lib/libenclave_tls_pkcs11.so")
    }

    /// Where the root helper writes what servers read.
    pub(crate) fn base(&self) -> PathBuf {
        self.root.join("servers")
    }

    /// What the servers of a client read: credential, configuration of module and OpenSSL.
    pub(super) fn client(&self, client: &str, file: &str) -> PathBuf {
        self.base().join("clients").join(client).join(file)
    }

    /// The files of a certificate's live generation.
    pub(super) fn live(&self, name: &str) -> PathBuf {
        self.base().join("live").join(name)
    }

    pub(super) fn module_config(&self) -> PathBuf {
        self.client(WORKERS, "pkcs11.toml")
    }

    pub(super) fn apply_socket(&self) -> PathBuf {
        self.root.join("control/apply.sock")
    }

    pub(super) fn metrics_socket(&self) -> PathBuf {
        self.root.join("control/metrics.sock")
    }

    /// What stands for AWS's `nitro-cli`.
    pub(super) fn nitro(&self, file: &str) -> PathBuf {
        self.root.join("nitro").join(file)
    }

    /// Where the agent waits for the service.
    pub(super) fn control_address(&self) -> String {
        format!("unix:{}/control/service.sock", self.root.display())
    }

    /// Where the service dials hosts outside.
    pub(super) fn egress_address(&self) -> String {
        format!("unix:{}/control/egress.sock", self.root.display())
    }

    /// Where PID 1 of an enclave sends its log.
    pub(super) fn logs_address(&self) -> String {
        format!("unix:{}/control/logs.sock", self.root.display())
    }

    /// The directory of everything that the enclave dials.
    pub(super) fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// The image that an emulated machine boots.
    pub(super) fn image(&self) -> PathBuf {
        self.root.join("enclave-tls.eif")
    }

    /// Where the agent takes commands.
    pub(crate) fn ctl_socket(&self) -> PathBuf {
        self.root.join("control/ctl.sock")
    }

    pub(crate) fn replay(&self) -> PathBuf {
        self.root.join("replay")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn ca(&self, file: &str) -> PathBuf {
        self.root.join("ca").join(file)
    }

    /// The root certificate that a client of the lab trusts.
    pub(crate) fn ca_certificate(&self) -> PathBuf {
        self.ca("root.pem")
    }

    /// What belongs to a key and is no secret: its chain, its SPKI, the file that says where it is.
    pub(crate) fn public(&self, key: &str, end: &str) -> PathBuf {
        self.root.join("public").join(format!("{key}.{end}"))
    }

    /// An imported key, in the clear: only in a lab.
    pub(crate) fn private(&self, key: &str) -> PathBuf {
        self.privates().join(format!("{key}.key"))
    }

    /// Where all imported keys lie.
    pub(crate) fn privates(&self) -> PathBuf {
        self.root.join("private")
    }

    /// The same key in binary: a search for a key's encodings must find it here.
    pub(super) fn private_der(&self, key: &str) -> PathBuf {
        self.private(key).with_extension("der")
    }

    /// What stands for AWS.
    pub(crate) fn aws(&self, file: &str) -> PathBuf {
        self.root.join("aws").join(file)
    }

    /// The NSM stand-in's own.
    pub(super) fn nsm(&self) -> PathBuf {
        self.root.join("nsm")
    }

    pub(super) fn openssl(&self, via: &str) -> PathBuf {
        self.client(WORKERS, &format!("{via}.cnf"))
    }

    pub(super) fn nginx(&self, instance: &str) -> PathBuf {
        self.root.join("nginx").join(instance)
    }

    pub(super) fn httpd(&self, instance: &str) -> PathBuf {
        self.root.join("httpd").join(instance)
    }

    pub(super) fn haproxy(&self, file: &str) -> PathBuf {
        self.root.join("haproxy").join(file)
    }

    fn marker(&self) -> PathBuf {
        self.root.join(".enclave-tls-lab")
    }
}

/// The user and the group of the workers of NGINX and httpd.
pub(crate) const WORKERS: &str = "www-data";
/// Those of HAProxy's.
pub(super) const HAPROXY: &str = "haproxy";

/// With their modes: what holds secrets is root's alone.
const DIRECTORIES: [(&str, u32); 14] = [
    ("aws", 0o700),
    ("ca", 0o755),
    ("control", 0o700),
    ("haproxy", 0o755),
    ("httpd", 0o755),
    ("lib", 0o755),
    ("log", 0o755),
    ("nginx", 0o755),
    ("nitro", 0o700),
    ("nsm", 0o700),
    ("private", 0o700),
    ("public", 0o755),
    ("replay", 0o700),
    ("servers", 0o755),
];

/// The kernel's limit for the address of a unix socket.
const SOCKET_PATH_MAX: usize = 108;
