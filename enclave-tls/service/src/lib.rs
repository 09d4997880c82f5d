//! Holds TLS private keys inside an AWS Nitro Enclave and signs with them.
