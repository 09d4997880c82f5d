//! `store:` URIs, which NGINX takes since 1.29: one of a newer Debian, with its own OpenSSL, pkcs11-provider and C library, as another
//! server of the agent's.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::load::Load;
use e2e::lab::process::{self, Signal};
use e2e::lab::program::succeed;
use e2e::lab::scratch::Scratch;
use e2e::lab::server::{Tls, get};
use e2e::lab::suite::{Skipped, Test};
use e2e::lab::{Endpoint, Lab, agent, authority};

pub(super) const TESTS: &[Test] = e2e::tests![a_store_uri_is_served_and_reloaded_by_the_agent];

fn a_store_uri_is_served_and_reloaded_by_the_agent(lab: &Lab) -> Result<()> {
    let Some(newer) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        let why = "it needs NGINX 1.29 or later: `cargo xtask test --part store` brings one";
        return Err(Skipped(why.to_owned()).into());
    };
    let server = Newer::unpack(lab, &newer)?;
    let inventory = fs::read_to_string(&lab.config)?;
    let with_it = inventory.replace(SERVERS, &SERVERS.replace(']', ", \"store\"]")) + &server.section();
    ensure!(
        with_it.contains("\"store\"]"),
        "the inventory is not as expected: {inventory}"
    );
    fs::write(&lab.config, with_it)?;
    let served = serve(lab, server);
    fs::write(&lab.config, inventory)?;
    agent::reload(lab)?;
    agent::wait_for(lab, "the inventory as it was", |report| {
        report.servers.iter().all(|server| server.name != "store")
    })?;
    served
}

fn serve(lab: &Lab, server: Newer) -> Result<()> {
    agent::reload(lab)?;
    agent::wait_for(lab, "the agent to know it", |report| {
        report.servers.iter().any(|server| server.name == "store")
    })?;
    let running = server.start(lab)?;
    for tls in Tls::ALL {
        for (label, signatures) in [(RSA, "RSA-PSS+SHA256"), (ECDSA, "ECDSA+SHA256")] {
            let session = get(lab, &running.endpoint, tls, &["-sigalgs", signatures])?;
            let what = format!("{label}, TLS {}", tls.name());
            ensure!(
                session.spki == fs::read_to_string(&lab.key(label)?.public_key)?,
                "{what}: another key"
            );
            ensure!(session.body == "nginx/1", "{what}: {}", session.body);
        }
    }
    let keys = [&lab.key(RSA)?.id, &lab.key(ECDSA)?.id].map(String::as_str);
    let load = Load::start_with(lab, &running.endpoint, LOAD, &keys)?;
    for _ in 0..3 {
        process::signal(running.master.id(), Signal::HUP)?;
        sleep(Duration::from_millis(700));
    }
    // By the agent: another certificate of the same key.
    let older = get(lab, &running.endpoint, Tls::V13, &["-sigalgs", "ECDSA+SHA256"])?.leaf;
    authority::renew(lab, ECDSA)?;
    process::wait_until(Duration::from_secs(30), "the newer leaf", || {
        get(lab, &running.endpoint, Tls::V13, &["-sigalgs", "ECDSA+SHA256"]).is_ok_and(|session| session.leaf != older)
    })?;
    load.finish()?.expect_none_failed()?;
    ensure!(process::is_alive(running.master.id()), "its master ended");
    Ok(())
}

/// Its files; those of the cache may lie where its workers' user cannot go.
struct Newer {
    scratch: Scratch,
    program: PathBuf,
    conf: PathBuf,
    openssl_conf: PathBuf,
    port: u16,
}

struct Running {
    master: Child,
    endpoint: Endpoint,
    _server: Newer,
}

impl Newer {
    fn unpack(lab: &Lab, newer: &Path) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (libraries, program) = (scratch.file("lib"), scratch.file("nginx"));
        succeed(
            Command::new("cp")
                .arg("-r")
                .arg(newer.join("root").join(LIBRARIES))
                .arg(&libraries),
        )?;
        fs::copy(newer.join("root/usr/sbin/nginx"), &program)?;
        let mut patch = Command::new(newer.join("patchelf"));
        patch
            .arg("--set-interpreter")
            .arg(libraries.join("ld-linux-x86-64.so.2"));
        // Of this kind the libraries' own libraries are found by it too.
        succeed(
            patch
                .args(["--force-rpath", "--set-rpath"])
                .arg(&libraries)
                .arg(&program),
        )?;
        let provider = fs::read_to_string(&lab.openssl_conf["provider"])?;
        let provider = provider.replace(
            &format!("/{LIBRARIES}/ossl-modules/"),
            &format!("{}/ossl-modules/", libraries.display()),
        );
        ensure!(
            provider.contains(&libraries.display().to_string()),
            "not its own provider: {provider}"
        );
        let openssl_conf = scratch.write("provider.cnf", provider)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let live = lab.dir()?.join("servers/live");
        let include = |label: &str| format!("include {}/{label}/nginx-store.conf;", live.display());
        let conf = scratch.write(
            "nginx.conf",
            format!(
                "user www-data;\nworker_processes 2;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nenv OPENSSL_CONF;\n\
                 events {{ }}\nhttp {{\naccess_log off;\nserver {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {HOST};\n{}\n{}\n\
                 location / {{ add_header X-Worker $pid always; return 200 \"nginx/1\\n\"; }}\n}}\n}}\n",
                include(RSA),
                include(ECDSA),
                dir = scratch.path().display(),
            ),
        )?;
        Ok(Self {
            scratch,
            program,
            conf,
            openssl_conf,
            port,
        })
    }

    /// Of the agent's configuration.
    fn section(&self) -> String {
        format!(
            "\n[servers.store]\nkind = \"nginx\"\nclient = \"www-data\"\nkey = \"store\"\nprogram = \"{}\"\nconfig = \"{}\"\npid_file = \"{}\"\nopenssl_conf = \"{}\"\n",
            self.program.display(),
            self.conf.display(),
            self.scratch.file("nginx.pid").display(),
            self.openssl_conf.display()
        )
    }

    fn start(self, lab: &Lab) -> Result<Running> {
        let mut command = lab.command(&self.program);
        command.env("OPENSSL_CONF", &self.openssl_conf);
        command.args(["-g", "daemon off;", "-p"]).arg(self.scratch.path());
        command
            .arg("-c")
            .arg(&self.conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running {
            master: command.spawn()?,
            endpoint: Endpoint {
                via: "store".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: self.port,
                name: HOST.to_owned(),
                key: ECDSA.to_owned(),
                client_key: None,
            },
            _server: self,
        };
        process::wait_until(Duration::from_secs(10), "the newer NGINX", || {
            TcpStream::connect(running.endpoint.address()).is_ok()
        })
        .with_context(|| {
            let log = running._server.scratch.file("error.log");
            fs::read_to_string(log).unwrap_or_default()
        })?;
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its workers end with it.
        drop(process::signal(self.master.id(), Signal::TERM));
        drop(self.master.wait());
    }
}

const VARIABLE: &str = "ENCLAVE_TLS_NEWER_NGINX";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The keys that every server has, and the name that both have.
const RSA: &str = "lab-sealed-rsa";
const ECDSA: &str = "lab-sealed-p256";
const HOST: &str = "sealed.lab.test";
/// As the lab's inventory has them for these keys.
const SERVERS: &str = "servers = [\"provider\", \"httpd-provider\", \"haproxy\"]";
/// Handshakes a second.
const LOAD: f64 = 30.0;
