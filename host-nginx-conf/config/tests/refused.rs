//! Each mistake is refused with its file, its line, and what to do.

#![expect(clippy::panic, reason = "a test that fails may panic")]

mod documents;

use std::path::Path;

use documents::{GOOD, with};
use enclave_tls_config::Config;

fn refusal(text: &str) -> String {
    match Config::parse(text, Path::new("c.toml")) {
        Ok(config) => panic!("taken: {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn assert_refused(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        let found = refusal(&with(from, to));
        if found != *expected {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_file_without_mistakes_is_taken() {
    Config::parse(GOOD, Path::new("c.toml")).unwrap();
}

#[test]
fn a_file_that_is_not_of_this_form_is_refused() {
    assert_refused(&[
        (
            "[enclave]",
            "enclave",
            "c.toml:1: this is not TOML: key with no value, expected `=`",
        ),
        (
            "cid = 16",
            "cdi = 16",
            "c.toml:3: unknown key `cdi`: correct or remove it; here may be `image`, `name`, `cid`, `cpus`, `memory`, `policy`, `nitro_cli`, `signing`, `control`, `egress`, `logs`",
        ),
        (
            "cid = 16",
            "cid = \"16\"",
            "c.toml:3: this is string \"16\": write a whole number, without quotes",
        ),
        (
            "cid = 16",
            "cid = 16.0",
            "c.toml:3: this is floating point `16.0`: write a whole number, without quotes",
        ),
        (
            "cid = 16",
            "cid = 99999999999999999999",
            "c.toml:3: this is integer `99999999999999999999`: write a whole number, without quotes",
        ),
        (
            "cid = 16",
            "cid = 16\ncid = 17",
            "c.toml:4: this is here twice: remove one",
        ),
        (
            "[clients.nginx]",
            "[agnet]\n[clients.nginx]",
            "c.toml:8: unknown key `agnet`: correct or remove it; here may be `enclave`, `agent`, `aws`, `egress`, `acme`, `http01`, `dns01`, `clients`, `servers`, `hooks`, `certificates`",
        ),
        (
            "[clients.nginx]",
            "[agent]\nuser = \"a\"\n[clients.nginx]",
            "c.toml:9: unknown key `user`: correct or remove it; here may be `state`, `admin_socket`, `admin_group`, `apply_socket`, `metrics`, `log`, `grace_hours`",
        ),
        (
            "[clients.nginx]",
            "[aws]\nregion = \"us-east-1\"\n[clients.nginx]",
            "c.toml:9: unknown key `region`: correct or remove it; here may be `kms_host`, `s3_host`, `profile`",
        ),
        (
            "allow = [",
            "allowed = [",
            "c.toml:6: unknown key `allowed`: correct or remove it; here may be `allow` or `resolve`",
        ),
        (
            "group = ",
            "grop = ",
            "c.toml:9: unknown key `grop`: correct or remove it; here may be `group` or `rotate_days`",
        ),
        (
            "client = ",
            "user = ",
            "c.toml:12: unknown key `user`: correct or remove it; here may be `kind`, `client`, `key`, `program`, `config`, `pid_file`, `openssl_conf`, `listeners`, `proxy_protocol`",
        ),
        (
            "key_type = ",
            "keytype = ",
            "c.toml:17: unknown key `keytype`: correct or remove it; here may be `name`, `source`, `key_type`, `usage`, `dns_names`, `servers`, `listeners`, `sealed`, `bundle`, `s3`, `region`, `kms_key`, `account`, `challenge`, `profile`, `preferred_chain`",
        ),
        (
            "servers = [\"main\"]",
            "servers = \"main\"",
            "c.toml:19: this is string \"main\": write a list in [ ], or of tables with [[ ]] around their name",
        ),
        (
            "servers = [\"main\"]",
            "servers = [1]",
            "c.toml:19: this is integer `1`: write a text in double quotes",
        ),
        (
            "[[certificates]]",
            "[certificates]",
            "c.toml:14: this is a table: write a list in [ ], or of tables with [[ ]] around their name",
        ),
        (
            "[clients.nginx]\ngroup = \"www-data\"",
            "[clients]\nnginx = [\"www-data\", 30]",
            "c.toml:9: this is a list: write a table",
        ),
    ]);
}

#[test]
fn the_enclave_has_an_image_and_a_machine() {
    assert_refused(&[
        (
            "[enclave]\nimage = \"/usr/share/enclave-tls/enclave-tls.eif\"\ncid = 16\n",
            "",
            "c.toml:1: there is no [enclave]: add it, with image = \"/usr/share/enclave-tls/enclave-tls.eif\"",
        ),
        (
            "image = \"/usr/share/enclave-tls/enclave-tls.eif\"\n",
            "",
            "c.toml:1: [enclave] has no image: add image = \"/usr/share/enclave-tls/enclave-tls.eif\"",
        ),
        (
            "/usr/share/enclave-tls/enclave-tls.eif",
            "enclave-tls.eif",
            "c.toml:2: image = \"enclave-tls.eif\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "/usr/share/enclave-tls/enclave-tls.eif",
            "",
            "c.toml:2: image = \"\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "/usr/share/enclave-tls/enclave-tls.eif",
            "/a/../b",
            "c.toml:2: image = \"/a/../b\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "/usr/share/enclave-tls/enclave-tls.eif",
            "/a/b\\n/c",
            "c.toml:2: image = \"/a/b\\n/c\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "cid = 16",
            "name = \"\"",
            "c.toml:3: name = \"\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit",
        ),
        (
            "cid = 16",
            "cid = 3",
            "c.toml:3: cid = 3: 0 to 3 are taken, and 4294967295 means any: write a number from 4, as 16",
        ),
        (
            "cid = 16",
            "cid = -1",
            "c.toml:3: cid = -1: 0 to 3 are taken, and 4294967295 means any: write a number from 4, as 16",
        ),
        (
            "cid = 16",
            "cid = 4294967295",
            "c.toml:3: cid = 4294967295: 0 to 3 are taken, and 4294967295 means any: write a number from 4, as 16",
        ),
        (
            "cid = 16",
            "cpus = 0",
            "c.toml:3: cpus = 0: write 1 to 1024; an x86 instance gives whole cores, which are 2",
        ),
        (
            "cid = 16",
            "memory = 63",
            "c.toml:3: memory = 63: it is in MiB, and no image starts in less than 64: write 128 or more",
        ),
        (
            "cid = 16",
            "policy = \"policy.toml\"",
            "c.toml:3: policy = \"policy.toml\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "cid = 16",
            "nitro_cli = \"nitro-cli\"",
            "c.toml:3: nitro_cli = \"nitro-cli\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
    ]);
}

#[test]
fn the_planes_are_where_both_ends_can_meet() {
    assert_refused(&[
        (
            "cid = 16",
            "signing = \"tcp:1:2\"",
            "c.toml:3: signing = \"tcp:1:2\": an address is unix:/PATH, unix:@NAME or vsock:CID:PORT",
        ),
        (
            "cid = 16",
            "signing = \"vsock:any:4430\"",
            "c.toml:3: signing is dialled, and nobody can dial vsock:any: write vsock:CID:4430 with the enclave's cid",
        ),
        (
            "cid = 16",
            "signing = \"vsock:17:4430\"",
            "c.toml:3: signing names CID 17, but the enclave's cid is 16: write vsock:16:4430, or leave signing out",
        ),
        (
            "cid = 16",
            "control = \"vsock:16:440\"",
            "c.toml:3: control is where the parent listens, and CID 16 is not the parent: write vsock:any:440",
        ),
        (
            "cid = 16",
            "control = \"vsock:any:0\"",
            "c.toml:3: control = \"vsock:any:0\": port 0 is no port that anyone finds: write another",
        ),
        (
            "cid = 16",
            "control = \"unix:run/a.sock\"",
            "c.toml:3: control = \"unix:run/a.sock\": a socket's path is absolute, its name not empty, and neither is above 107 bytes",
        ),
        (
            "cid = 16",
            "control = \"unix:/run/../a.sock\"",
            "c.toml:3: control = \"unix:/run/../a.sock\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "cid = 16",
            "control = \"unix:@a b\"",
            "c.toml:3: control = \"unix:@a b\": the name of an abstract socket is printable ASCII without spaces",
        ),
        (
            "cid = 16",
            "control = \"vsock:any:441\"",
            "c.toml:3: control and egress are both vsock:any:441: give each an address of its own",
        ),
        (
            "cid = 16",
            "control = \"unix:@a\"\nlogs = \"unix:@a\"",
            "c.toml:4: control and logs are both unix:@a: give each an address of its own",
        ),
        (
            "cid = 16",
            "logs = \"unix:/run/enclave-tls/admin.sock\"",
            "c.toml:3: logs and admin_socket are both unix:/run/enclave-tls/admin.sock: give each an address of its own",
        ),
    ]);
}

#[test]
fn the_agents_settings_make_sense() {
    let agent = |line: &str| format!("[agent]\n{line}\n[clients.nginx]");
    for (line, expected) in [
        (
            "state = \"state\"",
            "c.toml:9: state = \"state\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "admin_group = \"\"",
            "c.toml:9: admin_group = \"\": write the name of a group of /etc/group, or its number",
        ),
        (
            "admin_group = \"a:b\"",
            "c.toml:9: admin_group = \"a:b\": write the name of a group of /etc/group, or its number",
        ),
        (
            "admin_socket = \"/run/enclave-tls/apply.sock\"",
            "c.toml:9: admin_socket and apply_socket are both unix:/run/enclave-tls/apply.sock: give each an address of its own",
        ),
        (
            "metrics = \"0.0.0.0:9811\"",
            "c.toml:9: metrics = \"0.0.0.0:9811\": metrics have no password, so they are served on a loopback address or a unix socket only: write 127.0.0.1:PORT and let your collector run on this machine",
        ),
        (
            "metrics = \"127.0.0.1\"",
            "c.toml:9: metrics = \"127.0.0.1\": write none, unix:/PATH, or a loopback address and a port, as 127.0.0.1:9811",
        ),
        (
            "metrics = \"127.0.0.1:0\"",
            "c.toml:9: metrics = \"127.0.0.1:0\": port 0 is no port that anyone finds: write another",
        ),
        (
            "metrics = \"unix:m.sock\"",
            "c.toml:9: metrics = \"unix:m.sock\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "metrics = \"unix:/run/enclave-tls/admin.sock\"",
            "c.toml:9: admin_socket and metrics are both unix:/run/enclave-tls/admin.sock: give each an address of its own",
        ),
        (
            "log = \"syslog\"",
            "c.toml:9: log = \"syslog\": write auto, journald, json or text",
        ),
        (
            "grace_hours = 0",
            "c.toml:9: grace_hours = 0: write 1 to 8784 hours (366 days); workers that have not reloaded need the old key for as long as they run",
        ),
        (
            "grace_hours = 8785",
            "c.toml:9: grace_hours = 8785: write 1 to 8784 hours (366 days); workers that have not reloaded need the old key for as long as they run",
        ),
    ] {
        assert_refused(&[("[clients.nginx]", &agent(line), expected)]);
    }
    let long = format!("admin_socket = \"/{}\"", "a".repeat(107));
    assert_refused(&[(
        "[clients.nginx]",
        &agent(&long),
        "c.toml:9: admin_socket = \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…\": a unix socket's path has at most 107 bytes: choose a shorter one",
    )]);
}

#[test]
fn aws_and_egress_agree() {
    let aws = |line: &str| format!("[aws]\n{line}\n[clients.nginx]");
    for (line, expected) in [
        (
            "kms_host = \"https://kms\"",
            "c.toml:9: kms_host = \"https://kms\": write a host name in lower case, without a port, as kms-fips.us-east-1.amazonaws.com",
        ),
        (
            "kms_host = \"kms-fips.us-east-1.amazonaws.com\"",
            "c.toml:9: kms_host needs kms-fips.us-east-1.amazonaws.com, which is not allowed: add \"kms-fips.us-east-1.amazonaws.com:443\" to [egress] allow",
        ),
        (
            "s3_host = \"kms.us-east-1.amazonaws.com:443\"",
            "c.toml:9: s3_host = \"kms.us-east-1.amazonaws.com:443\": write a host name in lower case, without a port, as kms-fips.us-east-1.amazonaws.com",
        ),
        (
            "profile = \"\"",
            "c.toml:9: profile = \"\": write the name of a [profile NAME] of the AWS configuration file",
        ),
    ] {
        assert_refused(&[("[clients.nginx]", &aws(line), expected)]);
    }
    assert_refused(&[
        (
            "\"localhost:8443\"]",
            "\"localhost:8443\", \"kms.us-east-1.amazonaws.com:443\"]",
            "c.toml:6: kms.us-east-1.amazonaws.com:443 is allowed already: remove this one",
        ),
        (
            "\"localhost:8443\"]",
            "\"localhost:8443\", \"*.amazonaws.com:443\"]",
            "c.toml:6: allow = \"*.amazonaws.com:443\": write HOST:PORT, as kms.us-east-1.amazonaws.com:443: a name in lower case, no address and no wildcard",
        ),
        (
            "\"localhost:8443\"]",
            "\"localhost:8443\", \"169.254.169.254:80\"]",
            "c.toml:6: allow = \"169.254.169.254:80\": write HOST:PORT, as kms.us-east-1.amazonaws.com:443: a name in lower case, no address and no wildcard",
        ),
        (
            "\"localhost:8443\"]",
            "\"localhost:8443\", \"example.com\"]",
            "c.toml:6: allow = \"example.com\": write HOST:PORT, as kms.us-east-1.amazonaws.com:443: a name in lower case, no address and no wildcard",
        ),
        (
            "\"localhost:8443\"]",
            "\"localhost:8443\", \"example.com:0443\"]",
            "c.toml:6: allow = \"example.com:0443\": write HOST:PORT, as kms.us-east-1.amazonaws.com:443: a name in lower case, no address and no wildcard",
        ),
        (
            "resolve.\"localhost:8443\" = \"127.0.0.1:4566\"",
            "",
            "c.toml:6: localhost:8443 is this machine, which only [egress.resolve] may name: add \"localhost:8443\" = \"127.0.0.1:8443\" there",
        ),
        (
            "resolve.\"localhost:8443\" = \"127.0.0.1:4566\"",
            "resolve.\"localhost:443\" = \"127.0.0.1:4566\"",
            "c.toml:6: localhost:8443 is this machine, which only [egress.resolve] may name: add \"localhost:8443\" = \"127.0.0.1:8443\" there\nc.toml:7: localhost:443 is not allowed: add it to [egress] allow, or remove this line",
        ),
        (
            "127.0.0.1:4566",
            "localhost:4566",
            "c.toml:6: localhost:8443 is this machine, which only [egress.resolve] may name: add \"localhost:8443\" = \"127.0.0.1:8443\" there\nc.toml:7: [egress.resolve] = \"localhost:4566\": write an IP address and a port, as 10.0.0.5:443 or [fd00::5]:443",
        ),
        (
            "127.0.0.1:4566",
            "127.0.0.1:0",
            "c.toml:6: localhost:8443 is this machine, which only [egress.resolve] may name: add \"localhost:8443\" = \"127.0.0.1:8443\" there\nc.toml:7: [egress.resolve] = \"127.0.0.1:0\": write an IP address and a port, as 10.0.0.5:443 or [fd00::5]:443",
        ),
    ]);
}

#[test]
fn clients_and_servers_are_named_and_known() {
    assert_refused(&[
        (
            "[clients.nginx]",
            "[clients.\"\"]\ngroup = \"a\"\n[clients.nginx]",
            "c.toml:8: a client's name = \"\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit",
        ),
        (
            "[clients.nginx]",
            "[clients.\"a/b\"]\ngroup = \"a\"\n[clients.nginx]",
            "c.toml:8: a client's name = \"a/b\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit",
        ),
        (
            "group = \"www-data\"",
            "",
            "c.toml:8: [clients.nginx] has no group: add group = \"…\", the group that its server runs as",
        ),
        (
            "group = \"www-data\"",
            "group = \"www data\"",
            "c.toml:9: group = \"www data\": write the name of a group of /etc/group, or its number",
        ),
        (
            "group = \"www-data\"",
            "group = \"www-data\"\nrotate_days = -1",
            "c.toml:10: rotate_days = -1: write 1 to 3650 days, or 0 for only by hand",
        ),
        (
            "[servers.main]",
            "[servers.\".main\"]",
            "c.toml:10: a server's name = \".main\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit\nc.toml:19: there is no server main: add [servers.main], or name one that exists",
        ),
        (
            "kind = \"nginx\"\n",
            "",
            "c.toml:10: [servers.main] has no kind: add kind = \"nginx\", \"httpd\" or \"haproxy\"",
        ),
        (
            "kind = \"nginx\"",
            "kind = \"apache\"",
            "c.toml:11: kind = \"apache\": write nginx, httpd or haproxy",
        ),
        (
            "client = \"nginx\"\n",
            "",
            "c.toml:10: [servers.main] has no client: add client = \"…\", a name of [clients]",
        ),
        (
            "client = \"nginx\"",
            "client = \"apache\"",
            "c.toml:12: there is no client apache: add [clients.apache], or name one that exists",
        ),
        (
            "key = \"provider\"",
            "key = \"file\"",
            "c.toml:13: key = \"file\": write provider, engine or store",
        ),
        (
            "kind = \"nginx\"\nclient = \"nginx\"\nkey = \"provider\"",
            "kind = \"haproxy\"\nclient = \"nginx\"\nkey = \"engine\"",
            "c.toml:13: haproxy takes its keys through the provider only: write provider",
        ),
        (
            "kind = \"nginx\"\nclient = \"nginx\"\nkey = \"provider\"",
            "kind = \"httpd\"\nclient = \"nginx\"\nkey = \"store\"",
            "c.toml:13: httpd takes no key by a store: URI: write provider or engine",
        ),
        (
            "key = \"provider\"",
            "program = \"nginx\"",
            "c.toml:13: program = \"nginx\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "key = \"provider\"",
            "config = \"nginx.conf\"",
            "c.toml:13: config = \"nginx.conf\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "key = \"provider\"",
            "pid_file = \"nginx.pid\"",
            "c.toml:13: pid_file = \"nginx.pid\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "key = \"provider\"",
            "openssl_conf = \"openssl.cnf\"",
            "c.toml:13: openssl_conf = \"openssl.cnf\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "key = \"provider\"",
            "listeners = [\"*:443\"]",
            "c.toml:13: listeners = \"*:443\": write an address and a port, as 0.0.0.0:443 or [::]:443",
        ),
        (
            "key = \"provider\"",
            "listeners = [\"127.0.0.1:0\"]",
            "c.toml:13: listeners = \"127.0.0.1:0\": port 0 is no port that anyone finds: write another",
        ),
        (
            "key = \"provider\"",
            "listeners = [\"127.0.0.1:443\", \"127.0.0.1:443\"]",
            "c.toml:13: listeners has 127.0.0.1:443 twice: remove one",
        ),
        (
            "key = \"provider\"",
            "listeners = []",
            "c.toml:13: listeners has 1 to 64 addresses: add one, or leave it out",
        ),
        (
            "key = \"provider\"",
            "proxy_protocol = \"v1\"",
            "c.toml:13: proxy_protocol is of listeners, and there are none: add listeners = [\"0.0.0.0:443\"]",
        ),
        (
            "key = \"provider\"",
            "listeners = [\"127.0.0.1:443\"]\nproxy_protocol = \"v3\"",
            "c.toml:14: proxy_protocol = \"v3\": write v1 or v2, the version of the PROXY protocol that the listeners take",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nlisteners = [\"127.0.0.1:443\"]",
            "c.toml:20: none of its servers has the listener 127.0.0.1:443: add it to their listeners, or remove it here",
        ),
        (
            "[[certificates]]",
            "[hooks]\nafter_rotation = []\n[[certificates]]",
            "c.toml:15: after_rotation is empty: write [\"/PROGRAM\", \"ARGUMENT\", …], or leave it out",
        ),
        (
            "[[certificates]]",
            "[hooks]\nafter_rotation = [\"rotated\"]\n[[certificates]]",
            "c.toml:15: after_rotation = \"rotated\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            "[[certificates]]",
            "[servers.second]\nkind = \"nginx\"\nclient = \"nginx\"\n[[certificates]]",
            "c.toml:14: servers main and second have the same pid_file /run/nginx.pid: name each server's own, or make them one server",
        ),
        (
            "[[certificates]]",
            "[servers.second]\nkind = \"httpd\"\nclient = \"nginx\"\npid_file = \"/run/nginx.pid\"\n[[certificates]]",
            "c.toml:17: servers main and second have the same pid_file /run/nginx.pid: name each server's own, or make them one server",
        ),
    ]);
}

#[test]
fn certificates_have_a_source_and_servers() {
    assert_refused(&[
        (
            "name = \"www\"\n",
            "",
            "c.toml:14: a certificate has no name: add name = \"…\", as www-example",
        ),
        (
            "name = \"www\"",
            "name = \"../www\"",
            "c.toml:15: name = \"../www\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit",
        ),
        (
            "[[certificates]]",
            "[[certificates]]\nname = \"www\"\nsource = \"csr\"\nkey_type = \"p-256\"\ndns_names = [\"a.b\"]\nservers = [\"main\"]\n[[certificates]]",
            "c.toml:21: there is a certificate www in line 15 already: give this one another name, or remove it",
        ),
        (
            "source = \"csr\"\n",
            "",
            "c.toml:15: certificate www has no source: add source = \"csr\", \"acme\" or \"bundle\"",
        ),
        (
            "source = \"csr\"",
            "source = \"file\"",
            "c.toml:16: source = \"file\": write csr (the key is born in the enclave, and your CA signs its request), acme (the enclave has a CA certify it) or bundle (it comes through KMS)",
        ),
        (
            "key_type = \"p-256\"\n",
            "",
            "c.toml:15: certificate www has no key_type: add key_type = \"p-256\"",
        ),
        (
            "key_type = \"p-256\"",
            "key_type = \"rsa-1024\"",
            "c.toml:17: key_type = \"rsa-1024\": write p-256, p-384, p-521, ed25519, or rsa- and 2048 to 8192 bits, as rsa-2048",
        ),
        (
            "dns_names = [\"www.example.com\"]\n",
            "",
            "c.toml:15: certificate www has no dns_names: add dns_names = [\"www.example.com\"]",
        ),
        (
            "dns_names = [\"www.example.com\"]",
            "dns_names = []",
            "c.toml:18: dns_names has 1 to 100 names: add one, or make it two certificates",
        ),
        (
            "dns_names = [\"www.example.com\"]",
            "dns_names = [\"www.example.com\",\n \"WWW.example.com\"]",
            "c.toml:19: dns_names = \"WWW.example.com\": write a DNS name in lower case, as www.example.com or *.example.com",
        ),
        (
            "dns_names = [\"www.example.com\"]",
            "dns_names = [\"a.b\", \"a.b\"]",
            "c.toml:18: dns_names has a.b twice: remove one",
        ),
        (
            "servers = [\"main\"]\n",
            "",
            "c.toml:15: certificate www has no servers: add servers = [\"…\"], names of [servers]",
        ),
        (
            "servers = [\"main\"]",
            "servers = []",
            "c.toml:19: servers is empty, so nobody could use the key: name at least one of [servers]",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\",\n\"other\"]",
            "c.toml:20: there is no server other: add [servers.other], or name one that exists",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\", \"main\"]",
            "c.toml:19: servers has main twice: remove one",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nusage = \"any\"",
            "c.toml:20: usage = \"any\": write tls, tls-client or digest",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nusage = \"digest\"",
            "c.toml:20: usage = \"digest\" is for servers with key = \"engine\", and server main has \"provider\", which needs no more than tls: write usage = \"tls\", and make another certificate for other servers",
        ),
        (
            "key = \"provider\"",
            "key = \"engine\"",
            "c.toml:15: server main takes its keys by key = \"engine\", which needs usage = \"digest\", and this one's is tls: write usage = \"digest\", or better key = \"provider\" for the server",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nsealed = \"\"",
            "c.toml:20: sealed = \"\": write 1 to 64 letters, digits, - _ and ., of which the first is a letter or a digit\nc.toml:20: this needs AWS, and there is no [aws]: add [aws] (an empty one will do), so that the agent finds credentials and lends them",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nsealed = \"default\"",
            "c.toml:20: this needs AWS, and there is no [aws]: add [aws] (an empty one will do), so that the agent finds credentials and lends them",
        ),
        (
            "servers = [\"main\"]",
            "servers = [\"main\"]\nkms_key = \"arn\"\nregion = \"us-east-1\"",
            "c.toml:20: kms_key is of source = \"bundle\", and this certificate's is \"csr\": remove kms_key, or change source\nc.toml:21: region is of source = \"bundle\", and this certificate's is \"csr\": remove region, or change source",
        ),
    ]);
}

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[test]
fn a_bundle_has_a_place_and_a_key() {
    // Lines 14 and 15 are [aws], the certificate begins in line 16.
    let from =
        "[[certificates]]\nname = \"www\"\nsource = \"csr\"\nkey_type = \"p-256\"\ndns_names = [\"www.example.com\"]\n";
    let bundle = |lines: &str| format!("[aws]\n\n[[certificates]]\nname = \"www\"\nsource = \"bundle\"\n{lines}\n");
    let key = format!("kms_key = \"{KEY}\"");
    let cn = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    for good in [
        format!("{key}\nbundle = \"/b\""),
        format!("{key}\nbundle = \"/b\"\nsealed = \"default\"\ndns_names = [\"a.b\"]"),
    ] {
        Config::parse(&with(from, &bundle(&good)), Path::new("c.toml")).unwrap();
    }
    for (lines, expected) in [
        (
            key.clone(),
            "c.toml:17: certificate www does not say where its bundle is: add bundle = \"/PATH\", or s3 = \"s3://BUCKET/KEY\" and region",
        ),
        (
            "bundle = \"/b\"".to_owned(),
            "c.toml:17: certificate www has no kms_key: add kms_key = \"arn:aws:kms:…\", the key that the bundle is encrypted under",
        ),
        (
            format!("{key}\nbundle = \"b\""),
            "c.toml:20: bundle = \"b\": write an absolute path, without . or .. or // or a / at its end, and without control characters",
        ),
        (
            format!("{key}\nbundle = \"/b\"\nkey_type = \"p-256\""),
            "c.toml:21: key_type is of source = \"csr\", and this certificate's is \"bundle\": remove key_type, or change source",
        ),
        (
            format!("{key}\nbundle = \"/b\"\ns3 = \"s3://bucket/key\"\nregion = \"us-east-1\""),
            "c.toml:21: a bundle is in one place: remove either bundle or s3",
        ),
        (
            format!("{key}\nbundle = \"/b\"\nregion = \"us-east-1\""),
            "c.toml:21: region is of s3, and this bundle is a file: remove it",
        ),
        (
            format!("{key}\ns3 = \"s3://bucket/key\""),
            "c.toml:20: s3 has no region: add region = \"…\", the bucket's, as us-east-1",
        ),
        (
            format!("{key}\ns3 = \"s3://bucket\"\nregion = \"us-east-1\""),
            "c.toml:20: s3 = \"s3://bucket\": write s3://BUCKET/KEY, of printable ASCII",
        ),
        (
            format!("{key}\ns3 = \"s3://bucket/key\"\nregion = \"Virginia\""),
            "c.toml:21: region = \"Virginia\": write the bucket's region, as us-east-1",
        ),
        (
            format!("{key}\ns3 = \"s3://bucket/key\"\nregion = \"us-east-1\""),
            "c.toml:20: s3 needs s3.us-east-1.amazonaws.com, which is not allowed: add \"s3.us-east-1.amazonaws.com:443\" to [egress] allow",
        ),
        (
            "bundle = \"/b\"\nkms_key = \"alias/tls\"".to_owned(),
            "c.toml:20: kms_key = \"alias/tls\": write the key's full ARN, arn:aws:kms:REGION:ACCOUNT:key/ID, in lower case",
        ),
        (
            "bundle = \"/b\"\nkms_key = \"arn:aws:kms:us-east-1:111122223333:alias/tls\"".to_owned(),
            "c.toml:20: kms_key = \"arn:aws:kms:us-east-1:111122223333:alias/tls\": an alias can be pointed to another key: write the key's own ARN, which `aws kms describe-key` prints as Arn",
        ),
        (
            format!("bundle = \"/b\"\nkms_key = \"{cn}\""),
            "c.toml:20: kms_key needs kms.cn-north-1.amazonaws.com.cn, which is not allowed: add \"kms.cn-north-1.amazonaws.com.cn:443\" to [egress] allow",
        ),
        (
            format!("{key}\nbundle = \"/b\"\ndns_names = []"),
            "c.toml:21: dns_names has 1 to 100 names: add one, or make it two certificates",
        ),
    ] {
        assert_refused(&[(from, &bundle(&lines), expected)]);
    }
    let without_aws = bundle(&format!("{key}\nbundle = \"/b\"")).replace("[aws]", "");
    assert_refused(&[(
        from,
        &without_aws,
        "c.toml:18: this needs AWS, and there is no [aws]: add [aws] (an empty one will do), so that the agent finds credentials and lends them",
    )]);
}

#[test]
fn all_mistakes_are_said_at_once_in_the_order_of_the_lines() {
    let text = with("cid = 16", "cid = 3\nmemory = 1")
        .replace("client = \"nginx\"", "client = \"apache\"")
        .replace("servers = [\"main\"]", "servers = [\"other\"]");
    assert_eq!(
        refusal(&text),
        "c.toml:3: cid = 3: 0 to 3 are taken, and 4294967295 means any: write a number from 4, as 16\n\
         c.toml:4: memory = 1: it is in MiB, and no image starts in less than 64: write 128 or more\n\
         c.toml:13: there is no client apache: add [clients.apache], or name one that exists\n\
         c.toml:20: there is no server other: add [servers.other], or name one that exists"
    );
    let many: String = (0..60)
        .map(|n| format!("[servers.s{n}]\nkind = \"no\"\nclient = \"nginx\"\npid_file = \"/run/{n}\"\n"))
        .collect();
    let found = refusal(&with("[[certificates]]", &format!("{many}[[certificates]]")));
    assert_eq!(found.lines().count(), 51);
    assert!(found.ends_with("\nc.toml: and 10 more"), "{found}");
}
