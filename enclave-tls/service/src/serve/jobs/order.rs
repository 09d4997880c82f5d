//! Has a certificate made for a key: ordered, proven, asked for, looked at and installed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use enclave_acme as acme;
use enclave_wire::control::{
    Challenge, ChallengeKind, ControlError, InstallChain, Issued, JobError, JobFailure, JobOutcome, Order,
};
use enclave_wire::identity::Certificate;
use enclave_wire::log::Text;
use enclave_wire::{Chain, State};
use tokio::time::{Instant, sleep, timeout};

use super::account::{text, url};
use super::admission::{certificates_key, resumed};
use super::failure::{acme as of_acme, failure, ruled};
use super::published::Published;
use super::server::after;
use super::{AGENT_TIME, Worker};
use crate::keystore::Key;
use crate::serve::control::install;

impl Worker {
    pub(super) async fn order(&self, order: &Order) -> Result<JobOutcome, JobFailure> {
        let key = certificates_key(&self.state, &order.key).map_err(ruled)?;
        let signer = self.signer(&order.account.key)?;
        self.progress.at("asks for the account");
        let server = self.server(&order.account.directory).await?;
        let account = self.registered(&server, &signer, &order.account).await?;
        let run = Run {
            worker: self,
            account: &account,
            key: &key,
            order,
        };
        if let Some(begun) = run.resumed().await? {
            match run.finish(begun).await {
                // Somebody else's request went into it.
                Err(failed) if failed.rule == Some(ControlError::ChainKeyMismatch) => {
                    tracing::warn!(key = %order.key, "an order that was begun before has made another key's certificate");
                }
                finished => return finished,
            }
        }
        // Nothing new is ordered for a key that servers are not to get: one looks at such an order so that its certificate can be revoked.
        if key.entry().state != State::Live {
            return Err(failure(
                JobError::Order,
                "the key is superseded, and what was ordered for it is over",
            ));
        }
        let begun = run.begin().await?;
        run.finish(begun).await
    }
}

/// One order's run.
struct Run<'a> {
    worker: &'a Worker,
    account: &'a acme::Account<'a>,
    key: &'a Key,
    order: &'a Order,
}

