//! `/dev/nitro_enclaves`, and who may use it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::finding::{Finding, Remedy};
use super::root::Root;

/// Whoever runs `nitro-cli`, by the name of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person(pub String);

/// Whether the device is there, and of the group.
pub(super) fn device(root: &Root) -> Finding {
    let metadata = match fs::metadata(root.path(DEVICE)) {
        Ok(metadata) => metadata,
        Err(error) if root.exists(MODULE) => {
            return Finding::bad(
                SUBJECT,
                format!("{DEVICE}: {error}"),
                Remedy::run("udevadm trigger --name-match=nitro_enclaves; dmesg | grep -i enclave"),
            );
        }
        Err(error) => {
            let enabled = "launch the instance with enclaves enabled (aws ec2 run-instances --enclave-options Enabled=true; not on .metal, T3 and smaller than .xlarge)";
            return Finding::bad(
                SUBJECT,
                format!("{DEVICE}: {error}"),
                Remedy::new(enabled, "modprobe nitro_enclaves"),
            );
        }
    };
    let Some(group) = Group::named(root, GROUP) else {
        return Finding::bad(SUBJECT, format!("there is no group {GROUP}"), install());
    };
    let open = metadata.mode() & 0o060 == 0o060;
    if metadata.gid() != group.id || !open {
        let found = format!(
            "{DEVICE} belongs to group {} with mode {:03o}",
            metadata.gid(),
            metadata.mode() & 0o777
        );
        return Finding::bad(
            SUBJECT,
            found,
            Remedy::run(format!("chgrp {GROUP} {DEVICE} && chmod 0660 {DEVICE}")),
        );
    }
    match metadata.file_type().is_char_device() {
        true => Finding::good(SUBJECT, format!("{DEVICE} belongs to group {GROUP}")),
        false => Finding::doubtful(
            SUBJECT,
            format!("{DEVICE} is no device"),
            Remedy::run(format!("ls -l {DEVICE}")),
        ),
    }
}

/// Whether this user may use it.
pub(super) fn membership(root: &Root, Person(name): &Person) -> Finding {
    let subject = "group ne";
    let Some(group) = Group::named(root, GROUP) else {
        return Finding::bad(subject, format!("there is no group {GROUP}"), install());
    };
    let own = root.read("/etc/passwd").unwrap_or_default();
    let Some((user, primary)) = own.lines().find_map(|line| user(line).filter(|(user, _)| user == name)) else {
        // Directory services have users too; they are asked by whoever logs in, not here.
        return Finding::doubtful(
            subject,
            format!("{name} is not in /etc/passwd"),
            Remedy::run(format!("id {name}")),
        );
    };
    match user == "root" || primary == group.id || group.members.iter().any(|member| member == name) {
        true => Finding::good(subject, format!("{name} may use it")),
        false => Finding::bad(
            subject,
            format!("{name} is not in group {GROUP}"),
            Remedy::run(format!(
                "usermod -aG {GROUP} {name} && systemctl restart enclave-tls-enclave.service"
            )),
        ),
    }
}

fn install() -> Remedy {
    Remedy::run("dnf install aws-nitro-enclaves-cli")
}

/// A line of `/etc/group`.
struct Group {
    id: u32,
    members: Vec<String>,
}

impl Group {
    fn named(root: &Root, wanted: &str) -> Option<Self> {
        root.read("/etc/group").ok()?.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, id, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let members = members.split(',').map(str::to_owned).collect();
            (name == wanted)
                .then(|| id.parse().ok().map(|id| Self { id, members }))
                .flatten()
        })
    }
}

/// Name and primary group of a line of `/etc/passwd`.
fn user(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.nth(2)?.parse().ok()?))
}

const SUBJECT: &str = "device";
const DEVICE: &str = "/dev/nitro_enclaves";
const MODULE: &str = "/sys/module/nitro_enclaves";
const GROUP: &str = "ne";
