//! What the image's tests stand on: a network of their own, a control plane in it, and virtual machines with a console.
//!
//! `artefacts` finds what `image/pack` made, `settings` makes the CD-ROM with OVF properties, `machine` is one virtual machine with
//! its disk and firmware variables, `console` its serial console, `monitor` its QEMU, `inside` the agent of a test variant. `site` is
//! the control plane and what is seen on the wire, `clock` the site's time server. `steps` and `checks` tell how far a test has come
//! and what it found.

pub(crate) mod artefacts;
pub(crate) mod checks;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod inside;
pub(crate) mod machine;
pub(crate) mod monitor;
pub(crate) mod settings;
pub(crate) mod site;
pub(crate) mod steps;

use std::time::Duration;

/// Within this a machine must have booted, on two busy cores that emulate it.
pub(crate) const BOOT: Duration = Duration::from_secs(180);

/// Within this the appliance must have reacted to something.
pub(crate) const REACTION: Duration = Duration::from_secs(60);
