//! The lab's httpd servers: Debian's own main configuration, with sites as users copy them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::place::WORKERS;
use super::plan::{KeyPlan, Via};
use super::server::{self, Server, Site};
use super::state::{Endpoint, Files};
use super::template::Template;

/// Writes the configuration of one.
pub(super) fn configure(site: &mut Site<'_>, via: Via) -> Result<Server> {
    let dir = site.place.httpd(via.name());
    for below in ["", "mods-enabled", "conf-enabled", "sites-enabled", "run"] {
        fs::create_dir(dir.join(below))?;
    }
    enable_modules(&dir)?;
    let mut sites = Sites {
        site,
        via,
        answers: answers(&dir, via)?,
        version: server::version(PROGRAM, "Apache/")?,
        listen: String::new(),
        blocks: String::new(),
        endpoints: Vec::new(),
    };
    for pair in via.pairs() {
        match pair.iter().all(KeyPlan::is_in_inventory) {
            true => sites.by_the_agent(&pair)?,
            false => pair.iter().try_for_each(|plan| sites.by_hand(plan))?,
        }
    }
    let Sites {
        listen,
        blocks,
        endpoints,
        ..
    } = sites;
    fs::write(dir.join("ports.conf"), listen)?;
    fs::write(dir.join("sites-enabled/lab.conf"), blocks)?;
    for snippet in std::iter::once("tls.conf").chain((via == Via::HttpdEngine).then_some("engine.conf")) {
        symlink(
            site.snippets.join("httpd").join(snippet),
            dir.join("conf-enabled").join(snippet),
        )?;
    }
    let files = Files {
        kind: "httpd".into(),
        process: via.name().into(),
        conf: dir.join("httpd.conf"),
        pid_file: dir.join("run/httpd.pid"),
        error_log: site.place.log(via.name()),
    };
    let mut frame = Template::of(FRAME);
    frame.fill("DIRECTORY", dir.display());
    frame.fill("ERROR_LOG", files.error_log.display());
    fs::write(&files.conf, frame.finish()?)?;
    Ok(Server {
        name: via.name(),
        words: vec![PROGRAM.into(), "-f".into(), files.conf.display().to_string()],
        environment: environment(site, via, &dir, &files),
        files,
        endpoints,
        is_daemon: true,
    })
}

struct Sites<'a, 'b> {
    site: &'a mut Site<'b>,
    via: Via,
    answers: PathBuf,
    version: String,
    listen: String,
    blocks: String,
    endpoints: Vec<Endpoint>,
}

impl Sites<'_, '_> {
    /// An RSA and an ECDSA certificate in one site.
    fn by_the_agent(&mut self, [rsa, ecdsa]: &[KeyPlan; 2]) -> Result<()> {
        let file = if self.via == Via::HttpdEngine {
            "httpd-engine.conf"
        } else {
            "httpd.conf"
        };
        let live = |plan: &KeyPlan| self.site.place.live(plan.name).join(file);
        let mut template = self.template("site-agent.conf")?;
        template.fill("LIVE_RSA", live(rsa).display());
        template.fill("LIVE_ECDSA", live(ecdsa).display());
        self.add(template, &rsa.shared_host(), &[rsa, ecdsa])
    }

    fn by_hand(&mut self, plan: &KeyPlan) -> Result<()> {
        let mut template;
        if self.via == Via::HttpdEngine {
            template = self.template("site-engine.conf")?;
            template.fill("ID", self.site.percent_id(plan)?);
        } else {
            template = self.template("site-provider.conf")?;
            template.fill("KEY_FILE", self.site.key_file(plan)?.display());
        }
        template.fill("CHAIN", self.site.chain(plan).display());
        self.add(template, &plan.host(), &[plan])
    }

    fn template(&self, name: &str) -> Result<Template> {
        Template::read(&self.site.snippets.join("httpd").join(name))
    }

