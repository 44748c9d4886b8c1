//! MIB modules of admins, compiled to the table of names that gateways have.
//!
//! The work is done in a child process with little memory and time to spend (`compiler` starts it, `worker` is its inside), because
//! archives and modules come from outside. `archive` unpacks, `text` mends what is no plain module, `scan` and `parse` read it,
//! `library` asks mib-rs, `resolve` puts both together, `report` says what came of it. Nothing here keeps anything.

pub mod compiler;
pub mod report;
