//! The demo's launcher, what the tests speak with, and the place where tests see both sides of the tunnel.
//!
//! `launcher` sets up a control plane with one enrolled gateway and keeps them running; `make run` uses it by way of the
//! `postern-demo` program, the end-to-end tests by way of its parts. `api`, `snmp` and `tools` are what those tests and the
//! image's speak with, `deadline` how both wait. Nothing here is part of a product.
//!
//! # The wall, as the compiler holds it
//!
//! Raw events have no encoding: not for a file, not for the tunnel.
//! ```compile_fail,E0277
//! fn encode<T: serde::Serialize>(_: &T) {}
//! fn leak(event: &postern_engine::event::Event) {
//!     encode(event);
//! }
//! ```
//! ```compile_fail,E0277
//! fn encode<T: prost::Message>(_: &T) {}
//! fn leak(event: &postern_engine::event::Event) {
//!     encode(event);
//! }
//! ```
//! What the spool takes is bytes that a `protocol` type was encoded to; an event cannot become them.
//! ```compile_fail,E0308
//! fn leak(event: postern_engine::event::Event) -> postern_uplink::spool::Commit {
//!     let records = vec![postern_uplink::spool::Record::plain(postern_protocol::id::Lane::Alerts, event)];
//!     postern_uplink::spool::Commit {
//!         records,
//!         delta: Vec::new(),
//!         checkpoint: None,
//!         at: postern_protocol::timestamp::Timestamp::from_nanos(0),
//!     }
//! }
//! ```
//! The same with an alert's encoding compiles, so that the refusals above are for the reason given.
//! ```
//! fn send(alert: &postern_protocol::alert::Alert) -> postern_uplink::spool::Commit {
//!     let records = vec![postern_uplink::spool::Record::plain(postern_protocol::id::Lane::Alerts, alert.encode().into())];
//!     postern_uplink::spool::Commit {
//!         records,
//!         delta: Vec::new(),
//!         checkpoint: None,
//!         at: postern_protocol::timestamp::Timestamp::from_nanos(0),
//!     }
//! }
//! ```

pub mod api;
pub mod deadline;
pub mod launcher;
pub mod snmp;
pub mod tools;
