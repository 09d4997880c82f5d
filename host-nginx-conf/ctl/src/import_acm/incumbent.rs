//! What `acm.yaml` says. Words of older versions (`NginxStanza`, `nginx_force_start`, …) are read as what they have become.

use super::yaml::{Node, Value, YamlError};

/// The file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acm {
    pub(super) cpu_count: Option<u32>,
    pub(super) memory_mib: Option<u32>,
    /// `nginx` or `httpd`; none: not said, which means nginx.
    pub(super) service: Option<String>,
    pub(super) tokens: Vec<Token>,
    /// Keys that are known and have no meaning here.
    pub(super) dropped: Vec<Dropped>,
    /// Keys that are not known: where, and what.
    pub(super) strangers: Vec<(usize, String)>,
}

/// A certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) label: String,
    pub(super) source: Source,
    /// The file that web servers include.
    pub(super) path: Option<String>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Acm { arn: String },
    S3 { uri: String },
    File { path: String },
}

/// A key without a counterpart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dropped {
    ImagePath,
    BootTimeout,
    Ports,
    AttestationRetries,
    ForceStart,
    ReloadWait,
    SyncInterval,
    RefreshInterval,
    Log,
    Pin,
    Bucket,
}

/// Why a file is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AcmError {
    Yaml(YamlError),
    /// At this line something else than such a file has.
    Form {
        line: usize,
        what: String,
    },
}

impl std::fmt::Display for AcmError {
    /// `LINE: MESSAGE`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yaml(error) => write!(f, "{}: {}", error.line, error.what),
            Self::Form { line, what } => write!(f, "{line}: {what}"),
        }
    }
}

pub(super) fn read(text: &str) -> Result<Acm, AcmError> {
    let mut acm = Acm::default();
    let mut file = Fields::of(Node::parse(text).map_err(AcmError::Yaml)?, "the file")?;
    if let Some(node) = file.take("enclave") {
        let mut enclave = Fields::of(node, "enclave")?;
        acm.cpu_count = enclave.number("cpu_count")?;
        acm.memory_mib = enclave.number("memory_mib")?;
        acm.drops(
            &mut enclave,
            &[
                ("image_path", Dropped::ImagePath),
                ("boot_timeout_ms", Dropped::BootTimeout),
                ("p11kit_port", Dropped::Ports),
                ("rpc_port", Dropped::Ports),
                ("attestation_retry_count", Dropped::AttestationRetries),
            ],
        );
    }
    if let Some(node) = file.take("options") {
        let mut options = Fields::of(node, "options")?;
        acm.service = options.text("service")?;
        acm.drops(
            &mut options,
            &[
                ("force_start", Dropped::ForceStart),
                ("nginx_force_start", Dropped::ForceStart),
                ("reload_wait_ms", Dropped::ReloadWait),
                ("nginx_reload_wait_ms", Dropped::ReloadWait),
                ("sync_interval_secs", Dropped::SyncInterval),
            ],
        );
    }
    if let Some(node) = file.take("tokens") {
        let Value::List(tokens) = node.value else {
            return Err(form(node.line, "tokens is a list"));
        };
        for token in tokens {
            let token = acm.token(token)?;
            acm.tokens.push(token);
        }
    }
    acm.drops(&mut file, &[("log", Dropped::Log)]);
    acm.dropped.sort();
    acm.dropped.dedup();
    Ok(acm)
}

impl Acm {
    fn token(&mut self, node: Node) -> Result<Token, AcmError> {
        let line = node.line;
        let mut token = Fields::of(node, "a token")?;
        let label = token.text("label")?.ok_or_else(|| form(line, "a token has no label"))?;
        let source = token
            .take("source")
            .ok_or_else(|| form(line, "a token has no source"))?;
        let source = self.source(source)?;
        let (mut path, mut user, mut group) = (None, None, None);
        if let Some(target) = token.take("target") {
            let mut target = Fields::of(target, "target")?;
            let of_kind = target.take("Conf").or_else(|| target.take("NginxStanza"));
            if let Some(node) = of_kind {
                let mut conf = Fields::of(node, "target")?;
                (path, user, group) = (conf.text("path")?, conf.text("user")?, conf.text("group")?);
                self.drops(&mut conf, &[("force_start", Dropped::ForceStart)]);
            }
            self.drops(&mut target, &[]);
        }
        self.drops(
            &mut token,
            &[
                ("refresh_interval_secs", Dropped::RefreshInterval),
                ("pin", Dropped::Pin),
            ],
        );
        Ok(Token {
            line,
            label,
            source,
            path,
            user,
            group,
        })
    }

