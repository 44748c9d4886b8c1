//! The daemon as a whole, without a control plane: real sockets, a real spool, an identity of the test's own making.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod bootstrap;
mod configured;
mod proxy;
mod receivers;
mod restart;
mod sandbox;
mod service;
mod site;
mod snmp;
mod streams;
mod trial;
