//! The agent, as a job sees it: a job goes on while control is lost, and waits where it needs the agent.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::serve::control::Agent;

/// Says which agent is there.
pub(in crate::serve) struct Presence(watch::Sender<Option<Agent>>);

/// Whoever waits for an agent.
#[derive(Clone)]
pub(super) struct Agents(watch::Receiver<Option<Agent>>);

impl Presence {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn agents(&self) -> Agents {
        Agents(self.0.subscribe())
    }

    pub(super) fn set(&self, agent: Option<Agent>) {
        self.0.send_replace(agent);
    }
}

impl Agents {
    /// The agent that is there now.
    pub(super) fn now(&self) -> Option<Agent> {
        self.0.borrow().clone()
    }

    /// The agent that is there or that comes before `until`, once its connection has lasted for so long.
    pub(super) async fn wait(&mut self, lasting: Duration, until: Instant) -> Option<Agent> {
        timeout_at(until, self.lasting(lasting)).await.ok().flatten()
    }

    async fn lasting(&mut self, lasting: Duration) -> Option<Agent> {
        loop {
            let agent = self.0.wait_for(Option::is_some).await.ok()?.clone()?;
            let rest = lasting.saturating_sub(agent.age());
            tokio::select! {
                () = tokio::time::sleep(rest) => return Some(agent),
                // Another one has come, or this one has gone.
                changed = self.0.changed() => changed.ok()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::after;
    use super::*;

    fn soon(seconds: u64) -> Instant {
        after(Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_waited_for_and_not_for_ever() {
        let presence = Presence::new();
        let mut agents = presence.agents();
        assert!(agents.now().is_none());
        assert!(agents.wait(Duration::ZERO, soon(60)).await.is_none());
        let (agent, _asked) = Agent::new();
        presence.set(Some(agent));
        assert!(agents.wait(Duration::ZERO, soon(60)).await.is_some());
        presence.set(None);
        let waits = tokio::spawn(async move { agents.wait(Duration::ZERO, soon(60)).await.is_some() });
        tokio::time::sleep(Duration::from_secs(30)).await;
        let (agent, _asked) = Agent::new();
        presence.set(Some(agent));
        assert!(waits.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_let_be_for_a_while() {
        let presence = Presence::new();
        let mut agents = presence.agents();
        let (first, _first) = Agent::new();
        presence.set(Some(first));
        let begun = Instant::now();
        let waits = tokio::spawn(async move {
            let agent = agents.wait(Duration::from_secs(10), soon(60)).await.unwrap();
            (agent.age(), begun.elapsed())
        });
        tokio::time::sleep(Duration::from_secs(9)).await;
        let (second, _second) = Agent::new();
        presence.set(Some(second));
        let (age, waited) = waits.await.unwrap();
        assert!(
            age >= Duration::from_secs(10) && waited >= Duration::from_secs(19),
            "{age:?} {waited:?}"
        );
    }
}
