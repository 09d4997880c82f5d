//! What differs between two configurations, and what takes it up.

use std::collections::{BTreeMap, BTreeSet};

use enclave_wire::Name;

use crate::{Account, Agent, Aws, Certificate, Client, Config, Egress, Enclave, Hooks, Http01, Server};

/// One key of the file that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// As `enclave.memory` or `servers.main.config`; of what is new or gone only the table, as `certificates.www-example`.
    pub key: String,
    /// What takes it up.
    pub needs: Needs,
}

/// What takes a change up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Needs {
    /// The agent takes it up at once.
    Reload,
    /// The agent starts again. Handshakes go on meanwhile.
    AgentRestart,
    /// The enclave starts again: keys that are not sealed end with it.
    EnclaveRestart,
}

/// What differs between two configurations, in the order of the keys' names.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    enclave(&old.enclave, &new.enclave, &mut found);
    agent(&old.agent, &new.agent, &mut found);
    aws(old.aws.as_ref(), new.aws.as_ref(), &mut found);
    egress(&old.egress, &new.egress, &mut found);
    each("acme", &old.accounts, &new.accounts, account, &mut found);
    http01(&old.http01, &new.http01, &mut found);
    // One key of two forms, so that no part of it is another without the whole.
    if old.dns01 != new.dns01 {
        found.push(Change {
            key: "dns01".to_owned(),
            needs: Needs::Reload,
        });
    }
    hooks(&old.hooks, &new.hooks, &mut found);
    each("clients", &old.clients, &new.clients, client, &mut found);
    each("servers", &old.servers, &new.servers, server, &mut found);
    each(
        "certificates",
        &old.certificates,
        &new.certificates,
        certificate,
        &mut found,
    );
    found.sort();
    found
}

/// Compares every field of a type: one that is forgotten here does not compile.
macro_rules! compare {
    ($type:ident, $old:expr, $new:expr, $table:expr, $found:expr, { $($field:ident => $key:literal, $needs:ident;)* }) => {{
        let $type { $($field: _),* } = $old;
        $(if $old.$field != $new.$field {
            $found.push(Change { key: format!("{}.{}", $table, $key), needs: Needs::$needs });
        })*
    }};
}

fn enclave(old: &Enclave, new: &Enclave, found: &mut Vec<Change>) {
    compare!(Enclave, old, new, "enclave", found, {
        image => "image", EnclaveRestart;
        name => "name", EnclaveRestart;
        cid => "cid", EnclaveRestart;
        cpus => "cpus", EnclaveRestart;
        memory => "memory", EnclaveRestart;
        policy => "policy", EnclaveRestart;
        nitro_cli => "nitro_cli", EnclaveRestart;
        signing => "signing", EnclaveRestart;
        control => "control", AgentRestart;
        egress => "egress", AgentRestart;
        logs => "logs", AgentRestart;
    });
}

fn agent(old: &Agent, new: &Agent, found: &mut Vec<Change>) {
    compare!(Agent, old, new, "agent", found, {
        state => "state", AgentRestart;
        admin_socket => "admin_socket", AgentRestart;
        admin_group => "admin_group", AgentRestart;
        apply_socket => "apply_socket", AgentRestart;
        metrics => "metrics", Reload;
        log => "log", Reload;
        grace => "grace_hours", Reload;
    });
}

fn aws(old: Option<&Aws>, new: Option<&Aws>, found: &mut Vec<Change>) {
    match (old, new) {
        (Some(old), Some(new)) => compare!(Aws, old, new, "aws", found, {
            kms_host => "kms_host", AgentRestart;
            s3_host => "s3_host", AgentRestart;
            profile => "profile", AgentRestart;
        }),
        (None, None) => (),
        (Some(_), None) | (None, Some(_)) => found.push(Change {
            key: "aws".to_owned(),
            needs: Needs::AgentRestart,
        }),
    }
}

fn egress(old: &Egress, new: &Egress, found: &mut Vec<Change>) {
    compare!(Egress, old, new, "egress", found, {
        allow => "allow", Reload;
        resolve => "resolve", Reload;
    });
}

fn account(table: &str, old: &Account, new: &Account, found: &mut Vec<Change>) {
    compare!(Account, old, new, table, found, {
        directory => "directory", Reload;
        contacts => "contacts", Reload;
        sealed => "sealed", Reload;
        eab => "eab", Reload;
    });
}

fn http01(old: &Http01, new: &Http01, found: &mut Vec<Change>) {
    compare!(Http01, old, new, "http01", found, {
        listen => "listen", Reload;
    });
}

fn hooks(old: &Hooks, new: &Hooks, found: &mut Vec<Change>) {
    compare!(Hooks, old, new, "hooks", found, {
        after_rotation => "after_rotation", Reload;
    });
}

fn client(table: &str, old: &Client, new: &Client, found: &mut Vec<Change>) {
    compare!(Client, old, new, table, found, {
        group => "group", Reload;
        rotate => "rotate_days", Reload;
    });
}

fn server(table: &str, old: &Server, new: &Server, found: &mut Vec<Change>) {
    compare!(Server, old, new, table, found, {
        kind => "kind", Reload;
        client => "client", Reload;
        key => "key", Reload;
        program => "program", Reload;
        config => "config", Reload;
        pid_file => "pid_file", Reload;
        openssl_conf => "openssl_conf", Reload;
        listeners => "listeners", Reload;
    });
}

fn certificate(table: &str, old: &Certificate, new: &Certificate, found: &mut Vec<Change>) {
    compare!(Certificate, old, new, table, found, {
        name => "name", Reload;
        source => "source", Reload;
        usage => "usage", Reload;
        dns_names => "dns_names", Reload;
        servers => "servers", Reload;
        listeners => "listeners", Reload;
        sealed => "sealed", Reload;
    });
}

fn each<T>(
    table: &str,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
    compare: fn(&str, &T, &T, &mut Vec<Change>),
    found: &mut Vec<Change>,
) {
    let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
    for name in names {
        let key = format!("{table}.{name}");
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => compare(&key, old, new, found),
            (Some(_), None) | (None, Some(_)) => found.push(Change {
                key,
                needs: Needs::Reload,
            }),
            (None, None) => (),
        }
    }
}
