//! Many checks of one machine: each is run, whatever the others found, and all that failed are told in the end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::steps::step;

/// The checks so far.
#[derive(Default)]
pub(crate) struct Checks {
    run: usize,
    failed: Vec<String>,
}

impl Checks {
    /// Runs a check; its panic is printed and kept for the end.
    pub(crate) fn run(&mut self, what: &str, check: impl FnOnce()) {
        self.run += 1;
        if step(what, || catch_unwind(AssertUnwindSafe(check))).is_err() {
            self.failed.push(what.to_owned());
        }
    }

    /// Panics if one has failed.
    pub(crate) fn finish(self) {
        assert!(self.failed.is_empty(), "{} of {} checks failed: {:#?}", self.failed.len(), self.run, self.failed);
    }
}
