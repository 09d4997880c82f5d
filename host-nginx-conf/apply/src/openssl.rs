//! The OpenSSL configuration of a client: the files that users copy, filled in.

use crate::places::Plain;

/// What goes into the files.
pub(crate) struct Places<'a> {
    pub(crate) libraries: &'a Plain,
    pub(crate) module: &'a Plain,
    /// The module's own configuration. Given as an argument, since a server may strip its environment.
    pub(crate) config: &'a Plain,
}

/// `provider.cnf`
pub(crate) fn provider(places: &Places<'_>) -> String {
    fill(
        include_str!("../../openssl/provider.cnf"),
        places,
        "pkcs11-module-path",
        "pkcs11-module-init-args",
    )
}

/// `engine.cnf`
pub(crate) fn engine(places: &Places<'_>) -> String {
    fill(
        include_str!("../../openssl/engine.cnf"),
        places,
        "MODULE_PATH",
        "INIT_ARGS",
    )
}

/// The comment at the head tells how to fill the file in, so another takes its place.
fn fill(template: &str, places: &Places<'_>, after: &str, argument: &str) -> String {
    let mut text = HEAD.to_owned();
    for line in template.lines().skip_while(|line| line.starts_with('#')) {
        let line = line
            .replace("@LIBDIR@", &places.libraries.to_string())
            .replace("@MODULE@", &places.module.to_string());
        text.push_str(&line);
        text.push('\n');
        if line.split('=').next().is_some_and(|key| key.trim_end() == after) {
            text.push_str(&format!("{argument} = config={}\n", places.config));
        }
    }
    text
}

const HEAD: &str = "# Written by enclave-tls-apply, and written again when it differs.\n";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_files_name_the_module_and_its_configuration() {
        let [libraries, module, config] =
            ["/lib", "/m.so", "/c/pkcs11.toml"].map(|path| Plain::new(Path::new(path)).unwrap());
        let places = Places {
            libraries: &libraries,
            module: &module,
            config: &config,
        };
        let provider = provider(&places);
        let engine = engine(&places);
        assert!(
            provider.contains("pkcs11-module-path = /m.so\npkcs11-module-init-args = config=/c/pkcs11.toml\n"),
            "{provider}"
        );
        assert!(provider.contains("module = /lib/ossl-modules/pkcs11.so\n"));
        assert!(
            engine.contains("MODULE_PATH = /m.so\nINIT_ARGS = config=/c/pkcs11.toml\n"),
            "{engine}"
        );
        assert!(engine.contains("dynamic_path = /lib/engines-3/pkcs11.so\n"));
        for text in [provider, engine] {
            assert!(!text.contains('@') && text.starts_with(HEAD), "{text}");
        }
    }
}
