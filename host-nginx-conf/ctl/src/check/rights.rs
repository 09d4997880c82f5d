//! Whether whoever runs `check` may look at what it looks at. What may not be read is not said to be missing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use enclave_tls_config::{BundlePlace, Source};

use super::finding::names;
use super::{Context, Finding, Options};

/// Everything that only some may read, in one finding.
pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let denied: Vec<_> = wanted(context)
        .into_iter()
        .filter(|path| is_denied(path))
        .map(|path| path.display().to_string())
        .collect();
    if denied.is_empty() {
        return Vec::new();
    }
    vec![Finding::warning(
        AREA,
        format!(
            "you may not read {}, so nothing can be said of what is in there",
            names(denied.iter().map(String::as_str))
        ),
        AS_ROOT,
    )]
}

/// What to say of the configuration file itself, without which nothing else is looked at.
pub(super) fn refused(options: &Options) -> Finding {
    let path = options.config.display();
    let whose = fs::metadata(&options.config).ok().map(|file| {
        let group = group(&options.root, file.gid());
        format!(", which has mode {:04o} and the group {group}", file.mode() & 0o7777)
    });
    Finding::error(
        "configuration",
        format!("you may not read {path}{}", whose.unwrap_or_default()),
        format!("{AS_ROOT}; or let administrators read it from now on: setfacl -m g:enclave-tls-admin:r {path}"),
    )
}

/// Whether a file or directory is there, or may be, and may not be looked at.
pub(super) fn is_denied(path: &Path) -> bool {
    let looked = match fs::metadata(path) {
        Ok(found) if found.is_dir() => fs::read_dir(path).map(drop),
        Ok(_) => fs::File::open(path).map(drop),
        Err(error) => Err(error),
    };
    looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn wanted(context: &Context<'_>) -> Vec<PathBuf> {
    let (config, base) = (context.config, &context.options.base);
    let clients = config
        .clients
        .keys()
        .map(|name| base.join("clients").join(name.as_str()));
    let servers = config
        .servers
        .values()
        .flat_map(|server| [server.config.clone(), server.openssl_conf(base)]);
    let bundles = config
        .certificates
        .values()
        .filter_map(|certificate| match &certificate.source {
            Source::Bundle {
                from: BundlePlace::File(path),
                ..
            } => Some(path.clone()),
            Source::Csr { .. } | Source::Bundle { .. } | Source::Acme(_) => None,
        });
    let mut wanted: Vec<_> = clients.chain(servers).chain(bundles).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

fn group(root: &Path, gid: u32) -> String {
    let groups = super::read_text(&root.join("etc/group")).unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| gid.to_string())
}

const AREA: &str = "rights";
pub(super) const AS_ROOT: &str = "sudo enclave-tlsctl check";
