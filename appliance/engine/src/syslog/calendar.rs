//! From a date as a device wrote it to a point in time: calendar, zone, and the year where none was written.

use postern_protocol::timestamp::Timestamp;

use super::zone::Context;

const DAY_SECONDS: i64 = 86_400;
/// How far a sender's clock may be ahead before a date without a year is taken as last year's.
const MAX_AHEAD_SECONDS: i64 = 7 * DAY_SECONDS;
/// Most years between two leap days.
const LEAP_DAY_YEARS: u32 = 8;

/// A time of day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) second_of_day: u32,
    pub(super) nanos: u32,
}

/// A date and a time of day, of no zone yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    pub(super) year: Option<u32>,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) clock: Clock,
}

impl Local {
    /// Returns the point in time, at the ends of [`Timestamp`]'s range saturated, or `None` for a date that no calendar has.
    ///
    /// `offset`, in seconds east of UTC, is what the device wrote; without one the source's zone holds.
    pub(super) fn timestamp(&self, offset: Option<i64>, context: &Context<'_>) -> Option<Timestamp> {
        let seconds = match self.year {
            Some(year) => self.seconds_in(year, offset, context)?,
            None => self.seconds_nearest(offset, context)?,
        };
        let nanos = Timestamp::from_secs(seconds).as_nanos().saturating_add(i64::from(self.clock.nanos));
        Some(Timestamp::from_nanos(nanos))
    }

    /// The newest date with this month and day that is not more than a week ahead of the time of receipt: a line of December that
    /// arrives in January is last year's, one of January that arrives in December is from a clock or a zone ahead. A leap day can
    /// lie years back.
    fn seconds_nearest(&self, offset: Option<i64>, context: &Context<'_>) -> Option<i64> {
        let this = year_of(context.received)?;
        let latest = context.received.as_secs().saturating_add(MAX_AHEAD_SECONDS);
        let newest = if self.month == 1 { this.saturating_add(1) } else { this };
        (this.saturating_sub(LEAP_DAY_YEARS)..=newest)
            .rev()
            .filter_map(|year| self.seconds_in(year, offset, context))
            .find(|seconds| *seconds <= latest)
    }

    fn seconds_in(&self, year: u32, offset: Option<i64>, context: &Context<'_>) -> Option<i64> {
        if self.day == 0 || self.day > days_in(year, self.month)? {
            return None;
        }
        let local = days_before(year, self.month, self.day) * DAY_SECONDS + i64::from(self.clock.second_of_day);
        let offset = offset.unwrap_or_else(|| context.zone.offset(local, context.received));
        Some(local.saturating_sub(offset))
    }
}

const fn days_in(year: u32, month: u32) -> Option<u32> {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => Some(29),
        2 => Some(28),
        4 | 6 | 9 | 11 => Some(30),
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        _ => None,
    }
}

/// Days from the Unix epoch to a date of the Gregorian calendar, years 0 to 9999.
///
/// Years are counted from March, so that the leap day is a year's last and months of 153 days a five follow each other.
const fn days_before(year: u32, month: u32, day: u32) -> i64 {
    let year = if month > 2 { year as i64 } else { year as i64 - 1 };
    let month = if month > 2 { month as i64 - 3 } else { month as i64 + 9 };
    let day_of_year = (153 * month + 2) / 5 + day as i64 - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

fn year_of(time: Timestamp) -> Option<u32> {
    let days = time.as_secs().div_euclid(DAY_SECONDS);
    // Never above the year and at most one below it, within the range of a time stamp.
    let year = u32::try_from(1970 + (days * 400 - 400).div_euclid(146_097)).ok()?;
    let next = year.saturating_add(1);
    Some(if days_before(next, 1, 1) <= days { next } else { year })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = days_before(1678, 1, 1);
        for year in 1678..2262 {
            assert_eq!(year_of(Timestamp::from_secs(expected * DAY_SECONDS)), Some(year));
            assert_eq!(year_of(Timestamp::from_secs(expected * DAY_SECONDS - 1)), Some(year - 1));
            for month in 1..=12 {
                for day in 1..=days_in(year, month).unwrap() {
                    assert_eq!(days_before(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(days_before(1970, 1, 1), 0);
    }
}
