//! Who is at the other end of a unix socket, and whether to speak to them.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;

/// The user at the other end, as the kernel knows it.
pub fn uid(socket: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

/// Root, and the user of this process.
#[must_use]
pub fn is_root_or_self(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Whether a command may believe who listens: also the agent's own user.
#[must_use]
pub fn is_agent(uid: u32) -> bool {
    is_root_or_self(uid) || accounts().is_ok_and(|accounts| accounts.user(AGENT).is_some_and(|user| user.uid == uid))
}

/// Whether a user is of this group, a name or a number, by primary group or by its line in /etc/group. The mode of a socket says the same until somebody
/// changes it; members from elsewhere (LDAP) that those files do not name are turned away.
#[must_use]
pub fn is_member(uid: u32, group: &str) -> bool {
    accounts().is_ok_and(|accounts| accounts.is_member(uid, group))
}

/// The user that the packages make for the agent.
pub const AGENT: &str = "enclave-tls";

fn accounts() -> io::Result<Accounts> {
    Ok(Accounts {
        users: fs::read_to_string("/etc/passwd")?,
        groups: fs::read_to_string("/etc/group")?,
    })
}

/// The text of /etc/passwd and /etc/group.
struct Accounts {
    users: String,
    groups: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.users.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some(User {
                name: fields.next()?,
                uid: fields.nth(1)?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        })
    }

    fn user(&self, name: &str) -> Option<User<'_>> {
        self.users().find(|user| user.name == name)
    }

    fn is_member(&self, uid: u32, group: &str) -> bool {
        let Some((gid, members)) = self.group(group) else {
            return false;
        };
        self.users()
            .filter(|user| user.uid == uid)
            .any(|user| user.gid == gid || members.split(',').any(|member| member == user.name))
    }

    fn group(&self, name: &str) -> Option<(u32, &str)> {
        self.groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let its = fields.next()?;
            let (gid, members) = (fields.nth(1)?, fields.next().unwrap_or_default());
            (its == name || gid == name).then_some(())?;
            Some((gid.parse().ok()?, members))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_we_ourselves_are_trusted() {
        assert!(is_root_or_self(0));
        assert!(is_root_or_self(rustix::process::geteuid().as_raw()));
        assert!(!is_root_or_self(65_533));
    }

    #[test]
    fn threat_10_members_are_those_of_the_group_and_no_others() {
        let accounts = Accounts {
            users: "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:\nbob:x:1001:700::/:\ncid:x:1002:1002::/:\nbroken\n"
                .to_owned(),
            groups: "root:x:0:\nenclave-tls-admin:x:700:ann,dan\nother:x:701:cid\n".to_owned(),
        };
        assert!(accounts.is_member(1000, "enclave-tls-admin"), "named");
        assert!(accounts.is_member(1001, "enclave-tls-admin"), "by primary group");
        assert!(!accounts.is_member(1002, "enclave-tls-admin"));
        assert!(!accounts.is_member(4711, "enclave-tls-admin"), "no such user");
        assert!(!accounts.is_member(1000, "absent"));
        assert!(accounts.is_member(1000, "700"), "a group by its number");
        assert!(!accounts.is_member(1002, "700"));
    }
}
