"""boto3 against the KMS stand-in, and a reader of its CMS replies that shares nothing with it.

usage: kms.py ENDPOINT CA DIRECTORY
DIRECTORY holds the recipient's key and the attestation documents, and what.json says what they are of.
"""

import hashlib
import json
import pathlib
import sys

import boto3
import botocore.config
import botocore.exceptions
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ENDPOINT, CA, DIRECTORY = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
WHAT = json.loads((DIRECTORY / "what.json").read_text())


def main():
    admin = client(WHAT["admin"])
    key = admin.create_key(Description="from boto3")["KeyMetadata"]["Arn"]
    for check in [round_trip, aliases, data_keys, policies, grants, lists]:
        check(admin, key)
    signatures()
    attested(admin)
    print("agreed")


def client(login, **changes):
    login = login | changes
    return boto3.client(
        "kms",
        region_name=WHAT["region"],
        endpoint_url=ENDPOINT,
        verify=CA if ENDPOINT.startswith("https:") else None,
        aws_access_key_id=login["id"],
        aws_secret_access_key=login["secret"],
        aws_session_token=login["token"],
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


def refused(name, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == name, f"{got}, not {name}: {error}"
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response["Error"].get("Message", "")
    raise AssertionError(f"not refused with {name}: {arguments}")


def round_trip(admin, key):
    context = {"purpose": "bundle", "name": "lab-é"}
    sealed = admin.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext=context)
    assert sealed["KeyId"] == key, sealed
    blob = sealed["CiphertextBlob"]
    opened = admin.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", key), opened
    assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT", opened
    refused("InvalidCiphertextException", admin.decrypt, CiphertextBlob=blob)
    refused("InvalidCiphertextException", admin.decrypt, CiphertextBlob=blob, EncryptionContext=context | {"name": "b"})
    damaged = blob[:-1] + bytes([blob[-1] ^ 1])
    refused("InvalidCiphertextException", admin.decrypt, CiphertextBlob=damaged, EncryptionContext=context)
    other = admin.create_key()["KeyMetadata"]["Arn"]
    refused("IncorrectKeyException", admin.decrypt, CiphertextBlob=blob, KeyId=other, EncryptionContext=context)
    refused("ValidationException", admin.encrypt, KeyId=key, Plaintext=bytes(4097))
    moved = admin.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)
    assert admin.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"secret"


def aliases(admin, key):
    admin.create_alias(AliasName="alias/lab", TargetKeyId=key)
    assert admin.encrypt(KeyId="alias/lab", Plaintext=b"x")["KeyId"] == key
    assert [alias["TargetKeyId"] for alias in admin.list_aliases(KeyId=key)["Aliases"]] == [key.split("/")[1]]
    refused("NotFoundException", admin.encrypt, KeyId="alias/none", Plaintext=b"x")


def data_keys(admin, key):
    made = admin.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "1"})
    opened = admin.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"})
    assert opened["Plaintext"] == made["Plaintext"] and len(made["Plaintext"]) == 32
    assert "Plaintext" not in admin.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=32)
    for spec in ["RSA_2048", "ECC_NIST_P384"]:
        pair = admin.generate_data_key_pair(KeyId=key, KeyPairSpec=spec)
        private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert public == pair["PublicKey"]
        opened = admin.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])
        assert opened["Plaintext"] == pair["PrivateKeyPlaintext"]
    assert len(admin.generate_random(NumberOfBytes=24)["Plaintext"]) == 24


def policies(admin, key):
    parent = client(WHAT["parent"])
    before = admin.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    blob = admin.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    message = refused("AccessDeniedException", parent.decrypt, CiphertextBlob=blob)
    arn = WHAT["parent"]["arn"]
    assert message == (
        f"User: {arn} is not authorized to perform: kms:Decrypt on resource: {key} "
        "because no identity-based policy allows the kms:Decrypt action"
    ), message
    policy = json.loads(before)
    allow = {"Effect": "Allow", "Principal": {"AWS": WHAT["parent_role"]}, "Action": "kms:Decrypt", "Resource": "*"}
    policy["Statement"].append(allow)
    admin.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    assert parent.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
    policy["Statement"].append(allow | {"Effect": "Deny", "Principal": "*"})
    admin.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    for who in [admin, parent]:
        message = refused("AccessDeniedException", who.decrypt, CiphertextBlob=blob)
        assert message.endswith("with an explicit deny in a resource-based policy"), message
    policy["Statement"][-1]["Condition"] = {"StringSounds": {"aws:PrincipalArn": "like"}}
    refused("MalformedPolicyDocumentException", admin.put_key_policy, KeyId=key, Policy=json.dumps(policy))
    admin.put_key_policy(KeyId=key, Policy=before)
    assert admin.get_key_policy(KeyId=key)["Policy"] == before
    assert admin.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]


def grants(admin, key):
    parent = client(WHAT["parent"])
    seal = lambda group: admin.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext={"group": group})["CiphertextBlob"]
    web = {"CiphertextBlob": seal("web"), "EncryptionContext": {"group": "web"}}
    database = {"CiphertextBlob": seal("db"), "EncryptionContext": {"group": "db"}}
    refused("AccessDeniedException", parent.decrypt, **web)
    made = admin.create_grant(
        KeyId=key,
        GranteePrincipal=WHAT["parent_role"],
        Operations=["Decrypt"],
        Constraints={"EncryptionContextEquals": {"group": "web"}},
    )
    assert parent.decrypt(GrantTokens=[made["GrantToken"]], **web)["Plaintext"] == b"secret"
    refused("AccessDeniedException", parent.decrypt, **database)
    listed = admin.list_grants(KeyId=key)["Grants"]
    assert [(grant["GrantId"], grant["Operations"]) for grant in listed] == [(made["GrantId"], ["Decrypt"])], listed
    admin.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    refused("AccessDeniedException", parent.decrypt, **web)


