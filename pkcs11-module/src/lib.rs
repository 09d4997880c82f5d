//! PKCS#11 module that asks an enclave for TLS signatures.
