//! What a file means, and what it means where it says nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use enclave_tls_config::{
    BundlePlace, Config, DEFAULT_DIRECTORY, Group, KeyAccess, Kind, Log, Metrics, Needs, Source, changes,
};
use enclave_wire::{KeyType, Name, Usage};

const EXAMPLE: &str = include_str!("../config.toml");
const FULL: &str = include_str!("documents/full.toml");

fn read(text: &str) -> Config {
    Config::parse(text, Path::new("c.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

#[test]
fn the_example_serves_one_certificate() {
    let config = read(EXAMPLE);
    let certificate = &config.certificates[&name("www-example")];
    assert_eq!(
        certificate.source,
        Source::Csr {
            key_type: KeyType::P256
        }
    );
    assert_eq!((certificate.usage, &certificate.sealed), (Usage::Tls, &None));
    assert_eq!(config.clients_of(certificate), [&name("nginx")]);
    assert_eq!(config.certificates_of(&name("main")).count(), 1);
    assert_eq!(config.aws, None);
}

#[test]
fn the_example_is_also_right_where_it_is_commented_out() {
    let keys = [
        "# [agent]",
        "# [aws]",
        "# [egress]",
        "# [acme.letsencrypt]",
        "# [http01]",
        "# [dns01]",
        "# [[certificates]]",
    ];
    assert!(keys.iter().all(|key| EXAMPLE.contains(key)));
    let is_key = |rest: &str| {
        rest.starts_with('[')
            || rest
                .split(" = ")
                .next()
                .is_some_and(|key| !key.is_empty() && rest.contains(" = ") && !key.contains(' '))
    };
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) => rest.to_owned(),
        _ => line.to_owned(),
    });
    let text: Vec<String> = lines.collect();
    let text = text.join("\n").replace(
        "allow = [\"kms.us-east-1.amazonaws.com:443\"",
        "allow = [\"kms-fips.us-east-1.amazonaws.com:443\"",
    );
    let config = read(&text);
    assert_eq!(config.certificates.len(), 3);
    assert_eq!(config.agent, read(EXAMPLE).agent);
}

#[test]
fn every_key_is_read() {
    let config = read(FULL);
    assert_eq!(
        config.enclave.image,
        Path::new("/usr/share/enclave-tls/enclave-tls.eif")
    );
    assert_eq!(config.enclave.name, name("enclave-tls"));
    assert_eq!(
        (config.enclave.cid, config.enclave.cpus, config.enclave.memory),
        (16, 2, 128)
    );
    assert_eq!(
        config.enclave.policy,
        Some(PathBuf::from("/etc/enclave-tls/policy.toml"))
    );
    assert_eq!(config.enclave.signing.to_string(), "vsock:16:4430");
    assert_eq!(config.enclave.control.to_string(), "vsock:any:440");
    assert_eq!(config.enclave.egress.to_string(), "vsock:any:441");
    assert_eq!(config.enclave.logs.to_string(), "vsock:any:442");
    assert_eq!(config.agent.admin_group, Group::Name("enclave-tls-admin".to_owned()));
    assert_eq!(
        config.agent.metrics,
        Metrics::Unix(PathBuf::from("/run/enclave-tls/metrics.sock"))
    );
    assert_eq!(
        (config.agent.log, config.agent.grace),
        (Log::Auto, Duration::from_secs(86_400))
    );
    let aws = config.aws.as_ref().unwrap();
    assert_eq!(
        aws.kms_host.as_ref().unwrap().as_str(),
        "kms-fips.us-east-1.amazonaws.com"
    );
    assert_eq!(aws.profile.as_deref(), Some("parent instance"));
    let host = aws.kms_host.as_ref().unwrap();
    assert!(config.egress.allows(host, 443) && !config.egress.allows(host, 80));
    assert_eq!(config.egress.mapped(host, 443), Some("127.0.0.1:4566".parse().unwrap()));
    assert_eq!(
        config.clients[&name("nginx")].rotate,
        Some(Duration::from_secs(30 * 86_400))
    );
    assert_eq!(config.clients[&name("other")].group, Group::Id(33));
    let apache = &config.servers[&name("apache")];
    assert_eq!((apache.kind, apache.key), (Kind::Httpd, KeyAccess::Engine));
    let born = &config.certificates[&name("born")];
    assert_eq!(config.clients_of(born), [&name("nginx"), &name("other")]);
    assert_eq!(born.sealed, Some(name("default")));
    match &config.certificates[&name("object")].source {
        Source::Bundle {
            from: BundlePlace::S3(object),
            kms_key,
        } => {
            assert_eq!((object.bucket.as_str(), object.key.as_str()), ("bucket", "a/key.json"));
            assert_eq!(kms_key.region(), "us-east-1");
            assert_eq!(kms_key.standard_host(), "kms.us-east-1.amazonaws.com");
        }
        other => panic!("{other:?}"),
    }
}

/// The full file has every default, so what is left when they go must mean the same.
#[test]
fn what_is_left_out_has_the_default() {
    let defaults = [
        "name = \"enclave-tls\"",
        "cid = ",
        "cpus = ",
        "memory = ",
        "nitro_cli = ",
        "signing = ",
        "control = ",
        "egress = ",
        "logs = ",
        "state = ",
        "admin_socket = ",
        "admin_group = ",
        "apply_socket = ",
        "metrics = ",
        "log = ",
        "grace_hours = ",
        "rotate_days = ",
        "key = \"provider\"",
        "program = ",
        "config = ",
        "pid_file = ",
        "usage = \"tls\"",
        "listen = ",
        "[agent]",
    ];
    let is_default = |line: &&str| {
        defaults
            .iter()
            .any(|default| line.starts_with(default) && *line != "usage = \"tls-client\"")
    };
    let short: Vec<&str> = FULL.lines().filter(|line| !is_default(line)).collect();
    assert_eq!(FULL.lines().count() - short.len(), 31);
    assert_eq!(read(&short.join("\n")), read(FULL));
}

