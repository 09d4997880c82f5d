//! Accounts at CAs: whether the policy allows them, what they need of files, and how names are proven.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use enclave_tls_admin::eab::BindingFile;
use enclave_tls_admin::{advice, files};
use enclave_tls_config::{Account, Challenge, Dns01};
use enclave_wire::{Name, Usage};

use super::{Context, Finding, hooks, rights};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let config = context.config;
    if config.accounts.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, account) in &config.accounts {
        let before = findings.len();
        findings.extend(allowed(context, name, account));
        findings.extend(binding(name, account));
        findings.extend(unsealed(name, account));
        if findings.len() == before {
            findings.push(Finding::ok(AREA, format!("{name}: {}", account.directory)));
        }
    }
    let uses = |how| {
        let mut certificates = config.certificates.values();
        certificates.any(|certificate| certificate.source.acme().is_some_and(|acme| acme.challenge == how))
    };
    if uses(Challenge::Http01) {
        findings.extend(listener(config.http01.listen));
    }
    if let Some(Dns01::Hook(hook)) = &config.dns01 {
        findings.extend(hooks::missing(AREA, &hook.program, "hook under [dns01]"));
    }
    findings
}

fn allowed(context: &Context<'_>, name: &Name, account: &Account) -> Vec<Finding> {
    let Some(policy) = context.policy else {
        return Vec::new();
    };
    let directory = &account.directory;
    let roots = policy
        .acme_roots(directory.host(), directory.port(), directory.path())
        .map(drop);
    let usage = policy.allows(name, Usage::AcmeAccount);
    let finding = |error| {
        Finding::error(
            AREA,
            format!("{name}: {}", advice::refused(error)),
            format!(
                "[[acme]] directory = \"{directory}\" with the roots of its server, and \"acme-account\" among the usages of a name pattern that {name} fits"
            ),
        )
    };
    [roots.err(), usage.err()].into_iter().flatten().map(finding).collect()
}

fn binding(name: &Name, account: &Account) -> Option<Finding> {
    let file = account.eab.as_deref()?;
    if rights::is_denied(file) {
        return None;
    }
    let read = files::read_public(file, MAX_BINDING).map_err(|error| error.to_string());
    let read = read.and_then(|text| BindingFile::parse(&text).map_err(|error| error.to_string()));
    let why = match read {
        Err(why) => why,
        Ok(read) if read.directory == *account.directory.url() => return None,
        Ok(read) => format!(
            "it is for {}, and the account is at {}",
            read.directory.as_str(),
            account.directory
        ),
    };
    Some(Finding::error(
        AREA,
        format!("{name}: {}: {why}", file.display()),
        format!("enclave-tlsctl acme eab --help; have it written to {}", file.display()),
    ))
}

fn unsealed(name: &Name, account: &Account) -> Option<Finding> {
    account.sealed.is_none().then(|| {
        Finding::warning(
            AREA,
            format!("{name}: its key is not sealed, so each restart of the enclave makes another account, which no CAA record names"),
            format!("set sealed = \"default\" under [acme.{name}], and name a KMS key under [sealing] keys in the policy"),
        )
    })
}

/// Whether the agent can listen there, or does.
fn listener(address: SocketAddr) -> Option<Finding> {
    judge(address, TcpListener::bind(address).map(drop))
}

fn judge(address: SocketAddr, tried: io::Result<()>) -> Option<Finding> {
    let taken = match tried {
        Err(error) if error.kind() == ErrorKind::AddrInUse => !is_the_agents(address),
        // What only the agent's unit may do, nobody else can try; but who answers there can be seen.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            TcpStream::connect_timeout(&address, PATIENCE).is_ok() && !is_the_agents(address)
        }
        Err(error) => {
            let todo = "correct listen under [http01]: an address of this machine";
            return Some(Finding::error(
                AREA,
                format!("nobody can listen on {address}: {error}"),
                todo,
            ));
        }
        Ok(()) => false,
    };
    taken.then(|| {
        Finding::error(
            AREA,
            format!("another program listens on {address}, where the agent answers challenges"),
            format!("`ss -ltnp 'sport = :{}'` names it; or choose another address under [http01] and in the web server's snippet", address.port()),
        )
    })
}

fn is_the_agents(address: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut told = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut told)?;
        Ok(told)
    };
    ask().is_ok_and(|told| told.contains("challenges of ACME"))
}

const AREA: &str = "authorities";
/// As the agent reads it.
const MAX_BINDING: usize = 16_384;
const MAX_ANSWER: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_only_the_agent_may_bind_is_asked_who_has_it() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let denied = || Err(ErrorKind::PermissionDenied.into());
        // It closes each connection without an answer.
        let found = std::thread::scope(|scope| {
            scope.spawn(|| [(); 2].map(|()| drop(other.accept().unwrap())));
            judge(address, denied())
        });
        assert!(found.unwrap().found.contains("another program listens"));
        drop(other);
        assert_eq!(judge(address, denied()), None);
    }

    #[test]
    fn a_port_that_another_program_has_is_said() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = other.accept().unwrap();
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked).unwrap();
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .unwrap();
            });
            listener(address)
        });
        assert!(found.unwrap().found.contains("another program listens"));
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = other.accept().unwrap();
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked).unwrap();
                stream
                    .write_all(
                        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nThere are challenges of ACME, while",
                    )
                    .unwrap();
            });
            listener(address)
        });
        assert_eq!(found, None);
        drop(other);
        assert_eq!(listener(address), None);
        assert!(
            listener("192.0.2.1:80".parse().unwrap())
                .unwrap()
                .found
                .contains("nobody can listen")
        );
    }
}