def lists(admin, key):
    pages = admin.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1})
    arns = [entry["KeyArn"] for page in pages for entry in page["Keys"]]
    assert key in arns and WHAT["key"] in arns and len(arns) == len(set(arns)), arns
    metadata = admin.describe_key(KeyId=key.split("/")[1])["KeyMetadata"]
    assert (metadata["Arn"], metadata["KeyState"], metadata["Description"]) == (key, "Enabled", "from boto3"), metadata
    admin.disable_key(KeyId=key)
    refused("DisabledException", admin.encrypt, KeyId=key, Plaintext=b"x")
    admin.enable_key(KeyId=key)


def signatures():
    describe = {"KeyId": WHAT["key"]}
    refused("InvalidSignatureException", client(WHAT["admin"], secret="another").describe_key, **describe)
    refused("UnrecognizedClientException", client(WHAT["admin"], id="AKIANOBODY").describe_key, **describe)
    refused("UnrecognizedClientException", client(WHAT["parent"], token="another").describe_key, **describe)
    refused("UnrecognizedClientException", client(WHAT["parent"], token=None).describe_key, **describe)


def attested(admin):
    parent = client(WHAT["parent"])
    secret = b"-----BEGIN PRIVATE KEY-----\n" * 40
    blob = admin.encrypt(KeyId=WHAT["key"], Plaintext=secret)["CiphertextBlob"]
    refused("AccessDeniedException", parent.decrypt, CiphertextBlob=blob)
    forms = set()
    for _ in range(2):
        reply = parent.decrypt(CiphertextBlob=blob, Recipient=recipient("good"))
        assert reply["KeyId"] == WHAT["key"] and reply.get("Plaintext") is None, reply
        plaintext, form = open_message(reply["CiphertextForRecipient"])
        assert plaintext == secret
        forms.add(form)
    assert forms == {"primitive", "constructed"}, forms
    made = parent.generate_data_key(KeyId=WHAT["key"], KeySpec="AES_256", Recipient=recipient("good"))
    assert made.get("Plaintext") is None, made
    again = parent.decrypt(CiphertextBlob=made["CiphertextBlob"], Recipient=recipient("good"))
    assert open_message(made["CiphertextForRecipient"])[0] == open_message(again["CiphertextForRecipient"])[0]
    for name, expected in WHAT["refused"].items():
        refused(expected, parent.decrypt, CiphertextBlob=blob, Recipient=recipient(name))


def recipient(name):
    document = (DIRECTORY / f"{name}.cose").read_bytes()
    return {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}


def open_message(message):
    """RFC 5652, read from its ASN.1: every object identifier, version and length is compared."""
    (info,) = read(message)
    content_type, content = info.children(0x30, 2)
    assert content_type.oid() == "2a864886f70d010703", "envelopedData"
    (enveloped,) = content.children(0xA0, 1)
    version, recipients, encrypted = enveloped.children(0x30, 3)
    assert version.value(0x02) == b"\x02"
    (transport,) = recipients.children(0x31, 1)
    version, identifier, algorithm, wrapped = transport.children(0x30, 4)
    assert version.value(0x02) == b"\x02"
    private = serialization.load_der_private_key((DIRECTORY / "recipient.der").read_bytes(), None)
    spki = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert identifier.value(0x80) == hashlib.sha256(spki).digest()
    assert algorithm.raw.hex() == (
        "303c06092a864886f70d010107302fa00f300d06096086480165030402010500"
        "a11c301a06092a864886f70d010108300d06096086480165030402010500"
    ), "RSAES-OAEP, SHA-256, MGF1 with SHA-256"
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    key = private.decrypt(wrapped.value(0x04), oaep)
    content_type, algorithm, content = encrypted.children(0x30, 3)
    assert content_type.oid() == "2a864886f70d010701", "data"
    cipher, iv = algorithm.children(0x30, 2)
    assert (cipher.oid(), len(key), len(iv.value(0x04))) == ("60864801650304012a", 32, 16), "AES-256-CBC"
    form = "primitive" if content.tag == 0x80 else "constructed"
    data = content.body if form == "primitive" else b"".join(part.value(0x04) for part in content.children(0xA0))
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv.value(0x04))).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize(), form


class Element:
    def __init__(self, tag, body, raw):
        self.tag, self.body, self.raw = tag, body, raw

    def children(self, tag, count=None):
        assert self.tag == tag, f"{self.tag:#x}, not {tag:#x}"
        found = read(self.body)
        assert count is None or len(found) == count, f"{len(found)} elements, not {count}"
        return found

    def value(self, tag):
        assert self.tag == tag, f"{self.tag:#x}, not {tag:#x}"
        return self.body

    def oid(self):
        return self.value(0x06).hex()


def read(data):
    """All elements of some BER, none of which may be left over."""
    elements, at = [], 0
    while at < len(data):
        element, at = read_one(data, at)
        elements.append(element)
    return elements


def read_one(data, start):
    tag, length, at = data[start], data[start + 1], start + 2
    if length == 0x80:
        assert tag & 0x20, "an indefinite length in what is primitive"
        body = at
        while data[at : at + 2] != b"\0\0":
            _, at = read_one(data, at)
        return Element(tag, data[body:at], data[start : at + 2]), at + 2
    if length > 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[at : at + size], "big")
        at += size
    assert at + length <= len(data), "an element ends after its container"
    return Element(tag, data[at : at + length], data[start : at + length]), at + length


main()
