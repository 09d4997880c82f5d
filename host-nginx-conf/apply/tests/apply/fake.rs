//! A base directory, a configuration file and the helper that serves them; certificates; a web server.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use enclave_tls_apply::{Client, Deployment, Generation, Outcome};
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, KeyId, Usage};
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, Encode};

pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_enclave-tls-apply");

/// A directory with all that a test needs. It goes with the test, and so do its processes.
pub(crate) struct World {
    pub(crate) path: PathBuf,
    helper: Option<Child>,
    nginx: Option<Child>,
}

impl World {
    /// A world whose configuration file has these servers and certificates besides an enclave and a client.
    pub(crate) fn new(config: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("enclave-tls-apply-world-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let world = Self {
            path,
            helper: None,
            nginx: None,
        };
        let group = rustix::process::getegid().as_raw();
        let head = format!("[enclave]\nimage = \"/e.eif\"\n[clients.web]\ngroup = \"{group}\"\n");
        fs::write(world.at("config.toml"), head + &config.replace("@DIR@", &world.text())).unwrap();
        world
    }

    /// With a server that passes its test unless there is a file `refuse`, and never runs.
    pub(crate) fn with_script(config: &str) -> Self {
        let world = Self::new(&format!("{SCRIPTED}{config}"));
        world.script("if [ -e @DIR@/refuse ]; then cat @DIR@/refuse >&2; exit 1; fi");
        world
    }

    /// What the scripted server does when it is tested.
    pub(crate) fn script(&self, text: &str) {
        let program = self.at("server");
        // Another name first: a program that runs cannot be written.
        let new = self.at("server.new");
        fs::write(&new, format!("#!/bin/sh\n{}\n", text.replace("@DIR@", &self.text()))).unwrap();
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(new, program).unwrap();
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn text(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(HELPER);
        command.arg("--config").arg(self.at("config.toml"));
        command.arg("--base").arg(self.at("base"));
        command.arg("--module").arg("/m.so");
        command
    }

    /// Starts the helper, in place of the one that runs.
    pub(crate) fn start(&mut self) -> Client {
        self.kill();
        let socket = self.at("apply.sock");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.at("log"))
            .unwrap();
        let child = self.command().arg("--socket").arg(&socket).stderr(log).spawn().unwrap();
        self.helper = Some(child);
        assert!(until(|| UnixStream::connect(&socket).is_ok()), "{}", self.read("log"));
        Client::new(&socket)
    }

