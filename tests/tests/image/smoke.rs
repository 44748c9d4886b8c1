//! What `make test-image` shows: the OVA as a file, and one life of the appliance that was made from it.

pub(crate) mod life;
mod listeners;
mod ova;
