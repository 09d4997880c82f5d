//! End-to-end tests of enclave-tls.