    /// Ends the helper as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            helper.kill().unwrap();
            helper.wait().unwrap();
        }
    }

    /// Sends these bytes, and returns what comes back.
    pub(crate) fn send(&self, bytes: &[u8]) -> String {
        let mut socket = UnixStream::connect(self.at("apply.sock")).unwrap();
        // What is too long is refused before its end.
        drop(socket.write_all(bytes));
        drop(socket.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer));
        String::from_utf8(answer).unwrap()
    }

    /// Where a link of `live/` points, without the way there.
    pub(crate) fn live(&self, name: &str) -> Option<String> {
        let target = fs::read_link(self.at("base/live").join(name)).ok()?;
        Some(target.file_name().unwrap().to_str().unwrap().to_owned())
    }

    /// Starts NGINX with a site that has the live chain of `www`, and its key in a file.
    pub(crate) fn start_nginx(&mut self) -> bool {
        if !Path::new(NGINX).exists() {
            eprintln!("SKIPPED {:?}: no {NGINX}", thread::current().name());
            return false;
        }
        let config = NGINX_CONFIG.replace("@DIR@", &self.text());
        fs::write(self.at("nginx.conf"), config).unwrap();
        fs::write(self.at("www.key"), &keys().first().unwrap().pem).unwrap();
        let errors = fs::File::create(self.at("nginx.out")).unwrap();
        // Who starts in the very tick of a switch may have read what was before it.
        thread::sleep(TICK * 3);
        let child = Command::new(NGINX)
            .arg("-c")
            .arg(self.at("nginx.conf"))
            .stderr(errors)
            .spawn()
            .unwrap();
        self.nginx = Some(child);
        let running = until(|| fs::read_to_string(self.at("nginx.pid")).is_ok_and(|pid| pid.ends_with('\n')));
        assert!(
            running && until(|| self.served().is_some()),
            "{}",
            self.read("nginx.out")
        );
        true
    }

    pub(crate) fn nginx_pid(&self) -> u32 {
        self.nginx.as_ref().unwrap().id()
    }

    /// The subject of the certificate that NGINX serves now.
    pub(crate) fn served(&self) -> Option<String> {
        let output = Command::new("openssl")
            .args(["s_client", "-unix", &format!("{}/nginx.sock", self.text())])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("subject="))?;
        Some(subject.chars().filter(|character| !character.is_whitespace()).collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() && self.at("log").exists() {
            eprintln!("the helper said:\n{}", self.read("log"));
        }
        self.kill();
        if let Some(mut nginx) = self.nginx.take() {
            // So that it ends its workers.
            let pid = rustix::process::Pid::from_child(&nginx);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            drop(nginx.wait());
        }
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Whether it comes to be so within some seconds.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if is_so() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

struct Key {
    pem: String,
    /// Certificates of this key: `CN=one`, `CN=two`.
    certificates: [Vec<u8>; 2],
}

/// Two keys with two certificates each, made once.
fn keys() -> &'static [Key; 2] {
    static KEYS: OnceLock<[Key; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("enclave-tls-apply-keys-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let key = path.join("key").display().to_string();
        let made = [(); 2].map(|()| {
            openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &key,
            ]);
            let certificates = ["/CN=one", "/CN=two"].map(|subject| {
                openssl(&[
                    "req", "-x509", "-key", &key, "-subj", subject, "-days", "2", "-outform", "DER",
                ])
            });
            Key {
                pem: fs::read_to_string(&key).unwrap(),
                certificates,
            }
        });
        fs::remove_dir_all(path).unwrap();
        made
    })
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Generation `generation` with the first or second certificate of the first or second key.
pub(crate) fn deployment(name: &str, generation: u32, key: usize, certificate: usize) -> Deployment {
    let der = &keys()[key].certificates[certificate];
    let parsed = x509_cert::Certificate::from_der(der).unwrap();
    let spki = parsed.tbs_certificate().subject_public_key_info().to_der().unwrap();
    let id = KeyId(Sha256::digest(spki).into());
    let chain = Chain::try_from(vec![Certificate::try_from(der.clone()).unwrap()]).unwrap();
    Deployment::new(name.parse().unwrap(), Generation { generation, id }, Usage::Tls, chain).unwrap()
}

/// Servers and what became of them.
pub(crate) fn outcomes(deployed: &enclave_tls_apply::Deployed) -> Vec<(&str, &Outcome)> {
    let servers = deployed.servers.iter();
    servers
        .map(|server| (server.server.as_str(), &server.outcome))
        .collect()
}

const NGINX: &str = "/usr/sbin/nginx";

/// A server that is a script.
pub(crate) const SCRIPTED: &str = r#"
[servers.main]
kind = "nginx"
client = "web"
program = "@DIR@/server"
pid_file = "@DIR@/server.pid"
"#;

/// The server that [`World::start_nginx`] starts.
pub(crate) const WITH_NGINX: &str = r#"
[servers.main]
kind = "nginx"
client = "web"
config = "@DIR@/nginx.conf"
pid_file = "@DIR@/nginx.pid"
openssl_conf = "/dev/null"
"#;

/// What a certificate that is born in the enclave needs.
pub(crate) fn certificate(name: &str, servers: &str) -> String {
    format!(
        "[[certificates]]\nname = \"{name}\"\nsource = \"csr\"\nkey_type = \"p-256\"\ndns_names = [\"{name}.example.com\"]\nservers = [{servers}]\n"
    )
}

const NGINX_CONFIG: &str = "daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log @DIR@/nginx.log notice;
events {}
http {
    access_log off;
    client_body_temp_path @DIR@/t1;
    proxy_temp_path @DIR@/t2;
    fastcgi_temp_path @DIR@/t3;
    uwsgi_temp_path @DIR@/t4;
    scgi_temp_path @DIR@/t5;
    server {
        listen unix:@DIR@/nginx.sock ssl;
        ssl_certificate @DIR@/base/live/www/chain.pem;
        ssl_certificate_key @DIR@/www.key;
        return 204;
    }
}
";

/// In which the kernel counts when a process was started.
const TICK: Duration = Duration::from_millis(10);
