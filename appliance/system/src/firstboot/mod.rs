//! Reads what the hypervisor offers, once.
