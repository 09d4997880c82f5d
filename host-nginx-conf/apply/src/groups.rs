//! A group of the system, by the name that the configuration file has.

use std::fs;
use std::io;

use enclave_tls_config::Group;
use rustix::process::Gid;

use crate::failure::Failure;

/// Looks a group up in `/etc/group`. A directory service is not asked: web servers' groups are made by their packages.
pub(crate) fn find(group: &Group) -> Result<Gid, Failure> {
    match group {
        Group::Id(id) => Ok(Gid::from_raw(*id)),
        Group::Name(name) => by_name(name).map_err(|source| Failure::Group {
            group: name.clone(),
            source,
        }),
    }
}

fn by_name(name: &str) -> io::Result<Gid> {
    let groups = fs::read_to_string("/etc/group")?;
    in_file(&groups, name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/etc/group does not have it"))
}

fn in_file(groups: &str, name: &str) -> Option<Gid> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok().map(Gid::from_raw))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nwww-data:x:33:a,b\nbroken\nbad:x:y:\n";
        assert_eq!(in_file(groups, "www-data"), Some(Gid::from_raw(33)));
        for name in ["www", "x", "bad", "broken", ""] {
            assert_eq!(in_file(groups, name), None, "{name}");
        }
    }
}
