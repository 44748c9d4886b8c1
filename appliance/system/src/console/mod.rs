//! The menu of the person at the machine: on its screen, on its serial port, and as the shell of `postern-admin` over SSH.
//!
//! Plain lines, no privilege: it shows what the broker tells and asks the broker for everything else. Called by the program `console`.

pub mod editor;
pub mod form;
pub mod machine;
pub mod menu;
pub mod page;
pub mod session;
mod terminal;
pub mod text;
