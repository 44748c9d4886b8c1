//! What a gateway or an agent needs to reach the control plane: the durable spool, the tunnel, enrolment, and the TLS of all three.
//!
//! Takes only bytes and types of `protocol`: a raw event has no way in here. Called by the gateway, and later by the agent.

pub mod dial;
pub mod enrolment;
pub mod examine;
pub mod identity;
pub mod renewal;
pub mod spool;
pub mod tasks;
pub mod tls;
pub mod tunnel;
pub mod url;
