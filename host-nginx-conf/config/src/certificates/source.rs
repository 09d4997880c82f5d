//! Where a certificate's key comes from: keys of one source are not of the other.

use enclave_wire::KeyType;
use enclave_wire::control::S3Object;
use enclave_wire::log::Text;

use super::{Around, BundlePlace, Place, Source};
use crate::aws::{self, Aws, KmsKey};
use crate::form::Word;
use crate::paths;
use crate::reading::{Reading, Refused};

/// The keys of a certificate that say where its key comes from.
pub(super) struct FromForm {
    pub(super) key_type: Option<Word>,
    pub(super) bundle: Option<Word>,
    pub(super) s3: Option<Word>,
    pub(super) region: Option<Word>,
    pub(super) kms_key: Option<Word>,
    pub(super) account: Option<Word>,
    pub(super) challenge: Option<Word>,
    pub(super) profile: Option<Word>,
    pub(super) preferred_chain: Option<Word>,
}

pub(super) fn read(
    source: Option<Word>,
    form: FromForm,
    place: &Place,
    around: &Around<'_>,
    reading: &mut Reading,
) -> Result<Source, Refused> {
    let Some(word) = source else {
        let Place { at, called } = place;
        return Err(reading.wrong(
            at.clone(),
            format!("certificate {called} has no source: add source = \"csr\", \"acme\" or \"bundle\""),
        ));
    };
    let kind = reading.word(word, "source", |text| match text {
        "csr" => Ok(Kind::Csr),
        "acme" => Ok(Kind::Acme),
        "bundle" => Ok(Kind::Bundle),
        _ => Err(KINDS.to_owned()),
    })?;
    match kind {
        Kind::Csr => csr(form, place, reading),
        Kind::Acme => super::acme::read(form, place, around, reading),
        Kind::Bundle => bundle(form, place, around, reading),
    }
}

enum Kind {
    Csr,
    Acme,
    Bundle,
}

fn csr(form: FromForm, place: &Place, reading: &mut Reading) -> Result<Source, Refused> {
    let FromForm {
        key_type,
        bundle,
        s3,
        region,
        kms_key,
        account,
        challenge,
        profile,
        preferred_chain,
    } = form;
    let of_bundles = [("bundle", bundle), ("s3", s3), ("region", region), ("kms_key", kms_key)];
    let outcome = not_for("csr", "bundle", of_bundles, reading);
    let of_acme = of_acme(account, challenge, profile, preferred_chain);
    let outcome = outcome.and(not_for("csr", "acme", of_acme, reading));
    let key_type = born_type(key_type, place, reading);
    outcome?;
    Ok(Source::Csr { key_type: key_type? })
}

/// The type of a key that is born here.
pub(super) fn born_type(given: Option<Word>, place: &Place, reading: &mut Reading) -> Result<KeyType, Refused> {
    let Some(given) = given else {
        let Place { at, called } = place;
        return Err(reading.wrong(
            at.clone(),
            format!("certificate {called} has no key_type: add key_type = \"p-256\""),
        ));
    };
    reading.word(given, "key_type", key_type_of)
}

