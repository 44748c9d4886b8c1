//! The menu of the person at the machine.
