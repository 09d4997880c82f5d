//! Keys in PEM, as openssl writes them: each form of each type, and what is refused.

use pem_rfc7468::LineEnding;

use super::super::{KeyError, SigningKey};
use super::openssl::{Scratch, run};
use super::vector;

/// What openssl makes of a key of `tests/vectors/keys`.
fn converted(command: &[&str], der: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let key = scratch.file("key", der);
    run(&[command, &["-inform", "DER", "-in", &key]].concat()).unwrap()
}

fn refusal(text: &[u8]) -> Option<KeyError> {
    SigningKey::from_pem(text).err()
}

#[test]
fn every_form_of_every_type_is_the_same_key() {
    const PKCS8: &[&str] = &["pkey"];
    const PKCS1: &[&str] = &["rsa", "-traditional"];
    const SEC1: &[&str] = &["ec"];
    const SEC1_COMPRESSED: &[&str] = &["ec", "-conv_form", "compressed"];
    const SEC1_WITHOUT_POINT: &[&str] = &["ec", "-no_public"];
    for (der, forms) in [
        (vector!("rsa-2048"), &[PKCS8, PKCS1][..]),
        (vector!("rsa-2056"), &[PKCS8, PKCS1]),
        (vector!("p-256"), &[PKCS8, SEC1, SEC1_COMPRESSED, SEC1_WITHOUT_POINT]),
        (vector!("p-384"), &[PKCS8, SEC1, SEC1_COMPRESSED, SEC1_WITHOUT_POINT]),
        (vector!("p-521"), &[PKCS8, SEC1, SEC1_COMPRESSED, SEC1_WITHOUT_POINT]),
        (vector!("ed25519"), &[PKCS8]),
    ] {
        let key = SigningKey::from_pkcs8(der).unwrap();
        for form in forms {
            let pem = converted(form, der);
            let read = SigningKey::from_pem(&pem).unwrap_or_else(|error| panic!("{form:?}: {error}"));
            assert_eq!((read.id(), read.key_type()), (key.id(), key.key_type()), "{form:?}");
        }
    }
}

#[test]
fn keys_that_openssl_has_just_made_are_taken() {
    for (arguments, key_type) in [
        (&["genrsa", "2048"][..], "RSA-2048"),
        (&["genrsa", "-traditional", "3072"], "RSA-3072"),
        // Its parameters in a block before the key.
        (&["ecparam", "-name", "prime256v1", "-genkey"], "P-256"),
        (&["ecparam", "-name", "secp384r1", "-genkey"], "P-384"),
        (&["ecparam", "-name", "secp521r1", "-genkey", "-noout"], "P-521"),
        (
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            "P-521",
        ),
        (&["genpkey", "-algorithm", "ED25519"], "Ed25519"),
    ] {
        let pem = run(arguments).unwrap();
        let key = SigningKey::from_pem(&pem).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(key.key_type().to_string(), key_type);
    }
}

#[test]
fn ends_of_lines_and_text_before_the_key_do_not_matter() {
    let pem = String::from_utf8(converted(&["pkey"], vector!("p-256"))).unwrap();
    let parameters = String::from_utf8(run(&["ecparam", "-name", "prime256v1"]).unwrap()).unwrap();
    let sec1 = String::from_utf8(converted(&["ec"], vector!("p-256"))).unwrap();
    let one_line = {
        let lines: Vec<&str> = pem.lines().collect();
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        format!("{first}\n{}\n{last}\n", lines[1..lines.len() - 1].concat())
    };
    for same in [
        pem.replace('\n', "\r\n"),
        pem.trim_end().to_owned(),
        format!("{pem}\n\n"),
        format!("Bag Attributes\n    friendlyName: web\n{pem}"),
        one_line,
        format!("{parameters}{sec1}"),
        format!("{parameters}\n{sec1}").replace('\n', "\r\n"),
    ] {
        assert_eq!(refusal(same.as_bytes()), None, "{same}");
    }
}

