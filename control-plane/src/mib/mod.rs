//! MIB modules of admins, compiled to the table of names that gateways have.
//!
//! The work is done in a child process with little memory and time to spend (`compiler` starts it, `worker` is its inside), because
//! archives and modules come from outside. `archive` unpacks, `text` mends what is no plain module, `lexer`, `scan` and `parse` read
//! it, `names` and `resolve` say what it means, `library` asks mib-rs, `assemble` puts all together, `report` says what came of it. Nothing here keeps anything.

pub mod archive;
mod assemble;
pub mod compiler;
mod lexer;
mod library;
mod names;
mod parse;
pub mod report;
mod resolve;
mod scan;
mod text;
pub mod worker;