/// The keys of a certificate that only `acme` has.
fn of_acme(
    account: Option<Word>,
    challenge: Option<Word>,
    profile: Option<Word>,
    preferred_chain: Option<Word>,
) -> [(&'static str, Option<Word>); 4] {
    [
        ("account", account),
        ("challenge", challenge),
        ("profile", profile),
        ("preferred_chain", preferred_chain),
    ]
}

fn bundle(form: FromForm, place: &Place, around: &Around<'_>, reading: &mut Reading) -> Result<Source, Refused> {
    let Place { at, called } = place;
    let mut outcome = not_for("bundle", "csr", [("key_type", form.key_type)], reading);
    let of_acme = of_acme(form.account, form.challenge, form.profile, form.preferred_chain);
    outcome = outcome.and(not_for("bundle", "acme", of_acme, reading));
    let from = match (form.bundle, form.s3) {
        (Some(_), Some(s3)) => {
            Err(reading.wrong(s3.span(), "a bundle is in one place: remove either bundle or s3"))
        }
        (None, None) => Err(reading.wrong(
            at.clone(),
            format!("certificate {called} does not say where its bundle is: add bundle = \"/PATH\", or s3 = \"s3://BUCKET/KEY\" and region"),
        )),
        (Some(file), None) => {
            if let Some(region) = &form.region {
                outcome = Err(reading.wrong(region.span(), "region is of s3, and this bundle is a file: remove it"));
            }
            paths::read(file, "bundle", reading).map(BundlePlace::File)
        }
        (None, Some(s3)) => object(s3, form.region, around, reading),
    };
    let kms_key = match form.kms_key {
        Some(key) => {
            let written = key.span();
            let key = reading.word(key, "kms_key", |text| text.parse::<KmsKey>().map_err(|why| why.to_string()));
            if let (Ok(key), Some(Some(Aws { kms_host: None, .. }))) = (&key, around.aws) {
                reading.must_be_allowed(written, "kms_key", &key.standard_host());
            }
            key
        }
        None => Err(reading.wrong(
            at.clone(),
            format!("certificate {called} has no kms_key: add kms_key = \"arn:aws:kms:…\", the key that the bundle is encrypted under"),
        )),
    };
    outcome?;
    Ok(Source::Bundle {
        from: from?,
        kms_key: kms_key?,
    })
}

fn object(s3: Word, region: Option<Word>, around: &Around<'_>, reading: &mut Reading) -> Result<BundlePlace, Refused> {
    let at = s3.span();
    let Some(region) = region else {
        return Err(reading.wrong(at, "s3 has no region: add region = \"…\", the bucket's, as us-east-1"));
    };
    let region = reading.word(region, "region", |text| {
        let region = text.to_owned();
        if aws::is_region(text) {
            Ok(region)
        } else {
            Err("write the bucket's region, as us-east-1".to_owned())
        }
    });
    let object = reading.word(s3, "s3", |text| {
        let (bucket, key) = text
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(OBJECT)?;
        let is_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        let is_printable = |b: u8| b == b' ' || b.is_ascii_graphic();
        let fits = (3..=63).contains(&bucket.len()) && (1..=1_024).contains(&key.len());
        if fits && bucket.bytes().all(is_bucket) && key.bytes().all(is_printable) {
            Ok((bucket.to_owned(), key.to_owned()))
        } else {
            Err(OBJECT.to_owned())
        }
    });
    let (region, (bucket, key)) = (region?, object?);
    if let Some(Some(Aws { s3_host: None, .. })) = around.aws {
        reading.must_be_allowed(at.clone(), "s3", &aws::standard_host("s3", &region));
    }
    let texts = (exact(&region), exact(&bucket), exact(&key));
    match texts {
        (Some(region), Some(bucket), Some(key)) => Ok(BundlePlace::S3(S3Object { region, bucket, key })),
        (None, _, _) | (_, None, _) | (_, _, None) => Err(reading.wrong(at, OBJECT)),
    }
}

/// A text of the protocol that is `text` and not what was made to fit: it is read as the protocol reads one.
pub(super) fn exact<const MAX: usize>(text: &str) -> Option<Text<MAX>> {
    Some(Text::lossy(text)).filter(|made| made.as_str() == text)
}

/// Keys that belong to another source.
pub(super) fn not_for<const N: usize>(
    source: &str,
    other: &str,
    strangers: [(&str, Option<Word>); N],
    reading: &mut Reading,
) -> Result<(), Refused> {
    let mut outcome = Ok(());
    for (key, word) in strangers {
        if let Some(word) = word {
            outcome = Err(reading.wrong(
                word.span(),
                format!("{key} is of source = \"{other}\", and this certificate's is \"{source}\": remove {key}, or change source"),
            ));
        }
    }
    outcome
}

fn key_type_of(text: &str) -> Result<KeyType, String> {
    let read = text.parse::<KeyType>();
    read.map_err(|_| "write p-256, p-384, p-521, ed25519, or rsa- and 2048 to 8192 bits, as rsa-2048".to_owned())
}

const KINDS: &str = "write csr (the key is born in the enclave, and your CA signs its request), acme (the enclave has a CA certify it) or bundle \
                     (it comes through KMS)";
const OBJECT: &str = "write s3://BUCKET/KEY, of printable ASCII";
