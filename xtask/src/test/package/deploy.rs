//! What the packages are for, by their own programs and the distribution's NGINX: a key that is born in the enclave, its
//! certificate, a handshake; then another certificate, which the helper has NGINX test and take up.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::machine::Machine;

pub(super) fn serves(machine: &Machine) -> Result<()> {
    machine.becomes(SOON, "enclave-tlsctl csr www-example > /tmp/request.pem")?;
    machine.run(CA)?;
    machine.run(&certify(1))?;
    machine.becomes(SOON, "test -e /etc/enclave-tls/live/www-example/nginx.conf")?;
    let said = machine.run("stat -c '%a %U %G' /etc/enclave-tls/clients/nginx/credential")?;
    ensure!(said == "640 root www-data\n", "{said}");

    fs::write(machine.path("/etc/nginx/nginx.conf"), NGINX)?;
    machine.run(START)?;
    machine.becomes(SOON, &handshake(1))?;
    let master = machine.run("cat /run/nginx.pid")?;
    machine.run(&certify(2))?;
    machine.becomes(SOON, &handshake(2))?;
    ensure!(
        machine.run("cat /run/nginx.pid")? == master,
        "NGINX was restarted, not reloaded"
    );
    Ok(())
}

/// Has the request certified, with this serial number.
fn certify(serial: u32) -> String {
    format!(
        "echo extendedKeyUsage=serverAuth > /tmp/extensions; openssl x509 -req -in /tmp/request.pem -CA /tmp/ca.pem -CAkey /tmp/ca.key -set_serial {serial} -days 9 \
           -copy_extensions copy -extfile /tmp/extensions -out /tmp/chain.pem 2>/dev/null; cat /tmp/ca.pem >> /tmp/chain.pem; \
         enclave-tlsctl install www-example /tmp/chain.pem"
    )
}

/// A client that trusts the CA sees the certificate with this serial number.
fn handshake(serial: u32) -> String {
    format!(
        "timeout 5 openssl s_client -connect 127.0.0.1:443 -servername www.example.com -CAfile /tmp/ca.pem \
           -verify_return_error </dev/null 2>&1 | openssl x509 -noout -serial | grep -qx 'serial=0{serial}'"
    )
}

const CA: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /tmp/ca.key -out /tmp/ca.pem \
                  -days 9 -subj /CN=trial 2>/dev/null";

const NGINX: &str = "\
include /usr/share/enclave-tls/nginx/env.conf;
user www-data;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {}
http {
    access_log /var/log/nginx/access.log;
    server {
        listen 443 ssl;
        server_name www.example.com;
        include /etc/enclave-tls/live/www-example/nginx.conf;
        include /usr/share/enclave-tls/nginx/tls.conf;
    }
}
";

const START: &str = "\
mkdir -p /etc/systemd/system/nginx.service.d
cat > /etc/systemd/system/nginx.service.d/enclave-tls.conf <<'UNIT'
[Service]
Environment=OPENSSL_CONF=/etc/enclave-tls/clients/nginx/provider.cnf
Environment=ENCLAVE_TLS_PKCS11_CONFIG=/etc/enclave-tls/clients/nginx/pkcs11.toml
UNIT
systemctl daemon-reload
systemctl start nginx
";

const SOON: Duration = Duration::from_secs(45);
