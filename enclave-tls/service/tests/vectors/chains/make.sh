#!/bin/sh
# Makes two chains with openssl alone, so that the rules are tried on certificates that this repository's code did not write: an RSA
# root that signs with PSS, a P-384 intermediate, and a P-256 leaf for a server; an Ed25519 root with a leaf for a client; and, to be
# refused, leaves that the RSA root signed with SHA-1 and with a PSS salt of another length, and one under an RSA root of 1,024 bits.
# They are valid for a hundred years. The keys are thrown away; of the leaves' the public half is kept.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/extensions" <<'CONF'
[root]
basicConstraints = critical, CA:true, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[intermediate]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
certificatePolicies = 2.23.140.1.2.1
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:www.example.com, DNS:example.com, DNS:*.example.net
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
certificatePolicies = 2.23.140.1.2.1
authorityInfoAccess = caIssuers;URI:http://ca.example/intermediate.der
crlDistributionPoints = URI:http://ca.example/intermediate.crl
[client]
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
CONF

key() { # name, genpkey options
    name=$1; shift
    openssl genpkey -out "$work/$name.pem" "$@"
}

certificate() { # name, subject, issuer or itself, extensions, options
    name=$1 subject=$2 issuer=$3 section=$4; shift 4
    openssl req -new -key "$work/$name.pem" -subj "$subject" -out "$work/$name.csr"
    if [ "$issuer" = "$name" ]; then
        signer="-signkey $work/$name.pem"
    else
        signer="-CA $work/$issuer.crt -CAkey $work/$issuer.pem -CAcreateserial"
    fi
    # shellcheck disable=SC2086 # the options are several words
    openssl x509 -req -in "$work/$name.csr" $signer -days 36500 -extfile "$work/extensions" -extensions "$section" \
        -out "$work/$name.crt" "$@"
    openssl x509 -in "$work/$name.crt" -outform DER -out "$name.der"
}

pss="-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest"
key root -algorithm RSA -pkeyopt rsa_keygen_bits:2048
key intermediate -algorithm EC -pkeyopt ec_paramgen_curve:P-384
key server -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key client-root -algorithm ED25519
key client -algorithm EC -pkeyopt ec_paramgen_curve:P-256
# shellcheck disable=SC2086
certificate root "/C=XX/O=Lab/CN=Lab Root" root root $pss
# shellcheck disable=SC2086
certificate intermediate "/C=XX/O=Lab/CN=Lab Intermediate" root intermediate $pss
certificate server "/CN=www.example.com" intermediate server -sha384
certificate client-root "/CN=Client Root" client-root root
certificate client "/O=Lab/CN=proxy 1" client-root client
cp "$work/server.pem" "$work/sha1.pem"
certificate sha1 "/CN=www.example.com" root server -sha1
cp "$work/server.pem" "$work/salt-20.pem"
certificate salt-20 "/CN=www.example.com" root server -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20
key rsa-1024-root -algorithm RSA -pkeyopt rsa_keygen_bits:1024
certificate rsa-1024-root "/O=Lab/CN=Old Root" rsa-1024-root root -sha256
cp "$work/server.pem" "$work/rsa-1024.pem"
certificate rsa-1024 "/CN=www.example.com" rsa-1024-root server -sha256
openssl verify -auth_level 0 -CAfile "$work/rsa-1024-root.crt" "$work/rsa-1024.crt"
for leaf in sha1 salt-20; do
    openssl verify -CAfile "$work/root.crt" "$work/$leaf.crt"
done
for leaf in server client; do
    openssl pkey -in "$work/$leaf.pem" -pubout -outform DER -out "$leaf.spki.der"
done
