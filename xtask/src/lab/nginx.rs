//! The lab's NGINX servers: the configuration that users copy, filled in, in a small frame of the lab's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::ca;
use super::place::{Place, WORKERS};
use super::plan::{KeyPlan, Via, client_key};
use super::ports::Ports;
use super::state::{Endpoint, Nginx};
use super::template::Template;
use crate::process;

/// A configured server, not started yet.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) files: Nginx,
    pub(super) endpoints: Vec<Endpoint>,
    /// For OPENSSL_CONF; none: this server's keys are in files.
    pub(super) openssl_conf: Option<PathBuf>,
}

impl Server {
    /// The words of the command that starts it.
    pub(super) fn command(&self) -> Vec<String> {
        let prefix = self.files.conf.parent().unwrap_or(Path::new("/"));
        vec![
            PROGRAM.into(),
            "-p".into(),
            format!("{}/", prefix.display()),
            "-c".into(),
            self.files.conf.display().to_string(),
        ]
    }

    /// Starts it as a daemon and returns its master's pid.
    pub(super) fn start(&self, module_config: &Path) -> Result<u32> {
        let words = self.command();
        let (program, arguments) = words.split_first().context("no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("OPENSSL_CONF")
            .env(super::MODULE_CONFIG, module_config);
        if let Some(conf) = &self.openssl_conf {
            command.env("OPENSSL_CONF", conf);
        }
        process::run(&mut command).with_context(|| format!("the NGINX `{}` does not start", self.name))?;
        let mut pid = None;
        let written = process::wait_until(Duration::from_secs(5), || {
            pid = fs::read_to_string(&self.files.pid_file)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        ensure!(written, "the NGINX `{}` has written no pid", self.name);
        pid.context("no pid")
    }
}

/// Writes the configuration of every server: those that take keys from the service, the control, and the one behind
/// the proxy.
pub(super) fn configure(place: &Place, snippets: &Path) -> Result<Vec<Server>> {
    let ports = Ports::find(Via::ALL.iter().map(|via| via.serves().len()).sum::<usize>() + 1)?;
    let mut config = Configuration {
        place,
        snippets,
        version: version()?,
        ports,
    };
    let (upstream, upstream_port) = config.upstream()?;
    let mut servers = vec![upstream];
    for via in Via::ALL {
        servers.push(config.server(via, upstream_port)?);
    }
    Ok(servers)
}

struct Configuration<'a> {
    place: &'a Place,
    snippets: &'a Path,
    version: String,
    ports: Ports,
}

impl Configuration<'_> {
    fn server(&mut self, via: Via, upstream_port: u16) -> Result<Server> {
        let mut blocks = String::new();
        let mut endpoints = Vec::new();
        for plan in via.serves() {
            let port = self.ports.take()?;
            let client = if via == Via::Proxy { client_key(plan.kind) } else { None };
            let site = self.site(via, client, upstream_port)?;
            blocks.push_str(&self.block(via, &plan, port, &site)?);
            endpoints.push(Endpoint {
                server: "nginx".into(),
                version: self.version.clone(),
                via: via.name().into(),
                host: "127.0.0.1".into(),
                port,
                name: plan.host(),
                key: plan.name.into(),
                client_key: client.map(|key| key.name.into()),
            });
        }
        let openssl_conf = match via {
            Via::Provider | Via::Proxy => Some(self.place.openssl("provider")),
            Via::Engine => Some(self.place.openssl("engine")),
            Via::File => None,
        };
        Ok(Server {
            name: via.name(),
            files: write(self.place, self.snippets, via.name(), &blocks)?,
            endpoints,
            openssl_conf,
        })
    }

    /// One server block: the snippet that users copy.
    fn block(&self, via: Via, plan: &KeyPlan, port: u16, site: &Path) -> Result<String> {
        let by_the_agent = plan.is_in_inventory();
        let name = match via {
            Via::Provider | Via::Engine | Via::Proxy if by_the_agent => "server-agent.conf",
            Via::Engine => "server-engine.conf",
            Via::Provider | Via::Proxy | Via::File => "server-provider.conf",
        };
        let mut template = Template::read(&self.snippets.join("nginx").join(name))?;
        template.fill("ADDRESS", format!("127.0.0.1:{port}"));
        template.fill("NAME", plan.host());
        template.fill("SITE", site.display());
        match via {
            Via::Provider | Via::Proxy if by_the_agent => {
                template.fill("LIVE", self.place.live(plan.name).join("nginx.conf").display());
            }
            Via::Engine if by_the_agent => {
                template.fill("LIVE", self.place.live(plan.name).join("nginx-engine.conf").display());
            }
            Via::Engine => {
                template.fill("CHAIN", self.chain(plan).display());
                template.fill("ID", percent(&ca::key_id(&self.chain(plan))?));
            }
            Via::Provider | Via::Proxy => {
                template.fill("CHAIN", self.chain(plan).display());
                template.fill("KEY_FILE", self.key_file(plan)?.display());
            }
            Via::File => {
                template.fill("CHAIN", self.chain(plan).display());
                template.fill("KEY_FILE", self.place.private(plan.name).display());
            }
        }
        template.finish()
    }

    /// A chain that was made outside of the service.
    fn chain(&self, plan: &KeyPlan) -> PathBuf {
        self.place.public(plan.name, "chain.pem")
    }

    /// What a server answers: who did; or what the server behind it answers.
    fn site(&self, via: Via, client: Option<KeyPlan>, upstream_port: u16) -> Result<PathBuf> {
        let name = client.map_or(via.name(), |key| key.name);
        let answer = match client {
            None => format!("return 200 \"{} $ssl_protocol $ssl_cipher\\n\";", via.name()),
            Some(plan) => {
                let live = self.place.live(plan.name);
                let snippet = self.snippets.join("nginx/proxy-client-certificate.conf");
                let mut template = Template::read(&snippet)?;
                template.fill("UPSTREAM", format!("127.0.0.1:{upstream_port}"));
                template.fill("UPSTREAM_NAME", UPSTREAM);
                template.fill("CHAIN", live.join("chain.pem").display());
                template.fill("KEY_FILE", live.join("key.pem").display());
                template.fill("CA", self.place.ca_certificate().display());
                // A handshake a request, so that each one needs a signature.
                template.finish()? + "proxy_ssl_session_reuse off;\n"
            }
        };
        let path = self.place.root().join("nginx").join(format!("site-{name}.conf"));
        fs::write(
            &path,
            format!("location / {{\nadd_header X-Worker $pid always;\ndefault_type text/plain;\n{answer}\n}}\n"),
        )?;
        Ok(path)
    }

    /// The server behind the proxy. Its own key lies in a file; it lets nobody in without a certificate of the lab's CA.
    fn upstream(&mut self) -> Result<(Server, u16)> {
        let port = self.ports.take()?;
        let place = self.place;
        let block = format!(
            "server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {UPSTREAM};\n\
             ssl_certificate {};\nssl_certificate_key {};\n\
             ssl_client_certificate {};\nssl_verify_client on;\nssl_verify_depth 2;\n\
             location / {{\ndefault_type text/plain;\n\
             return 200 \"upstream $ssl_client_verify $ssl_protocol serial=$ssl_client_serial\\n\";\n}}\n}}\n",
            place.public(UPSTREAM, "chain.pem").display(),
            place.private(UPSTREAM).display(),
            place.ca_certificate().display(),
        );
        let files = write(place, self.snippets, "upstream", &block)?;
        Ok((
            Server {
                name: "upstream",
                files,
                endpoints: Vec::new(),
                openssl_conf: None,
            },
            port,
        ))
    }

    /// The file that says where a key is that was imported by hand, made by the script that users have.
    fn key_file(&self, plan: &KeyPlan) -> Result<PathBuf> {
        let path = self.place.public(plan.name, "uri.pem");
        let id = ca::key_id(&self.chain(plan))?;
        let pem = process::capture(Command::new(self.snippets.join("nginx/uri-pem.sh")).arg(id))?;
        fs::write(&path, pem)?;
        Ok(path)
    }
}

/// Writes the whole configuration of a server with these blocks.
pub(super) fn write(place: &Place, snippets: &Path, instance: &str, blocks: &str) -> Result<Nginx> {
    let dir = place.nginx(instance);
    fs::create_dir(&dir)?;
    let files = Nginx {
        conf: dir.join("nginx.conf"),
        pid_file: dir.join("nginx.pid"),
        error_log: place.log(&format!("nginx-{instance}")),
    };
    let snippet = |name: &str| snippets.join("nginx").join(name).display().to_string();
    let mut template = Template::of(FRAME);
    template.fill("WORKERS", WORKERS);
    template.fill("PID", files.pid_file.display());
    template.fill("ERROR_LOG", files.error_log.display());
    template.fill("ENV", snippet("env.conf"));
    template.fill("TLS", snippet("tls.conf"));
    template.fill("DIRECTORY", dir.display());
    template.fill("BLOCKS", blocks);
    fs::write(&files.conf, template.finish()?)?;
    Ok(files)
}

/// An id as RFC 7512 writes bytes: `%xx` each.
fn percent(id: &str) -> String {
    let pairs = id.as_bytes().chunks(2);
    pairs
        .map(|pair| format!("%{}", String::from_utf8_lossy(pair)))
        .collect()
}

fn version() -> Result<String> {
    let output = process::output(Command::new(PROGRAM).arg("-v"))?;
    let text = process::text(&output.stderr);
    match text.trim().rsplit_once("nginx/") {
        Some((_, version)) => Ok(version.split_whitespace().next().unwrap_or(version).to_owned()),
        None => bail!("{PROGRAM} does not tell its version"),
    }
}

pub(super) const UPSTREAM: &str = "upstream.lab.test";

pub(super) const PROGRAM: &str = "/usr/sbin/nginx";

/// As Debian starts it: a daemon, its master root, its workers another user.
const FRAME: &str = "\
user @WORKERS@;
worker_processes 2;
pid @PID@;
error_log @ERROR_LOG@ info;
include @ENV@;
events { worker_connections 2048; }
http {
access_log off;
client_body_temp_path @DIRECTORY@/body;
proxy_temp_path @DIRECTORY@/proxy;
fastcgi_temp_path @DIRECTORY@/fastcgi;
uwsgi_temp_path @DIRECTORY@/uwsgi;
scgi_temp_path @DIRECTORY@/scgi;
ssl_session_cache off;
include @TLS@;
@BLOCKS@}
";
