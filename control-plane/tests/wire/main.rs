//! The public port as its peers see it: TLS, enrolment and the tunnel, spoken to from outside.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking; clippy's own exception covers the test functions, not what they call"
)]

mod enrolment;
mod identity;
mod intake;
mod lanes;
mod listener;
mod replays;
mod support;
mod tunnel;
