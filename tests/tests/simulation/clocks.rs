//! What the clocks of a simulated machine show: they may jump, true time does not.

use std::time::Duration;

use postern_gateway::revision::trial::Moment;
use postern_protocol::timestamp::Timestamp;

/// What clocks show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// True time since the run began.
    pub(crate) now: Duration,
    pub(crate) wall: Timestamp,
    pub(crate) since_boot: Duration,
}

impl Clocks {
    /// Returns what a trial of a revision goes by.
    pub(crate) fn moment(self) -> Moment {
        Moment { wall: self.wall, since_boot: self.since_boot }
    }
}
