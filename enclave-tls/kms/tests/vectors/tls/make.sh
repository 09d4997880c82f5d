#!/bin/sh
# Makes the certificates and keys of the hosts that the tests speak to. They are valid for nineteen years, and the tests bring
# their own time.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$tmp/$1.pem"; }

root() { # FILE NAME
    key "$1"
    openssl req -x509 -new -key "$tmp/$1.pem" -subj "/CN=$2" -days 7000 \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out "$tmp/$1.crt"
    openssl x509 -in "$tmp/$1.crt" -outform DER -out "$1.der"
}

leaf() { # FILE ROOT NAMES
    key "$1"
    openssl pkcs8 -topk8 -nocrypt -in "$tmp/$1.pem" -outform DER -out "$1.key"
    openssl req -new -key "$tmp/$1.pem" -subj "/CN=$1" -out "$tmp/$1.csr"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$3" >"$tmp/ext"
    openssl x509 -req -in "$tmp/$1.csr" -CA "$tmp/$2.crt" -CAkey "$tmp/$2.pem" -days 6999 -extfile "$tmp/ext" 2>/dev/null |
        openssl x509 -outform DER -out "$1.der"
}

region=us-east-1.amazonaws.com
vpce=vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com
hosts="DNS:kms.$region,DNS:kms-fips.$region,DNS:$vpce,DNS:s3.$region,DNS:kms.eu-west-1.amazonaws.com"
root root "A root that the policy names"
root public-root "A root that the policy does not name"
leaf aws root "$hosts"
leaf aws-of-another-root public-root "$hosts"
leaf another-host root "DNS:www.example.com,DNS:kms.us-west-2.amazonaws.com"
leaf another-host-of-another-root public-root "DNS:www.example.com"
