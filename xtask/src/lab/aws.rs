//! What stands for AWS in a lab: a KMS that releases to the lab's measurements alone, S3, and the instance's credentials.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::measure::Measured;
use super::place::Place;
use super::ports::Ports;
use super::service::Starter;
use super::state;
use crate::build::Binaries;
use crate::paths::Paths;
use crate::process;
use crate::setup::python;

/// AWS, as this lab's programs reach it.
pub(super) struct Aws {
    /// Where each host is reached: `HOST:443=IP:PORT`, for the agent's `[egress]`.
    pub(super) egress: Vec<String>,
    /// Where the SDK finds the instance's credentials.
    imds: String,
    /// KMS, for the administrator's commands.
    kms: String,
    /// The emulator's own: faults and counters.
    pub(super) kms_admin: String,
    s3: String,
    /// What the certificates of all of it end in.
    root: PathBuf,
    python: PathBuf,
}

impl Aws {
    /// Starts all of it. The KMS keys open for what the lab's service will be measured as, and nothing else.
    pub(super) fn start(
        starter: &mut Starter<'_>,
        binaries: &Binaries,
        paths: &Paths,
        measured: &Measured,
    ) -> Result<Self> {
        let place = starter.place;
        let python = python::interpreter(paths)?;
        let announced = start_kms(starter, binaries, measured)?;
        let mut ports = Ports::find(2)?;
        let (s3, imds) = (ports.take()?, ports.take()?);
        drop(ports);
        start_s3(starter, &python, s3)?;
        start_imds(starter, paths, &python, imds)?;
        Ok(Self {
            egress: vec![
                format!("{KMS_HOST}:443={}", announced.address),
                format!("{S3_HOST}:443=127.0.0.1:{s3}"),
            ],
            imds: format!("http://127.0.0.1:{imds}"),
            kms: format!("https://{}", announced.address),
            kms_admin: announced.admin,
            s3: format!("https://127.0.0.1:{s3}"),
            root: place.ca("aws.pem"),
            python,
        })
    }

