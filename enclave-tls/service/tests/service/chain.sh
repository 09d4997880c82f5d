#!/bin/sh
# Makes a chain for the key ../vectors/keys/p-256.der with openssl: a root that is thrown away, and a leaf for lab.test. A hundred years.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/root.pem" -out "$work/root.crt" -days 36500 \
    -subj "/CN=lab root" -addext "basicConstraints=critical,CA:true" -addext "keyUsage=critical,keyCertSign"
openssl req -new -keyform DER -key ../vectors/keys/p-256.der -subj "/CN=lab.test" -out "$work/leaf.csr"
printf 'subjectAltName=DNS:lab.test\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:false\n' \
    > "$work/extensions"
openssl x509 -req -in "$work/leaf.csr" -CA "$work/root.crt" -CAkey "$work/root.pem" -CAcreateserial -days 36500 \
    -extfile "$work/extensions" -outform DER -out chain-leaf.der
openssl x509 -in "$work/root.crt" -outform DER -out chain-root.der
