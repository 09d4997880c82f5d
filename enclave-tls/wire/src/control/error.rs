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
        /// The machine has no memory for more keys; those that are there stay.
        MemoryFull = 0x0a,
        /// The policy asks for `kvm-clock`, and the kernel counts time by another source.
        ClockSourceRefused = 0x0b,

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
        /// A client was named that has no credential, or not this one.
        NoSuchClient = 0x15,
        /// Not a private key in PKCS#8, or one that fails its own check.
        KeyInvalid = 0x16,
        /// The service makes RSA keys of 2,048, 3,072, 4,096 and 8,192 bits only.
        SizeNotGenerated = 0x17,
        /// The policy names no KMS key for sealed state.
        SealingRefused = 0x18,
        /// The policy does not allow this KMS key, or the key's ARN is not one.
        KmsKeyRefused = 0x19,
        /// The policy does not take bundles without an encryption context.
        ForeignBundleRefused = 0x1a,
        /// The policy does not allow this region, or it is not one.
        RegionRefused = 0x1b,
        /// A name's generations are sealed all or none, and in one group.
        SealedOtherwise = 0x1c,

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
        /// A certificate is signed by an algorithm that is not taken: with SHA-1, say.
        ChainAlgorithm = 0x2c,
        /// An issuer's key is of a kind or size that is not taken: RSA of 1,024 bits, say.
        ChainIssuerKey = 0x2d,

        /// Not a bundle: its JSON, its PEM or its private key.
        BundleInvalid = 0x30,
        /// The bundle was made for another name.
        BundleName = 0x31,
        /// Not a state that an enclave sealed, or one that was changed.
        StateInvalid = 0x32,
        /// A newer state of this name is here already.
        StateRollback = 0x33,
        /// The agent did not store the state: nothing was changed.
        StateNotStored = 0x34,

        /// There are no AWS credentials, or they have ended.
        CredentialsMissing = 0x40,
        /// AWS could not be reached or did not answer; another attempt may succeed.
        AwsUnavailable = 0x41,
        /// KMS or S3 refused: the key's policy, or the role's.
        AwsDenied = 0x42,
        /// The parent's allow-list has not the host.
        EgressRefused = 0x43,
        /// KMS cannot open this ciphertext: another key's, another context's, or a changed one.
        CiphertextInvalid = 0x44,
        /// The reply is not one that KMS gives to an attested request.
        AwsReplyInvalid = 0x45,
        /// S3 has no such object.
        NoSuchObject = 0x46,
        /// The NSM did not attest, or the policy names no root for it.
        AttestationFailed = 0x47,

        /// The policy does not allow this ACME directory, or names no root for it.
        DirectoryRefused = 0x50,
        /// Not the key of an account, or one where a certificate's key is asked for.
        AccountKey = 0x51,
        /// The policy names no resolver for DNS over HTTPS.
        ResolverRefused = 0x52,
        /// The key has no certificate.
        NoCertificate = 0x53,
    }
}
