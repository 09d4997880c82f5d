#!/usr/bin/env python3
"""Makes the private keys of this directory, good and bad, with openssl and a little DER. They are throw-away keys: run again, it
makes others of the same forms. Each bad one breaks one rule; src/keystore/key/tests/import.rs says which."""

import pathlib
import secrets
import subprocess

HERE = pathlib.Path(__file__).parent


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def integer(value):
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def sequence(*parts):
    return tlv(0x30, *parts)


def octets(body):
    return tlv(0x04, body)


def bits(body):
    return tlv(0x03, b"\0" + body)


RSA = sequence(bytes.fromhex("06092a864886f70d010101"), b"\x05\0")
EC = bytes.fromhex("06072a8648ce3d0201")
P256 = bytes.fromhex("06082a8648ce3d030107")
ED25519 = sequence(bytes.fromhex("06032b6570"))


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


def genpkey(algorithm, *options):
    arguments = [word for option in options for word in ("-pkeyopt", option)]
    return to_pkcs8(openssl("genpkey", "-algorithm", algorithm, "-outform", "DER", *arguments))


def to_pkcs8(key):
    return openssl("pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", data=key)


def write(name, der):
    (HERE / f"{name}.der").write_bytes(der)


def inner(pkcs8):
    """The private key inside a PKCS#8 that ends with it."""

    def header(at):
        size = pkcs8[at + 1]
        return (2, size) if size < 128 else (2 + size - 128, int.from_bytes(pkcs8[at + 2 : at + 2 + size - 128], "big"))

    at = header(0)[0]
    at += sum(header(at))  # version
    at += sum(header(at))  # algorithm
    return pkcs8[at + header(at)[0] :]


def ec_private_key(scalar, *options):
    return sequence(integer(1), octets(scalar), *options)


def probable_prime(size):
    while True:
        candidate = secrets.randbits(size) | (3 << (size - 2)) | 1
        if candidate % 65537 != 1 and all(candidate % small for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)):
            if all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7, 11)):
                return candidate


def rsa_private_key(p, q, e=65537):
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return sequence(*map(integer, numbers))


def composite_factor():
    """p is the product of two primes, and yet e·d = 1 modulo p - 1 and q - 1: every check of the numbers passes."""
    while True:
        p = probable_prime(512) * probable_prime(512)
        q = probable_prime(1024)
        if p.bit_length() == 1024 and (p - 1) % 65537 and (p * q).bit_length() == 2048:
            return rsa_private_key(p, q)


# Good ones, as openssl writes them.
rsa = genpkey("RSA", "rsa_keygen_bits:2048")
write("rsa-2048", rsa)
write("rsa-2056", genpkey("RSA", "rsa_keygen_bits:2056"))
p256 = genpkey("EC", "ec_paramgen_curve:P-256", "ec_param_enc:named_curve")
write("p-256", p256)
write("p-384", genpkey("EC", "ec_paramgen_curve:P-384", "ec_param_enc:named_curve"))
write("p-521", genpkey("EC", "ec_paramgen_curve:P-521", "ec_param_enc:named_curve"))
ed25519 = genpkey("ED25519")
write("ed25519", ed25519)

# Other forms that are taken, each of the key above.
scalar = inner(p256)[7:39]
public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=p256)[-65:]
compressed = bytes([2 + (public[-1] & 1)]) + public[1:33]
named = sequence(EC, P256)
write("p-256-without-public-key", sequence(integer(0), named, octets(ec_private_key(scalar))))
write(
    "p-256-with-compressed-public-key",
    sequence(integer(0), named, octets(ec_private_key(scalar, tlv(0xA1, bits(compressed))))),
)
write(
    "p-256-with-curve-twice",
    sequence(integer(0), named, octets(ec_private_key(scalar, tlv(0xA0, P256), tlv(0xA1, bits(public))))),
)
seed = octets(inner(ed25519)[2:])
edwards = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=ed25519)[-32:]
write("ed25519-version-2", sequence(integer(1), ED25519, octets(seed), tlv(0x81, b"\0" + edwards)))

# Refused: another algorithm, curve or size.
write("rsa-1024", genpkey("RSA", "rsa_keygen_bits:1024"))
write("rsa-2052", genpkey("RSA", "rsa_keygen_bits:2052"))
write("rsa-pss-only", genpkey("RSA-PSS", "rsa_keygen_bits:2048"))
write("p-224", genpkey("EC", "ec_paramgen_curve:P-224", "ec_param_enc:named_curve"))
write("secp256k1", genpkey("EC", "ec_paramgen_curve:secp256k1", "ec_param_enc:named_curve"))
write("x25519", genpkey("X25519"))
explicit = openssl("ec", "-inform", "DER", "-param_enc", "explicit", "-outform", "DER", data=p256)
write("p-256-explicit", to_pkcs8(explicit))
write("p-256-explicit-inside", sequence(integer(0), named, octets(explicit)))

# Refused: another form.
write("rsa-pkcs1", inner(rsa))
write("p-256-sec1", openssl("ec", "-inform", "DER", "-outform", "DER", data=p256))
write(
    "encrypted",
    openssl("pkcs8", "-topk8", "-inform", "DER", "-outform", "DER", "-passout", "pass:lab", data=p256),
)
write("trailing-byte", p256 + b"\0")
write("rsa-version-2", sequence(integer(1), RSA, octets(inner(rsa))))

# Refused: parts that do not belong together.
other = openssl(
    "pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=genpkey("EC", "ec_paramgen_curve:P-256")
)[-65:]
write("p-256-wrong-public-key", sequence(integer(0), named, octets(ec_private_key(scalar, tlv(0xA1, bits(other))))))
write("p-256-zero", sequence(integer(0), named, octets(ec_private_key(bytes(32)))))
write(
    "ed25519-wrong-public-key",
    sequence(integer(1), ED25519, octets(seed), tlv(0x81, b"\0" + edwards[:-1] + bytes([edwards[-1] ^ 1]))),
)
p, q = probable_prime(1024), probable_prime(1024)
n, d = p * q, pow(65537, -1, (p - 1) * (q - 1))
write("rsa-without-factors", sequence(integer(0), RSA, octets(sequence(*map(integer, (0, n, 65537, d, 0, 0, 0, 0, 0))))))
write("rsa-without-exponent", sequence(integer(0), RSA, octets(sequence(*map(integer, (0, n, 0, d, 0, 0, 0, 0, 0))))))
write("rsa-composite-factor", sequence(integer(0), RSA, octets(composite_factor())))