impl Run<'_> {
    /// The order that was begun before, if it is there, is for the key's names and can still come to something.
    async fn resumed(&self) -> Result<Option<acme::Order>, JobFailure> {
        let Some(url) = resumed(self.order).map_err(ruled)? else {
            return Ok(None);
        };
        let found = match self.account.order_at(url.as_str()).await {
            Ok(found) => found,
            Err(acme::AcmeError {
                cause: acme::Cause::Refused(problem),
                ..
            }) => {
                tracing::info!(order = %url, %problem, "an order that was begun before is no more");
                return Ok(None);
            }
            Err(error) => return Err(of_acme(error)),
        };
        let names = BTreeSet::from_iter(self.key.dns_names().iter().cloned());
        let is_over = matches!(found.state, acme::OrderState::Invalid(_));
        if is_over || found.names != names {
            tracing::info!(order = %url, is_over, "an order that was begun before is of no use");
            return Ok(None);
        }
        self.worker.progress.order(text(&found.url)?);
        Ok(Some(found))
    }

    async fn begin(&self) -> Result<acme::Order, JobFailure> {
        self.worker.progress.at("orders the certificate");
        let new = acme::NewOrder {
            names: self.key.dns_names().to_vec(),
            profile: self.order.profile.as_ref().map(|profile| profile.as_str().to_owned()),
            replaces: self.replaces(),
        };
        let begun = self.account.order(&new).await.map_err(of_acme)?;
        self.worker.progress.order(text(&begun.url)?);
        Ok(begun)
    }

    /// The certificate that the new one takes the place of: the newest of the name.
    fn replaces(&self) -> Option<acme::CertId> {
        let new = self.key.entry();
        let keys = self.worker.state.keys.keys();
        let of_name = keys.iter().filter(|key| {
            let entry = key.entry();
            entry.name == new.name && entry.generation <= new.generation && !key.chain().certificates().is_empty()
        });
        let newest: &Arc<Key> = of_name.max_by_key(|key| key.entry().generation)?;
        acme::CertId::of(newest.chain().certificates().first()?.as_bytes()).ok()
    }

    async fn finish(&self, begun: acme::Order) -> Result<JobOutcome, JobFailure> {
        self.prove(&begun).await?;
        let progress = &self.worker.progress;
        progress.at("waits for the certificate");
        let request = self.key.signing().certificate_request(self.key.dns_names());
        let request = request.map_err(|error| failure(JobError::Service, &error.to_string()))?;
        let valid = self
            .account
            .finalize(&begun, request.as_bytes())
            .await
            .map_err(of_acme)?;
        progress.at("fetches the certificate");
        let preferred = self.order.preferred_chain.as_ref().map(Text::as_str);
        let given = self.account.certificate(&valid, preferred).await.map_err(of_acme)?;
        progress.at("installs the certificate");
        self.install(given).await
    }

    /// Proves each name that the CA wants a proof of.
    async fn prove(&self, begun: &acme::Order) -> Result<(), JobFailure> {
        let wanted = self.account.authorizations(begun).await.map_err(of_acme)?;
        let mut published = Published::new(&self.worker.agents);
        let proven = self.proven(&wanted, &mut published).await;
        published.withdraw().await;
        if let Err(failed) = &proven
            && !failed.error.leaves_the_order()
        {
            self.give_up(&wanted).await;
        }
        proven
    }

    /// CAs count what is pending, and this order is over. It has ended as it has, whatever comes of it.
    async fn give_up(&self, wanted: &[acme::Authorization]) {
        self.worker.progress.at("gives up what is not proven");
        let all = async {
            for authorization in wanted {
                if let Err(error) = self.account.give_up(authorization).await {
                    tracing::warn!(name = %authorization.name, %error, "an authorisation was not given up");
                }
            }
        };
        if timeout(GIVING_UP, all).await.is_err() {
            tracing::warn!(key = %self.order.key, "not all authorisations were given up in time");
        }
    }

    async fn proven(&self, wanted: &[acme::Authorization], published: &mut Published<'_>) -> Result<(), JobFailure> {
        let kind = kind(self.order.challenge);
        let mut open = Vec::new();
        for authorization in wanted {
            if let Some(challenge) = authorization.challenge(kind).map_err(of_acme)? {
                open.push((authorization, challenge));
            }
        }
        let challenges = open.iter().map(|(authorization, challenge)| Challenge {
            kind: self.order.challenge,
            name: authorization.name.clone(),
            token: Text::lossy(&challenge.token),
            value: Text::lossy(&challenge.answer),
        });
        self.worker.progress.at("publishes what proves the names");
        published.publish(challenges.collect()).await?;
        for (authorization, challenge) in open {
            self.worker
                .progress
                .at(&format!("has {} looked at", authorization.name));
            self.account.validate(authorization, challenge).await.map_err(of_acme)?;
        }
        Ok(())
    }

    /// Installs what came, if it is this key's and its state can be stored; an agent that is away is waited for.
    async fn install(&self, given: acme::Chain) -> Result<JobOutcome, JobFailure> {
        let chain = chain(given.certificates).ok_or_else(|| ruled(ControlError::CertificateInvalid))?;
        let until = after(AGENT_TIME);
        let mut agents = self.worker.agents.clone();
        let settled = self.worker.state.platform.limits.kms_pause.min(SETTLED);
        let validity = loop {
            let agent = agents.wait(settled, until).await;
            let agent = agent.ok_or_else(|| ruled(ControlError::StateNotStored))?;
            let key = self.order.key;
            let request = InstallChain {
                key,
                chain: chain.clone(),
            };
            match install(&self.worker.state, &agent, request).await {
                Ok(info) => break info.validity,
                Err(error) if is_passing(error) && Instant::now() < until => sleep(AGAIN).await,
                Err(error) => return Err(ruled(error)),
            }
        };
        Ok(JobOutcome::Certificate(Issued {
            validity: validity.ok_or_else(|| ruled(ControlError::Failed))?,
            issuer: Text::lossy(&given.issuer),
            account: url(self.account)?,
        }))
    }
}

/// Whether the agent or AWS may do their part a moment later; or the certificate begins then, since the CA's clock is before ours.
fn is_passing(error: ControlError) -> bool {
    matches!(
        error,
        ControlError::StateNotStored
            | ControlError::AwsUnavailable
            | ControlError::CredentialsMissing
            | ControlError::ChainNotYetValid
    )
}

fn kind(challenge: ChallengeKind) -> acme::ChallengeKind {
    match challenge {
        ChallengeKind::Http01 => acme::ChallengeKind::Http01,
        ChallengeKind::Dns01 => acme::ChallengeKind::Dns01,
    }
}

/// A chain that servers can send.
fn chain(certificates: Vec<Vec<u8>>) -> Option<Chain> {
    let certificates = certificates.into_iter().map(Certificate::try_from);
    Chain::try_from(certificates.collect::<Result<Vec<_>, _>>().ok()?).ok()
}

/// Each takes two requests, and a certificate has at most a hundred names.
const GIVING_UP: Duration = Duration::from_secs(30);
/// A connection whose agent has heard by then which states are here: it gives none of them back.
const SETTLED: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(5);
