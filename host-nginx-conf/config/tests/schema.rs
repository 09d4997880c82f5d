//! `schema.json` takes what the parser takes and has the parser's keys, and what has not the form it refuses too.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod documents;

use std::collections::BTreeSet;
use std::path::Path;

use documents::{GOOD, with};
use enclave_tls_config::Config;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

const FULL: &str = include_str!("documents/full.toml");

fn schema() -> Value {
    serde_json::from_str(include_str!("../schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn json(toml: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(toml).ok()?;
    serde_json::to_value(table).ok()
}

fn parses(text: &str) -> bool {
    Config::parse(text, Path::new("c.toml")).is_ok()
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
}

#[test]
fn what_is_right_is_taken() {
    for text in [GOOD, FULL, include_str!("../config.toml")] {
        let json = json(text).unwrap();
        let errors: Vec<String> = validator().iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// The parser names its keys when it meets another.
#[test]
fn the_keys_are_the_parsers() {
    let schema = schema();
    for (place, table) in [
        ("", "unknown = 1\n[enclave]\nimage = \"/a\""),
        ("/properties/enclave", "[enclave]\nunknown = 1"),
        ("/properties/agent", "[agent]\nunknown = 1"),
        ("/properties/aws", "[aws]\nunknown = 1"),
        ("/properties/egress", "[egress]\nunknown = 1"),
        ("/properties/hooks", "[hooks]\nunknown = 1"),
        ("/properties/http01", "[http01]\nunknown = 1"),
        ("/properties/dns01", "[dns01]\nunknown = 1"),
        ("/$defs/account", "[acme.a]\nunknown = 1"),
        ("/$defs/client", "[clients.a]\nunknown = 1"),
        ("/$defs/server", "[servers.a]\nunknown = 1"),
        ("/$defs/certificate", "[[certificates]]\nunknown = 1"),
    ] {
        let error = Config::parse(table, Path::new("c.toml")).unwrap_err().to_string();
        let known: BTreeSet<&str> = error
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|key| *key != "unknown")
            .collect();
        let properties = schema
            .pointer(&format!("{place}/properties"))
            .unwrap()
            .as_object()
            .unwrap();
        let ours: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(ours, known, "{place}");
        let closed = schema.pointer(&format!("{place}/additionalProperties"));
        assert_eq!(closed, Some(&Value::Bool(false)), "{place}");
    }
    let full: toml::Table = toml::from_str(FULL).unwrap();
    for table in ["enclave", "agent", "aws", "egress", "http01", "hooks"] {
        let properties = schema
            .pointer(&format!("/properties/{table}/properties"))
            .unwrap()
            .as_object()
            .unwrap();
        let written = full[table].as_table().unwrap();
        assert_eq!(properties.len(), written.len(), "{table}");
        for (key, property) in properties {
            let default = property.get("default").filter(|_| table != "egress");
            let written = serde_json::to_value(&written[key]).unwrap();
            assert!(
                default.is_none_or(|default| *default == written),
                "{table}.{key}: {default:?} is not {written}"
            );
        }
    }
}

/// Each has one mistake that needs no other part of the file to be seen.
const WRONG_FORM: &[(&str, &str)] = &[
    ("cid = 16", "cdi = 16"),
    ("key = \"provider\"", "listeners = []"),
    ("key = \"provider\"", "listeners = [\"*:443\"]"),
    ("key = \"provider\"", "listeners = [\"127.0.0.1:0\"]"),
    ("key = \"provider\"", "proxy_protocol = \"v1\""),
    ("[clients.nginx]", "[hooks]\nafter_rotation = []\n[clients.nginx]"),
    (
        "[clients.nginx]",
        "[hooks]\nafter_rotation = [\"true\"]\n[clients.nginx]",
    ),
    ("cid = 16", "cid = \"16\""),
    ("cid = 16", "cid = 3"),
    ("cid = 16", "cid = 4294967295"),
    ("cid = 16", "cpus = 0"),
    ("cid = 16", "cpus = 1025"),
    ("cid = 16", "memory = 63"),
    ("cid = 16", "memory = 16777217"),
    ("cid = 16", "name = \"\""),
    ("cid = 16", "policy = \"policy.toml\""),
    ("cid = 16", "nitro_cli = \"/usr/../nitro-cli\""),
    ("cid = 16", "signing = \"tcp:1:2\""),
    ("cid = 16", "signing = \"vsock:any:4430\""),
    ("cid = 16", "control = \"vsock:16:440\""),
    ("cid = 16", "control = \"vsock:any:0\""),
    ("cid = 16", "control = \"unix:run/a.sock\""),
    ("cid = 16", "control = \"unix:@\""),
    ("image = \"/usr/share/enclave-tls/enclave-tls.eif\"", ""),
    ("/usr/share/enclave-tls/enclave-tls.eif", "/a/b\\n/c"),
    ("/usr/share/enclave-tls/enclave-tls.eif", "/a//b"),
    ("/usr/share/enclave-tls/enclave-tls.eif", "/a/"),
    ("[clients.nginx]", "[agnet]\n[clients.nginx]"),
    ("[clients.nginx]", "[agent]\nlog = \"syslog\"\n[clients.nginx]"),
    (
        "[clients.nginx]",
        "[agent]\nmetrics = \"0.0.0.0:9811\"\n[clients.nginx]",
    ),
    ("[clients.nginx]", "[agent]\nmetrics = \"127.0.0.1:0\"\n[clients.nginx]"),
    ("[clients.nginx]", "[agent]\nmetrics = \"unix:a\"\n[clients.nginx]"),
    ("[clients.nginx]", "[agent]\ngrace_hours = 0\n[clients.nginx]"),
    ("[clients.nginx]", "[agent]\ngrace_hours = 8785\n[clients.nginx]"),
    ("[clients.nginx]", "[agent]\nadmin_group = \"a:b\"\n[clients.nginx]"),
    ("[clients.nginx]", "[aws]\nkms_host = \"https://kms\"\n[clients.nginx]"),
    ("[clients.nginx]", "[aws]\nkms_host = \"10.0.0.1\"\n[clients.nginx]"),
    ("[clients.nginx]", "[aws]\nprofile = \"\"\n[clients.nginx]"),
    ("[clients.nginx]", "[clients.\"a/b\"]\ngroup = \"a\"\n[clients.nginx]"),
    ("\"localhost:8443\"]", "\"localhost:8443\", \"localhost:8443\"]"),
    ("\"localhost:8443\"]", "\"localhost:8443\", \"*.a.b:443\"]"),
    ("\"localhost:8443\"]", "\"localhost:8443\", \"169.254.169.254:80\"]"),
    ("\"localhost:8443\"]", "\"localhost:8443\", \"example.com\"]"),
    ("127.0.0.1:4566", "localhost:4566"),
    ("127.0.0.1:4566", "127.0.0.1:0"),
    ("127.0.0.1:4566", "0.0.0.0:1"),
    (
        "[clients.nginx]",
        "[acme.a]\ndirectory = \"https://kms.us-east-1.amazonaws.com/d\"\n[clients.nginx]",
    ),
    ("[clients.nginx]", "[acme.a]\nterms_agreed = true\n[clients.nginx]"),
    (
        "[clients.nginx]",
        "[http01]\nlisten = \"localhost:80\"\n[clients.nginx]",
    ),
    ("[clients.nginx]", "[http01]\nlisten = \"127.0.0.1:0\"\n[clients.nginx]"),
    ("[clients.nginx]", "[dns01]\n[clients.nginx]"),
    ("[clients.nginx]", "[dns01]\nhook = []\n[clients.nginx]"),
    (
        "[clients.nginx]",
        "[aws]\n[dns01]\nroute53 = { zone_id = \"z\" }\n[clients.nginx]",
    ),
    ("group = \"www-data\"", ""),
    ("group = \"www-data\"", "group = \"\""),
    ("group = \"www-data\"", "group = \"a\"\nrotate_days = -1"),
    ("kind = \"nginx\"", "kind = \"apache\""),
    ("kind = \"nginx\"", ""),
    ("client = \"nginx\"", ""),
    ("key = \"provider\"", "key = \"file\""),
    (
        "kind = \"nginx\"\nclient = \"nginx\"\nkey = \"provider\"",
        "kind = \"haproxy\"\nclient = \"nginx\"\nkey = \"engine\"",
    ),
    (
        "kind = \"nginx\"\nclient = \"nginx\"\nkey = \"provider\"",
        "kind = \"httpd\"\nclient = \"nginx\"\nkey = \"store\"",
    ),
    ("name = \"www\"", ""),
    ("name = \"www\"", "name = \"../www\""),
    ("source = \"csr\"", ""),
    ("source = \"csr\"", "source = \"acme\""),
    ("source = \"csr\"", "source = \"bundle\""),
    ("key_type = \"p-256\"", ""),
    ("key_type = \"p-256\"", "key_type = \"rsa-1024\""),
    ("key_type = \"p-256\"", "key_type = \"rsa-8200\""),
    ("dns_names = [\"www.example.com\"]", ""),
    ("dns_names = [\"www.example.com\"]", "dns_names = []"),
    ("dns_names = [\"www.example.com\"]", "dns_names = [\"WWW.example.com\"]"),
    ("dns_names = [\"www.example.com\"]", "dns_names = [\"a.b\", \"a.b\"]"),
    ("servers = [\"main\"]", ""),
    ("servers = [\"main\"]", "servers = []"),
    ("servers = [\"main\"]", "servers = \"main\""),
    ("servers = [\"main\"]", "servers = [\"main\", \"main\"]"),
    ("servers = [\"main\"]", "servers = [\"main\"]\nusage = \"any\""),
    ("servers = [\"main\"]", "servers = [\"main\"]\nsealed = \"\""),
    ("servers = [\"main\"]", "servers = [\"main\"]\nbundle = \"/b\""),
    ("servers = [\"main\"]", "servers = [\"main\"]\naccount = \"a\""),
    ("servers = [\"main\"]", "servers = [\"main\"]\nregion = \"us-east-1\""),
    ("[[certificates]]", "[certificates]"),
    (
        "[clients.nginx]\ngroup = \"www-data\"",
        "[clients]\nnginx = [\"www-data\", 30]",
    ),
];

#[test]
fn what_has_not_the_form_is_refused_by_both() {
    let validator = validator();
    let check = |text: &str, what: &str| {
        assert!(!parses(text), "the parser takes {what}");
        assert!(!validator.is_valid(&json(text).unwrap()), "the schema takes {what}");
    };
    for (from, to) in WRONG_FORM {
        check(&with(from, to), to);
    }
    let (file, object) = (
        "bundle = \"/etc/enclave-tls/bundles/file.json\"\n",
        "region = \"us-east-1\"\n",
    );
    let key = "kms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"\n";
    for (from, to) in [
        (file, ""),
        (file, "bundle = \"b\"\n"),
        (file, "bundle = \"/b\"\nkey_type = \"p-256\"\n"),
        (file, "bundle = \"/b\"\nregion = \"us-east-1\"\n"),
        (
            file,
            "bundle = \"/b\"\ns3 = \"s3://bucket/key\"\nregion = \"us-east-1\"\n",
        ),
        (object, ""),
        (object, "region = \"Virginia\"\n"),
        ("s3://bucket/a/key.json", "s3://bucket"),
        (key, ""),
        (key, "kms_key = \"alias/tls\"\n"),
        (key, "kms_key = \"arn:aws:kms:us-east-1:111122223333:alias/tls\"\n"),
    ] {
        assert_eq!(FULL.matches(from).count(), 1, "{from}");
        check(&FULL.replace(from, to), to);
    }
}

fn line() -> impl Strategy<Value = String> {
    let texts: Vec<&'static str> = vec![
        "/a",
        "/a/",
        "a",
        "",
        "p-384",
        "RSA-2048",
        "rsa-2056",
        "csr",
        "bundle",
        "acme",
        "example-ca",
        "http-01",
        "https://acme.example.net:14000/d",
        "Z1",
        "tls",
        "digest",
        "main",
        "nginx",
        "33",
        "0",
        "vsock:16:1",
        "vsock:2:1",
        "vsock:any:1",
        "vsock:4294967294:4294967294",
        "unix:/a/b",
        "unix:@a",
        "none",
        "127.0.0.2:1",
        "[::1]:2",
        "[0:0:0:0:0:0:0:1]:2",
        "unix:/m",
        "localhost:8443",
        "a.b:65535",
        "[fe80::1]:1",
        "[fe80::1%2]:1",
        "[::ffff:1.2.3.4]:1",
        "s3://abc/d e",
        "us-gov-west-1",
        "engine",
        "store",
        "json",
        "localhost",
        "kms.us-east-1.amazonaws.com",
        "*.a",
        "a-b.c",
        "A_b.c",
    ];
    let keys: Vec<&'static str> = FULL
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    let value = prop_oneof![
        proptest::sample::select(texts).prop_map(|text| format!("\"{text}\"")),
        "[a-zA-Z0-9:/@.*_-]{0,12}".prop_map(|text| format!("\"{text}\"")),
        any::<u32>().prop_map(|number| number.to_string()),
        (-1i64..10_000).prop_map(|number| number.to_string()),
        Just("[]".to_owned()),
        Just("[\"main\"]".to_owned()),
    ];
    (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    /// One or two lines of the full file have another value.
    #[test]
    fn what_the_parser_takes_the_schema_takes(changed in proptest::collection::vec((line(), any::<proptest::sample::Index>()), 1..3)) {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        for (line, index) in changed {
            let key = line.split(" = ").next().unwrap().to_owned() + " = ";
            let places: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with(&key)).collect();
            lines[*index.get(&places)] = line;
        }
        let text = lines.join("\n");
        if parses(&text) {
            prop_assert!(validator_once().is_valid(&json(&text).unwrap()), "{}", text);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Config::parse(&text, Path::new("c.toml"));
    }

    /// A file with bytes cut out and put in, at the borders of characters.
    #[test]
    fn no_spoilt_file_panics(from in 0usize..2_500, length in 0usize..40, put in "[\\[\\]\"'=.#{}, \\n\\\\a0é-]{0,6}") {
        let cut = |at: usize| (0..=at.min(FULL.len())).rev().find(|at| FULL.is_char_boundary(*at)).unwrap();
        let (start, end) = (cut(from), cut(from + length));
        let text = format!("{}{put}{}", &FULL[..start], &FULL[end..]);
        if let Err(error) = Config::parse(&text, Path::new("c.toml")) {
            let error = error.to_string();
            prop_assert!(error.starts_with("c.toml:") && error.lines().all(|line| line.starts_with("c.toml:")), "{}", error);
        }
    }
}

fn validator_once() -> &'static Validator {
    static ONCE: std::sync::OnceLock<Validator> = std::sync::OnceLock::new();
    ONCE.get_or_init(validator)
}
