//! The appliance image, booted and attacked: the real OVA in a virtual machine, a real control plane beside it.
//!
//! `tests/image/run` starts these tests in a network namespace of their own: `smoke` is what `make test-image` runs, the other modules
//! belong to `make ci-image`. A machine takes a minute to boot here, so a test is one life of a machine, told in steps.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod harness;

mod hostile;
mod inside;
mod proxied;
mod reproducible;
mod reset;
mod scans;
mod smoke;
mod ssh;
mod tamper;
mod tls;
