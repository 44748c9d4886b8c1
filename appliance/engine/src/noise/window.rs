//! Maintenance windows: when they are, in local time with its changes, and what they keep quiet.
//!
//! A window begins at a local time and lasts for so many minutes of elapsed time. Where the clocks skip the time of its begin, it
//! begins at the first moment after the gap; where they show it twice, at the first.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{self, AmbiguousOffset, Offset};
use postern_protocol::revision::noise::{Day, Monthly, Weekly, When};
use postern_protocol::revision::time_zone::{TimeZone, TimeZoneError};
use postern_protocol::revision::window_time::{self, WindowTimeError};
use postern_protocol::timestamp::Timestamp;

/// Seconds of a minute.
const MINUTE_S: u64 = 60;

/// Days around a moment that are looked at besides the window's length: local days are not those of UTC.
const MARGIN_DAYS: i64 = 2;

/// When a window is.
#[derive(Clone, Debug)]
pub(super) enum Calendar {
    Once { from: Timestamp, until: Timestamp },
    Repeated { days: Days, at: Time, length: Duration, zone: tz::TimeZone },
}

/// On which days a window begins.
#[derive(Clone, Debug)]
pub(super) enum Days {
    Monthly { nth: i8, day: Weekday },
    Weekly(Vec<Weekday>),
}

/// How a window stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// When it ends, if it holds.
    pub(super) until: Option<Timestamp>,
    /// From when on this may be otherwise.
    pub(super) changes: Timestamp,
}

