//! Why a control request was refused: one code for each rule.

use crate::codec::byte_enum;

byte_enum! {
    /// Every error of the control plane. An administrator reads these, so each names one rule; none carries a secret.
    pub enum ControlError {
        /// Not this protocol, or out of order. The connection ends.
        Malformed = 0x01,
        /// Another version of the protocol. The connection ends.
        Version = 0x02,
        /// `policy` comes first after a boot.
        PolicyFirst = 0x03,
        /// This boot has its policy already.
        PolicyAlreadySet = 0x04,
        /// The policy is not valid, or has a key that is not known.
        PolicyInvalid = 0x05,
        /// No key has this id.
        NoSuchKey = 0x06,
        /// A key with this public key is here already.
        KeyExists = 0x07,
        /// As many keys, clients or generations as the service holds.
        LimitReached = 0x08,
        /// The service failed; its log says why.
        Failed = 0x09,

        /// No pattern of the policy matches the name.
        NameRefused = 0x10,
        /// The policy does not allow this usage for this name.
        UsageRefused = 0x11,
        /// The policy does not allow this type or size of key.
        KeyTypeRefused = 0x12,
        /// The policy does not allow imports.
        ImportsRefused = 0x13,
        /// A usage can only be narrowed, from `digest` to another.
        NotNarrower = 0x14,
        /// A client was named that has no credential.
        NoSuchClient = 0x15,
        /// Not a private key in PKCS#8, or one that fails its own check.
        KeyInvalid = 0x16,
        /// The service makes RSA keys of 2,048, 3,072, 4,096 and 8,192 bits only.
        SizeNotGenerated = 0x17,

        /// A certificate is not valid X.509.
        CertificateInvalid = 0x20,
        /// The leaf is not the key's.
        ChainKeyMismatch = 0x21,
        /// A certificate's issuer is not the subject of the next.
        ChainOrder = 0x22,
        /// A certificate's signature is not its issuer's.
        ChainSignature = 0x23,
        /// An issuer is not a CA, or may not sign certificates.
        ChainNotCa = 0x24,
        /// An issuer's path length is exceeded.
        ChainPathLength = 0x25,
        /// The leaf may not serve TLS (or, for `tls-client`, may not identify a client).
        ChainExtendedKeyUsage = 0x26,
        /// The leaf's names are not those given with the key.
        ChainNames = 0x27,
        /// A certificate is not valid yet.
        ChainNotYetValid = 0x28,
        /// A certificate has expired.
        ChainExpired = 0x29,
        /// The leaf comes without its issuer.
        ChainIncomplete = 0x2a,
        /// A critical extension that is not understood.
        ChainCriticalExtension = 0x2b,
    }
}
