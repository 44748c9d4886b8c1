//! A time as people read it: how long ago, and exactly. `times.js` keeps the first one true in the browser, in the same words.

use std::time::Duration;

use postern_protocol::timestamp::Timestamp;

use super::figures;
use crate::rfc3339;

/// A time, written three ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// RFC 3339, for the `datetime` of a `time` element.
    pub(super) iso: String,
    /// To the second in UTC.
    pub(super) utc: String,
    /// How long ago, or in how long.
    pub(super) relative: String,
}

impl Moment {
    /// Writes `at` as seen from `now`.
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let iso = rfc3339::format(at);
        let utc = iso.get(..19).map(|text| format!("{} UTC", text.replace('T', " "))).unwrap_or_default();
        Self { iso, utc, relative: relative(at, now) }
    }

    /// Writes nanoseconds since the Unix epoch.
    pub(super) fn from_nanos(nanos: i64, now: Timestamp) -> Self {
        Self::new(Timestamp::from_nanos(nanos), now)
    }
}

fn relative(at: Timestamp, now: Timestamp) -> String {
    let ahead = at.saturating_since(now);
    if ahead > Duration::from_secs(5) {
        return format!("in {}", span(ahead.as_secs()));
    }
    match now.saturating_since(at).as_secs() {
        0..5 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long something lasted.
pub(super) fn lasted(from: Timestamp, to: Timestamp) -> String {
    figures::duration(to.saturating_since(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_speech() {
        let now = Timestamp::from_secs(1_795_300_000);
        let text = |ago: i64| relative(Timestamp::from_secs(1_795_300_000 - ago), now);
        let read: Vec<_> = [0, 4, 5, 59, 60, 3599, 3600, 86_399, 86_400, -3, -60, -90_000].map(text).into();
        let said =
            ["now", "now", "5 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "1 d ago", "now", "in 1 min", "in 1 d"];
        assert_eq!(read, said);
        assert_eq!(Moment::new(now, now).utc, "2026-11-21 22:26:40 UTC");
    }
}
