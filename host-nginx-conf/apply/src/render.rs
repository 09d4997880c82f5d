//! What servers read of a generation: fixed templates, filled from types that cannot hold anything else.

use std::fmt;

use enclave_tls_apply::Deployment;
use enclave_wire::{KeyId, Usage};
use x509_cert::der::asn1::{AnyRef, Utf8StringRef};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Encode, Tag};

use crate::places::Plain;

/// The files of a generation, by name. `at` is the directory that they will be in.
///
/// Snippets name that directory and not `live/NAME`: whoever has read the snippet reads chain and key of one generation, and a new
/// generation has new paths, since NGINX may keep a key object whose file did not change.
pub(crate) fn files(deployment: &Deployment, at: &Plain) -> Result<Vec<(&'static str, String)>, x509_cert::der::Error> {
    let chain = chain(deployment)?;
    let uri = Uri(&deployment.generation().id).to_string();
    let key = key(&uri)?;
    let combined = format!("{chain}{key}");
    let head = Head(deployment);
    let mut files = vec![
        ("chain.pem", chain),
        ("key.pem", key),
        ("uri", format!("{uri}\n")),
        ("haproxy.pem", combined),
    ];
    // How the certificate is presented: to clients, or to a server behind this one.
    let nginx = match deployment.usage() {
        Usage::Tls | Usage::Digest => "ssl",
        // An account's key is in no deployment.
        Usage::TlsClient | Usage::AcmeAccount => "proxy_ssl",
    };
    let with_key = |key: &str| format!("{head}{nginx}_certificate {at}/chain.pem;\n{nginx}_certificate_key {key};\n");
    files.push(("nginx.conf", with_key(&format!("{at}/key.pem"))));
    files.push(("nginx-store.conf", with_key(&format!("\"store:{uri}\""))));
    let httpd = |key: &str| format!("{head}SSLCertificateFile {at}/chain.pem\nSSLCertificateKeyFile {key}\n");
    match deployment.usage() {
        Usage::Tls => files.push(("httpd.conf", httpd(&format!("{at}/key.pem")))),
        // An engine sends digests: a key of another usage would refuse in every handshake, and has no such files.
        Usage::Digest => {
            files.push(("httpd.conf", httpd(&format!("{at}/key.pem"))));
            files.push(("nginx-engine.conf", with_key(&format!("\"engine:pkcs11:{uri}\""))));
            files.push(("httpd-engine.conf", httpd(&format!("\"{uri}\""))));
        }
        // httpd cannot take a proxy's key from elsewhere than a file.
        Usage::TlsClient | Usage::AcmeAccount => {}
    }
    Ok(files)
}

fn chain(deployment: &Deployment) -> Result<String, x509_cert::der::Error> {
    let certificates = deployment.chain().certificates().iter();
    certificates
        .map(|certificate| pem("CERTIFICATE", certificate.as_bytes()))
        .collect()
}

/// What pkcs11-provider reads in place of a private key: where it is.
fn key(uri: &str) -> Result<String, x509_cert::der::Error> {
    let mut fields = AnyRef::new(Tag::VisibleString, KEY_ABOUT)?.to_der()?;
    fields.extend(Utf8StringRef::new(uri)?.to_der()?);
    pem(KEY_LABEL, &AnyRef::new(Tag::Sequence, &fields)?.to_der()?)
}

fn pem(label: &str, der: &[u8]) -> Result<String, x509_cert::der::Error> {
    Ok(encode_string(label, LineEnding::LF, der)?)
}

/// By id and type, never by a label: a label may come to mean another key.
struct Uri<'a>(&'a KeyId);

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:token=enclave-tls;id=")?;
        self.0.0.iter().try_for_each(|byte| write!(f, "%{byte:02x}"))?;
        f.write_str(";type=private")
    }
}

struct Head<'a>(&'a Deployment);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(deployment) = self;
        let generation = deployment.generation().generation;
        writeln!(
            f,
            "# {}, generation {generation}, for usage {}. Written by enclave-tls-apply.",
            deployment.name(),
            deployment.usage()
        )
    }
}

/// Both are pkcs11-provider's.
const KEY_LABEL: &str = "PKCS#11 PROVIDER URI";
const KEY_ABOUT: &[u8] = b"PKCS#11 Provider URI v1.0";

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::state::tests::deployment;

    fn rendered(usage: Usage) -> Vec<(&'static str, String)> {
        files(&deployment("www", 7, usage), &Plain::new(Path::new("/e/g")).unwrap()).unwrap()
    }

    fn file(usage: Usage, name: &str) -> Option<String> {
        rendered(usage)
            .into_iter()
            .find(|(file, _)| *file == name)
            .map(|(_, text)| text)
    }

    #[test]
    fn the_key_file_is_what_the_script_for_hands_makes() {
        let id = deployment("www", 7, Usage::Tls).generation().id.to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx/uri-pem.sh");
        let output = match Command::new("sh").args([script, &id]).output() {
            Ok(output) if output.status.success() => output.stdout,
            _ => return eprintln!("SKIPPED the_key_file_is_what_the_script_for_hands_makes: no openssl or base64"),
        };
        assert_eq!(file(Usage::Tls, "key.pem").unwrap(), String::from_utf8(output).unwrap());
    }

    #[test]
    fn snippets_are_of_one_generation() {
        let uri = file(Usage::Digest, "uri").unwrap();
        let uri = uri.trim_end();
        assert!(
            uri.starts_with("pkcs11:token=enclave-tls;id=%") && uri.ends_with(";type=private"),
            "{uri}"
        );
        let head = "# www, generation 7, for usage digest. Written by enclave-tls-apply.\n";
        for (name, text) in [
            (
                "nginx.conf",
                "ssl_certificate /e/g/chain.pem;\nssl_certificate_key /e/g/key.pem;\n".to_owned(),
            ),
            (
                "nginx-store.conf",
                format!("ssl_certificate /e/g/chain.pem;\nssl_certificate_key \"store:{uri}\";\n"),
            ),
            (
                "nginx-engine.conf",
                format!("ssl_certificate /e/g/chain.pem;\nssl_certificate_key \"engine:pkcs11:{uri}\";\n"),
            ),
            (
                "httpd.conf",
                "SSLCertificateFile /e/g/chain.pem\nSSLCertificateKeyFile /e/g/key.pem\n".to_owned(),
            ),
            (
                "httpd-engine.conf",
                format!("SSLCertificateFile /e/g/chain.pem\nSSLCertificateKeyFile \"{uri}\"\n"),
            ),
        ] {
            assert_eq!(file(Usage::Digest, name).unwrap(), format!("{head}{text}"));
        }
        let combined = file(Usage::Tls, "chain.pem").unwrap() + &file(Usage::Tls, "key.pem").unwrap();
        assert_eq!(file(Usage::Tls, "haproxy.pem").unwrap(), combined);
    }

    #[test]
    fn a_usage_has_only_the_files_that_can_serve_it() {
        assert_eq!(file(Usage::Tls, "nginx-engine.conf"), None);
        assert_eq!(file(Usage::Tls, "httpd-engine.conf"), None);
        assert_eq!(file(Usage::TlsClient, "httpd.conf"), None);
        assert!(
            file(Usage::TlsClient, "nginx.conf")
                .unwrap()
                .contains("\nproxy_ssl_certificate_key /e/g/key.pem;\n")
        );
    }
}
