//! A strict stand-in for the Nitro Secure Module.
