//! The gateway daemon: receives traps, syslog and pushes, turns them into alerts by rules, and sends only those, durably.
//!
//! [`run`] is the daemon: it puts the tasks together and nothing else. Decisions are made in `postern_engine`, what crosses the
//! site's border is defined in `postern_protocol`, and the way there is `postern_uplink`.

mod accounts;
pub mod audit;
mod balance;
mod canary;
pub mod config;
mod control;
mod daemon;
pub mod descriptors;
mod dictionary;
pub mod doctor;
pub mod enrol;
pub mod events;
mod identity;
mod intake;
mod inventory;
pub mod listener_certificate;
mod listeners;
mod network_map;
mod numbered_files;
pub mod outbound;
mod pipeline;
pub mod proxy;
mod receivers;
pub mod replay;
pub mod revision;
mod ring;
mod rule_report;
pub mod sandbox;
pub mod service;
mod site;
mod snmp_engine;
pub mod status;
pub mod table;
mod vault;
mod waiting_room;

pub use daemon::{Opened, RunOptions, run};

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Makes a directory that only its owner can enter, unless it is there.
fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.with_context(|| format!("{} cannot be made", path.display()))
}

/// Writes an error with all its causes, for logs and reports.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
