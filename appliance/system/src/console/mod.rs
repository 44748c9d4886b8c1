//! The menu of the person at the machine.

pub mod editor;
pub mod terminal;
pub mod text;