/// Why a text is no time of a window.
#[derive(Debug, thiserror::Error)]
pub(super) enum CalendarError {
    #[error(transparent)]
    Time(#[from] WindowTimeError),
    #[error(transparent)]
    Zone(#[from] TimeZoneError),
    #[error("the bundled rules of {0} cannot be read")]
    Rules(&'static str),
}

impl Calendar {
    /// Reads what a document says.
    ///
    /// # Errors
    /// A time or zone that is none.
    pub(super) fn compile(when: &When) -> Result<Self, CalendarError> {
        Ok(match when {
            When::Once(once) => Self::Once { from: window_time::instant(&once.from)?, until: window_time::instant(&once.until)? },
            When::Weekly(Weekly { days, at, minutes, time_zone }) => {
                let days = Days::Weekly(days.iter().map(|day| weekday(*day)).collect());
                Self::repeated(days, at, (*minutes, time_zone.as_deref()))?
            }
            When::Monthly(Monthly { nth, day, at, minutes, time_zone }) => {
                let days = Days::Monthly { nth: *nth, day: weekday(*day) };
                Self::repeated(days, at, (*minutes, time_zone.as_deref()))?
            }
        })
    }

    fn repeated(days: Days, at: &str, (minutes, zone): (u32, Option<&str>)) -> Result<Self, CalendarError> {
        let (hour, minute) = window_time::time_of_day(at)?;
        let zone = match zone.map_or(Ok(TimeZone::UTC), TimeZone::parse)? {
            TimeZone::Fixed(seconds) => tz::TimeZone::fixed(Offset::from_seconds(seconds).unwrap_or(Offset::UTC)),
            TimeZone::Iana { name, rules } => tz::TimeZone::tzif(name, rules).map_err(|_| CalendarError::Rules(name))?,
        };
        let at = Time::new(hour, minute, 0, 0).unwrap_or(Time::midnight());
        Ok(Self::Repeated { days, at, length: Duration::from_secs(u64::from(minutes).saturating_mul(MINUTE_S)), zone })
    }

    /// Says how the window stands at `now`. Of two that overlap, the one that ends later counts.
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        match self {
            Self::Once { from, until } => Standing::of([(*from, *until)].into_iter(), now),
            Self::Repeated { days, at, length, zone } => {
                let Ok(moment) = jiff::Timestamp::from_second(now.as_secs()) else { return Standing::NEVER };
                let today = zone.to_datetime(moment).date();
                let begins = days.around(today, *length).into_iter().filter_map(|date| begin(date.to_datetime(*at), zone));
                Standing::of(begins.map(|begin| (begin, begin.saturating_add(*length))), now)
            }
        }
    }
}

impl Standing {
    const NEVER: Self = Self { until: None, changes: Timestamp::from_nanos(i64::MAX) };

    fn of(occurrences: impl Iterator<Item = (Timestamp, Timestamp)>, now: Timestamp) -> Self {
        let mut standing = Self::NEVER;
        for (from, until) in occurrences {
            if from > now {
                standing.changes = standing.changes.min(from);
            } else if until > now {
                standing.until = standing.until.max(Some(until));
                standing.changes = standing.changes.min(until);
            }
        }
        standing
    }
}

impl Days {
    /// Returns the days on which a window may have begun that lasts at `today`, and at least one on which the next begins, unless
    /// that is long ahead.
    fn around(&self, today: Date, length: Duration) -> Vec<Date> {
        match self {
            Self::Monthly { nth, day } => {
                let month = |ahead: i64| today.first_of_month().checked_add(jiff::Span::new().months(ahead)).ok();
                (-1..=2).filter_map(month).filter_map(|month| month.nth_weekday_of_month(*nth, *day).ok()).collect()
            }
            Self::Weekly(days) => {
                let past = i64::try_from(length.as_secs() / 86_400).unwrap_or(0).saturating_add(MARGIN_DAYS);
                let date = |ahead: i64| today.checked_add(jiff::Span::new().days(ahead)).ok();
                (-past..=7 + MARGIN_DAYS).filter_map(date).filter(|date| days.contains(&date.weekday())).collect()
            }
        }
    }
}

/// Returns when the clocks of `zone` show `local`: for the first time, or the end of the gap that they skip it with.
fn begin(local: DateTime, zone: &tz::TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let moment = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            let as_if_not_skipped = before.to_timestamp(local).ok()?;
            let later = as_if_not_skipped.checked_add(jiff::Span::new().seconds(1)).ok()?;
            zone.preceding(later).next()?.timestamp()
        }
    };
    Some(Timestamp::from_secs(moment.as_second()))
}

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(json: &str) -> Calendar {
        Calendar::compile(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn utc(text: &str) -> Timestamp {
        Timestamp::from_secs(text.parse::<jiff::Timestamp>().unwrap().as_second())
    }

    /// Holds that of the windows that begin at `from` and end at `until`, each edge is where it is said, to the second.
    #[track_caller]
    fn is_from_until(json: &str, from: &str, until: &str) {
        let (calendar, from, until) = (calendar(json), utc(from), utc(until));
        let second = Duration::from_secs(1);
        let before = Timestamp::from_secs(from.as_secs() - 1);
        assert_eq!(calendar.standing(before), Standing { until: None, changes: from }, "before: {json}");
        assert_eq!(calendar.standing(from), Standing { until: Some(until), changes: until }, "at its begin: {json}");
        assert_eq!(calendar.standing(Timestamp::from_secs(until.as_secs() - 1)).until, Some(until), "at its end: {json}");
        assert_eq!(calendar.standing(until).until, None, "after: {json}");
        assert_eq!(calendar.standing(until.saturating_add(second)).until, None, "after: {json}");
    }

    fn weekly(day: &str, at: &str, (minutes, zone): (u32, &str)) -> String {
        format!(r#"{{"weekly": {{"days": ["{day}"], "at": "{at}", "minutes": {minutes}, "time_zone": "{zone}"}}}}"#)
    }

    fn monthly(nth: i8, day: &str, (at, minutes, zone): (&str, u32, &str)) -> String {
        format!(r#"{{"monthly": {{"nth": {nth}, "day": "{day}", "at": "{at}", "minutes": {minutes}, "time_zone": "{zone}"}}}}"#)
    }

    #[test]
    fn once_is_from_its_begin_until_its_end() {
        let json = r#"{"once": {"from": "2026-12-24T22:00:00+01:00", "until": "2026-12-25T06:00:00+01:00"}}"#;
        is_from_until(json, "2026-12-24T21:00:00Z", "2026-12-25T05:00:00Z");
    }

    #[test]
    fn berlin_keeps_local_time_over_its_changes() {
        const ZONE: &str = "Europe/Berlin";
        // Summer time begins on 29 March 2026, 02:00 -> 03:00 (01:00 UTC), and ends on 25 October, 03:00 -> 02:00 (01:00 UTC).
        is_from_until(&weekly("sun", "01:30", (60, ZONE)), "2026-03-22T00:30:00Z", "2026-03-22T01:30:00Z");
        is_from_until(&weekly("sun", "01:30", (60, ZONE)), "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
        is_from_until(&weekly("sun", "01:30", (60, ZONE)), "2026-04-04T23:30:00Z", "2026-04-05T00:30:00Z");
        for in_gap in ["02:00", "02:30", "02:59"] {
            is_from_until(&weekly("sun", in_gap, (45, ZONE)), "2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z");
        }
        is_from_until(&weekly("sun", "03:00", (45, ZONE)), "2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z");
        // 02:30 comes twice: the first is 00:30 UTC, and 90 minutes of elapsed time end at the second 03:00.
        is_from_until(&weekly("sun", "02:30", (90, ZONE)), "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z");
        is_from_until(&monthly(-1, "sun", ("02:30", 45, ZONE)), "2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z");
        is_from_until(&monthly(-1, "sun", ("02:30", 90, ZONE)), "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z");
        is_from_until(&monthly(-1, "sun", ("02:30", 90, ZONE)), "2026-11-29T01:30:00Z", "2026-11-29T03:00:00Z");
    }

    #[test]
    fn new_york_keeps_local_time_over_its_changes() {
        const ZONE: &str = "America/New_York";
        // 8 March 2026, 02:00 -> 03:00 (07:00 UTC); 1 November, 02:00 -> 01:00 (06:00 UTC).
        is_from_until(&weekly("sun", "02:15", (30, ZONE)), "2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z");
        is_from_until(&weekly("sun", "01:59", (30, ZONE)), "2026-03-08T06:59:00Z", "2026-03-08T07:29:00Z");
        is_from_until(&weekly("sun", "01:30", (120, ZONE)), "2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z");
        is_from_until(&monthly(2, "sun", ("02:15", 30, ZONE)), "2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z");
        is_from_until(&monthly(1, "sun", ("01:30", 120, ZONE)), "2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z");
        is_from_until(&monthly(2, "tue", ("22:00", 240, ZONE)), "2026-07-15T02:00:00Z", "2026-07-15T06:00:00Z");
    }

    #[test]
    fn lord_howe_changes_by_half_an_hour() {
        const ZONE: &str = "Australia/Lord_Howe";
        // 5 April 2026, 02:00 -> 01:30 (4 April 15:00 UTC); 4 October, 02:00 -> 02:30 (3 October 15:30 UTC).
        is_from_until(&weekly("sun", "01:45", (60, ZONE)), "2026-04-04T14:45:00Z", "2026-04-04T15:45:00Z");
        is_from_until(&weekly("sun", "02:00", (60, ZONE)), "2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z");
        for in_gap in ["02:00", "02:10", "02:29", "02:30"] {
            is_from_until(&weekly("sun", in_gap, (60, ZONE)), "2026-10-03T15:30:00Z", "2026-10-03T16:30:00Z");
        }
        is_from_until(&monthly(1, "sun", ("01:45", 60, ZONE)), "2026-04-04T14:45:00Z", "2026-04-04T15:45:00Z");
        is_from_until(&monthly(1, "sun", ("02:10", 60, ZONE)), "2026-10-03T15:30:00Z", "2026-10-03T16:30:00Z");
    }

    #[test]
    fn a_window_over_a_change_lasts_its_elapsed_time() {
        is_from_until(&weekly("sat", "22:00", (600, "Europe/Berlin")), "2026-03-28T21:00:00Z", "2026-03-29T07:00:00Z");
        is_from_until(&weekly("sat", "22:00", (600, "Europe/Berlin")), "2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z");
    }

    #[test]
    fn a_week_long_window_holds_to_its_last_day_and_then_begins_anew() {
        let calendar = calendar(&weekly("mon", "00:00", (10_080, "+14:00")));
        // Monday in UTC+14 begins on Sunday at 10:00 UTC; each window ends as the next begins.
        let next = utc("2026-11-29T10:00:00Z");
        for at in ["2026-11-22T10:00:00Z", "2026-11-25T12:00:00Z", "2026-11-29T09:59:59Z"] {
            assert_eq!(calendar.standing(utc(at)).until, Some(next), "{at}");
        }
        assert_eq!(calendar.standing(next).until, Some(utc("2026-12-06T10:00:00Z")));
    }

    #[test]
    fn windows_that_overlap_hold_until_the_last_ends() {
        let json = r#"{"weekly": {"days": ["mon", "tue"], "at": "20:00", "minutes": 2000}}"#;
        let calendar = calendar(json);
        assert_eq!(calendar.standing(utc("2026-11-24T21:00:00Z")).until, Some(utc("2026-11-26T05:20:00Z")));
    }

    #[test]
    fn the_ends_of_time_are_no_fault() {
        let calendar = calendar(&weekly("mon", "20:00", (60, "Europe/Berlin")));
        for nanos in [i64::MIN, i64::MAX] {
            let now = Timestamp::from_nanos(nanos);
            assert!(calendar.standing(now).until.is_none_or(|until| until > now));
        }
    }
}
