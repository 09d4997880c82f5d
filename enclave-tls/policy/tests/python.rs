//! Independent agreement: Python's standard library reads the same TOML, writes the same JSON, and computes the same PCR16.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::Write;
use std::process::{Command, Stdio};

use enclave_policy::Policy;

#[test]
fn threat_29_python_computes_the_same_pcr16() {
    if let Err(reason) = has_tomllib() {
        println!("SKIPPED: {reason}");
        return;
    }
    for text in policies() {
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let pcr16: String = policy.pcr16().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            python(&text),
            format!("{}\n{pcr16}\n", policy.canonical_json()),
            "{text}"
        );
    }
}

fn policies() -> Vec<String> {
    let merged = |a: &str, b: &str| {
        let policies = [a, b].map(|text| Policy::parse(text.as_bytes()).unwrap());
        policies[0].intersect(&policies[1]).to_toml()
    };
    vec![
        "version = 1\nimports = false\nkeys = {}".to_owned(),
        RELEASE.to_owned(),
        LAB.to_owned(),
        unusual(),
        merged(RELEASE, RELEASE),
        merged(RELEASE, &unusual()),
        merged(LAB, RELEASE),
    ]
}

/// Every form of TOML that a policy can be written in: quoted and dotted names, numbers with another base, all kinds of
/// strings, escapes, comments that are not ASCII.
fn unusual() -> String {
    let pem = RELEASE.split("\"\"\"").nth(1).unwrap().trim_start();
    let escaped = pem.trim_end().replace('\n', "\\r\\n");
    let folded = RELEASE
        .split("\"\"\"")
        .nth(3)
        .unwrap()
        .trim_start()
        .replace('\n', "\\u000A\\\n   ");
    let literal = RELEASE.split("\"\"\"").nth(5).unwrap();
    format!(
        r#"# naïve — ☃ 𝄞
"version" = 0x1
imports = false # é
keys.rsa.min = 2_048
keys.'rsa'.max = 0b1_0000_0000_0000
keys.curves = [ # "P-256",
  'P-384', "\u0050-521", """P\
      -256""", '''Ed25519''',
]
names = [ {{ pattern = "\U0000002a", usages = [ 'tls', 'tls' ] }}, {{ usages = [], pattern = 'a.-_b' }} ]
[bundles]
keys = ["arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"]
[sealing]
keys = ["*"]
[aws]
roots = ["{escaped}", """{folded}""", '''{literal}''']
regions = []
"#
    )
}

/// The canonical JSON and PCR16, a line each.
fn python(toml: &str) -> String {
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(toml.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{toml}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_tomllib() -> Result<(), String> {
    match Command::new("python3").args(["-c", "import tomllib"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(_) => Err("python3 is older than 3.11, which has tomllib".to_owned()),
        Err(error) => Err(format!("python3: {error}")),
    }
}

const SCRIPT: &str = "
import hashlib, json, sys, tomllib
tree = tomllib.loads(sys.stdin.buffer.read().decode('utf-8'))
text = json.dumps(tree, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
policy = hashlib.sha384(text.encode('utf-8')).digest()
print(text)
print(hashlib.sha384(bytes(48) + policy).hexdigest())
";

const LAB: &str = r#"
version = 1
imports = true
[[names]]
pattern = "lab-*"
usages = ["tls", "digest"]
[[names]]
pattern = "*-client"
usages = ["tls-client"]
[keys]
curves = ["P-256"]
[attestation]
root_sha256 = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"
[aws]
regions = ["us-east-1"]
roots = []
[sealing]
keys = [
    "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
]
"#;

const RELEASE: &str = include_str!("../../../packaging/eif/policy.toml");
