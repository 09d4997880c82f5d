//! A bundle in the form, and under the kind of name, in which ACM leaves one for an enclave's role: fetched again once it is another.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::acme::{self, Leaf};
use e2e::lab::added::Added;
use e2e::lab::program::{new_p256, openssl, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;
use e2e::lab::{Lab, agent, authority, process};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = e2e::tests![a_bundle_that_is_another_in_s3_is_fetched_again_and_served];

fn a_bundle_that_is_another_in_s3_is_fetched_again_and_served(lab: &Lab) -> Result<()> {
    let port = lab.acme.bound.port;
    let root = fs::read_to_string(&lab.ca)?;
    let shown = || acme::verified(port, HOST, &root);
    let added = Added::nothing(lab, &[CERTIFICATE])?;
    let first = Renewed::by_acm(lab)?;
    added.configure(&format!(
        "[[certificates]]\nname = \"{CERTIFICATE}\"\nsource = \"bundle\"\nkms_key = \"{}\"\n\
         s3 = \"s3://{BUCKET}/{OBJECT}\"\nregion = \"us-east-1\"\nservers = [\"provider\"]\n",
        lab.kms_keys["bundles"]
    ))?;
    agent::wait_for(lab, "the bundle", |report| agent::is_served(report, CERTIFICATE))?;
    added.serve(CERTIFICATE, HOST, port)?;
    let served = shown()?;
    ensure!(served.certificate == first.leaf, "another certificate is served");

    // It asks S3 for versions when it starts, and every ten minutes.
    restarted(lab)?;
    process::wait_until(LIMIT, "the first version", || {
        known_version(lab).is_ok_and(|version| version.is_some())
    })?;
    let second = Renewed::by_acm(lab)?;
    restarted(lab)?;
    let Leaf { certificate, key } = acme::another(&served, shown)?;
    ensure!(certificate == second.leaf, "another certificate is served");
    ensure!(key != served.key, "the newer bundle has the older key");
    Ok(())
}

fn restarted(lab: &Lab) -> Result<()> {
    agent::kill(lab, "agent")?;
    agent::start(lab, "agent")
}

/// What the agent has written down of the object that was read.
fn known_version(lab: &Lab) -> Result<Option<String>> {
    let file = Path::new(&lab.configured("state")?).join("keeper.json");
    let known: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    Ok(known["rotations"]["versions"][CERTIFICATE].as_str().map(str::to_owned))
}

/// A key that was made outside, certified, encrypted and put into S3.
struct Renewed {
    leaf: String,
}

impl Renewed {
    fn by_acm(lab: &Lab) -> Result<Self> {
        let scratch = Scratch::new()?;
        let [key, request, chain] = ["key.pem", "csr.pem", "chain.pem"].map(|name| scratch.file(name));
        new_p256(&key)?;
        let ask = ["req", "-new", "-subj", "/CN=associated.lab.test", "-key"];
        succeed(openssl().args(ask).arg(&key).arg("-out").arg(&request))?;
        authority::issue(lab, &request, &[HOST], &chain)?;
        put(lab, &key, &chain)?;
        let chain = fs::read_to_string(&chain)?;
        let (leaf, _) = chain.split_once(END).context("no leaf")?;
        Ok(Self {
            leaf: format!("{leaf}{END}"),
        })
    }
}

/// With AWS's own library, as what ACM does for a role.
fn put(lab: &Lab, key: &Path, chain: &Path) -> Result<()> {
    let python = std::env::var_os("ENCLAVE_TLS_PYTHON").context("ENCLAVE_TLS_PYTHON names no Python")?;
    let s3 = lab.aws_env.get("AWS_ENDPOINT_URL_S3").context("the lab has no S3")?;
    let mut put = Command::new(python);
    put.env("AWS_DEFAULT_REGION", "us-east-1").envs(&lab.admin_env);
    put.args(["-c", PUT, s3, &lab.kms_keys["bundles"], BUCKET, OBJECT]);
    succeed(put.arg(key).arg(chain)).map(drop)
}

const CERTIFICATE: &str = "lab-associated";
const HOST: &str = "associated.lab.test";
const BUCKET: &str = "lab-bundles";
/// `CertificateS3ObjectKey`: the role's ARN and the certificate's.
const OBJECT: &str = "arn:aws:iam::111122223333:role/instance/arn:aws:acm:us-east-1:111122223333:certificate/0b5ce5ed-0000-4000-8000-000000000001";
const LIMIT: Duration = Duration::from_secs(30);
const END: &str = "-----END CERTIFICATE-----\n";
const PUT: &str = "
import base64, boto3, botocore.config, json, sys
endpoint, kms_key, bucket, name, key, chain = sys.argv[1:]
end = '-----END CERTIFICATE-----\\n'
leaf, issuers = open(chain).read().split(end, 1)
secret = boto3.client('kms').encrypt(KeyId=kms_key, Plaintext=open(key, 'rb').read())['CiphertextBlob']
bundle = {
    'certificate': leaf + end,
    'certificateChain': issuers,
    'encryptedPrivateKey': base64.b64encode(secret).decode(),
    'encryptionMethod': 'SYMMETRIC_DEFAULT',
}
style = botocore.config.Config(s3={'addressing_style': 'path'})
boto3.client('s3', endpoint_url=endpoint, config=style).put_object(Bucket=bucket, Key=name, Body=json.dumps(bundle).encode())
";
