//! Challenges that the agent has published: each is withdrawn, whatever comes of the order.

use std::time::Duration;

use enclave_wire::control::{Challenge, JobError, JobFailure, Published as Answer};
use tokio::time::{Instant, sleep_until};

use super::agents::Agents;
use super::failure::failure;
use super::server::after;

/// What was published for one order.
pub(super) struct Published<'a> {
    agents: &'a Agents,
    challenges: Vec<Challenge>,
}

impl<'a> Published<'a> {
    pub(super) fn new(agents: &'a Agents) -> Self {
        Self {
            agents,
            challenges: Vec::new(),
        }
    }

    /// Has these published, and waits until everybody can see them all: they wait together, not one after the other.
    pub(super) async fn publish(&mut self, challenges: Vec<Challenge>) -> Result<(), JobFailure> {
        let until = after(PUBLISHING);
        // An agent that does not answer may have published one all the same.
        self.challenges.clone_from(&challenges);
        let mut unseen = challenges;
        loop {
            let next = after(ASK_AGAIN);
            unseen = self.ask(unseen, until).await?;
            if unseen.is_empty() {
                return Ok(());
            }
            if next > until {
                return Err(failure(
                    JobError::Unpublished,
                    "what proves the names was not to be seen within ten minutes",
                ));
            }
            sleep_until(next).await;
        }
    }

    /// Asks for each once; those that are not to be seen yet are left.
    async fn ask(&self, challenges: Vec<Challenge>, until: Instant) -> Result<Vec<Challenge>, JobFailure> {
        let mut unseen = Vec::new();
        for challenge in challenges {
            let Some(agent) = self.agents.clone().wait(Duration::ZERO, until).await else {
                return Err(failure(
                    JobError::Unpublished,
                    "there was no agent to publish what proves the names",
                ));
            };
            match agent.publish(&challenge).await {
                Some(Answer::Yes) => {}
                Some(Answer::No(why)) => return Err(failure(JobError::Unpublished, why.as_str())),
                // Or the connection ended, and another agent may come.
                Some(Answer::NotYet) | None => unseen.push(challenge),
            }
        }
        Ok(unseen)
    }

    /// Has all of it taken away. What an agent does not take away now is of no use to anybody: its order is over.
    pub(super) async fn withdraw(self) {
        let until = after(WITHDRAWING);
        for challenge in self.challenges {
            let withdrawn = match self.agents.clone().wait(Duration::ZERO, until).await {
                Some(agent) => agent.withdraw(&challenge).await,
                None => false,
            };
            if !withdrawn {
                tracing::warn!(name = %challenge.name, "the agent did not withdraw a challenge");
            }
        }
    }
}

/// DNS servers are slow to tell each other: Route 53 takes a minute at most.
const PUBLISHING: Duration = Duration::from_secs(600);
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// For an agent to come back.
const WITHDRAWING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use enclave_wire::control::{AgentReply, ChallengeKind, EnclaveRequest};
    use enclave_wire::log::Text;

    use super::super::agents::Presence;
    use super::*;
    use crate::serve::control::Agent;

    type Said = Arc<Mutex<Vec<&'static str>>>;

    fn challenge() -> Challenge {
        Challenge {
            kind: ChallengeKind::Dns01,
            name: "a.example".parse().unwrap(),
            token: Text::lossy("token"),
            value: Text::lossy("value"),
        }
    }

    /// An agent that gives these answers to `publish`, then hangs up.
    fn agent(presence: &Presence, answers: Vec<Answer>) -> Said {
        let (agent, mut asked) = Agent::new();
        presence.set(Some(agent));
        let said = Said::default();
        let noted = Arc::clone(&said);
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Some(ask) = asked.recv().await {
                let (word, reply) = match ask.request {
                    EnclaveRequest::Publish(_) => match answers.next() {
                        Some(answer) => ("publish", AgentReply::Published(answer)),
                        None => return,
                    },
                    EnclaveRequest::Withdraw(_) => ("withdraw", AgentReply::Withdrawn),
                    other @ (EnclaveRequest::Ping
                    | EnclaveRequest::StoreState(_)
                    | EnclaveRequest::NeedCredentials
                    | EnclaveRequest::Ended(_)) => panic!("{other:?}"),
                };
                noted.lock().unwrap().push(word);
                ask.answered.send(reply).unwrap();
            }
        });
        said
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_until_all_can_see_it() {
        let presence = Presence::new();
        let said = agent(&presence, vec![Answer::NotYet, Answer::NotYet, Answer::Yes]);
        let agents = presence.agents();
        let mut published = Published::new(&agents);
        let begun = Instant::now();
        published.publish(vec![challenge()]).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
        published.withdraw().await;
        assert_eq!(*said.lock().unwrap(), ["publish", "publish", "publish", "withdraw"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_cannot_says_why_and_is_told_to_withdraw_all_the_same() {
        let presence = Presence::new();
        let said = agent(&presence, vec![Answer::No(Text::lossy("no such zone"))]);
        let agents = presence.agents();
        let mut published = Published::new(&agents);
        let failed = published.publish(vec![challenge()]).await.unwrap_err();
        assert_eq!(failed, failure(JobError::Unpublished, "no such zone"));
        published.withdraw().await;
        assert_eq!(*said.lock().unwrap(), ["publish", "withdraw"]);
    }

    #[tokio::test(start_paused = true)]
    async fn control_that_is_lost_is_waited_for() {
        let presence = Presence::new();
        let first = agent(&presence, vec![Answer::NotYet]);
        let agents = presence.agents();
        let mut published = Published::new(&agents);
        let (result, second) = tokio::join!(published.publish(vec![challenge()]), async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            presence.set(None);
            tokio::time::sleep(Duration::from_secs(100)).await;
            agent(&presence, vec![Answer::Yes])
        });
        result.unwrap();
        assert_eq!(*first.lock().unwrap(), ["publish"]);
        assert_eq!(*second.lock().unwrap(), ["publish"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let presence = Presence::new();
        let agents = presence.agents();
        let mut published = Published::new(&agents);
        let begun = Instant::now();
        let failed = published.publish(vec![challenge()]).await.unwrap_err();
        assert_eq!(failed.error, JobError::Unpublished);
        assert_eq!(begun.elapsed(), PUBLISHING);
        let said = agent(&presence, vec![Answer::NotYet; 1_000]);
        let begun = Instant::now();
        let failed = published.publish(vec![challenge()]).await.unwrap_err();
        assert_eq!(failed.error, JobError::Unpublished);
        assert!(begun.elapsed() <= PUBLISHING, "{:?}", begun.elapsed());
        assert_eq!(said.lock().unwrap().len(), 301, "at once, then every two seconds");
    }
}
