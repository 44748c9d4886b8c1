//! The times that a maintenance window is written with: an instant (RFC 3339) and a time of day.

use crate::timestamp::Timestamp;

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowTimeError {
    /// Not an instant.
    #[error("not a time: write it with its offset, such as 2026-12-24T22:00:00+01:00")]
    Instant,
    /// Not a time of day.
    #[error("not a time of day: write it as HH:MM, such as 22:30")]
    TimeOfDay,
}

/// Reads an instant (RFC 3339 §5.6) with its offset; what is finer than a second is passed over.
///
/// # Errors
/// [`WindowTimeError::Instant`] when it is anything else.
pub fn instant(text: &str) -> Result<Timestamp, WindowTimeError> {
    parse_instant(text).ok_or(WindowTimeError::Instant)
}

/// Reads hour and minute.
///
/// # Errors
/// [`WindowTimeError::TimeOfDay`] unless it is `00:00` to `23:59`.
pub fn time_of_day(text: &str) -> Result<(i8, i8), WindowTimeError> {
    parse_time_of_day(text.as_bytes()).ok_or(WindowTimeError::TimeOfDay)
}

fn parse_time_of_day(text: &[u8]) -> Option<(i8, i8)> {
    let [h1, h2, b':', m1, m2] = text else { return None };
    let (hour, minute) = (two_digits([*h1, *h2])?, two_digits([*m1, *m2])?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

fn parse_instant(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date.as_bytes() else { return None };
    let year = i64::from(two_digits([*y1, *y2])?).checked_mul(100)?.checked_add(two_digits([*y3, *y4])?.into())?;
    let (month, day) = (i64::from(two_digits([*m1, *m2])?), i64::from(two_digits([*d1, *d2])?));
    // Nanoseconds since 1970 in 64 bits end in 2262.
    if !(1970..2262).contains(&year) || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let (clock, rest) = time.split_at_checked(8)?;
    let (minutes, seconds) = clock.split_at_checked(5)?;
    let (hour, minute) = parse_time_of_day(minutes.as_bytes())?;
    let [b':', s1, s2] = seconds.as_bytes() else { return None };
    // A leap second is the last of its minute.
    let second = two_digits([*s1, *s2]).filter(|second| *second <= 60)?.min(59);
    let offset = offset(without_fraction(rest)?)?;
    let days = days_before(year, month)?.checked_add(day)?.checked_sub(1)?;
    let local = days.checked_mul(86_400)?.checked_add(i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second))?;
    Some(Timestamp::from_secs(local.checked_sub(offset)?))
}

fn without_fraction(text: &str) -> Option<&str> {
    let Some(fraction) = text.strip_prefix('.') else { return Some(text) };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
}

/// Reads `Z` or `±HH:MM` as seconds.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, time) = text.split_at_checked(1)?;
    let (hour, minute) = parse_time_of_day(time.as_bytes())?;
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

fn two_digits(digits: [u8; 2]) -> Option<i8> {
    let [tens, ones] = digits.map(|digit| digit.is_ascii_digit().then(|| i8::try_from(digit - b'0').ok()).flatten());
    tens?.checked_mul(10)?.checked_add(ones?)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> Option<i64> {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let last = year.checked_sub(1)?;
    let years = last.checked_sub(1969)?.checked_mul(365)?.checked_add(leaps(last).checked_sub(leaps(1969))?)?;
    (1..month).try_fold(years, |days, month| days.checked_add(days_in(year, month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_with_their_offset() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-12-24T22:00:00+01:00", 1_798_146_000),
            ("2026-12-24T21:00:00.999Z", 1_798_146_000),
            ("2026-12-24 15:30:00-05:30", 1_798_146_000),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
        ] {
            assert_eq!(instant(text), Ok(Timestamp::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026-12-24",
            "2026-12-24T22:00:00",
            "2026-12-24T22:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-12-24T24:00:00Z",
            "2026-12-24T22:60:00Z",
            "2026-12-24T22:00:61Z",
            "2026-12-24T22:00:00.Z",
            "2026-12-24T22:00:00+1:00",
            "2026-12-24T22:00:00 +01:00",
            "1969-12-31T00:00:00Z",
            "9999-12-31T00:00:00Z",
            "2026-12-24T22:00:0é+01:00",
        ] {
            assert_eq!(instant(text), Err(WindowTimeError::Instant), "{text:?}");
        }
    }

    #[test]
    fn a_time_of_day_has_two_digits_each() {
        assert_eq!(time_of_day("00:00"), Ok((0, 0)));
        assert_eq!(time_of_day("23:59"), Ok((23, 59)));
        for text in ["", "24:00", "12:60", "1:00", "12:0", "12:00:00", "ab:cd", "12-00"] {
            assert_eq!(time_of_day(text), Err(WindowTimeError::TimeOfDay), "{text:?}");
        }
    }
}
