//! threat_48: no secret in a log or in what a program prints. The imported keys and the credential are the canaries: they
//! are known, so every form that a careless print would give them can be searched for.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::lab::Lab;
use e2e::lab::agent;
use e2e::lab::program::{run, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_48_no_secret_in_the_logs,
    threat_48_no_secret_in_what_the_command_prints,
    threat_48_no_secret_in_what_is_shown_to_others,
    threat_48_no_secret_in_the_words_or_environment_of_a_process,
    threat_48_control_the_canaries_are_found_where_they_are,
];

fn threat_48_no_secret_in_the_logs(lab: &Lab) -> Result<()> {
    let canaries = Canary::all(lab)?;
    let mut read = 0;
    for entry in fs::read_dir(&lab.logs)? {
        let path = entry?.path();
        let text = fs::read(&path)?;
        read += text.len();
        expect_none(&canaries, &text).with_context(|| path.display().to_string())?;
    }
    ensure!(read > 0, "the logs are empty");
    Ok(())
}

/// What an administrator gives away, and what a collector reads: a support bundle, metrics, the public objects.
fn threat_48_no_secret_in_what_is_shown_to_others(lab: &Lab) -> Result<()> {
    let canaries = Canary::all(lab)?;
    let scratch = Scratch::new()?;
    let bundle = scratch.file("bundle.tar.gz");
    let ran = run(lab
        .ctl_command()?
        .args(["support-bundle", "--out"])
        .arg(&bundle)
        .arg("--config")
        .arg(&lab.config))?;
    ensure!(ran.status.success(), "no bundle: {}", ran.printed());
    let unpacked = succeed(Command::new("tar").args(["-xzOf"]).arg(&bundle))?;
    ensure!(unpacked.contains("lab-tls-p256"), "the bundle says nothing");
    let metrics = agent::page(lab, "/metrics")?;
    ensure!(
        metrics.contains("enclave_tls_certificate_served"),
        "no metrics: {metrics}"
    );
    let objects = fs::read(lab.module_config()?.with_file_name("objects"))?;
    ensure!(!objects.is_empty(), "no public objects");
    for (what, shown) in [
        ("support bundle", unpacked.as_bytes()),
        ("metrics", metrics.as_bytes()),
        ("objects", &objects),
    ] {
        expect_none(&canaries, shown).context(what)?;
    }
    Ok(())
}

/// Also where it fails: with a key that the policy does not allow, with one cut short, with a credential for a key.
fn threat_48_no_secret_in_what_the_command_prints(lab: &Lab) -> Result<()> {
    let canaries = Canary::all(lab)?;
    let scratch = Scratch::new()?;
    let imported = lab.key_of("RSA-2048", "tls", "imported")?;
    let key = imported.private_key.as_deref().context("an imported key has a file")?;
    let pem = fs::read_to_string(key)?;
    let cut = scratch.write("cut.pem", pem.get(..pem.len() / 2).unwrap_or_default())?;
    let bent = scratch.write("bent.pem", pem.replacen('A', "B", 1))?;
    let credential = lab.credential()?;
    let import = |name: &str, file: &Path| -> Vec<String> {
        let file = file.display().to_string();
        [
            "import",
            name,
            &file,
            "--usage",
            "tls",
            "--dns-name",
            "e2e.lab.test",
            "--client",
            "www-data",
        ]
        .map(String::from)
        .to_vec()
    };
    let mut commands: Vec<Vec<String>> = vec![vec!["list".into()], vec!["stats".into()]];
    commands.push(vec!["csr".into(), imported.id.clone()]);
    commands.push(import("lab-e2e-cut", &cut));
    commands.push(import("lab-e2e-bent", &bent));
    commands.push(import("lab-e2e-credential", &credential));
    commands.push(import("outside-the-policy", key));
    for command in commands {
        for json in [&[][..], &["--json"]] {
            let ran = run(lab.ctl_command()?.args(json).args(&command))?;
            ensure!(!ran.printed().is_empty(), "{command:?} printed nothing");
            expect_none(&canaries, ran.printed().as_bytes()).with_context(|| format!("{command:?} {json:?}"))?;
        }
    }
    threat_48_no_secret_in_the_logs(lab).context("after commands that failed")
}

