//! A strict stand-in for AWS KMS.
