//! The control plane: gateways' tunnels come in on one port, alerts go into each tenant's own database, and people and
//! programs see them through the console and the API.
//!
//! `main` only calls [`cli::run`]; `serve` wires `app`, `listener` and the background tasks. Tests link the same code.

pub mod api;
pub mod app;
pub mod auth;
pub mod ca;
pub mod clock;
pub mod config;
pub mod console;
pub mod feed;
pub mod key_file;
pub mod metrics;
pub mod rfc3339;
pub mod signer;
pub mod store;
pub mod tunnel;
