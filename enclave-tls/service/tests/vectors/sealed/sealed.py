#!/usr/bin/env python3
"""Sealed state as SEALED.md words it, with Python's `cryptography` and no code of the service.

    sealed.py make                       writes this directory's blobs, which the service must open
    sealed.py open BLOB KEY_HEX [ARN]    opens a blob, which the service may have sealed, and prints what it holds as JSON;
                                         of version 2 with what the KMS key of this ARN gives, for the data key
"""

import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).parent
MAGIC = b"enclave-tls-sealed"


def cipher(secret, salt, label, group, what):
    info = b"\0".join(text.encode() for text in (label, group, what))
    okm = HKDF(hashes.SHA256(), 44, salt, info).derive(secret)
    return AESGCM(okm[:32]), okm[32:]


def blob_cipher(version, data_key, salt, group, name):
    return cipher(data_key, salt, f"enclave-tls sealed v{version}", group, name)


def wrap_cipher(kek, salt, group, arn):
    return cipher(kek, salt, "enclave-tls sealed v2 data key", group, arn)


def key_id(pkcs8):
    public = serialization.load_der_private_key(pkcs8, None).public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), "truncated"
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, size):
        return int.from_bytes(self.take(size), "big")

    def text(self):
        return self.take(self.integer(2)).decode()

    def many(self, read):
        return [read() for _ in range(self.integer(2))]


def unwrapped(reader, state, kek, arn):
    """The data key of version 2, from its wraps, by what one KMS key opens."""
    wraps = reader.many(
        lambda: (reader.text(), reader.take(reader.integer(2)).hex(), reader.take(32), reader.take(48))
    )
    arns = [wrap[0] for wrap in wraps]
    assert 1 <= len(wraps) <= 4 and arns == sorted(set(arns)), "order"
    state["wraps"] = [[wrap[0], wrap[1]] for wrap in wraps]
    _, _, salt, sealed = wraps[arns.index(arn)]
    aead, nonce = wrap_cipher(kek, salt, state["group"], arn)
    return aead.decrypt(nonce, sealed, b"")


def open_blob(blob, secret, arn=None):
    reader = Reader(blob)
    assert reader.take(len(MAGIC)) == MAGIC
    version = reader.integer(1)
    assert version in (1, 2)
    state = {
        "name": reader.text(),
        "number": reader.integer(8),
        "last_generation": reader.integer(4),
        "group": reader.text(),
    }
    if version == 1:
        state |= {"kms_key": reader.text(), "wrapped": reader.take(reader.integer(2)).hex()}
        data_key = secret
    else:
        data_key = unwrapped(reader, state, secret, arn)
    state["policy"] = reader.take(48).hex()
    summaries = reader.many(
        lambda: {
            "generation": reader.integer(4),
            "state": reader.integer(1),
            "usage": reader.integer(1),
            "origin": reader.integer(1),
            "key": reader.take(32).hex(),
        }
    )
    salt = reader.take(32)
    count = reader.integer(4)
    aead, nonce = blob_cipher(version, data_key, salt, state["group"], state["name"])
    inner = Reader(aead.decrypt(nonce, reader.take(count), blob[: reader.at - count]))
    assert reader.at == len(blob), "trailing"
    contents = inner.many(
        lambda: {
            "dns_names": inner.many(inner.text),
            "clients": inner.many(inner.text),
            "chain": inner.many(lambda: inner.take(inner.integer(2)).hex()),
            "pkcs8": inner.take(inner.integer(2)).hex(),
        }
    )
    assert inner.at == len(inner.data) and len(contents) == len(summaries)
    for summary, content in zip(summaries, contents):
        assert summary["key"] == key_id(bytes.fromhex(content["pkcs8"]))
    state["generations"] = [summary | content for summary, content in zip(summaries, contents)]
    return state


def count16(data):
    return len(data).to_bytes(2, "big") + data


def many(items):
    return len(items).to_bytes(2, "big") + b"".join(items)


def wrap(state, data_key, kms_key, salt):
    aead, nonce = wrap_cipher(kms_key["kek"], salt, state["group"], kms_key["arn"])
    sealed = aead.encrypt(nonce, data_key, b"")
    return count16(kms_key["arn"].encode()) + count16(kms_key["wrapped"]) + salt + sealed


def seal_blob(state, data_key, salt):
    generations = state["generations"]
    summaries = [
        g["generation"].to_bytes(4, "big") + bytes([g["state"], g["usage"], g["origin"]]) + bytes.fromhex(key_id(g["pkcs8"]))
        for g in generations
    ]
    contents = [
        many([count16(name.encode()) for name in g["dns_names"]])
        + many([count16(name.encode()) for name in g["clients"]])
        + many([count16(certificate) for certificate in g["chain"]])
        + count16(g["pkcs8"])
        for g in generations
    ]
    plaintext = many(contents)
    if "kms_keys" in state:
        version = 2
        salts = (hashlib.sha256(key["arn"].encode()).digest() for key in state["kms_keys"])
        wrapping = many([wrap(state, data_key, key, its) for key, its in zip(state["kms_keys"], salts)])
    else:
        version = 1
        wrapping = count16(state["kms_key"].encode()) + count16(state["wrapped"])
    header = (
        MAGIC
        + bytes([version])
        + count16(state["name"].encode())
        + state["number"].to_bytes(8, "big")
        + state["last_generation"].to_bytes(4, "big")
        + count16(state["group"].encode())
        + wrapping
        + state["policy"]
        + many(summaries)
        + salt
        + (len(plaintext) + 16).to_bytes(4, "big")
    )
    aead, nonce = blob_cipher(version, data_key, salt, state["group"], state["name"])
    return header + aead.encrypt(nonce, plaintext, header)


def make():
    vectors = HERE.parent
    key = lambda name: (vectors / "keys" / f"{name}.der").read_bytes()
    certificate = lambda name: (vectors / "chains" / f"{name}.der").read_bytes()
    state = {
        "name": "lab-web",
        "number": 7,
        "last_generation": 4,
        "group": "lab",
        "kms_key": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "wrapped": bytes(range(184)),
        "policy": hashlib.sha384(b"policy").digest(),
        "generations": [
            {
                "generation": 2,
                "state": 2,
                "usage": 3,
                "origin": 2,
                "dns_names": [],
                "clients": [],
                "chain": [],
                "pkcs8": key("rsa-2048"),
            },
            {
                "generation": 3,
                "state": 1,
                "usage": 1,
                "origin": 1,
                "dns_names": ["www.example.com", "*.example.com"],
                "clients": ["nginx", "haproxy"],
                "chain": [certificate("server"), certificate("intermediate")],
                "pkcs8": key("p-256"),
            },
        ],
    }
    blob = seal_blob(state, bytes(range(32)), hashlib.sha256(b"salt").digest())
    (HERE / "lab-web.sealed").write_bytes(blob)
    key_of = lambda region: state["kms_key"].replace("us-east-1", region)
    regions = {region: key_of(region) for region in ("eu-central-1", "us-east-1")}
    state["kms_keys"] = [
        {"arn": arn, "kek": hashlib.sha256(region.encode()).digest(), "wrapped": region.encode() * 12}
        for region, arn in regions.items()
    ]
    blob = seal_blob(state, bytes(range(32)), hashlib.sha256(b"another salt").digest())
    (HERE / "two-regions.sealed").write_bytes(blob)


if sys.argv[1:] == ["make"]:
    make()
else:
    _, command, blob, secret, *arn = sys.argv
    assert command == "open"
    print(json.dumps(open_blob(pathlib.Path(blob).read_bytes(), bytes.fromhex(secret), *arn)))