#[test]
fn the_openssl_configuration_is_the_clients_unless_it_is_named() {
    let config = read(&FULL.replace("openssl_conf = ", "# "));
    let conf = |server| config.servers[&name(server)].openssl_conf(Path::new(DEFAULT_DIRECTORY));
    assert_eq!(conf("main"), Path::new("/etc/enclave-tls/clients/nginx/provider.cnf"));
    assert_eq!(conf("apache"), Path::new("/etc/enclave-tls/clients/other/engine.cnf"));
    let own = read(&FULL.replace("nginx/provider.cnf", "own.cnf"));
    let conf = own.servers[&name("main")].openssl_conf(Path::new("/elsewhere"));
    assert_eq!(conf, Path::new("/etc/enclave-tls/clients/own.cnf"));
}

#[test]
fn labs_name_sockets_and_servers_of_their_own() {
    let lab = FULL
        .replace("\"vsock:16:4430\"", "\"unix:/tmp/lab/signing.sock\"")
        .replace("\"vsock:any:440\"", "\"unix:/tmp/lab/control.sock\"")
        .replace("\"vsock:any:441\"", "\"vsock:2:441\"")
        .replace("\"vsock:any:442\"", "\"unix:@lab-logs\"")
        .replace("\"unix:/run/enclave-tls/metrics.sock\"", "\"[::1]:9811\"")
        .replace("rotate_days = 30", "rotate_days = 0");
    let config = read(&lab);
    assert_eq!(config.enclave.control.to_string(), "unix:/tmp/lab/control.sock");
    assert_eq!(config.agent.metrics, Metrics::Loopback("[::1]:9811".parse().unwrap()));
    assert_eq!(config.clients[&name("nginx")].rotate, None);
}

#[test]
fn a_certificate_is_looked_at_where_it_says_or_wherever_its_servers_are() {
    let config = read(FULL);
    let its = |config: &Config, certificate| -> Vec<String> {
        let listeners = &config.certificates[&name(certificate)].listeners;
        let one = |listener: &enclave_tls_config::Listener| format!("{} {:?}", listener.address, listener.proxy);
        listeners.iter().map(one).collect()
    };
    assert_eq!(its(&config, "born"), ["[::]:443 Some(V2)"]);
    assert_eq!(its(&config, "file"), [""; 0], "its server names none");
    let all = read(&FULL.replace("listeners = [\"[::]:443\"]\n", ""));
    assert_eq!(its(&all, "born"), ["0.0.0.0:443 Some(V2)", "[::]:443 Some(V2)"]);
    let nowhere = read(&FULL.replace("listeners = [\"[::]:443\"]", "listeners = []"));
    assert_eq!(its(&nowhere, "born"), [""; 0]);
    let shown = FULL
        .replace("listeners = [\"[::]:443\"]\n", "")
        .replace("usage = \"tls\"\n", "usage = \"tls-client\"\n");
    assert_eq!(its(&read(&shown), "born"), [""; 0], "nobody who connects sees it");
}

#[test]
fn a_change_says_what_takes_it_up() {
    use Needs::{AgentRestart, EnclaveRestart, Reload};
    let old = read(FULL);
    assert_eq!(changes(&old, &old), []);
    for (from, to, expected) in [
        ("memory = 128", "memory = 256", ("enclave.memory", EnclaveRestart)),
        ("vsock:any:440", "vsock:any:450", ("enclave.control", AgentRestart)),
        ("/var/lib/enclave-tls", "/var/lib/other", ("agent.state", AgentRestart)),
        ("log = \"auto\"", "log = \"json\"", ("agent.log", Reload)),
        ("grace_hours = 24", "grace_hours = 48", ("agent.grace_hours", Reload)),
        ("parent instance", "other", ("aws.profile", AgentRestart)),
        ("[fd00::5]:443", "[fd00::6]:443", ("egress.resolve", Reload)),
        (
            "allow = [",
            "allow = [\"sts.us-east-1.amazonaws.com:443\", ",
            ("egress.allow", Reload),
        ),
        (
            "rotate_days = 30",
            "rotate_days = 7",
            ("clients.nginx.rotate_days", Reload),
        ),
        (
            "[clients.other]",
            "[clients.third]\ngroup = \"a\"\n[clients.other]",
            ("clients.third", Reload),
        ),
        (
            "listeners = [\"[::]:443\"]",
            "listeners = [\"0.0.0.0:443\"]",
            ("certificates.born.listeners", Reload),
        ),
        ("--all names", "--some", ("hooks.after_rotation", Reload)),
        ("/run/haproxy.pid", "/run/other.pid", ("servers.proxy.pid_file", Reload)),
        (
            "\"*.example.com\"",
            "\"a.example.com\"",
            ("certificates.born.dns_names", Reload),
        ),
        ("p-256", "p-384", ("certificates.born.source", Reload)),
    ] {
        assert_eq!(FULL.matches(from).count(), 1, "{from}");
        let found = changes(&old, &read(&FULL.replace(from, to)));
        let found: Vec<_> = found.iter().map(|change| (change.key.as_str(), change.needs)).collect();
        assert_eq!(found, [expected], "{from}");
    }
    let renamed = changes(&old, &read(&FULL.replace("name = \"born\"", "name = \"new\"")));
    let keys: Vec<_> = renamed.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["certificates.born", "certificates.new"]);
    let no_aws = read(EXAMPLE);
    let with_aws = read(&EXAMPLE.replace("# [aws]", "[aws]"));
    assert_eq!(changes(&no_aws, &with_aws)[0].key, "aws");
}