    fn source(&mut self, node: Node) -> Result<Source, AcmError> {
        let line = node.line;
        let mut kinds = Fields::of(node, "source")?;
        let missing = |what: &str| form(line, what);
        let (source, mut rest) = if let Some(node) = kinds.take("Acm") {
            let mut fields = Fields::of(node, "Acm")?;
            let arn = fields.text("certificate_arn")?;
            let arn = arn.ok_or_else(|| missing("Acm has no certificate_arn"))?;
            (Source::Acm { arn }, fields)
        } else if let Some(node) = kinds.take("S3") {
            let mut fields = Fields::of(node, "S3")?;
            let uri = fields.text("uri")?.ok_or_else(|| missing("S3 has no uri"))?;
            (Source::S3 { uri }, fields)
        } else if let Some(node) = kinds.take("FileDb") {
            let mut fields = Fields::of(node, "FileDb")?;
            let path = fields.text("path")?.ok_or_else(|| missing("FileDb has no path"))?;
            (Source::File { path }, fields)
        } else {
            return Err(missing("a source is Acm, S3 or FileDb"));
        };
        self.drops(&mut rest, &[("bucket", Dropped::Bucket)]);
        self.drops(&mut kinds, &[]);
        Ok(source)
    }

    /// Notes what of these keys is there, and what else is.
    fn drops(&mut self, fields: &mut Fields, known: &[(&str, Dropped)]) {
        for (name, node) in std::mem::take(&mut fields.left) {
            match known.iter().find(|(key, _)| *key == name) {
                Some((_, dropped)) => self.dropped.push(*dropped),
                None => self.strangers.push((node.line, format!("{} in {}", name, fields.of))),
            }
        }
    }
}

/// The keys of a map that have not been read.
struct Fields {
    of: &'static str,
    left: Vec<(String, Node)>,
}

impl Fields {
    fn of(node: Node, of: &'static str) -> Result<Self, AcmError> {
        match node.value {
            Value::Map(left) => Ok(Self { of, left }),
            // A key with nothing behind it.
            Value::Text(text) if text.is_empty() || text == "~" => Ok(Self { of, left: Vec::new() }),
            Value::Text(_) | Value::List(_) => {
                Err(form(node.line, &format!("{of} has keys of its own; this has none")))
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, AcmError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node {
                value: Value::Text(text),
                ..
            }) => Ok(Some(text).filter(|text| !text.is_empty() && text != "~")),
            Some(Node { line, .. }) => Err(form(line, &format!("{name} is a word"))),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<u32>, AcmError> {
        let line = self
            .left
            .iter()
            .find(|(key, _)| key == name)
            .map_or(0, |(_, node)| node.line);
        let number = self.text(name)?.map(|text| text.parse());
        number
            .transpose()
            .map_err(|_| form(line, &format!("{name} is a number")))
    }
}

fn form(line: usize, what: &str) -> AcmError {
    AcmError::Form {
        line,
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_its_words_are_read() {
        let old = "enclave:\n  cpu_count: 2\n  memory_mib: 256\noptions:\n  nginx_force_start: true\ntokens:\n  - label: a\n    source:\n      \
                   Acm:\n        certificate_arn: \"arn:x\"\n    target:\n      NginxStanza:\n        path: /x\n        user: nginx\n";
        let new = old
            .replace("nginx_force_start", "force_start")
            .replace("NginxStanza", "Conf");
        let (old, new) = (read(old).unwrap(), read(&new).unwrap());
        assert_eq!(old, new);
        assert_eq!(
            (old.cpu_count, old.dropped.as_slice()),
            (Some(2), [Dropped::ForceStart].as_slice())
        );
        assert_eq!(old.tokens[0].path.as_deref(), Some("/x"));
    }

    #[test]
    fn what_is_not_known_is_named_with_its_line() {
        let acm = read("enclave:\n  turbo: yes\nnew: 1\ntokens: []\n").unwrap();
        assert_eq!(
            acm.strangers,
            [(2, "turbo in enclave".to_owned()), (3, "new in the file".to_owned())]
        );
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        for (text, said) in [
            ("tokens: x\n", "1: tokens is a list"),
            ("enclave:\n  cpu_count: two\n", "2: cpu_count is a number"),
            ("tokens:\n  - source: x\n", "2: a token has no label"),
            (
                "tokens:\n  - label: a\n    source:\n      Vault: {}\n",
                "3: a source is Acm, S3 or FileDb",
            ),
            ("- a\n", "1: the file has keys"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{text}: {error}");
        }
    }
}
