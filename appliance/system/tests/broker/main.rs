//! The broker as a program: real sockets, real users, and in `packets` the real firewall, in a network namespace of its own.
//!
//! Everything lies below a temporary directory. What the broker asks of systemd goes to a script of the test that notes it.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod apply;
mod packets;
mod programs;
mod requests;
mod site;
mod ssh;
