//! Looks up what the CAA records of names come to, for an account.

use std::time::Duration;

use enclave_https::{Limits, Url};
use enclave_wire::DnsName;
use enclave_wire::control::{Caa, CaaFinding, ControlError, JobFailure, JobOutcome};

use super::Worker;
use super::failure::ruled;
use crate::caa::{Issuer, Lookup, OverHttps};

impl Worker {
    pub(super) async fn caa(&self, caa: &Caa) -> Result<JobOutcome, JobFailure> {
        let resolver = self.force()?.policy.resolver().map_err(ruled)?;
        let url: Url = resolver.url.parse().map_err(|_| ruled(ControlError::ResolverRefused))?;
        let https = self.https(&url, resolver.roots, LIMITS)?;
        let signer = self.signer(&caa.account.key)?;
        self.progress.at("asks for the account");
        let server = self.server(&caa.account.directory).await?;
        let account = self.found(&server, &signer).await?;
        let issuer = Issuer {
            identities: &server.meta().caa_identities,
            account: account.url().as_str(),
        };
        let over_https = OverHttps {
            https: &https,
            url: &url,
        };
        let found = self
            .findings(caa.names.items(), &issuer, Lookup::new(&over_https))
            .await;
        let found = found.try_into().map_err(|_| ruled(ControlError::LimitReached))?;
        Ok(JobOutcome::Caa(found))
    }

    async fn findings(&self, names: &[DnsName], issuer: &Issuer<'_>, mut lookup: Lookup<'_>) -> Vec<CaaFinding> {
        let mut found = Vec::new();
        for name in names {
            self.progress.at(&format!("looks up {name}"));
            found.push(lookup.find(name, issuer).await);
        }
        found
    }
}

/// A resolver answers from memory, or asks a few servers.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    exchange: Duration::from_secs(10),
};
