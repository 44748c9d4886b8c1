//! What the end-to-end tests stand on beside the library: real programs under the test's own hand.

pub(crate) mod browser;
pub(crate) mod forwarder;
pub(crate) mod relay;
pub(crate) mod rig;
pub(crate) mod volume;
