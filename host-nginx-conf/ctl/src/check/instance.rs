//! The type of this instance, by its metadata service (IMDSv2), and whether such an instance has enclaves.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Finding;

/// Asks, and judges.
pub(super) fn look() -> Finding {
    match instance_type() {
        Ok(kind) => judge(&kind),
        Err(error) => Finding::warning(
            AREA,
            format!("the instance metadata service does not answer: {error}"),
            "on EC2: aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-endpoint enabled",
        ),
    }
}

fn judge(kind: &str) -> Finding {
    let (family, size) = kind.split_once('.').unwrap_or((kind, ""));
    let why = if size.starts_with("metal") {
        "is bare metal, which has no enclaves"
    } else if is_burstable(family) {
        "is a burstable type, which has no enclaves"
    } else if is_too_small(family, size) {
        "is too small: an enclave takes whole cores, and the instance keeps at least one"
    } else {
        return Finding::ok(
            AREA,
            format!("{kind}; it must have been launched with enclaves enabled"),
        );
    };
    Finding::error(
        AREA,
        format!("{kind} {why}"),
        "use another type: .xlarge and up on x86, .large and up on Graviton, not .metal, not T: c7i.xlarge or c7g.large, say",
    )
}

/// T2, T3, T3a, T4g.
fn is_burstable(family: &str) -> bool {
    family
        .strip_prefix('t')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_too_small(family: &str, size: &str) -> bool {
    match size {
        "nano" | "micro" | "small" | "medium" => true,
        "large" => !is_graviton(family),
        _ => false,
    }
}

/// A `g` right after the generation: m7g, c7gn, x2gd, im4gn.
fn is_graviton(family: &str) -> bool {
    let after = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    after.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('g')
}

/// The name of the role whose credentials the instance has.
pub(super) fn role() -> io::Result<String> {
    let role = get("iam/security-credentials/")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    match !role.is_empty() && role.bytes().all(is_name) {
        true => Ok(role),
        false => Err(io::Error::other("it names none")),
    }
}

fn instance_type() -> io::Result<String> {
    let kind = get("instance-type")?;
    let is_type = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    match !kind.is_empty() && kind.bytes().all(is_type) {
        true => Ok(kind),
        false => Err(io::Error::other("it gives no instance type")),
    }
}

/// A value of the metadata service.
fn get(name: &str) -> io::Result<String> {
    let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok();
    let address = endpoint.as_deref().and_then(address_of);
    let address = address.unwrap_or_else(|| SocketAddr::from((IMDS, 80)));
    let token = ask(
        address,
        "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n",
    )?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::other("it gives no token"));
    }
    ask(
        address,
        &format!("GET /latest/meta-data/{name} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n"),
    )
}

/// `http://IP[:PORT]`, as the SDKs take it.
fn address_of(endpoint: &str) -> Option<SocketAddr> {
    let host = endpoint.strip_prefix("http://")?.trim_end_matches('/');
    host.parse()
        .ok()
        .or_else(|| Some(SocketAddr::from((host.parse::<std::net::IpAddr>().ok()?, 80))))
}

/// One request on a connection of its own, and the body of the answer.
fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, WITHIN)?;
    socket.set_read_timeout(Some(WITHIN))?;
    socket.set_write_timeout(Some(WITHIN))?;
    // In one piece: whoever answers need not wait for more.
    let request = format!("{request}Host: {}\r\nConnection: close\r\n\r\n", address.ip());
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("it does not speak HTTP"))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "200" => Ok(body.trim().to_owned()),
        status => Err(io::Error::other(format!("it answers {status}"))),
    }
}

const AREA: &str = "instance";
/// Of every instance.
const IMDS: [u8; 4] = [169, 254, 169, 254];
/// It is on the same machine; where there is none, nobody refuses.
const WITHIN: Duration = Duration::from_secs(1);
/// A token has 56 characters.
const MAX_ANSWER: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn only_types_with_enclaves_will_do() {
        for (kind, level) in [
            ("c7i.xlarge", Level::Ok),
            ("c7g.large", Level::Ok),
            ("im4gn.large", Level::Ok),
            ("m5.2xlarge", Level::Ok),
            ("trn1.2xlarge", Level::Ok),
            ("m5.large", Level::Error),
            ("g5.large", Level::Error),
            ("c7g.medium", Level::Error),
            ("m5.metal", Level::Error),
            ("c7i.metal-24xl", Level::Error),
            ("t3.2xlarge", Level::Error),
            ("t4g.xlarge", Level::Error),
        ] {
            assert_eq!(judge(kind).level, level, "{kind}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address() {
        assert_eq!(
            address_of("http://127.0.0.1:1338/"),
            Some(SocketAddr::from(([127, 0, 0, 1], 1338)))
        );
        assert_eq!(address_of("http://169.254.169.254"), Some(SocketAddr::from((IMDS, 80))));
        assert_eq!(address_of("https://x"), None);
    }

    #[test]
    fn it_is_asked_by_a_token() {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = service.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut socket, _) = service.accept().unwrap();
            let mut seen = [0; 512];
            let count = socket.read(&mut seen).unwrap();
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken")
                .unwrap();
            String::from_utf8_lossy(&seen[..count]).into_owned()
        });
        assert_eq!(ask(address, "PUT /x HTTP/1.1\r\n").unwrap(), "token");
        assert!(
            served
                .join()
                .unwrap()
                .starts_with("PUT /x HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        );
    }
}