fn threat_48_no_secret_in_the_words_or_environment_of_a_process(lab: &Lab) -> Result<()> {
    let canaries = Canary::all(lab)?;
    for (name, pid) in &lab.pids {
        for part in ["cmdline", "environ"] {
            // A server that a test replaced has gone.
            let text = fs::read(format!("/proc/{pid}/{part}")).unwrap_or_default();
            expect_none(&canaries, &text).with_context(|| format!("{part} of {name}"))?;
        }
    }
    Ok(())
}

fn threat_48_control_the_canaries_are_found_where_they_are(lab: &Lab) -> Result<()> {
    for key in lab.keys.iter().filter_map(|key| key.private_key.as_deref()) {
        let canaries = Canary::of_key(key)?;
        ensure!(
            expect_none(&canaries, &fs::read(key)?).is_err(),
            "not in {}",
            key.display()
        );
        let der = format!(
            "{:?}",
            pem_rfc7468::decode_vec(&fs::read(key)?)
                .map_err(|error| anyhow!("{error}"))?
                .1
        );
        ensure!(
            expect_none(&canaries, der.as_bytes()).is_err(),
            "not in a Debug of {}",
            key.display()
        );
    }
    ensure!(
        expect_none(&Canary::of_credential(lab)?, &fs::read(lab.credential()?)?).is_err(),
        "not in the credential"
    );
    Ok(())
}

/// A piece of a secret in one form.
struct Canary {
    what: String,
    bytes: Vec<u8>,
}

impl Canary {
    fn all(lab: &Lab) -> Result<Vec<Self>> {
        let mut all = Self::of_credential(lab)?;
        for key in lab.keys.iter().filter_map(|key| key.private_key.as_deref()) {
            all.extend(Self::of_key(key)?);
        }
        Ok(all)
    }

    fn of_credential(lab: &Lab) -> Result<Vec<Self>> {
        let file = fs::read_to_string(lab.credential()?)?;
        let (_, digits) = file.trim().rsplit_once(':').context("not a credential")?;
        Ok(Self::forms("the credential", &hex::decode(digits)?))
    }

    /// Lines of the PEM, and pieces of what it encodes.
    fn of_key(path: &Path) -> Result<Vec<Self>> {
        let pem = fs::read_to_string(path)?;
        let name = path.display().to_string();
        let (_, der) = pem_rfc7468::decode_vec(pem.as_bytes()).map_err(|error| anyhow!("{name}: {error}"))?;
        // A PKCS#8 key of P-256 has its scalar at 36; one of RSA has its public modulus before the middle.
        let secret = if der.len() < 200 {
            der.get(36..68)
        } else {
            der.get(der.len() / 2..)
        };
        let mut all = Self::forms(&name, secret.context("too short a key")?);
        // Below the header's line, which is the same in every key.
        let lines = pem
            .lines()
            .filter(|line| line.len() == 64)
            .skip(if der.len() < 200 { 0 } else { 12 });
        all.extend(lines.map(|line| Self {
            what: format!("{name}, PEM"),
            bytes: line.as_bytes().to_vec(),
        }));
        Ok(all)
    }

    /// Each 16 bytes as they are, in hexadecimal, and as Rust prints a slice.
    fn forms(what: &str, secret: &[u8]) -> Vec<Self> {
        let forms = secret.chunks_exact(16).flat_map(|piece| {
            let list = format!("{piece:?}");
            let list = list.trim_matches(['[', ']']).as_bytes().to_vec();
            let upper = hex::encode_upper(piece).into_bytes();
            [
                ("raw", piece.to_vec()),
                ("hexadecimal", hex::encode(piece).into_bytes()),
                ("HEXADECIMAL", upper),
                ("list", list),
            ]
        });
        forms
            .map(|(form, bytes)| Self {
                what: format!("{what}, {form}"),
                bytes,
            })
            .collect()
    }
}

fn expect_none(canaries: &[Canary], text: &[u8]) -> Result<()> {
    ensure!(!canaries.is_empty(), "no canary");
    for canary in canaries {
        let found = text.windows(canary.bytes.len()).any(|window| window == canary.bytes);
        ensure!(!found, "a secret: {}", canary.what);
    }
    Ok(())
}
