//! The tunnel's server side: HTTP/2 inside mutual TLS, one control stream and one stream for each lane.
//!
//! `connection` speaks HTTP/2, `session` the control stream, `lane` a lane's stream, `farewell` says how it ended. `identity` says
//! whose certificate it is, `greeting` compares states, `incarnations` tells a restored disk from a clone, `batch` decodes records.
//! `handlers` gives each kind of message its handler: `reports` stores what the gateway says of itself, `revision_reports` how far
//! a revision got, `audit` its log; `certificates` renews, `trust` says whom to trust, `news` sends what it has to know, `secrets`
//! the sealed ones, `dictionary` the names of OIDs, `healing` makes both sides' alerts agree again, `pacing` slows a gateway down. `minutes` and `bounds` cut what is
//! too much. `registry` is how the rest of the program reaches a live session. Called by the listener.

mod audit;
pub mod batch;
mod bounds;
mod certificates;
pub(crate) mod connection;
mod context;
mod dictionary;
mod downward;
mod farewell;
mod frames;
pub mod greeting;
mod handlers;
mod healing;
pub(crate) mod identity;
pub mod incarnations;
mod lane;
mod minutes;
mod news;
mod pacing;
pub mod registry;
mod replays;
mod reports;
mod revision_reports;
mod secrets;
mod session;
mod trust;
