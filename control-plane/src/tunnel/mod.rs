//! The tunnel's server side: HTTP/2 inside mutual TLS, one control stream and one stream for each lane.
//!
//! `connection` speaks HTTP/2, `session` the control stream, `lane` a lane's stream. `identity` says whose certificate it is,
//! `greeting` compares states, `batch` decodes records, `reports` stores what the gateway says of itself, `news` sends what it has to
//! know, `secrets` the sealed ones, `dictionary` the names of OIDs. `minutes` and `bounds` cut what is too much. `registry` is how the rest of the program reaches a live session. Called by the listener.

pub mod batch;
mod bounds;
pub(crate) mod connection;
mod dictionary;
mod frames;
pub mod greeting;
mod identity;
mod lane;
mod minutes;
mod news;
pub mod registry;
mod reports;
mod secrets;
mod session;