    fn add(&mut self, mut template: Template, host: &str, plans: &[&KeyPlan]) -> Result<()> {
        let port = self.site.ports.take()?;
        template.fill("ADDRESS", format!("127.0.0.1:{port}"));
        template.fill("NAME", host);
        template.fill("SITE", self.answers.display());
        self.blocks.push_str(&template.finish()?);
        self.listen.push_str(&format!("Listen 127.0.0.1:{port}\n"));
        self.endpoints.extend(plans.iter().map(|plan| Endpoint {
            server: "httpd".into(),
            version: self.version.clone(),
            via: self.via.name().into(),
            host: "127.0.0.1".into(),
            port,
            name: host.to_owned(),
            key: plan.name.into(),
            client_key: None,
        }));
        Ok(())
    }
}

/// Those that Debian enables, and what the lab needs.
fn enable_modules(dir: &Path) -> Result<()> {
    for module in MODULES {
        let file = format!("{module}.load");
        symlink(Path::new(AVAILABLE).join(&file), dir.join("mods-enabled").join(&file))?;
        let file = format!("{module}.conf");
        if Path::new(AVAILABLE).join(&file).exists() {
            symlink(Path::new(AVAILABLE).join(&file), dir.join("mods-enabled").join(&file))?;
        }
    }
    Ok(())
}

/// What a site serves: who answers. httpd has no variable for its process, so a script reads it.
fn answers(dir: &Path, via: Via) -> Result<PathBuf> {
    let script = dir.join("answer.lua");
    fs::write(&script, ANSWER.replace("VIA", via.name()))?;
    let site = dir.join("site.conf");
    fs::write(
        &site,
        format!(
            "LuaMapHandler ^/ {} handle\nCustomLog {} \"%{{pid}}P %{{tid}}P\"\n",
            script.display(),
            dir.join("threads.log").display()
        ),
    )
    .with_context(|| format!("cannot write {}", site.display()))?;
    Ok(site)
}

/// As Debian's `envvars` and an administrator's `OPENSSL_CONF` set them.
fn environment(site: &Site<'_>, via: Via, dir: &Path, files: &Files) -> Vec<(&'static str, String)> {
    let run = dir.join("run").display().to_string();
    let mut environment = site.environment(via);
    environment.extend([
        ("APACHE_RUN_USER", WORKERS.to_owned()),
        ("APACHE_RUN_GROUP", WORKERS.to_owned()),
        ("APACHE_PID_FILE", files.pid_file.display().to_string()),
        ("APACHE_RUN_DIR", run.clone()),
        ("APACHE_LOCK_DIR", run.clone()),
        ("APACHE_LOG_DIR", run),
        ("LANG", "C".to_owned()),
    ]);
    environment
}

pub(super) const PROGRAM: &str = "/usr/sbin/apache2";

const AVAILABLE: &str = "/etc/apache2/mods-available";
const MODULES: [&str; 23] = [
    "access_compat",
    "alias",
    "auth_basic",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_host",
    "authz_user",
    "autoindex",
    "deflate",
    "dir",
    "env",
    "filter",
    "lua",
    "mime",
    "mpm_event",
    "negotiation",
    "reqtimeout",
    "setenvif",
    "socache_shmcb",
    "ssl",
    "status",
    "headers",
];

/// Debian's, with always as many processes as there may be: a test can tell one that died from one that was not needed.
const FRAME: &str = "\
ServerRoot @DIRECTORY@
ServerName lab.test
Include /etc/apache2/apache2.conf
ErrorLog @ERROR_LOG@
SSLSessionCache none
StartServers 3
ServerLimit 6
MaxSpareThreads 100
MaxRequestWorkers 75
";

const ANSWER: &str = r#"function handle(r)
  local stat = io.open("/proc/self/stat")
  r.headers_out["X-Worker"] = string.format("%d", stat:read("n"))
  stat:close()
  r.content_type = "text/plain"
  r:puts("VIA ", r:ssl_var_lookup("SSL_PROTOCOL"), " ", r:ssl_var_lookup("SSL_CIPHER"), "\n")
  return apache2.OK
end
"#;
