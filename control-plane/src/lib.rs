//! The control plane: gateways' tunnels come in on one port, alerts go into each tenant's own database, and people and
//! programs see them through the console and the API.
//!
//! `main` only calls [`cli::run`]; `serve` wires `app`, `listener` and the background tasks. Tests link the same code.

pub mod admin;
pub mod alert_actions;
pub mod api;
pub mod app;
pub mod auth;
pub mod balance;
pub mod beside;
pub mod ca;
pub mod canonical;
pub mod cli;
pub mod clock;
pub mod clones;
pub mod config;
pub mod configuration;
pub mod console;
mod descriptors;
pub mod enrolment;
pub mod explain;
pub mod feed;
pub mod headers;
pub mod identities;
pub mod key_file;
pub mod line_diff;
pub mod listener;
pub mod metrics;
pub mod mib;
pub mod mibs;
mod named_secrets;
pub mod oid_names;
pub mod pairs;
pub mod random;
pub mod replays;
pub mod retention;
pub mod revocation;
pub mod rfc3339;
pub mod rollouts;
pub mod rule_book;
pub mod sealing;
pub mod secrets;
pub mod serve;
pub mod server_name;
pub mod signer;
pub mod small_body;
mod sources;
pub mod store;
pub mod tls;
pub mod trust;
pub mod tunnel;
pub mod unreachable;
pub mod waiting_room;
pub mod windows;

/// Returns an error's text with those of all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
