//! Every type that crosses a trust boundary, with its encoding and its limits.
//!
//! What is not expressible here cannot leave a site: a raw event has no type in this crate and so no way into a frame.
//! No clock, no socket, no file. Linked by the gateway, the agent and the control plane.

pub mod alert;
pub mod audit;
pub mod dictionary;
pub mod enrolment;
pub mod farewell;
pub mod frame;
pub mod id;
pub mod inventory;
pub mod message;
pub mod oid;
pub mod replay;
pub mod revision;
pub mod sample;
pub mod secret;
pub mod status;
pub mod timestamp;
pub mod trust;

/// Every field that can leave a site, as JSON: made from the types of this crate, and held to them by a test.
pub const CONTRACT: &str = include_str!("../CONTRACT.json");
