//! The console as a program, on a real pseudo-terminal: with a test at the broker's socket, and with the real broker.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod broker;
mod menu;
#[path = "../peer/mod.rs"]
mod peer;
mod screen;
