//! Accounts, certificates of theirs, and how names are proven: what each line means, and what is refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

use std::path::Path;

use enclave_tls_config::{Challenge, Config, Dns01, Needs, changes};
use enclave_wire::Name;

/// Lines are counted by tests: 1 and 2 `[enclave]`, 3 `[aws]`, 4 and 5 `[egress]`, 6 to 11 an account, 12 and 13 `[dns01]`, 14 and 15 a
/// client, 16 to 18 a server, from 19 a certificate.
const GOOD: &str = r#"[enclave]
image = "/usr/share/enclave-tls/enclave-tls.eif"
[aws]
[egress]
allow = ["acme.example.net:443", "acme.example.org:14000"]
[acme.ca]
directory = "https://acme.example.net/a/directory"
contacts = ["mailto:tls@example.com"]
terms_agreed = true
sealed = "default"
eab = "/etc/enclave-tls/eab.json"
[dns01]
hook = ["/usr/local/bin/dns", "an argument"]
[clients.nginx]
group = "www-data"
[servers.main]
kind = "nginx"
client = "nginx"
[[certificates]]
name = "www"
source = "acme"
account = "ca"
key_type = "p-256"
challenge = "dns-01"
dns_names = ["www.example.com", "*.example.com"]
servers = ["main"]
"#;

fn with(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    GOOD.replace(from, to)
}

