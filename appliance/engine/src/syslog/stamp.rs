//! Dates and times as syslog writes them: RFC 3339 (RFC 5424 §6.2.3), `Mmm dd hh:mm:ss` (RFC 3164 §4.1.2), and what devices make of both.
//!
//! Reads, and leaves it to `calendar` what a date means. An offset or the name of a zone behind a time is honoured wherever it stands.

use postern_protocol::timestamp::Timestamp;

use super::calendar::{Clock, Local};
use super::scan::Scanner;
use super::zone::Context;

const MONTHS: [&[u8; 3]; 12] = [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
/// Seconds since the epoch that a number at the place of a time may mean: 2001 to 2096.
const EPOCH_SECONDS: std::ops::Range<i64> = 1_000_000_000..4_000_000_000;
/// Digits of the nanoseconds.
const FRACTION_DIGITS: usize = 9;

/// Takes a time stamp in any of the shapes.
pub(super) fn any(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Timestamp> {
    match scanner.peek()? {
        b'0'..=b'9' => numeric(scanner, context).or_else(|| month_day(scanner, context)).or_else(|| epoch(scanner)),
        b'a'..=b'z' | b'A'..=b'Z' => month_day(scanner, context),
        _ => None,
    }
}

/// Takes an RFC 3339 time stamp, up to nanoseconds. A leap second is the next minute's first.
///
/// Lenient: a space for the `T`, `/` for `-`, no offset.
pub(super) fn rfc3339(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let [y1, y2, y3, y4, first, m1, m2, second, d1, d2, between] = ahead.chunk()?;
    if first != second || !matches!(first, b'-' | b'/' | b':') || !separates(between, first) {
        return None;
    }
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (pair(m1, m2)?, pair(d1, d2)?);
    if between == b' ' {
        ahead.skip_spaces();
    }
    let clock = clock(&mut ahead)?;
    let local = Local { year: Some(year), month, day, clock };
    finish(scanner, ahead, local, context)
}

/// Says whether `byte` may stand between a date whose parts `sign` divides and a time: `2026-11-21T`, `2026/11/21:`, `2026:11:21-`.
const fn separates(byte: u8, sign: u8) -> bool {
    match byte {
        b'T' | b't' | b' ' | b'_' => true,
        b'-' | b':' => sign != b'-',
        _ => false,
    }
}

/// Takes a date of digits alone: RFC 3339 and its kin, `mm/dd/yyyy`, and `dd/mm/yyyy` where the day shows it.
fn numeric(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Timestamp> {
    if let Some(timestamp) = rfc3339(scanner, context) {
        return Some(timestamp);
    }
    let mut ahead = *scanner;
    let first = ahead.digits(1..=2)?;
    let sign = ahead.peek().filter(|byte| matches!(byte, b'/' | b'.' | b'-'))?;
    ahead.eat(sign);
    let second = ahead.digits(1..=2)?;
    if !ahead.eat(sign) {
        return None;
    }
    let year = match ahead.digits(2..=4)? {
        short @ 0..=99 => 2_000 + short,
        year => year,
    };
    let (month, day) = if first > 12 || sign == b'.' { (second, first) } else { (first, second) };
    if !ahead.eat(b' ') && !ahead.eat(b':') && !ahead.eat(b'-') && !ahead.eat(b'T') {
        return None;
    }
    ahead.skip_spaces();
    let clock = clock(&mut ahead)?;
    finish(scanner, ahead, Local { year: Some(year), month, day, clock }, context)
}

/// Takes seconds since the epoch, with or without a fraction, when they are a word of their own.
fn epoch(scanner: &mut Scanner<'_>) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let digits = ahead.take_while(|byte| byte.is_ascii_digit());
    if digits.len() != 10 {
        return None;
    }
    let seconds = digits.iter().fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    let nanos = fraction(&mut ahead);
    if !EPOCH_SECONDS.contains(&seconds) || !matches!(ahead.peek(), None | Some(b' ' | b'\t')) {
        return None;
    }
    *scanner = ahead;
    Some(Timestamp::from_nanos(Timestamp::from_secs(seconds).as_nanos().saturating_add(nanos.into())))
}

/// Takes `Mmm dd hh:mm:ss`, with a weekday before, with a fraction and with a year before, after the day, or after the time; and
/// `dd Mmm yyyy hh:mm:ss`.
pub(super) fn month_day(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Timestamp> {
    let mut ahead = *scanner;
    if let Some(local) = usual(&mut ahead) {
        return behind_clock(scanner, ahead, local, context);
    }
    weekday(&mut ahead);
    let mut year = None;
    let mut day = None;
    if ahead.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        match ahead.digits(1..=4)? {
            number @ 1..=31 => day = Some(number),
            number => year = Some(number),
        }
        divider(&mut ahead)?;
    }
    let month = month(ahead.chunk()?)?;
    divider(&mut ahead)?;
    let day = match day {
        Some(day) => day,
        None => {
            let day = ahead.digits(1..=2)?;
            ahead.eat(b',');
            divider(&mut ahead)?;
            day
        }
    };
    if let Some(number) = year_here(&mut ahead) {
        year = year.or(Some(number));
        ahead.eat(b',');
        if !ahead.eat(b':') {
            divider(&mut ahead)?;
        }
    }
    let clock = clock(&mut ahead)?;
    behind_clock(scanner, ahead, Local { year, month, day, clock }, context)
}

/// Takes the shape that nearly all lines have, and no other, fast.
fn usual(scanner: &mut Scanner<'_>) -> Option<Local> {
    let mut ahead = *scanner;
    let [m1, m2, m3, b' ', d1, d2, b' ', h1, h2, b':', i1, i2, b':', s1, s2] = ahead.chunk()? else { return None };
    let tens = if d1 == b' ' { b'0' } else { d1 };
    let clock = Clock { second_of_day: second_of_day(pair(h1, h2)?, pair(i1, i2)?, pair(s1, s2)?)?, nanos: fraction(&mut ahead) };
    let local = Local { year: None, month: month([m1, m2, m3])?, day: pair(tens, d2)?, clock };
    *scanner = ahead;
    Some(local)
}

/// Takes what may follow a time without a date of its own: a year.
fn behind_clock<'a>(scanner: &mut Scanner<'a>, mut ahead: Scanner<'a>, mut local: Local, context: &Context<'_>) -> Option<Timestamp> {
    let mut behind = ahead;
    if local.year.is_none() && behind.eat(b' ') && behind.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        local.year = year_here(&mut behind);
        if local.year.is_some() {
            ahead = behind;
        }
    }
    finish(scanner, ahead, local, context)
}

/// Takes the offset or zone behind a time and makes the time stamp.
fn finish<'a>(scanner: &mut Scanner<'a>, mut ahead: Scanner<'a>, local: Local, context: &Context<'_>) -> Option<Timestamp> {
    let offset = offset(&mut ahead, context)?;
    let timestamp = local.timestamp(offset, context)?;
    *scanner = ahead;
    Some(timestamp)
}

