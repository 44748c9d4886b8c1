//! Time zones: what a source's time stamps mean when they name no offset, and the names that devices write behind a time.
//!
//! Pure: the rules are those bundled with the program, never those of the machine that it runs on.

use jiff::tz::{self, AmbiguousOffset, Offset};
use postern_protocol::revision::time_zone::{TimeZone, TimeZoneError};
use postern_protocol::timestamp::Timestamp;

/// The time zone of a source. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Zone(Rules);

#[derive(Clone, Debug)]
enum Rules {
    /// Seconds east of UTC.
    Fixed(i64),
    Iana(tz::TimeZone),
}

/// Why a text is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// The name is not known.
    #[error(transparent)]
    Name(#[from] TimeZoneError),
    /// The bundled rules of this zone cannot be read.
    #[error("the bundled rules of {0} cannot be read")]
    Rules(&'static str),
}

/// What a gateway takes a time for that names no zone, where it was told none.
static UTC: Zone = Zone::UTC;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Rules::Fixed(0));

    /// Reads an IANA name (`Europe/Berlin`) or a fixed offset (`+02:00`, `UTC`).
    ///
    /// # Errors
    /// [`ZoneError`] when the bundled database has no such zone.
    pub fn parse(text: &str) -> Result<Self, ZoneError> {
        Ok(match TimeZone::parse(text)? {
            TimeZone::Fixed(seconds) => Self(Rules::Fixed(seconds.into())),
            TimeZone::Iana { name, rules } => Self(Rules::Iana(tz::TimeZone::tzif(name, rules).map_err(|_| ZoneError::Rules(name))?)),
        })
    }
}

impl Zone {
    /// Returns how many seconds east of UTC the zone is at a local time, given in seconds as if it were UTC.
    ///
    /// An hour that the clocks show twice is the one that is nearer to `received`; one that they skip is as if they had not yet.
    pub(super) fn offset(&self, local: i64, received: Timestamp) -> i64 {
        let rules = match &self.0 {
            Rules::Fixed(seconds) => return *seconds,
            Rules::Iana(rules) => rules,
        };
        let Ok(local_time) = jiff::Timestamp::from_second(local) else { return 0 };
        match rules.to_ambiguous_timestamp(Offset::UTC.to_datetime(local_time)).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Gap { before: offset, .. } => offset.seconds().into(),
            AmbiguousOffset::Fold { before, after } => {
                let distance = |offset: &Offset| local.saturating_sub(offset.seconds().into()).abs_diff(received.as_secs());
                [before, after].into_iter().min_by_key(distance).unwrap_or(before).seconds().into()
            }
        }
    }
}

/// Names of zones as devices write them, with their hours east of UTC in quarters. Where several zones share a name, the one whose
/// devices are met most often is meant, unless the source's own zone has the name.
const NAMES: [(&[u8], i64); 48] = [
    (b"ACDT", 42),
    (b"ACST", 38),
    (b"ADT", -12),
    (b"AEDT", 44),
    (b"AEST", 40),
    (b"AKDT", -32),
    (b"AKST", -36),
    (b"ART", -12),
    (b"AST", -16),
    (b"AWST", 32),
    (b"BRT", -12),
    (b"BST", 4),
    (b"CAT", 8),
    (b"CDT", -20),
    (b"CEST", 8),
    (b"CET", 4),
    (b"CST", -24),
    (b"EAT", 12),
    (b"EDT", -16),
    (b"EEST", 12),
    (b"EET", 8),
    (b"EST", -20),
    (b"GMT", 0),
    (b"GST", 16),
    (b"HKT", 32),
    (b"HST", -40),
    (b"ICT", 28),
    (b"IST", 22),
    (b"JST", 36),
    (b"KST", 36),
    (b"MDT", -24),
    (b"MEST", 8),
    (b"MESZ", 8),
    (b"MET", 4),
    (b"MEZ", 4),
    (b"MSK", 12),
    (b"MST", -28),
    (b"NZDT", 52),
    (b"NZST", 48),
    (b"PDT", -28),
    (b"PKT", 20),
    (b"PST", -32),
    (b"SAST", 8),
    (b"SGT", 32),
    (b"UTC", 0),
    (b"WEST", 4),
    (b"WET", 0),
    (b"WIB", 28),
];

