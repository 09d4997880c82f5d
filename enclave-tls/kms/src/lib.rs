//! Asks KMS and S3 from inside an enclave.
