//! `clients/CLIENT`: what a web server's module and OpenSSL read.

use enclave_tls_apply::ObjectsFile;
use enclave_tls_config::{Client, Config};
use enclave_wire::Name;
use enclave_wire::address::Address;
use enclave_wire::credential::{FILE_LEN, Secret};
use zeroize::Zeroizing;

use crate::disk::{Folder, Readers};
use crate::failure::Failure;
use crate::groups;
use crate::openssl::{self, Places};
use crate::places::Plain;

/// Where the files are, and what stands in them.
pub(crate) struct Clients<'a> {
    pub(crate) base: &'a Plain,
    pub(crate) libraries: &'a Plain,
    pub(crate) module: &'a Plain,
    pub(crate) config: &'a Config,
}

impl Clients<'_> {
    /// Installs a credential. The module reads it again at the next connection that the service refuses.
    pub(crate) fn credential(
        &self,
        base: &Folder,
        name: &Name,
        client: &Client,
        secret: &Secret,
    ) -> Result<(), Failure> {
        let group = groups::find(&client.group)?;
        let folder = self.describe(base, name)?;
        let file = Zeroizing::new(secret.to_file());
        Ok(folder.write(CREDENTIAL, &file, Readers::Group(group))?)
    }

    /// Writes the public objects.
    pub(crate) fn objects(&self, base: &Folder, name: &Name, objects: &ObjectsFile) -> Result<(), Failure> {
        let folder = self.describe(base, name)?;
        Ok(folder.write_if_other(OBJECTS, objects.as_bytes(), Readers::All)?)
    }

    /// Writes what depends on the configuration file alone, where it differs.
    pub(crate) fn describe(&self, base: &Folder, name: &Name) -> Result<Folder, Failure> {
        let signing = match &self.config.enclave.signing {
            Address::Vsock { cid: None, .. } => return Err(Failure::Signing),
            address @ (Address::Vsock { cid: Some(_), .. } | Address::UnixPath(_) | Address::UnixAbstract(_)) => {
                address
            }
        };
        let folder = base.enter("clients")?.enter(name.as_str())?;
        let config = self.base.of_client(name, MODULE_CONFIG);
        let places = Places {
            libraries: self.libraries,
            module: self.module,
            config: &config,
        };
        let module = format!(
            "# Written by enclave-tls-apply, and written again when it differs.\nendpoints = [{}]\ncredential = \"{CREDENTIAL}\"\nobjects = \"{OBJECTS}\"\n",
            quoted(&signing.to_string()),
        );
        for (file, contents) in [
            (MODULE_CONFIG, module),
            ("provider.cnf", openssl::provider(&places)),
            ("engine.cnf", openssl::engine(&places)),
        ] {
            folder.write_if_other(file, contents.as_bytes(), Readers::All)?;
        }
        Ok(folder)
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The file's name.
pub(crate) const CREDENTIAL: &str = "credential";
/// The file's name.
pub(crate) const OBJECTS: &str = "objects";
/// The file's name.
pub(crate) const MODULE_CONFIG: &str = "pkcs11.toml";
/// A credential file's length, exactly.
pub(crate) const CREDENTIAL_LEN: usize = FILE_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_string_whatever_is_in_it() {
        assert_eq!(quoted("vsock:16:4430"), "\"vsock:16:4430\"");
        assert_eq!(quoted("unix:/a\"\n\\b"), "\"unix:/a\\\"\\u000A\\\\b\"");
    }
}