/// Takes the name of a weekday, and the comma and space behind it.
fn weekday(scanner: &mut Scanner<'_>) {
    let mut ahead = *scanner;
    let Some(name) = ahead.chunk::<3>() else { return };
    if WEEKDAYS.iter().any(|weekday| name.eq_ignore_ascii_case(*weekday)) {
        ahead.eat(b',');
        if ahead.eat(b' ') {
            ahead.skip_spaces();
            *scanner = ahead;
        }
    }
}

fn month(name: [u8; 3]) -> Option<u32> {
    let name = name.map(|byte| byte | 0x20);
    let at = MONTHS.iter().position(|month| **month == name)?;
    u32::try_from(at).ok()?.checked_add(1)
}

/// Takes what divides the parts of a date with a month's name.
fn divider(scanner: &mut Scanner<'_>) -> Option<()> {
    let taken = scanner.eat(b' ') || scanner.eat(b'-') || scanner.eat(b'/');
    scanner.skip_spaces();
    taken.then_some(())
}

/// Takes four digits that are a word of their own and a plausible year.
fn year_here(scanner: &mut Scanner<'_>) -> Option<u32> {
    let mut ahead = *scanner;
    let year = ahead.digits(4..=4).filter(|year| (1970..2200).contains(year))?;
    if !matches!(ahead.peek(), None | Some(b' ' | b':' | b',')) {
        return None;
    }
    *scanner = ahead;
    Some(year)
}

/// Takes `hh:mm:ss` with an optional fraction.
fn clock(scanner: &mut Scanner<'_>) -> Option<Clock> {
    let mut ahead = *scanner;
    let [h1, h2, b':', i1, i2, b':', s1, s2] = ahead.chunk()? else { return None };
    if ahead.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let second_of_day = second_of_day(pair(h1, h2)?, pair(i1, i2)?, pair(s1, s2)?)?;
    let nanos = fraction(&mut ahead);
    *scanner = ahead;
    Some(Clock { second_of_day, nanos })
}

