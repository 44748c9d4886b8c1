//! Whether this machine's clock is right, held against a clock that has proven to be the control plane's.

use std::time::Duration;

use postern_protocol::status::doctor::Finding;

use super::finding::{Id, good};

/// From here on it is told: evidence and pushes' time stamps become doubtful.
const DOUBTFUL: Duration = Duration::from_secs(10);

/// From here on signed pushes and SNMPv3 are refused, and certificates may be.
const WRONG: Duration = Duration::from_secs(150);

/// A measured difference, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockFacts {
    /// The control plane's clock minus ours, in milliseconds.
    pub(super) offset_ms: i64,
    /// How it was measured.
    pub(super) source: Source,
}

/// How a clock's difference was measured. Each of these peers has proven to hold a pinned key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The `Date` of an answer: whole seconds.
    Date,
    /// A session's heartbeats.
    Heartbeat,
}

/// Judges the difference; without one nothing is said.
pub(super) fn judge(facts: Option<ClockFacts>) -> Option<Finding> {
    let ClockFacts { offset_ms, source } = facts?;
    let by = match source {
        Source::Date => "measured by the Date header of the control plane, whose key is pinned",
        Source::Heartbeat => "measured by the tunnel's heartbeats",
    };
    let apart = Duration::from_millis(offset_ms.unsigned_abs());
    if apart < DOUBTFUL {
        return Some(good("clock", "the clock is right", format!("{:.1} s from the control plane's, {by}", apart.as_secs_f64())));
    }
    let way = if offset_ms > 0 { "behind" } else { "ahead" };
    let what = format!("this machine's clock is {} s {way}", apart.as_secs());
    let evidence = format!("held against the control plane's clock, {by}");
    let advice = "let a time service set the clock (timedatectl set-ntp true), and check the NTP servers and the host's own clock";
    Some(if apart < WRONG { Id::ClockSkew.warning(what, evidence, advice) } else { Id::ClockSkew.fault(what, evidence, advice) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::status::doctor::Grade;

    fn judged(offset_ms: i64) -> Finding {
        judge(Some(ClockFacts { offset_ms, source: Source::Date })).unwrap()
    }

    #[test]
    fn a_difference_is_told_in_seconds_with_its_direction() {
        assert_eq!(judged(9_000).grade, Grade::Good);
        let behind = judged(60_500);
        assert_eq!((behind.grade, behind.what.as_str()), (Grade::Warning, "this machine's clock is 60 s behind"));
        let ahead = judged(-7_200_000);
        assert_eq!((ahead.grade, ahead.what.as_str()), (Grade::Fault, "this machine's clock is 7200 s ahead"));
        assert_eq!(judge(None), None);
    }
}
