#!/bin/sh
# uri-pem.sh ID >FILE: what NGINX before 1.29, and HAProxy, read in place of a private key through pkcs11-provider: no key,
# but where it is. ID is the key's id as `enclave-tlsctl list` prints it: 64 hexadecimal digits. Write a new file for each
# new key: NGINX may keep a key object whose file did not change.
set -eu

case ${1-} in
    *[!0-9a-f]* | '') echo "usage: uri-pem.sh ID" >&2; exit 2 ;;
esac
[ ${#1} -eq 64 ] || { echo "uri-pem.sh: an id has 64 digits" >&2; exit 2; }

# By id and type, never by a label alone: a label may come to mean another key.
uri="pkcs11:token=enclave-tls;id=$(printf %s "$1" | sed 's/../%&/g');type=private"

# The PEM holds DER: SEQUENCE {VisibleString, UTF8String}.
echo '-----BEGIN PKCS#11 PROVIDER URI-----'
printf 'asn1=SEQUENCE:uri\n[uri]\nabout=VISIBLESTRING:PKCS\\#11 Provider URI v1.0\nuri=UTF8String:%s\n' "$uri" |
    OPENSSL_CONF=/dev/null openssl asn1parse -genconf /dev/stdin -noout -out /dev/stdout | base64 -w 64
echo '-----END PKCS#11 PROVIDER URI-----'
