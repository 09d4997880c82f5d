//! The CA's question on port 80 comes to the agent through httpd and HAProxy, by the snippets that users copy, beside redirections to HTTPS
//! as such servers have them. (NGINX is what the lab has there.)

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::acme::{self, Said};
use e2e::lab::port80::Port80;
use e2e::lab::suite::Test;
use e2e::lab::{Lab, agent, process};

pub(crate) const TESTS: &[Test] = e2e::tests![
    httpd_passes_challenges_on_and_redirects_the_rest,
    haproxy_passes_challenges_on_and_redirects_the_rest,
];

fn httpd_passes_challenges_on_and_redirects_the_rest(lab: &Lab) -> Result<()> {
    let mut port80 = Port80::take(lab)?;
    let snippet = port80.snippet("httpd/acme-challenge.conf")?;
    let [condition] = &shown(&snippet)?[..] else {
        anyhow::bail!("the snippet shows another number of lines")
    };
    let address = port80.address();
    let (pid, log, snippet) = (port80.file("httpd.pid"), port80.file("httpd.log"), snippet.display());
    let conf = format!(
        "ServerName lab.test\nPidFile {}\nErrorLog {}\nListen {address}\nUser www-data\nGroup www-data\n{MODULES}\
         <VirtualHost {address}>\nRewriteEngine on\n{condition}\n\
         RewriteRule ^ https://lab.test/rewritten [R=301,L]\n\
         Redirect permanent / https://lab.test/\nInclude {snippet}\n</VirtualHost>\n",
        pid.display(),
        log.display(),
    );
    let conf = port80.write("httpd.conf", &conf)?;
    port80.start(
        Command::new("/usr/sbin/apache2")
            .args(["-D", "FOREGROUND", "-f"])
            .arg(conf),
    )?;
    orders_through(lab, &port80).with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

fn haproxy_passes_challenges_on_and_redirects_the_rest(lab: &Lab) -> Result<()> {
    let mut port80 = Port80::take(lab)?;
    let snippet = port80.snippet("haproxy/acme-challenge.cfg")?;
    let rules: String = shown(&snippet)?.iter().map(|rule| format!("    {rule}\n")).collect();
    let frontend = format!(
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n\
         frontend http\n    bind {}\n{rules}    default_backend none\nbackend none\n",
        port80.address()
    );
    let frontend = port80.write("haproxy.cfg", &frontend)?;
    let mut haproxy = Command::new("/usr/sbin/haproxy");
    port80.start(haproxy.arg("-db").arg("-f").arg(frontend).arg("-f").arg(snippet))?;
    orders_through(lab, &port80)
}

/// An order's token comes through it. The CA asks there for each, and takes no answer but the agent's.
fn orders_through(lab: &Lab, port80: &Port80<'_>) -> Result<()> {
    let elsewhere = port80.get("/other/page")?;
    ensure!(
        elsewhere.contains(" 30") && elsewhere.to_lowercase().contains("location: https://"),
        "{elsewhere}"
    );
    let unknown = port80.get("/.well-known/acme-challenge/AAAAAAAAAAAAAAAAAAAAAA")?;
    ensure!(unknown.contains(" 404"), "{unknown}");
    // What an earlier test ordered must not be taken for this order.
    agent::wait_for(lab, "the last order to be with servers", |report| {
        let mut certificates = report.certificates.iter();
        let its = certificates.find(|one| one.name == CERTIFICATE && one.state == "served");
        let newest = its.and_then(|one| one.generations.iter().max_by_key(|one| one.generation));
        newest.is_some_and(|newest| newest.is_live)
    })?;
    let before = acme::leaf(lab, CERTIFICATE, HOST)?;
    let said = Said::from_now(lab, "acme")?;
    acme::rotate(lab, CERTIFICATE)?;
    let asked = format!(
        "http://{HOST}:{}/.well-known/acme-challenge/",
        port80.address().rsplit(':').next().unwrap_or_default()
    );
    process::wait_until(LIMIT, &format!("the CA to ask at {asked}"), || {
        said.count(&asked).is_ok_and(|count| count > 0)
    })?;
    acme::changed(lab, CERTIFICATE, HOST, &before).map(drop)
}

/// The lines that a snippet's comment has for the rest of a configuration.
fn shown(snippet: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(snippet)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("#     "));
    Ok(lines.map(str::to_owned).collect())
}

const CERTIFICATE: &str = "lab-acme-rsa";
const HOST: &str = "acme-rsa.lab.test";
const LIMIT: Duration = Duration::from_secs(60);
/// What Debian's httpd has and the snippet needs, and what redirections need.
const MODULES: &str = "\
Include /etc/apache2/mods-available/mpm_event.load
Include /etc/apache2/mods-available/authz_core.load
Include /etc/apache2/mods-available/proxy.load
Include /etc/apache2/mods-available/proxy_http.load
Include /etc/apache2/mods-available/alias.load
Include /etc/apache2/mods-available/rewrite.load
";
