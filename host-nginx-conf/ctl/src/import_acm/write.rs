//! The configuration file that is written.

use std::fmt::Write;
use std::path::Path;

use enclave_tls_config::Kind;

use super::convert::{Certificate, Converted, From, PLACEHOLDER};

pub(super) fn text(converted: &Converted, source: &Path) -> String {
    let mut text = format!(
        "# Written by `enclave-tlsctl import-acm` out of {}. What differs was said on standard error.\n\
         # Put it at {}, owned by root, then: enclave-tlsctl check\n\n\
         [enclave]\nimage = \"/usr/share/enclave-tls/enclave-tls.eif\"\ncpus = {}\nmemory = {}\n",
        source.display().to_string().escape_debug(),
        enclave_tls_config::DEFAULT_PATH,
        converted.cpus,
        converted.memory
    );
    if !converted.hosts.is_empty() {
        let hosts: Vec<_> = converted
            .hosts
            .iter()
            .map(|host| quoted(&format!("{host}:443")))
            .collect();
        text.push_str(&format!("\n[aws]\n\n[egress]\nallow = [{}]\n", hosts.join(", ")));
    }
    let kind = match converted.kind {
        Kind::Nginx => "nginx",
        Kind::Httpd => "httpd",
        Kind::Haproxy => "haproxy",
    };
    text.push_str(&format!(
        "\n[clients.web]\ngroup = {}\n\n[servers.main]\nkind = \"{kind}\"\nclient = \"web\"\n",
        quoted(&converted.group)
    ));
    for certificate in &converted.certificates {
        text.push_str(&table(certificate));
    }
    text
}

fn table(certificate: &Certificate) -> String {
    let mut text = format!(
        "\n# {}\n[[certificates]]\nname = {}\nservers = [\"main\"]\n",
        certificate.was.escape_debug(),
        quoted(certificate.name.as_str())
    );
    // Writing to a string does not fail.
    let _ = match &certificate.from {
        From::Born => write!(
            text,
            "source = \"csr\"\nkey_type = \"p-256\"\ndns_names = [{}] # the certificate's own names\n\
             # sealed = \"default\" # kept over the enclave's restarts, under the policy's KMS key\n",
            quoted(PLACEHOLDER)
        ),
        From::S3 { uri, region, kms_key } => write!(
            text,
            "source = \"bundle\"\ns3 = {}\nregion = {}\nkms_key = {}\n",
            quoted(uri),
            quoted(region),
            quoted(kms_key)
        ),
        From::File { path, kms_key } => {
            write!(
                text,
                "source = \"bundle\"\nbundle = {}\nkms_key = {}\n",
                quoted(path),
                quoted(kms_key)
            )
        }
    };
    text
}

/// A basic string of TOML, whose escapes are JSON's but for `\/`, which JSON writers do not use.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{convert, incumbent};
    use super::*;
    use enclave_tls_config::{BundlePlace, Config, Source};

    fn converted(yaml: &str) -> (Converted, Config) {
        let key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let converted = convert::convert(&incumbent::read(yaml).unwrap(), Some(&key.parse().unwrap()), None);
        let text = text(&converted, Path::new("acm.yaml"));
        match Config::parse(&text, Path::new("config.toml")) {
            Ok(config) => (converted, config),
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    #[test]
    fn each_source_becomes_one_of_ours() {
        let (converted, config) = converted(
            "enclave: {cpu_count: 4, memory_mib: 512}\noptions: {service: httpd}\ntokens:\n\
             - {label: a, source: {Acm: {certificate_arn: \"arn:a\"}}, target: {Conf: {path: /x.conf, user: apache}}}\n\
             - {label: b, source: {S3: {uri: \"s3://bucket/k.json\"}}}\n\
             - {label: c, source: {FileDb: {path: /var/c.json}}}\n",
        );
        assert_eq!((config.enclave.cpus, config.enclave.memory), (4, 512));
        assert_eq!(config.servers.values().next().unwrap().kind, Kind::Httpd);
        let sources: Vec<_> = config.certificates.values().map(|one| &one.source).collect();
        assert!(matches!(sources[0], Source::Csr { .. }));
        let [
            Source::Bundle {
                from: BundlePlace::S3(object),
                ..
            },
            Source::Bundle {
                from: BundlePlace::File(path),
                ..
            },
        ] = sources[1..]
        else {
            panic!("{sources:?}")
        };
        assert_eq!(
            (object.region.as_str(), path.to_str()),
            ("eu-west-1", Some("/var/c.json"))
        );
        assert!(
            converted
                .differences
                .iter()
                .any(|one| one.todo.contains("live/a/httpd.conf"))
        );
    }

    #[test]
    fn labels_that_are_no_names_become_some_and_stay_apart() {
        let (converted, config) = converted(
            "tokens:\n- {label: \"w w\", source: {Acm: {certificate_arn: x}}}\n- {label: w-w, source: {Acm: {certificate_arn: x}}}\n\
             - {label: \"--\", source: {Acm: {certificate_arn: x}}}\n- {label: \"\\n\\\"]\", source: {FileDb: {path: relative}}}\n",
        );
        let names: Vec<_> = config.certificates.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["certificate", "certificate-2", "w-w", "w-w-2"]);
        assert!(
            converted
                .differences
                .iter()
                .any(|one| one.what == "token w w is called w-w here")
        );
    }

    #[test]
    fn every_difference_says_what_to_do() {
        let (converted, _) = converted(
            "enclave: {image_path: x, boot_timeout_ms: 1, p11kit_port: 1, rpc_port: 1, attestation_retry_count: 1, odd: 1}\n\
             log: {level: Info}\noptions: {service: lighttpd, force_start: true, reload_wait_ms: 1, sync_interval_secs: 1}\ntokens:\n\
             - {label: a, pin: x, refresh_interval_secs: 1, source: {Acm: {certificate_arn: x, bucket: b}}, target: {NginxStanza: {path: /p, group: g}}}\n\
             - {label: b, source: {Acm: {certificate_arn: x}}, target: {NginxStanza: {path: /q, group: h}}}\n",
        );
        assert!(converted.differences.len() >= 18, "{:#?}", converted.differences);
        assert!(
            converted
                .differences
                .iter()
                .all(|one| !one.todo.is_empty() && !one.what.is_empty())
        );
    }
}
