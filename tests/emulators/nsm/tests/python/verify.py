"""Verifies an attestation document, and the statement beside it, without a line of this repository's Rust.

    verify.py DOCUMENT ROOT_SHA256 [STATEMENT]

Prints what they say as JSON. Any rule that is broken ends it with an assertion.
"""

import datetime
import hashlib
import json
import sys

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ES384 = {1: -35}
FIELDS = ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key", "user_data", "nonce"]
STATEMENT = ["v", "purpose", "nonce", "keys", "sealed_to", "boot_id", "policy_sha384"]
KEY = ["spki_sha256", "origin", "usage", "generation"]


def main(document_path, root_sha256, statement_path=None):
    with open(document_path, "rb") as file:
        document = verify(file.read(), bytes.fromhex(root_sha256))
    said = {
        "timestamp": document["timestamp"],
        "pcrs": {str(index): value.hex() for index, value in document["pcrs"].items()},
        "public_key": optional(document["public_key"]),
        "user_data": optional(document["user_data"]),
        "nonce": optional(document["nonce"]),
    }
    if statement_path:
        with open(statement_path, "rb") as file:
            statement = file.read()
        assert document["user_data"] == hashlib.sha384(statement).digest(), "the document does not bind the statement"
        said["statement"] = read_statement(statement)
    print(json.dumps(said))


def verify(cose, root_sha256):
    """RFC 9052, section 4.4, and the chain to the root at the document's own time."""
    protected, unprotected, payload, signature = cbor2.loads(cose)
    assert cbor2.loads(protected) == ES384 and unprotected == {}, "headers"
    document = cbor2.loads(payload)
    assert list(document) == FIELDS and document["digest"] == "SHA384", "fields"
    assert all(0 <= index < 32 and len(value) == 48 for index, value in document["pcrs"].items()), "registers"

    assert hashlib.sha256(document["cabundle"][0]).digest() == root_sha256, "root"
    chain = [x509.load_der_x509_certificate(der) for der in document["cabundle"] + [document["certificate"]]]
    at = datetime.datetime.fromtimestamp(document["timestamp"] / 1000, datetime.timezone.utc)
    for issuer, subject in zip(chain[:1] + chain, chain):
        subject.verify_directly_issued_by(issuer)
        assert subject.not_valid_before_utc <= at <= subject.not_valid_after_utc, "validity"
        ca = subject.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usage = subject.extensions.get_extension_for_class(x509.KeyUsage).value
        assert ca == (subject is not chain[-1]), "who is a CA"
        assert usage.key_cert_sign if ca else usage.digital_signature, "key usage"

    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    assert len(signature) == 96, "the signature's length"
    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    chain[-1].public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    return document


def read_statement(encoded):
    """The CDDL of PROTOCOL.md, and the one form that it may have."""
    statement = cbor2.loads(encoded)
    flagged = ["clock_source"] if "clock_source" in statement else []
    assert list(statement) == STATEMENT + flagged and statement["v"] == 1, "fields of the statement"
    assert statement.get("clock_source") != "kvm-clock", "what is good is not flagged"
    assert cbor2.dumps(statement) == encoded, "not the shortest form"
    assert statement["purpose"] in ("keys", "kms-recipient"), "purpose"
    assert isinstance(statement["nonce"], bytes)
    assert len(statement["boot_id"]) == 16 and len(statement["policy_sha384"]) == 48
    assert all(isinstance(arn, str) for arn in statement["sealed_to"])
    for key in statement["keys"]:
        assert list(key) == KEY and len(key["spki_sha256"]) == 32, "fields of a key"
        assert isinstance(key["origin"], str) and isinstance(key["usage"], str)
        assert isinstance(key["generation"], int) and 0 <= key["generation"] < 1 << 32
    return json.loads(json.dumps(statement, default=bytes.hex))


def optional(value):
    return None if value is None else value.hex()


if __name__ == "__main__":
    main(*sys.argv[1:])
