//! The lab's NGINX servers: those that take keys from the service, the control, and the one behind the proxy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::acme;
use super::place::{Place, WORKERS};
use super::plan::{KeyPlan, Via, client_key};
use super::server::{self, Server, Site};
use super::state::{Endpoint, Files};
use super::template::Template;

/// Writes the configuration of all of them.
pub(super) fn configure(site: &mut Site<'_>) -> Result<Vec<Server>> {
    let version = server::version(PROGRAM, "nginx/")?;
    let mut config = Configuration { site, version };
    let (upstream, upstream_port) = config.upstream()?;
    let mut servers = vec![upstream];
    for via in Via::NGINX {
        servers.push(config.server(via, upstream_port)?);
    }
    Ok(servers)
}

/// The words of the command that starts one.
pub(super) fn words(files: &Files) -> Vec<String> {
    let prefix = files.conf.parent().unwrap_or(Path::new("/"));
    vec![
        PROGRAM.into(),
        "-p".into(),
        format!("{}/", prefix.display()),
        "-c".into(),
        files.conf.display().to_string(),
    ]
}

struct Configuration<'a, 'b> {
    site: &'a mut Site<'b>,
    version: String,
}

impl Configuration<'_, '_> {
    fn server(&mut self, via: Via, upstream_port: u16) -> Result<Server> {
        let mut blocks = String::new();
        let mut endpoints = Vec::new();
        for plan in via.serves() {
            let port = self.site.ports.take()?;
            let client = if via == Via::Proxy { client_key(plan.kind) } else { None };
            let answers = self.answers(via, client, upstream_port)?;
            blocks.push_str(&self.block(via, &plan, port, &answers)?);
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
        if via == Via::Provider {
            blocks.push_str(&self.ordered(via, upstream_port)?);
        }
        let files = write(
            self.site.place,
            self.site.snippets,
            via.name(),
            &blocks,
            Level::Talkative,
        )?;
        Ok(Server {
            name: via.name(),
            words: words(&files),
            files,
            endpoints,
            environment: self.site.environment(via),
            is_daemon: true,
        })
    }

    /// A server block for each certificate that the enclave orders.
    fn ordered(&self, via: Via, upstream_port: u16) -> Result<String> {
        let answers = self.answers(via, None, upstream_port)?;
        let mut blocks = String::new();
        for plan in acme::PLANS {
            let port = self.site.acme.get(plan.name).context("no port of it")?;
            let mut template = Template::read(&self.site.snippets.join("nginx/server-agent.conf"))?;
            template.fill("ADDRESS", format!("127.0.0.1:{port}"));
            template.fill("NAME", plan.hosts.join(" "));
            template.fill("SITE", answers.display());
            template.fill("LIVE", self.site.place.live(plan.name).join("nginx.conf").display());
            blocks.push_str(&template.finish()?);
        }
        Ok(blocks)
    }

    /// One server block: the snippet that users copy.
    fn block(&self, via: Via, plan: &KeyPlan, port: u16, answers: &Path) -> Result<String> {
        let by_the_agent = plan.is_in_inventory();
        let by_an_engine = via.openssl() == Some("engine");
        let name = match (by_the_agent, by_an_engine) {
            _ if via == Via::File => "server-provider.conf",
            (true, _) => "server-agent.conf",
            (false, true) => "server-engine.conf",
            (false, false) => "server-provider.conf",
        };
        let mut template = Template::read(&self.site.snippets.join("nginx").join(name))?;
        template.fill("ADDRESS", format!("127.0.0.1:{port}"));
        template.fill("NAME", plan.host());
        template.fill("SITE", answers.display());
        template.fill("CHAIN", self.site.chain(plan).display());
        if via == Via::File {
            template.fill("KEY_FILE", self.site.place.private(plan.name).display());
        } else if by_the_agent {
            let file = if by_an_engine {
                "nginx-engine.conf"
            } else {
                "nginx.conf"
            };
            template.fill("LIVE", self.site.place.live(plan.name).join(file).display());
        } else if by_an_engine {
            template.fill("ID", self.site.percent_id(plan)?);
        } else {
            template.fill("KEY_FILE", self.site.key_file(plan)?.display());
        }
        template.finish()
    }

    /// What a server answers: who did; or what the server behind it answers.
    fn answers(&self, via: Via, client: Option<KeyPlan>, upstream_port: u16) -> Result<PathBuf> {
        let name = client.map_or(via.name(), |key| key.name);
        let answer = match client {
            None => format!("return 200 \"{} $ssl_protocol $ssl_cipher\\n\";", via.name()),
            Some(plan) => {
                let live = self.site.place.live(plan.name);
                let snippet = self.site.snippets.join("nginx/proxy-client-certificate.conf");
                let mut template = Template::read(&snippet)?;
                template.fill("UPSTREAM", format!("127.0.0.1:{upstream_port}"));
                template.fill("UPSTREAM_NAME", UPSTREAM);
                template.fill("CHAIN", live.join("chain.pem").display());
                template.fill("KEY_FILE", live.join("key.pem").display());
                template.fill("CA", self.site.place.ca_certificate().display());
                // A handshake a request, so that each one needs a signature.
                template.finish()? + "proxy_ssl_session_reuse off;\n"
            }
        };
        let path = self.site.place.root().join("nginx").join(format!("site-{name}.conf"));
        fs::write(
            &path,
            format!("location / {{\nadd_header X-Worker $pid always;\ndefault_type text/plain;\n{answer}\n}}\n"),
        )?;
        Ok(path)
    }

    /// The server behind the proxy. Its own key lies in a file; it lets nobody in without a certificate of the lab's CA.
    fn upstream(&mut self) -> Result<(Server, u16)> {
        let port = self.site.ports.take()?;
        let place = self.site.place;
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
        let files = write(place, self.site.snippets, "upstream", &block, Level::Talkative)?;
        let server = Server {
            name: "upstream",
            words: words(&files),
            files,
            endpoints: Vec::new(),
            environment: Vec::new(),
            is_daemon: true,
        };
        Ok((server, port))
    }
}

/// Writes the whole configuration of a server with these blocks.
pub(super) fn write(place: &Place, snippets: &Path, instance: &str, blocks: &str, level: Level) -> Result<Files> {
    let dir = place.nginx(instance);
    fs::create_dir(&dir)?;
    let files = Files {
        kind: "nginx".into(),
        process: format!("nginx-{instance}"),
        conf: dir.join("nginx.conf"),
        pid_file: dir.join("nginx.pid"),
        error_log: place.log(&format!("nginx-{instance}")),
    };
    let snippet = |name: &str| snippets.join("nginx").join(name).display().to_string();
    let mut template = Template::of(FRAME);
    template.fill("WORKERS", WORKERS);
    template.fill("PID", files.pid_file.display());
    template.fill("ERROR_LOG", files.error_log.display());
    template.fill("LEVEL", level.word());
    template.fill("ENV", snippet("env.conf"));
    template.fill("TLS", snippet("tls.conf"));
    template.fill("DIRECTORY", dir.display());
    template.fill("BLOCKS", blocks);
    fs::write(&files.conf, template.finish()?)?;
    Ok(files)
}

/// What a server writes to its error log.
#[derive(Clone, Copy)]
pub(super) enum Level {
    /// Why a client's handshake failed, for whoever looks into a lab; but also lines of every handshake.
    Talkative,
    /// NGINX's default, for what is measured.
    Default,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Talkative => "info",
            Self::Default => "error",
        }
    }
}

pub(super) const UPSTREAM: &str = "upstream.lab.test";

pub(super) const PROGRAM: &str = "/usr/sbin/nginx";

/// As Debian starts it: a daemon, its master root, its workers another user. Tests put server blocks of their own into `more`.
const FRAME: &str = "\
user @WORKERS@;
worker_processes 2;
pid @PID@;
error_log @ERROR_LOG@ @LEVEL@;
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
@BLOCKS@include @DIRECTORY@/more/*.conf;
}
";
