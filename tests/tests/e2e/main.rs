//! End to end: the real programs, spoken to with real tools. One binary, so that it links once.
//!
//! Modules by what they show; `interop_*` speak through other people's programs, `flood` and `measured` want the machine to
//! themselves (see `.config/nextest.toml`).

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod harness;

mod audit;
mod bad_input;
mod clones;
mod configuration;
mod console;
mod crash;
mod demo;
mod doctor;
mod enrolment;
mod flood;
mod full_disk;
mod identity;
mod interop_snmp;
mod interop_snmpv3;
mod interop_syslog;
mod measured;
mod network;
mod noise;
mod outage;
mod overload;
mod overtaking;
mod pairs;
mod power_cut;
mod proxy;
mod push;
mod replay;
mod restored;
mod revisions;
mod rounds;
mod samples;
mod sandbox;
mod storm;
mod tenants;
mod unreachable;
mod vault;
mod wall;
