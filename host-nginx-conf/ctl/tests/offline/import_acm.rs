//! A configuration out of another program's.

use crate::directory::Directory;

const ACM: &str = "\
---
enclave:
  cpu_count: 2
  memory_mib: 256
options:
  nginx_force_start: true
  sync_interval_secs: 600
tokens:
  - label: shop
    source:
      Acm:
        certificate_arn: \"arn:aws:acm:eu-west-1:111122223333:certificate/0a1b\"
    target:
      NginxStanza:
        path: /etc/pki/nginx/shop.conf
        user: nginx
    refresh_interval_secs: 43200
";

#[test]
fn a_file_of_acm_for_nitro_enclaves_becomes_ours_and_what_differs_is_said() {
    let directory = Directory::new("import-acm");
    directory.write("acm.yaml", ACM);
    let output = directory.run(&["import-acm", "acm.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let differs = String::from_utf8(output.stderr).unwrap();
    for part in [
        "arn:aws:acm:eu-west-1:111122223333:certificate/0a1b",
        "`include /etc/enclave-tls/live/shop/nginx.conf` in place of `include /etc/pki/nginx/shop.conf`",
        "force_start",
        "systemctl disable --now nitro-enclaves-acm",
    ] {
        assert!(differs.contains(part), "{part}\n{differs}");
    }
    directory.ok(&["import-acm", "acm.yaml", "--out", "config.toml"]);
    let config = directory.0.join("config.toml").display().to_string();
    let said = directory.run(&[
        "--json",
        "check",
        "--config",
        &config,
        "--root",
        &directory.0.display().to_string(),
    ]);
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["findings"][0]["area"], "configuration");
    assert_eq!(said["findings"][0]["level"], "ok", "{said}");
}

#[test]
fn what_is_no_such_file_is_refused_with_its_line() {
    let directory = Directory::new("import-no-acm");
    directory.write("acm.yaml", "tokens:\n  - label: a\n");
    let error = directory.fails(1, &["import-acm", "acm.yaml"]);
    assert!(error.contains("acm.yaml:2: a token has no source"), "{error}");
}
