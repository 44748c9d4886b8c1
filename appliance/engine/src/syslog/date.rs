//! Dates and times as syslog writes them: RFC 3339 (RFC 5424 §6.2.3) and `Mmm dd hh:mm:ss` with its many variants (RFC 3164 §4.1.2).
//!
//! Knows no clock and no time zones but offsets: what has no offset is taken as UTC.

use postern_protocol::timestamp::Timestamp;

use super::scan::Scanner;

const MONTHS: [&[u8; 3]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY_SECONDS: i64 = 86_400;
/// How far a sender's clock may be ahead before a date without a year is taken as last year's.
const MAX_AHEAD_NANOS: i64 = 7 * DAY_SECONDS * 1_000_000_000;
/// Most years between two leap days.
const LEAP_DAY_YEARS: u32 = 8;

/// A time of day.
struct Clock {
    second_of_day: u32,
    nanos: u32,
}

/// Takes an RFC 3339 time stamp, up to nanoseconds; without an offset it is UTC. A leap second is the next minute's first.
pub(super) fn rfc3339(scanner: &mut Scanner<'_>) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let year = ahead.digits(4..=4)?;
    let month = ahead.eat(b'-').then(|| ahead.digits(2..=2))??;
    let day = ahead.eat(b'-').then(|| ahead.digits(2..=2))??;
    if !ahead.eat(b'T') && !ahead.eat(b't') {
        return None;
    }
    let clock = clock(&mut ahead)?;
    let offset_seconds = offset(&mut ahead)?;
    let timestamp = timestamp(year, month, day, &clock, offset_seconds)?;
    *scanner = ahead;
    Some(timestamp)
}

/// Takes `Mmm dd hh:mm:ss`, with a fraction and with a year before, after the day, or after the time.
pub(super) fn month_day(scanner: &mut Scanner<'_>, received: Timestamp) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let mut year = None;
    if ahead.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        year = Some(ahead.digits(4..=4)?);
        ahead.skip_spaces();
    }
    let name = ahead.take_while(|byte| byte.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(*month))?;
    let month = u32::try_from(month).ok()?.saturating_add(1);
    space(&mut ahead)?;
    let day = ahead.digits(1..=2)?;
    space(&mut ahead)?;
    if let Some(number) = year_here(&mut ahead) {
        year = year.or(Some(number));
        space(&mut ahead)?;
    }
    let clock = clock(&mut ahead)?;
    let mut behind = ahead;
    if year.is_none() && behind.eat(b' ') {
        year = year_here(&mut behind);
        if year.is_some() {
            ahead = behind;
        }
    }
    let timestamp = match year {
        Some(year) => timestamp(year, month, day, &clock, 0)?,
        None => nearest_year(month, day, &clock, received)?,
    };
    *scanner = ahead;
    Some(timestamp)
}

/// The newest date with this month and day that is not more than a week ahead of `received`: a line of December that arrives in
/// January is last year's, one of January that arrives in December is from a clock or a zone ahead. A leap day can lie years back.
fn nearest_year(month: u32, day: u32, clock: &Clock, received: Timestamp) -> Option<Timestamp> {
    let this = year_of(received)?;
    let latest = received.as_nanos().saturating_add(MAX_AHEAD_NANOS);
    (this.saturating_sub(LEAP_DAY_YEARS)..=this.saturating_add(1))
        .rev()
        .filter_map(|year| timestamp(year, month, day, clock, 0))
        .find(|timestamp| timestamp.as_nanos() <= latest)
}

fn space(scanner: &mut Scanner<'_>) -> Option<()> {
    let taken = scanner.eat(b' ');
    scanner.skip_spaces();
    taken.then_some(())
}

/// Takes four digits that are a word of their own and a plausible year.
fn year_here(scanner: &mut Scanner<'_>) -> Option<u32> {
    let mut ahead = *scanner;
    let year = ahead.digits(4..=4).filter(|year| (1970..2200).contains(year))?;
    if !matches!(ahead.peek(), None | Some(b' ' | b':')) {
        return None;
    }
    *scanner = ahead;
    Some(year)
}

/// Takes `hh:mm:ss` with an optional fraction of up to nine digits.
fn clock(scanner: &mut Scanner<'_>) -> Option<Clock> {
    let hour = scanner.digits(2..=2).filter(|hour| *hour < 24)?;
    let minute = scanner.eat(b':').then(|| scanner.digits(2..=2))?.filter(|minute| *minute < 60)?;
    let second = scanner.eat(b':').then(|| scanner.digits(2..=2))?.filter(|second| *second <= 60)?;
    let mut nanos = 0;
    let mut fraction = *scanner;
    // ISO 8601 allows the comma too.
    if fraction.eat(b'.') || fraction.eat(b',') {
        let before = fraction.rest().len();
        if let Some(number) = fraction.digits(1..=9) {
            let digits = u32::try_from(before.saturating_sub(fraction.rest().len())).ok()?;
            nanos = number.checked_mul(10_u32.checked_pow(9_u32.checked_sub(digits)?)?)?;
            *scanner = fraction;
        }
    }
    Some(Clock { second_of_day: hour * 3600 + minute * 60 + second, nanos })
}

/// Takes `Z`, `±hh:mm`, `±hhmm` (what `%z` of strftime writes) or nothing.
fn offset(scanner: &mut Scanner<'_>) -> Option<i64> {
    let sign = match scanner.peek() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => {
            let _ = scanner.eat(b'Z') || scanner.eat(b'z');
            return Some(0);
        }
    };
    scanner.eat(b'+');
    scanner.eat(b'-');
    let (hours, minutes) = match scanner.digits(4..=4) {
        Some(both) => (both / 100, both % 100),
        None => (scanner.digits(2..=2)?, scanner.eat(b':').then(|| scanner.digits(2..=2))??),
    };
    if hours >= 24 || minutes >= 60 {
        return None;
    }
    Some(sign * i64::from(hours * 3600 + minutes * 60))
}

