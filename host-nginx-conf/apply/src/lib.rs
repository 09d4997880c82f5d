//! The root helper of the agent.
