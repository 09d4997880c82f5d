#!/usr/bin/env python3
"""Sealed state as SEALED.md words it, with Python's `cryptography` and no code of the service.

    sealed.py make                   writes this directory's blob, which the service must open
    sealed.py open BLOB KEY_HEX      opens a blob, which the service may have sealed, and prints what it holds as JSON
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


def cipher(data_key, salt, group, name):
    info = b"enclave-tls sealed v1\0" + group.encode() + b"\0" + name.encode()
    okm = HKDF(hashes.SHA256(), 44, salt, info).derive(data_key)
    return AESGCM(okm[:32]), okm[32:]


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


def open_blob(blob, data_key):
    reader = Reader(blob)
    assert reader.take(len(MAGIC)) == MAGIC and reader.integer(1) == 1
    state = {
        "name": reader.text(),
        "number": reader.integer(8),
        "last_generation": reader.integer(4),
        "group": reader.text(),
        "kms_key": reader.text(),
        "wrapped": reader.take(reader.integer(2)).hex(),
        "policy": reader.take(48).hex(),
    }
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
    aead, nonce = cipher(data_key, salt, state["group"], state["name"])
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
    header = (
        MAGIC
        + b"\1"
        + count16(state["name"].encode())
        + state["number"].to_bytes(8, "big")
        + state["last_generation"].to_bytes(4, "big")
        + count16(state["group"].encode())
        + count16(state["kms_key"].encode())
        + count16(state["wrapped"])
        + state["policy"]
        + many(summaries)
        + salt
        + (len(plaintext) + 16).to_bytes(4, "big")
    )
    aead, nonce = cipher(data_key, salt, state["group"], state["name"])
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


if sys.argv[1:] == ["make"]:
    make()
else:
    _, command, blob, data_key = sys.argv
    assert command == "open"
    print(json.dumps(open_blob(pathlib.Path(blob).read_bytes(), bytes.fromhex(data_key))))