#[test]
fn an_encrypted_key_is_refused_by_name() {
    for (command, der) in [
        (&["pkcs8", "-topk8", "-passout", "pass:lab"][..], vector!("p-256")),
        (
            &["rsa", "-traditional", "-aes128", "-passout", "pass:lab"],
            vector!("rsa-2048"),
        ),
        (&["ec", "-aes128", "-passout", "pass:lab"], vector!("p-256")),
    ] {
        assert_eq!(
            refusal(&converted(command, der)),
            Some(KeyError::Encrypted),
            "{command:?}"
        );
    }
}

#[test]
fn anything_but_one_key_is_refused() {
    let key = converted(&["pkey"], vector!("p-256"));
    let public = converted(&["pkey", "-pubout"], vector!("p-256"));
    let text = |label, der: &[u8]| {
        pem_rfc7468::encode_string(label, LineEnding::LF, der)
            .unwrap()
            .into_bytes()
    };
    let parameters = run(&["ecparam", "-name", "prime256v1"]).unwrap();
    for (what, refused) in [
        ("nothing", Vec::new()),
        ("two keys", [&key[..], &key].concat()),
        ("a key and its public half", [&key[..], &public].concat()),
        ("something after it", [&key[..], b"more"].concat()),
        ("a public key", public.clone()),
        ("parameters alone", parameters.clone()),
        ("half of the parameters", parameters[..40].to_vec()),
        ("DER", vector!("p-256").to_vec()),
        ("another label", text("OPENSSH PRIVATE KEY", b"openssh-key-v1")),
        ("cut", key[..key.len() - 40].to_vec()),
        (
            "not base64",
            key.iter()
                .map(|byte| if *byte == b'M' { b'*' } else { *byte })
                .collect(),
        ),
        ("too long", [&vec![b' '; 16_384][..], b"\n", &key].concat()),
    ] {
        assert_eq!(refusal(&refused), Some(KeyError::NotPem), "{what}");
    }
}

#[test]
fn the_label_says_the_form_and_the_form_is_read_strictly() {
    let text = |label, der: &[u8]| {
        pem_rfc7468::encode_string(label, LineEnding::LF, der)
            .unwrap()
            .into_bytes()
    };
    let (rsa, sec1) = (vector!("rsa-pkcs1"), vector!("p-256-sec1"));
    assert_eq!(refusal(&text("RSA PRIVATE KEY", rsa)), None);
    assert_eq!(refusal(&text("EC PRIVATE KEY", sec1)), None);
    for (label, der) in [
        ("PRIVATE KEY", rsa),
        ("PRIVATE KEY", sec1),
        ("RSA PRIVATE KEY", sec1),
        ("EC PRIVATE KEY", rsa),
        ("RSA PRIVATE KEY", vector!("rsa-2048")),
        ("EC PRIVATE KEY", vector!("p-256")),
    ] {
        assert_eq!(refusal(&text(label, der)), Some(KeyError::Malformed), "{label}");
        let longer = [der, &[0]].concat();
        assert_eq!(refusal(&text(label, &longer)), Some(KeyError::Malformed), "{label}");
    }
    // The scalar alone could be any curve's of its length.
    let curveless = [&[0x30, 0x25, 2, 1, 1, 4, 0x20][..], &[1; 32]].concat();
    assert_eq!(
        refusal(&text("EC PRIVATE KEY", &curveless)),
        Some(KeyError::Unsupported)
    );
}

#[test]
fn other_algorithms_curves_and_sizes_are_refused_in_every_form() {
    for command in [&["pkey"][..], &["rsa", "-traditional"]] {
        assert_eq!(
            refusal(&converted(command, vector!("rsa-1024"))),
            Some(KeyError::RsaSize)
        );
    }
    for der in [vector!("p-224"), vector!("secp256k1")] {
        for command in [["pkey"], ["ec"]] {
            assert_eq!(refusal(&converted(&command, der)), Some(KeyError::Unsupported));
        }
    }
    assert_eq!(
        refusal(&converted(&["pkey"], vector!("x25519"))),
        Some(KeyError::Unsupported)
    );
    assert_eq!(
        refusal(&converted(&["pkey"], vector!("rsa-pss-only"))),
        Some(KeyError::Unsupported)
    );
    // Written out, a curve could be one whose logarithms somebody knows.
    let explicit = ["ec", "-param_enc", "explicit"];
    assert_eq!(
        refusal(&converted(&explicit, vector!("p-256"))),
        Some(KeyError::Malformed)
    );
}
