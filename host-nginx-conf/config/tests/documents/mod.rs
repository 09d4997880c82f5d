//! The file that tests spoil, one thing at a time.

/// Lines are counted by tests: 1 to 4 `[enclave]`, 5 to 7 `[egress]`, 8 and 9 a client, 10 to 13 a server, from 14 a certificate.
pub(crate) const GOOD: &str = r#"[enclave]
image = "/usr/share/enclave-tls/enclave-tls.eif"
cid = 16

[egress]
allow = ["kms.us-east-1.amazonaws.com:443", "localhost:8443"]
resolve."localhost:8443" = "127.0.0.1:4566"
[clients.nginx]
group = "www-data"
[servers.main]
kind = "nginx"
client = "nginx"
key = "provider"
[[certificates]]
name = "www"
source = "csr"
key_type = "p-256"
dns_names = ["www.example.com"]
servers = ["main"]
"#;

/// The good file with one part replaced.
pub(crate) fn with(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    GOOD.replace(from, to)
}