fn second_of_day(hour: u32, minute: u32, second: u32) -> Option<u32> {
    // 60 is a leap second.
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Takes a fraction of a second, and returns it in nanoseconds; digits beyond these are read over.
///
/// ISO 8601 allows the comma too; H3C's old devices write `:123`.
fn fraction(scanner: &mut Scanner<'_>) -> u32 {
    let mut ahead = *scanner;
    let digits = match ahead.peek() {
        Some(sign @ (b'.' | b',')) => {
            ahead.eat(sign);
            ahead.take_while(|byte| byte.is_ascii_digit())
        }
        Some(b':') => {
            ahead.eat(b':');
            let digits = ahead.take_while(|byte| byte.is_ascii_digit());
            if digits.len() != 3 {
                return 0;
            }
            digits
        }
        _ => return 0,
    };
    if digits.is_empty() {
        return 0;
    }
    *scanner = ahead;
    let mut nanos = 0;
    let mut weight = 100_000_000;
    for digit in digits.iter().take(FRACTION_DIGITS) {
        nanos += u32::from(digit - b'0') * weight;
        weight /= 10;
    }
    nanos
}

/// Takes `Z`, `±hh:mm`, `±hhmm` (what `%z` of strftime writes), the name of a zone, both, or nothing, with a space before it or
/// without. `None` for an offset that is none: the stamp is then no stamp.
fn offset(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Option<i64>> {
    match scanner.peek() {
        Some(b'Z' | b'z') => {
            let mut ahead = *scanner;
            ahead.eat(b'Z');
            ahead.eat(b'z');
            if !ahead.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
                *scanner = ahead;
            }
            return Some(Some(0));
        }
        Some(b'+' | b'-') => return signed(scanner).map(Some),
        Some(b' ') => {}
        _ => return Some(None),
    }
    let mut ahead = *scanner;
    ahead.skip_spaces();
    match ahead.peek() {
        Some(b'+' | b'-') => {
            let found = signed(&mut ahead).filter(|_| matches!(ahead.peek(), None | Some(b' ' | b':' | b']' | b'"')));
            if found.is_some() {
                *scanner = ahead;
            }
            Some(found)
        }
        Some(b'A'..=b'Z') => {
            let name = ahead.take_while(|byte| byte.is_ascii_uppercase());
            if !(2..=5).contains(&name.len()) || !matches!(ahead.peek(), None | Some(b' ' | b':' | b'+' | b'-' | b'"' | b']')) {
                return Some(None);
            }
            let named = if name == b"TZ" { Some(0) } else { context.zone.named(name, context.received) };
            let Some(named) = named else { return Some(None) };
            // `GMT+01:00`, `CET +01:00`, RFC 3164's own `TZ-6`: the number says it.
            let mut number = ahead;
            number.skip_spaces();
            let found = signed(&mut number).filter(|_| matches!(number.peek(), None | Some(b' ' | b':')));
            *scanner = if found.is_some() { number } else { ahead };
            Some(Some(found.unwrap_or(named)))
        }
        _ => Some(None),
    }
}

/// Takes `±hh:mm`, `±hhmm`, `±hh` or `±h`.
fn signed(scanner: &mut Scanner<'_>) -> Option<i64> {
    let mut ahead = *scanner;
    let sign = if ahead.eat(b'+') {
        1
    } else if ahead.eat(b'-') {
        -1
    } else {
        return None;
    };
    if let Some([h1, h2, b':', m1, m2]) = ahead.rest().first_chunk()
        && let (Some(hours @ 0..24), Some(minutes @ 0..60)) = (pair(*h1, *h2), pair(*m1, *m2))
    {
        ahead.chunk::<5>();
        *scanner = ahead;
        return Some(sign * i64::from(hours * 3600 + minutes * 60));
    }
    let (hours, minutes) = match ahead.digits(4..=4) {
        Some(both) => (both / 100, both % 100),
        None => {
            let hours = ahead.digits(1..=2)?;
            (hours, if ahead.eat(b':') { ahead.digits(2..=2)? } else { 0 })
        }
    };
    if hours >= 24 || minutes >= 60 {
        return None;
    }
    *scanner = ahead;
    Some(sign * i64::from(hours * 3600 + minutes * 60))
}

fn pair(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let mut scanner = Scanner::new(text.as_bytes());
        let time = rfc3339(&mut scanner, &Context::utc(Timestamp::default())).unwrap();
        assert!(scanner.is_empty(), "{text}");
        time
    }

    fn dated(text: &str, received: &str) -> Option<Timestamp> {
        month_day(&mut Scanner::new(text.as_bytes()), &Context::utc(at(received)))
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
            assert_eq!(rfc3339(&mut Scanner::new(text.as_bytes()), &Context::utc(Timestamp::default())), None, "{text}");
        }
        for text in ["2003-10-11T24:00:00Z", "2003-10-11T22:60:00Z", "2003-10-11T22:14:15+24:00", "2003-1-11T22:14:15"] {
            assert_eq!(rfc3339(&mut Scanner::new(text.as_bytes()), &Context::utc(Timestamp::default())), None, "{text}");
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
}
