//! The text of a web server's configuration with what it includes, and which certificates it names.
//!
//! Not a parser of NGINX's, httpd's and HAProxy's languages: a search that finds what a person would write. What it finds is there;
//! what it does not find may still be, behind a variable or a map, and is only warned of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use enclave_tls_config::{Kind, Server};

use super::read_text;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct ServerFiles {
    /// Whether there is a main file that can be read.
    pub(super) is_readable: bool,
    /// Variables that NGINX leaves to its workers.
    pub(super) environment: BTreeSet<String>,
    /// Files of `live/NAME` by name: `nginx.conf`, `chain.pem`, and so on.
    pub(super) named: BTreeMap<String, BTreeSet<String>>,
}

impl ServerFiles {
    pub(super) fn read(server: &Server) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![server.config.clone()];
        let mut around = server.config.parent().unwrap_or(Path::new("/")).to_owned();
        let mut left = MAX_BYTES;
        while let Some(path) = waiting.pop() {
            if seen.len() >= MAX_FILES || left == 0 || !seen.insert(path.clone()) {
                continue;
            }
            let Some(text) = read_text(&path) else { continue };
            left = left.saturating_sub(text.len());
            found.mentions(&text);
            found.environment.extend(text.lines().filter_map(kept_variable));
            if server.kind == Kind::Httpd {
                around = server_root(&text).unwrap_or(around);
            }
            let includes = text.lines().filter_map(|line| included(server.kind, line));
            waiting.extend(includes.flat_map(|pattern| matching(&around.join(pattern))));
            if path == server.config {
                found.is_readable = true;
            }
        }
        found
    }

    /// Notes each `…/live/NAME/FILE` and `…/generations/NAME/DIRECTORY/FILE` of a text, outside of comments.
    fn mentions(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines {
            for (marker, skipped) in [("/live/", 0), ("/generations/", 1)] {
                for (at, _) in line.match_indices(marker) {
                    let rest = line.get(at.saturating_add(marker.len())..).unwrap_or_default();
                    let end = rest.find(ends_a_path).unwrap_or(rest.len());
                    let mut parts = rest.get(..end).unwrap_or_default().split('/');
                    let name = parts.next().unwrap_or_default().to_owned();
                    let file = parts.nth(skipped).unwrap_or_default().to_owned();
                    self.named.entry(name).or_default().insert(file);
                }
            }
        }
    }
}

/// `env NAME;` or `env NAME=VALUE;`
fn kept_variable(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("env")?;
    let name = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let end = name.find(|c: char| c == ';' || c == '=' || c.is_whitespace())?;
    name.get(..end).map(str::to_owned)
}

fn ends_a_path(c: char) -> bool {
    c.is_whitespace() || matches!(c, ';' | '"' | '\'' | ')' | ']' | ',')
}

/// What a line includes.
fn included(kind: Kind, line: &str) -> Option<&str> {
    let line = line.trim();
    let word = |names: &[&str]| {
        let (first, rest) = line.split_once(char::is_whitespace)?;
        let is_one = names.iter().any(|name| first.eq_ignore_ascii_case(name));
        is_one.then(|| rest.trim().trim_end_matches(';').trim().trim_matches(['"', '\'']))
    };
    match kind {
        Kind::Nginx => {
            // Also in the middle of a line: `http { include …; }`.
            let at = line.find("include").filter(|_| !line.starts_with('#'))?;
            let rest = line.get(at..)?.strip_prefix("include")?;
            let end = rest.find(';')?;
            Some(rest.get(..end)?.trim().trim_matches(['"', '\'']))
        }
        Kind::Httpd => word(&["Include", "IncludeOptional"]),
        // What HAProxy reads beside its file: lists of certificates.
        Kind::Haproxy => {
            let mut words = line.split_whitespace().skip_while(|word| *word != "crt-list");
            words.nth(1)
        }
    }
}

/// httpd's base of relative paths.
fn server_root(text: &str) -> Option<PathBuf> {
    let value = |line: &str| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        let is_root = name.eq_ignore_ascii_case("ServerRoot");
        is_root.then(|| PathBuf::from(value.trim().trim_matches('"')))
    };
    text.lines().find_map(value)
}

/// The files of a pattern whose last part may have `*`; a directory's files, for httpd.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') {
        return match pattern.is_dir() {
            true => files_in(pattern, "*"),
            false => vec![pattern.to_owned()],
        };
    }
    let Some(directory) = pattern.parent() else {
        return Vec::new();
    };
    let above = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match (above.contains('*'), directory.parent()) {
        // One directory more: `sites/*/*.conf`.
        (true, Some(parent)) => directories_in(parent, above)
            .iter()
            .flat_map(|directory| files_in(directory, name))
            .collect(),
        _ => files_in(directory, name),
    }
}

fn files_in(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    entries(directory, pattern)
        .into_iter()
        .filter(|path| path.is_file())
        .collect()
}

fn directories_in(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    entries(directory, pattern)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect()
}

fn entries(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| fits(name, pattern)));
    let mut paths: Vec<_> = named.map(|entry| entry.path()).take(MAX_FILES).collect();
    paths.sort();
    paths
}

/// Whether a name is of a pattern in which `*` stands for anything.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// Sites with a file for each of 10,000 certificates are read whole.
const MAX_FILES: usize = 12_000;
/// Of all files of a server together.
const MAX_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_of_names() {
        for (name, pattern, wanted) in [
            ("a.conf", "*.conf", true),
            ("a.conf.off", "*.conf", false),
            ("a.conf", "a.conf", true),
            ("a.conf", "a", false),
            ("10-site.conf", "10-*.c*f", true),
            ("b", "*", true),
        ] {
            assert_eq!(fits(name, pattern), wanted, "{name} {pattern}");
        }
    }

    #[test]
    fn certificates_are_named_by_their_files() {
        let mut files = ServerFiles::default();
        files.mentions(
            "server { include /etc/enclave-tls/live/www/nginx.conf; }\n\
             # include /etc/enclave-tls/live/off/nginx.conf;\n\
             SSLCertificateFile \"/etc/enclave-tls/generations/api/0001-ab/chain.pem\"\n\
             bind :443 ssl crt /etc/enclave-tls/live/a/haproxy.pem crt /etc/enclave-tls/live/b/haproxy.pem\n",
        );
        let file = |name: &str| {
            files
                .named
                .get(name)
                .map(|files| files.iter().cloned().collect::<Vec<_>>().join(","))
        };
        assert_eq!(file("www").as_deref(), Some("nginx.conf"));
        assert_eq!(file("api").as_deref(), Some("chain.pem"));
        assert_eq!(
            (file("a").as_deref(), file("b").as_deref()),
            (Some("haproxy.pem"), Some("haproxy.pem"))
        );
        assert_eq!(file("off"), None);
    }

    #[test]
    fn each_servers_includes_are_known() {
        assert_eq!(
            included(Kind::Nginx, "http { include conf.d/*.conf; }"),
            Some("conf.d/*.conf")
        );
        assert_eq!(included(Kind::Nginx, "# include x;"), None);
        assert_eq!(
            included(Kind::Httpd, "  IncludeOptional \"conf.d/*.conf\""),
            Some("conf.d/*.conf")
        );
        assert_eq!(
            included(Kind::Haproxy, "bind :443 ssl crt-list /etc/list"),
            Some("/etc/list")
        );
        assert_eq!(
            server_root("ServerRoot \"/etc/httpd\"\n"),
            Some(PathBuf::from("/etc/httpd"))
        );
    }
}
