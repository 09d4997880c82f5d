//! AWS Signature Version 4: headers that prove who asks, computed from the request, the credentials and the time alone.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::date::amz_date;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, percent-encoded as it is sent.
    pub path: &'a str,
    /// The query, encoded and sorted as SigV4 wants it.
    pub query: &'a str,
    /// Every header that is signed besides those of [`sign`], with its name in lower case; `host` must be there.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// Whether the body's hash is a header too: S3 wants it, others do not.
    pub body_hash_header: bool,
}

/// Whose signature it is.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Names the secret.
    pub access_key_id: &'a str,
    /// The secret.
    pub secret_access_key: &'a str,
    /// Beside short-lived credentials.
    pub session_token: Option<&'a str>,
}

/// What a signature is good for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The region, such as `us-east-1`.
    pub region: &'a str,
    /// The service's name for signatures, such as `kms`.
    pub service: &'a str,
}

/// The headers to add to `request`: a date, the session's token, the body's hash where it is wanted, and the authorization.
/// `unix` is the time in seconds since 1970, UTC. It fails only if the library does.
pub fn sign(
    request: &Request<'_>,
    identity: &Identity<'_>,
    scope: &Scope<'_>,
    unix: i64,
) -> Result<Vec<(&'static str, String)>, Unspecified> {
    let time = amz_date(unix);
    let day: String = time.chars().take(DAY_DIGITS).collect();
    let body_hash = sha256(request.body);
    let mut added = vec![("x-amz-date", time.clone())];
    if let Some(token) = identity.session_token {
        added.push(("x-amz-security-token", token.to_owned()));
    }
    if request.body_hash_header {
        added.push(("x-amz-content-sha256", body_hash.clone()));
    }
    let (names, canonical) = canonical_request(request, &added, &body_hash);
    let Scope { region, service } = scope;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let key = signing_key(identity.secret_access_key, &[&day, region, service, "aws4_request"])?;
    let signature = hex(&*hmac_sha256(&*key, to_sign.as_bytes())?);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        identity.access_key_id
    );
    added.push(("authorization", authorization));
    Ok(added)
}

/// The names of the signed headers, and the canonical request over them.
fn canonical_request(request: &Request<'_>, added: &[(&str, String)], body_hash: &str) -> (String, String) {
    let added = added.iter().map(|(name, value)| (*name, value.as_str()));
    let mut headers: Vec<(&str, &str)> = request.headers.iter().copied().chain(added).collect();
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for (name, value) in headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        // Writing to a String cannot fail.
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{body_hash}");
    (names, canonical)
}

/// The secret, narrowed to a day, a region and a service.
fn signing_key(secret: &str, steps: &[&str]) -> Result<Zeroizing<[u8; 32]>, Unspecified> {
    let secret = Zeroizing::new(["AWS4", secret].concat());
    let (first, rest) = steps.split_first().ok_or(Unspecified)?;
    let key = hmac_sha256(secret.as_bytes(), first.as_bytes())?;
    rest.iter()
        .try_fold(key, |key, step| hmac_sha256(&*key, step.as_bytes()))
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Result<Zeroizing<[u8; 32]>, Unspecified> {
    let mut tag = Zeroizing::new([0; 32]);
    hmac::sign_to_buffer(&hmac::Key::new(hmac::HMAC_SHA256, key), data, &mut *tag)?;
    Ok(tag)
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// `20150830` of `20150830T123600Z`.
const DAY_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of AWS's test suite, 2015-08-30T12:36:00Z.
    fn suite(request: &Request<'_>, service: &str) -> String {
        let identity = Identity {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: None,
        };
        let region = "us-east-1";
        let headers = sign(request, &identity, &Scope { region, service }, 1_440_938_160).unwrap();
        headers.last().unwrap().1.clone()
    }

    fn vanilla<'a>() -> Request<'a> {
        Request {
            method: "GET",
            path: "/",
            query: "",
            headers: &[("host", "example.amazonaws.com")],
            body: b"",
            body_hash_header: false,
        }
    }

    #[test]
    fn aws_test_suite_get_vanilla() {
        assert_eq!(
            suite(&vanilla(), "service"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn aws_test_suite_post_vanilla_and_a_header_with_spaces() {
        let post = Request {
            method: "POST",
            ..vanilla()
        };
        let expected = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        assert!(suite(&post, "service").ends_with(expected));
        let trimmed = Request {
            headers: &[
                ("host", "example.amazonaws.com"),
                ("my-header1", " value1"),
                ("my-header2", " \"a   b   c\""),
            ],
            ..vanilla()
        };
        let expected = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736";
        assert!(suite(&trimmed, "service").ends_with(expected));
    }

    #[test]
    fn aws_documentation_list_users() {
        let request = Request {
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
            ],
            ..vanilla()
        };
        assert_eq!(
            suite(&request, "iam"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn aws_documentation_s3_get_object() {
        let request = Request {
            path: "/test.txt",
            headers: &[("host", "examplebucket.s3.amazonaws.com"), ("range", "bytes=0-9")],
            body_hash_header: true,
            ..vanilla()
        };
        let identity = Identity {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            session_token: None,
        };
        let scope = Scope {
            region: "us-east-1",
            service: "s3",
        };
        let headers = sign(&request, &identity, &scope, 1_369_353_600).unwrap();
        let (_, authorization) = headers.last().unwrap();
        assert!(authorization.ends_with(
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        ));
    }

    #[test]
    fn every_part_is_signed() {
        let base = suite(&vanilla(), "service");
        let others = [
            suite(&vanilla(), "kms"),
            suite(
                &Request {
                    path: "/a",
                    ..vanilla()
                },
                "service",
            ),
            suite(
                &Request {
                    query: "a=b",
                    ..vanilla()
                },
                "service",
            ),
            suite(
                &Request {
                    body: b"a",
                    ..vanilla()
                },
                "service",
            ),
            suite(
                &Request {
                    headers: &[("host", "example.com")],
                    ..vanilla()
                },
                "service",
            ),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