/// Returns the point in time, at the ends of [`Timestamp`]'s range saturated, or `None` for a date that no calendar has.
fn timestamp(year: u32, month: u32, day: u32, clock: &Clock, offset_seconds: i64) -> Option<Timestamp> {
    if day == 0 || day > days_in(year, month)? {
        return None;
    }
    let before: u32 = (1..month).filter_map(|earlier| days_in(year, earlier)).sum();
    let days = days_before(i64::from(year)) + i64::from(before) + i64::from(day) - 1;
    let midnight = Timestamp::from_secs(days * DAY_SECONDS + i64::from(clock.second_of_day) - offset_seconds);
    Some(Timestamp::from_nanos(midnight.as_nanos().saturating_add(i64::from(clock.nanos))))
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

/// Days from the Unix epoch to the first of January of `year` (0 to 9999) in the Gregorian calendar.
const fn days_before(year: i64) -> i64 {
    let last = year - 1;
    let leap_days = last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400);
    365 * (year - 1970) + leap_days - 477
}

fn year_of(time: Timestamp) -> Option<u32> {
    let days = time.as_secs().div_euclid(DAY_SECONDS);
    // Never above the year and at most one below it, within the range of a time stamp.
    let mut year = 1970 + (days * 400 - 400).div_euclid(146_097);
    while days_before(year + 1) <= days {
        year += 1;
    }
    u32::try_from(year).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let mut scanner = Scanner::new(text.as_bytes());
        let time = rfc3339(&mut scanner).unwrap();
        assert!(scanner.is_empty(), "{text}");
        time
    }

    fn dated(text: &str, received: &str) -> Option<Timestamp> {
        month_day(&mut Scanner::new(text.as_bytes()), at(received))
    }

    #[test]
    fn rfc_3339_keeps_offset_and_fraction() {
        // The examples of RFC 5424 §6.2.3.1.
        assert_eq!(at("1985-04-12T23:20:50.52Z").as_nanos(), 482_196_050_520_000_000);
        assert_eq!(at("1985-04-12T19:20:50.52-04:00"), at("1985-04-12T23:20:50.52Z"));
        assert_eq!(at("2003-08-24T05:14:15.000003-07:00").as_nanos(), 1_061_727_255_000_003_000);
        assert_eq!(at("2000-02-29T00:00:00.123456789+00:30").as_nanos(), 951_780_600_123_456_789);
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2017-01-01T00:00:00Z"));
        assert_eq!(at("0001-01-01T00:00:00Z").as_nanos(), i64::MIN);
    }

    #[test]
    fn dates_that_no_calendar_has_are_refused() {
        for text in ["2003-13-01T00:00:00Z", "2003-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2003-04-31T00:00:00Z", "2003-04-00T00:00:00Z"]
        {
            assert_eq!(rfc3339(&mut Scanner::new(text.as_bytes())), None, "{text}");
        }
        for text in
            ["2003-10-11T24:00:00Z", "2003-10-11T22:60:00Z", "2003-10-11T22:14:15+24:00", "2003-10-11 22:14:15", "2003-1-11T22:14:15"]
        {
            assert_eq!(rfc3339(&mut Scanner::new(text.as_bytes())), None, "{text}");
        }
    }

    #[test]
    fn a_year_is_inferred_around_new_year() {
        assert_eq!(dated("Dec 31 23:59:59", "2026-01-01T00:00:10Z"), Some(at("2025-12-31T23:59:59Z")));
        assert_eq!(dated("Jan  1 01:00:00", "2025-12-31T23:59:59Z"), Some(at("2026-01-01T01:00:00Z")));
        assert_eq!(dated("Nov 21 22:00:00", "2026-11-21T22:00:01Z"), Some(at("2026-11-21T22:00:00Z")));
        assert_eq!(dated("Nov 30 00:00:00", "2026-11-21T22:00:01Z"), Some(at("2025-11-30T00:00:00Z")));
        assert_eq!(dated("Feb 29 12:00:00", "2025-01-02T00:00:00Z"), Some(at("2024-02-29T12:00:00Z")));
        assert_eq!(dated("Feb 29 12:00:00", "2027-03-01T00:00:00Z"), Some(at("2024-02-29T12:00:00Z")));
        assert_eq!(dated("Feb 29 12:00:00", "2103-03-01T00:00:00Z"), Some(at("2096-02-29T12:00:00Z")));
        assert_eq!(dated("Feb 30 12:00:00", "2027-03-01T00:00:00Z"), None);
    }

    #[test]
    fn a_year_that_is_given_is_taken_wherever_it_stands() {
        for text in ["2017 Jul  8 14:42:46.5", "Jul 08 2017 14:42:46.5", "jul 8 14:42:46.5 2017"] {
            assert_eq!(dated(text, "2026-01-01T00:00:00Z"), Some(at("2017-07-08T14:42:46.5Z")), "{text}");
        }
    }

    #[test]
    fn every_first_of_january_begins_its_year() {
        for year in 1678..2262 {
            let first = days_before(year) * DAY_SECONDS;
            assert_eq!(year_of(Timestamp::from_secs(first)).map(i64::from), Some(year));
            assert_eq!(year_of(Timestamp::from_secs(first - 1)).map(i64::from), Some(year - 1));
        }
    }
}
