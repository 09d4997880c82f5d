"""An ACME client (RFC 8555) of somebody else's: what the parent instance would run for a certificate of its own.

It shares nothing with the enclave's client. Its account's key is a file, made at the first call.

usage: acme_client.py account DIRECTORY CA KEY
       acme_client.py order DIRECTORY CA KEY METHOD CHALLENGES NAME...

CA is the root (PEM) of the server's certificate; METHOD http-01 or dns-01, or none where every name is proven already; CHALLENGES the
management interface of pebble-challtestsrv. In the environment, ACME_KID and ACME_MAC_KEY (base64url) bind the account (RFC 8555, section
7.3.4), and ACME_CONNECT_TO (HOST:PORT) is where the directory's host is reached. Prints one JSON document: the account's URL, and of an
order the number of certificates that came, or the problem that ended it.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ATTEMPTS = 100


class Problem(Exception):
    def __init__(self, document):
        self.document = document


class Client:
    def __init__(self, directory, ca, key):
        connect_to(urllib.parse.urlsplit(directory).hostname)
        self.context = ssl.create_default_context(cafile=ca)
        self.key = account_key(pathlib.Path(key))
        self.directory = json.loads(self.fetch(directory)[1])
        self.nonce = None
        self.account = None
        registration = {"termsOfServiceAgreed": True} | self.binding(self.directory["newAccount"])
        status, headers, _ = self.post(self.directory["newAccount"], registration)
        assert status in (200, 201), status
        self.account = headers["Location"]

    def fetch(self, url, data=None, method=None):
        headers = {"User-Agent": "acme_client.py"}
        if data is not None:
            headers["Content-Type"] = "application/jose+json"
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.context) as reply:
                return reply, reply.read()
        except urllib.error.HTTPError as error:
            return error, error.read()

    def post(self, url, payload):
        """POST, or with None for the payload POST-as-GET. A bad nonce is tried again."""
        for _ in range(ATTEMPTS):
            if self.nonce is None:
                self.nonce = self.fetch(self.directory["newNonce"], method="HEAD")[0].headers["Replay-Nonce"]
            reply, body = self.fetch(url, self.signed(url, payload))
            self.nonce = reply.headers["Replay-Nonce"]
            if reply.status < 400:
                return reply.status, reply.headers, body
            problem = json.loads(body)
            if problem["type"] != "urn:ietf:params:acme:error:badNonce":
                raise Problem(problem)
        raise AssertionError("no nonce was good")

    def signed(self, url, payload):
        protected = {"alg": "ES256", "nonce": self.nonce, "url": url}
        protected |= {"kid": self.account} if self.account else {"jwk": self.jwk()}
        head = b64(json.dumps(protected))
        text = b64(json.dumps(payload)) if payload is not None else ""
        r, s = decode_dss_signature(self.key.sign(f"{head}.{text}".encode(), ec.ECDSA(hashes.SHA256())))
        signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return json.dumps({"protected": head, "payload": text, "signature": signature}).encode()

    def binding(self, url):
        if "ACME_KID" not in os.environ:
            return {}
        mac_key = base64.urlsafe_b64decode(os.environ["ACME_MAC_KEY"] + "==")
        head = b64(json.dumps({"alg": "HS256", "kid": os.environ["ACME_KID"], "url": url}))
        text = b64(json.dumps(self.jwk()))
        signature = b64(hmac.digest(mac_key, f"{head}.{text}".encode(), "sha256"))
        return {"externalAccountBinding": {"protected": head, "payload": text, "signature": signature}}

    def jwk(self):
        numbers = self.key.public_key().public_numbers()
        return {"crv": "P-256", "kty": "EC", "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}

    def get(self, url):
        return json.loads(self.post(url, None)[2])

    def order(self, names, method, challenges):
        identifiers = [{"type": "dns", "value": name} for name in names]
        _, headers, body = self.post(self.directory["newOrder"], {"identifiers": identifiers})
        url, order = headers["Location"], json.loads(body)
        for authorization in order["authorizations"]:
            self.prove(authorization, method, challenges)
        self.wait(url, "pending")
        self.post(order["finalize"], {"csr": b64(request_for(names))})
        done = self.wait(url, "processing")
        return self.post(done["certificate"], None)[2].decode().count("BEGIN CERTIFICATE")

    def prove(self, url, method, challenges):
        authorization = self.get(url)
        if authorization["status"] == "valid":
            return
        challenge = next(one for one in authorization["challenges"] if one["type"] == method)
        thumbprint = hashlib.sha256(json.dumps(self.jwk(), sort_keys=True, separators=(",", ":")).encode()).digest()
        answer = f"{challenge['token']}.{b64(thumbprint)}"
        if method == "http-01":
            tell(challenges, "add-http01", {"token": challenge["token"], "content": answer})
        else:
            host = f"_acme-challenge.{authorization['identifier']['value']}."
            tell(challenges, "set-txt", {"host": host, "value": b64(hashlib.sha256(answer.encode()).digest())})
        self.post(challenge["url"], {})
        self.wait(url, "pending")

    def wait(self, url, status):
        for _ in range(600):
            thing = self.get(url)
            if thing["status"] == "invalid":
                raise Problem(thing.get("error") or thing)
            if thing["status"] != status:
                return thing
            time.sleep(0.1)
        raise AssertionError(f"{url} stays {status}")


def connect_to(name):
    """Leads connections to a host to where it is, whatever the resolver says."""
    if "ACME_CONNECT_TO" in os.environ:
        host, port = os.environ["ACME_CONNECT_TO"].rsplit(":", 1)
        connect = socket.create_connection
        socket.create_connection = lambda to, *rest, **more: connect((host, int(port)) if to[0] == name else to, *rest, **more)


def account_key(path):
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(key.private_bytes(*form))
    return serialization.load_pem_private_key(path.read_bytes(), None)


def request_for(names):
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(alternatives, False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def tell(challenges, what, value):
    request = urllib.request.Request(f"{challenges}/{what}", data=json.dumps(value).encode(), method="POST")
    urllib.request.urlopen(request).read()


def b64(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main():
    command, directory, ca, key, *rest = sys.argv[1:]
    try:
        client = Client(directory, ca, key)
    except Problem as problem:
        print(json.dumps({"problem": problem.document}))
        return
    said = {"account": client.account}
    if command == "order":
        method, challenges, *names = rest
        try:
            said["certificates"] = client.order(names, method, challenges)
        except Problem as problem:
            said["problem"] = problem.document
    print(json.dumps(said))


main()
