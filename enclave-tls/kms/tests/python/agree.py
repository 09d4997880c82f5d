"""What botocore and cryptography make of a request or a message: a second opinion that shares no code with the crate.

Reads one JSON object a line, writes one a line.
"""

import base64
import datetime
import hashlib
import json
import os
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

OAEP = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def sign(asked):
    """The headers that botocore adds."""
    now = datetime.datetime.fromtimestamp(asked["unix"], datetime.timezone.utc)
    credentials = Credentials(asked["id"], asked["secret"], asked["token"])
    signer = botocore.auth.S3SigV4Auth if asked["service"] == "s3" else botocore.auth.SigV4Auth
    headers = {name: value for name, value in asked["headers"] if name != "host"}
    host = dict(asked["headers"])["host"]
    url = f"https://{host}{asked['path']}" + (f"?{asked['query']}" if asked["query"] else "")
    request = AWSRequest(method=asked["method"], url=url, headers=headers, data=base64.b64decode(asked["body"]))
    # Where it asks for the time has moved between versions.
    patches = [mock.patch.object(botocore.auth, name, lambda *_, **__: now)
               for name in ("get_current_datetime",) if hasattr(botocore.auth, name)]

    class Frozen(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return now.replace(tzinfo=None)

        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    if not patches:
        patches = [mock.patch.object(botocore.auth.datetime, "datetime", Frozen)]
    with patches[0]:
        signer(credentials, asked["service"], asked["region"]).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def tlv(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def indefinite(tag, content):
    return bytes([tag, 0x80]) + content + b"\0\0"


def oid(dotted):
    first, second, *rest = map(int, dotted.split("."))
    out = bytes([40 * first + second])
    for number in rest:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        out += bytes(reversed(septets))
    return tlv(0x06, out)


SHA256 = tlv(0x30, oid("2.16.840.1.101.3.4.2.1") + b"\x05\0")
OAEP_SHA256 = tlv(0x30, oid("1.2.840.113549.1.1.7") + tlv(
    0x30, tlv(0xA0, SHA256) + tlv(0xA1, tlv(0x30, oid("1.2.840.113549.1.1.8") + SHA256))))


def seal(asked):
    """A reply as KMS makes it."""
    spki, plaintext = base64.b64decode(asked["spki"]), base64.b64decode(asked["plaintext"])
    key, iv = os.urandom(32), os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    content = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
    if size := asked["pieces"]:
        pieces = b"".join(tlv(0x04, content[at:at + size]) for at in range(0, len(content), size))
        written = indefinite(0xA0, pieces)
    else:
        written = tlv(0x80, content)
    wrapped = serialization.load_der_public_key(spki).encrypt(key, OAEP)
    info = tlv(0x30, tlv(0x02, b"\2") + tlv(0x80, hashlib.sha256(spki).digest()) + OAEP_SHA256 + tlv(0x04, wrapped))
    algorithm = tlv(0x30, oid("2.16.840.1.101.3.4.1.42") + tlv(0x04, iv))
    encrypted = indefinite(0x30, oid("1.2.840.113549.1.7.1") + algorithm + written)
    enveloped = indefinite(0x30, tlv(0x02, b"\2") + tlv(0x31, info) + encrypted)
    message = indefinite(0x30, oid("1.2.840.113549.1.7.3") + indefinite(0xA0, enveloped))
    return base64.b64encode(message).decode()


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"sign": sign, "seal": seal}[asked.pop("do")](asked)), flush=True)
