//! Runs `nitro-cli`, and understands what it answers.
