//! Holds the rules in force against an event without acting on it: for a self-test.

use super::AlertEngine;
use crate::event::Event;
use crate::rule::Counters;

impl AlertEngine {
    /// Says how many rules decide about an event. Nothing is raised, counted or remembered.
    pub fn rehearse(&self, event: &Event) -> usize {
        let mut decided = 0_usize;
        let mut deciding = self.rules.deciding(event, &self.dictionary);
        while deciding.next(&mut Counters::default()).is_some() {
            decided = decided.saturating_add(1);
        }
        decided
    }
}
