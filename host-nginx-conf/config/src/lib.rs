//! The configuration file of the agent.