    /// What `listen` has in its environment.
    pub(super) fn instance(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.clone()),
            ("AWS_REGION", REGION.to_owned()),
            // The agent asks for versions of bundles.
            ("AWS_ENDPOINT_URL_S3", self.s3.clone()),
            ("SSL_CERT_FILE", self.root.display().to_string()),
        ]
    }

    /// What the administrator's commands have in their environment.
    pub(super) fn administrator(&self) -> [(&'static str, String); 6] {
        let root = self.root.display().to_string();
        [
            // The SDK for Rust reads the one, Python's the other.
            ("SSL_CERT_FILE", root.clone()),
            ("AWS_CA_BUNDLE", root),
            ("AWS_ACCESS_KEY_ID", ADMINISTRATOR.access_key_id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR.secret_access_key.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_KMS", self.kms.clone()),
        ]
    }

    /// Puts a file into the bucket, by AWS's own library for Python.
    pub(super) fn upload(&self, file: &Path, key: &str) -> Result<()> {
        let mut upload = Command::new(&self.python);
        upload.args(["-c", UPLOAD, &self.s3, BUCKET, key]).arg(file).arg(REGION);
        for (name, value) in self.administrator() {
            upload.env(name, value);
        }
        process::run(&mut upload)
    }
}

/// A KMS that knows nobody but these, with the key policies that `enclave-tlsctl policy generate` writes for this service.
fn start_kms(starter: &mut Starter<'_>, binaries: &Binaries, measured: &Measured) -> Result<Announced> {
    let place = starter.place;
    let mut config = format!("region = \"{REGION}\"\naccount = \"{ACCOUNT}\"\n");
    config += &match &measured.root_sha256 {
        Some(root) => format!("attestation_root_sha256 = \"{root}\"\n"),
        None => "allow_unsigned_documents = true\n".to_owned(),
    };
    for principal in [ADMINISTRATOR, INSTANCE] {
        config += &principal.to_toml();
    }
    for (purpose, arn) in [("sealing", SEALING_KEY), ("bundles", BUNDLE_KEY)] {
        let policy = key_policy(binaries, purpose, arn, &measured.pair())?;
        config += &format!("[[keys]]\narn = \"{arn}\"\npolicy = '''{policy}'''\n");
    }
    fs::write(place.aws("kms.toml"), config)?;
    let announce = place.aws("kms-address.json");
    let text = |path: &Path| path.display().to_string();
    let mut words = vec![
        text(&binaries.emulator_kms),
        "--config".into(),
        text(&place.aws("kms.toml")),
        "--announce".into(),
        text(&announce),
    ];
    let [certificate, key] = tls(place, KMS_HOST);
    words.extend(["--cert".into(), certificate, "--key".into(), key]);
    starter.start("kms", words)?;
    let came = process::wait_until(Duration::from_secs(10), || announce.exists());
    ensure!(came, "the KMS did not start; see {}", place.log("kms").display());
    state::read_json(&announce)
}

/// A key policy of `enclave-tlsctl policy generate`.
fn key_policy(binaries: &Binaries, purpose: &str, arn: &str, measured: &str) -> Result<Value> {
    let mut generate = Command::new(&binaries.ctl);
    generate.args(["--json", "policy", "generate", "--for", purpose, "--key-arn", arn]);
    generate.args(["--role", INSTANCE.arn, "--admin", ADMINISTRATOR.arn]);
    if purpose == "bundles" {
        generate.args(["--sealer", ADMINISTRATOR.arn]);
    }
    generate.args(["--measured", measured]);
    let written: Value = serde_json::from_str(&process::capture(&mut generate)?)?;
    written.get("key_policy").cloned().context("no key policy was written")
}

/// moto's S3, with TLS.
fn start_s3(starter: &mut Starter<'_>, python: &Path, port: u16) -> Result<()> {
    let [certificate, key] = tls(starter.place, S3_HOST);
    let moto = python.with_file_name("moto_server").display().to_string();
    let port_text = port.to_string();
    let words = [
        &moto,
        "-H",
        "127.0.0.1",
        "-p",
        &port_text,
        "-s",
        "-c",
        &certificate,
        "-k",
        &key,
    ];
    starter.start("s3", words.map(str::to_owned).into())?;
    answers(starter, "s3", port)
}

/// moto's instance metadata, which gives the instance's credentials.
fn start_imds(starter: &mut Starter<'_>, paths: &Paths, python: &Path, port: u16) -> Result<()> {
    let script = paths.workspace().join("tests/python/imds.py");
    let words = [
        &python.display().to_string(),
        &script.display().to_string(),
        &port.to_string(),
    ];
    starter.start("imds", words.map(String::clone).into())?;
    answers(starter, "imds", port)
}

fn answers(starter: &Starter<'_>, name: &str, port: u16) -> Result<()> {
    let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    ensure!(
        process::wait_until(Duration::from_secs(30), answers),
        "{name} did not start; see {}",
        starter.place.log(name).display()
    );
    Ok(())
}

/// The lab's KMS keys, by what they are for.
pub(super) fn key_arns() -> BTreeMap<String, String> {
    [("sealing", SEALING_KEY), ("bundles", BUNDLE_KEY)]
        .map(|(purpose, arn)| (purpose.to_owned(), arn.to_owned()))
        .into()
}

/// The certificate of an AWS host, and its key.
fn tls(place: &Place, host: &str) -> [String; 2] {
    ["pem", "key"].map(|end| place.ca(&format!("{host}.{end}")).display().to_string())
}

/// Where the KMS listens.
#[derive(Deserialize)]
struct Announced {
    address: String,
    admin: String,
}

/// Somebody whom the lab's KMS knows.
struct Principal {
    access_key_id: &'static str,
    secret_access_key: &'static str,
    session_token: Option<&'static str>,
    arn: &'static str,
    /// Its identity policy, JSON.
    iam: Option<&'static str>,
}

impl Principal {
    fn to_toml(&self) -> String {
        let token = self
            .session_token
            .map_or_else(String::new, |token| format!("session_token = \"{token}\"\n"));
        let iam = self
            .iam
            .map_or_else(String::new, |policy| format!("iam = '''{policy}'''\n"));
        format!(
            "[[principals]]\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n{token}{iam}arn = \"{}\"\n",
            self.access_key_id, self.secret_access_key, self.arn
        )
    }
}

/// Who writes key policies and seals bundles.
const ADMINISTRATOR: Principal = Principal {
    access_key_id: "AKIALABADMINISTRATOR",
    secret_access_key: "lab-administrator-secret",
    session_token: None,
    arn: "arn:aws:iam::111122223333:role/administrator",
    // The generated key policy lets the account's identity policies say who may look.
    iam: Some(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:DescribeKey","kms:Get*","kms:List*"],"Resource":"*"}]}"#,
    ),
};

/// The role of the instance: these are the credentials that moto's IMDS gives.
const INSTANCE: Principal = Principal {
    access_key_id: "test-key",
    secret_access_key: "test-secret-key",
    session_token: Some("test-session-token"),
    arn: "arn:aws:iam::111122223333:role/instance",
    iam: None,
};

const ACCOUNT: &str = "111122223333";
pub(super) const REGION: &str = "us-east-1";
pub(super) const SEALING_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/5ea11116-0000-4000-8000-000000000001";
pub(super) const BUNDLE_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/b0d1e000-0000-4000-8000-000000000002";
pub(super) const BUCKET: &str = "lab-bundles";
/// What has a certificate of the root that the lab's policy trusts for AWS.
pub(super) const HOSTS: [&str; 2] = [KMS_HOST, S3_HOST];
const KMS_HOST: &str = "kms.us-east-1.amazonaws.com";
const S3_HOST: &str = "s3.us-east-1.amazonaws.com";

/// Endpoint, bucket, key, file, region.
const UPLOAD: &str = "\
import sys, boto3, botocore.config
endpoint, bucket, key, file, region = sys.argv[1:]
style = botocore.config.Config(s3={'addressing_style': 'path'})
s3 = boto3.client('s3', endpoint_url=endpoint, region_name=region, config=style)
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key=key, Body=open(file, 'rb').read())
";
