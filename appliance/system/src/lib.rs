//! The programs around the gateway: `firstboot` reads what the site's hypervisor offers, `console` is the menu of the person at the
//! machine, and `broker` is the one privileged program that does what they ask, by fixed typed verbs.
//!
//! What the three share is `verb` (the protocol), `settings` (what a site sets), `veto`, `audit` and `client`. `broker` is the
//! privileged side and is used by its own program only.

pub mod audit;
pub mod broker;
pub mod client;
pub mod console;
mod files;
pub mod firstboot;
pub mod secret;
pub mod settings;
pub mod verb;
pub mod veto;

/// Writes an error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