fn read(text: &str) -> Config {
    Config::parse(text, Path::new("c.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

#[test]
fn an_account_and_a_certificate_of_it_are_read() {
    let config = read(GOOD);
    let account = &config.accounts[&name("ca")];
    let directory = &account.directory;
    assert_eq!(directory.url().as_str(), "https://acme.example.net/a/directory");
    assert_eq!((directory.host().as_str(), directory.port()), ("acme.example.net", 443));
    assert_eq!(directory.path(), "/a/directory");
    assert_eq!(account.contacts[0].as_str(), "mailto:tls@example.com");
    assert_eq!(account.sealed, Some(name("default")));
    assert_eq!(account.eab.as_deref(), Some(Path::new("/etc/enclave-tls/eab.json")));
    let acme = config.certificates[&name("www")].source.acme().unwrap();
    assert_eq!((&acme.account, acme.challenge), (&name("ca"), Challenge::Dns01));
    assert_eq!((&acme.profile, &acme.preferred_chain), (&None, &None));
    let Some(Dns01::Hook(hook)) = &config.dns01 else {
        panic!()
    };
    assert_eq!(
        (hook.program.as_path(), &hook.arguments[..]),
        (Path::new("/usr/local/bin/dns"), &["an argument".to_owned()][..])
    );
    assert_eq!(config.http01.listen, "127.0.0.1:9812".parse().unwrap());
}

#[test]
fn a_port_of_a_directory_is_the_one_that_must_be_allowed() {
    let config = read(&with("https://acme.example.net/a", "https://acme.example.org:14000"));
    let directory = &config.accounts[&name("ca")].directory;
    assert_eq!(
        (directory.host().as_str(), directory.port()),
        ("acme.example.org", 14_000)
    );
}

#[test]
fn names_that_the_ca_knows_need_no_proof() {
    let config = read(
        &with("challenge = \"dns-01\"", "challenge = \"none\"")
            .replace("[dns01]\nhook = [\"/usr/local/bin/dns\", \"an argument\"]\n", ""),
    );
    let acme = config.certificates[&name("www")].source.acme().unwrap();
    assert_eq!((acme.challenge, &config.dns01), (Challenge::None, &None));
}

#[test]
fn each_mistake_has_its_line_and_what_to_do() {
    let mut wrong = Vec::new();
    for (from, to, expected) in REFUSED {
        let found = match Config::parse(&with(from, to), Path::new("c.toml")) {
            Ok(_) => "taken".to_owned(),
            Err(error) => error.to_string(),
        };
        if found != *expected {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_change_is_taken_up_by_a_reload() {
    let old = read(GOOD);
    for (from, to, key) in [
        ("mailto:tls@", "mailto:ops@", "acme.ca.contacts"),
        (
            "https://acme.example.net/a",
            "https://acme.example.net/b",
            "acme.ca.directory",
        ),
        ("sealed = \"default\"", "", "acme.ca.sealed"),
        ("eab.json", "other.json", "acme.ca.eab"),
        ("\"an argument\"", "\"another\"", "dns01"),
        (
            "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
            "route53 = {}",
            "dns01",
        ),
        ("[dns01]", "[http01]\nlisten = \"[::]:80\"\n[dns01]", "http01.listen"),
        (
            "key_type",
            "profile = \"shortlived\"\nkey_type",
            "certificates.www.source",
        ),
        (
            "[acme.ca]",
            "[acme.b]\ndirectory = \"https://acme.example.net/b\"\nterms_agreed = true\n[acme.ca]",
            "acme.b",
        ),
    ] {
        let found = changes(&old, &read(&with(from, to)));
        let found: Vec<_> = found.iter().map(|change| (change.key.as_str(), change.needs)).collect();
        assert_eq!(found, [(key, Needs::Reload)], "{from}");
    }
}

const REFUSED: &[(&str, &str, &str)] = &[
    (
        "[acme.ca]",
        "[acme.\"a/b\"]",
        "c.toml:6: an account's name = \"a/b\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit\n\
         c.toml:22: account = \"ca\": there is no such account: add [acme.ca], or name one that exists",
    ),
    (
        "directory = \"https://acme.example.net/a/directory\"\n",
        "",
        "c.toml:6: [acme.ca] has no directory: add directory = \"https://…/directory\", the URL that the CA gives",
    ),
    (
        "https://acme.example.net/a/directory",
        "http://acme.example.net/a/directory",
        "c.toml:7: directory = \"http://acme.example.net/a/directory\": write https://HOST/PATH, or https://HOST:PORT/PATH where the port is not 443: a name in lower case and no address",
    ),
    (
        "https://acme.example.net/a/directory",
        "https://acme.example.net:443/d",
        "c.toml:7: directory = \"https://acme.example.net:443/d\": write https://HOST/PATH, or https://HOST:PORT/PATH where the port is not 443: a name in lower case and no address",
    ),
    (
        "https://acme.example.net/a/directory",
        "https://10.0.0.1/d",
        "c.toml:7: directory = \"https://10.0.0.1/d\": write https://HOST/PATH, or https://HOST:PORT/PATH where the port is not 443: a name in lower case and no address",
    ),
    (
        "https://acme.example.net/a/directory",
        "https://user@acme.example.net/d",
        "c.toml:7: directory = \"https://user@acme.example.net/d\": write https://HOST/PATH, or https://HOST:PORT/PATH where the port is not 443: a name in lower case and no address",
    ),
    (
        "https://acme.example.net/a/directory",
        "https://acme.example.net:14000/d",
        "c.toml:7: directory needs acme.example.net, which is not allowed: add \"acme.example.net:14000\" to [egress] allow",
    ),
    (
        "\"mailto:tls@example.com\"",
        "\"tls@example.com\"",
        "c.toml:8: contacts = \"tls@example.com\": write mailto: and one address, as mailto:tls@example.com",
    ),
    (
        "\"mailto:tls@example.com\"",
        "\"mailto:tls@example.com\", \"mailto:tls@example.com\"",
        "c.toml:8: contacts has mailto:tls@example.com twice: remove one",
    ),
    (
        "terms_agreed = true",
        "terms_agreed = false",
        "c.toml:9: without agreement to the CA's terms of service there is no account: read them and write terms_agreed = true",
    ),
    (
        "terms_agreed = true\n",
        "",
        "c.toml:6: [acme.ca] has no terms_agreed: read the CA's terms of service and add terms_agreed = true",
    ),
    (
        "[aws]\n",
        "",
        "c.toml:9: this needs AWS, and there is no [aws]: add [aws] (an empty one will do), so that the agent finds credentials and lends them",
    ),
    (
        "eab = \"/etc",
        "eab = \"etc",
        "c.toml:11: eab = \"etc/enclave-tls/eab.json\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
    ),
    (
        "[dns01]",
        "[http01]\nlisten = \"80\"\n[dns01]",
        "c.toml:13: listen = \"80\": write an IP address and a port, as 127.0.0.1:9812",
    ),
    (
        "[dns01]",
        "[agent]\nmetrics = \"127.0.0.1:9812\"\n[http01]\nlisten = \"127.0.0.1:9812\"\n[dns01]",
        "c.toml:15: metrics and [http01] listen are both 127.0.0.1:9812: give each an address of its own",
    ),
    (
        "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
        "",
        "c.toml:12: [dns01] does not say who writes the records: add hook = [\"/PROGRAM\"], or route53 = {}",
    ),
    (
        "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
        "hook = [\"/usr/local/bin/dns\"]\nroute53 = {}",
        "c.toml:14: one of them writes the records: remove either hook or route53",
    ),
    (
        "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
        "route53 = { zone_id = \"/hostedzone/Z1\" }",
        "c.toml:13: zone_id = \"/hostedzone/Z1\": write the hosted zone's id without /hostedzone/, as Z0123456789ABCDEFGHIJ",
    ),
    (
        "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
        "route53 = { delegated = \"*.a.b\" }",
        "c.toml:13: delegated = \"*.a.b\": write a domain in lower case, as acme.example.net",
    ),
    (
        "hook = [\"/usr/local/bin/dns\", \"an argument\"]",
        "hook = [\"dns\"]",
        "c.toml:13: hook = \"dns\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
    ),
    (
        "name = \"www\"",
        "name = \"ca\"",
        "c.toml:20: line 6 has an account ca, and both are keys of the enclave: give one of them another name",
    ),
    (
        "account = \"ca\"\n",
        "",
        "c.toml:20: certificate www has no account: add account = \"…\", a name of [acme]",
    ),
    (
        "account = \"ca\"",
        "account = \"cb\"",
        "c.toml:22: account = \"cb\": there is no such account: add [acme.cb], or name one that exists",
    ),
    (
        "key_type = \"p-256\"\n",
        "",
        "c.toml:20: certificate www has no key_type: add key_type = \"p-256\"",
    ),
    (
        "challenge = \"dns-01\"",
        "challenge = \"tls-alpn-01\"",
        "c.toml:24: challenge = \"tls-alpn-01\": write http-01, dns-01, or none where the CA asks for no proof",
    ),
    (
        "challenge = \"dns-01\"\n",
        "",
        "c.toml:24: *.example.com cannot be proven by http-01: write challenge = \"dns-01\", or \"none\" where the CA asks for no proof",
    ),
    (
        "[dns01]\nhook = [\"/usr/local/bin/dns\", \"an argument\"]\n",
        "",
        "c.toml:22: challenge = \"dns-01\": there is no [dns01]: add it, with hook = [\"/PROGRAM\"] or route53 = {}",
    ),
    (
        "servers = [\"main\"]",
        "servers = [\"main\"]\nprofile = \"\"",
        "c.toml:27: profile = \"\": write 1 to 64 characters of printable ASCII",
    ),
    (
        "servers = [\"main\"]",
        "servers = [\"main\"]\nbundle = \"/b\"",
        "c.toml:27: bundle is of source = \"bundle\", and this certificate's is \"acme\": remove bundle, or change source",
    ),
    (
        "source = \"acme\"",
        "source = \"csr\"",
        "c.toml:22: account is of source = \"acme\", and this certificate's is \"csr\": remove account, or change source\n\
         c.toml:24: challenge is of source = \"acme\", and this certificate's is \"csr\": remove challenge, or change source",
    ),
    (
        "dns_names = [\"www.example.com\", \"*.example.com\"]\n",
        "",
        "c.toml:20: certificate www has no dns_names: add dns_names = [\"www.example.com\"]",
    ),
];
