//! Users and groups: of the agent, of administrators, of web servers.

use std::collections::BTreeMap;

use enclave_tls_admin::peer;
use enclave_tls_config::Group;

use super::finding::names;
use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let users = context.machine_text("/etc/passwd").unwrap_or_default();
    let groups = context.machine_text("/etc/group").unwrap_or_default();
    let has = |text: &str, name: &str| text.lines().any(|line| line.split(':').next() == Some(name));
    let mut findings = Vec::new();
    let agent = peer::AGENT;
    if !has(&users, agent) {
        findings.push(Finding::error(
            AREA,
            format!("there is no user {agent}, which the agent runs as"),
            format!("useradd --system --user-group --groups ne --no-create-home --shell /sbin/nologin {agent} (the package does)"),
        ));
    }
    for (group, whose) in wanted(context) {
        let exists = match &group {
            Group::Name(name) => has(&groups, name),
            // A number needs no name.
            Group::Id(_) => true,
        };
        if !exists {
            let whose = names(whose.iter().map(String::as_str));
            findings.push(Finding::error(
                AREA,
                format!("there is no group {group} ({whose})"),
                format!("groupadd --system {group}, or name another in config.toml"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(AREA, "all users and groups exist"));
    }
    findings
}

/// Each group with what it is for.
fn wanted(context: &Context<'_>) -> BTreeMap<Group, Vec<String>> {
    let mut wanted: BTreeMap<Group, Vec<String>> = BTreeMap::new();
    let mut add = |group: Group, whose: String| wanted.entry(group).or_default().push(whose);
    add(Group::Name(peer::AGENT.to_owned()), "of the agent".to_owned());
    add(context.config.agent.admin_group.clone(), "admin_group".to_owned());
    for (name, client) in &context.config.clients {
        add(client.group.clone(), format!("client {name}"));
    }
    wanted
}

const AREA: &str = "accounts";