/// Seconds of a quarter of an hour.
const QUARTER: i64 = 900;
/// Half a year: the other offset of a zone with summer time.
const HALF_YEAR: i64 = 182 * 86_400;

impl Zone {
    /// Returns the offset that a name such as `CEST` means to this source, or `None` when it is none.
    pub(super) fn named(&self, name: &[u8], received: Timestamp) -> Option<i64> {
        if let Rules::Iana(rules) = &self.0 {
            for seconds in [received.as_secs(), received.as_secs().saturating_sub(HALF_YEAR)] {
                let Ok(time) = jiff::Timestamp::from_second(seconds) else { continue };
                let info = rules.to_offset_info(time);
                if info.abbreviation().as_bytes() == name {
                    return Some(info.offset().seconds().into());
                }
            }
        }
        let at = NAMES.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        NAMES.get(at).map(|(_, quarters)| quarters * QUARTER)
    }
}

/// What a line is decoded with, besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// When the line was received: it gives a time stamp without a year its year.
    pub received: Timestamp,
    /// The zone of time stamps that name none.
    pub zone: &'a Zone,
}

impl Context<'static> {
    /// Makes the context of a source whose zone is not known: UTC.
    pub fn utc(received: Timestamp) -> Self {
        Self { received, zone: &UTC }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offset in minutes at a local time near which the line was received: both in seconds as UTC.
    fn minutes(zone: &str, local: i64, received: i64) -> i64 {
        Zone::parse(zone).unwrap().offset(local, Timestamp::from_secs(received)) / 60
    }

    #[test]
    fn names_are_sorted_and_mean_what_the_source_s_zone_means() {
        assert!(NAMES.is_sorted());
        let named = |zone: &str, name: &[u8]| Zone::parse(zone).unwrap().named(name, Timestamp::from_secs(1_795_298_980));
        assert_eq!(named("UTC", b"CST"), Some(-21_600));
        assert_eq!(named("Asia/Shanghai", b"CST"), Some(28_800));
        assert_eq!(named("Europe/Dublin", b"IST"), Some(3_600));
        assert_eq!(named("Asia/Kolkata", b"EST"), Some(-18_000));
        assert_eq!(named("UTC", b"NAS"), None);
    }

    #[test]
    fn a_fixed_offset_is_what_it_says() {
        assert_eq!(minutes("+05:45", 0, 0), 345);
        assert_eq!(minutes("UTC", i64::MAX, 0), 0);
        assert_eq!(Zone::parse("Europe/Atlantis").unwrap_err().to_string().lines().count(), 1);
    }

    #[test]
    fn summer_time_comes_and_goes_at_the_right_hour() {
        // Europe/Berlin 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00.
        let (spring, autumn) = (1_774_749_600, 1_792_893_600);
        assert_eq!(minutes("Europe/Berlin", spring - 1, spring), 60);
        assert_eq!(minutes("Europe/Berlin", spring + 1_800, spring), 60);
        assert_eq!(minutes("Europe/Berlin", spring + 3_600, spring), 120);
        // 02:30 comes twice: received at 00:30:01 UTC it was the first, at 01:30:01 UTC the second.
        let twice = autumn + 1_800;
        assert_eq!(minutes("Europe/Berlin", twice, twice - 7_199), 120);
        assert_eq!(minutes("Europe/Berlin", twice, twice - 3_599), 60);
        assert_eq!(minutes("Europe/Berlin", autumn + 3_600, autumn), 60);
        assert_eq!(minutes("Australia/Sydney", autumn, autumn), 660);
        assert_eq!(minutes("America/New_York", 4_102_444_800, 0), -300);
    }
}
