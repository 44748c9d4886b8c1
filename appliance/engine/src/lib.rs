//! Decoders, rules, alert state and ledger: everything that the gateway decides.
//!
//! Pure: no clock, no socket, no file, no task, no random source. Time comes in as an argument, decisions go out as values.
//! A raw [`event::Event`] has no encoder, so nothing here can put one on a wire:
//!
//! ```compile_fail,E0277
//! fn encode(event: &postern_engine::event::Event) -> Vec<u8> {
//!     serde_json::to_vec(event).unwrap()
//! }
//! ```
//! ```compile_fail,E0599
//! fn encode(event: &postern_engine::event::Event) -> Vec<u8> {
//!     use prost::Message as _;
//!     event.encode_to_vec()
//! }
//! ```

pub mod alert;
pub mod ber;
pub mod event;
pub mod ledger;
mod mib;
mod noise;
pub mod push;
pub mod rule;
pub mod snmp;
pub mod syslog;
pub mod value;
