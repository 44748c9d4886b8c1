//! Times as documents write them: RFC 3339, UTC, microseconds. Used by the API, the console and every `Serialize` of a store's row.

use postern_protocol::timestamp::Timestamp;
use serde::Serializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Writes `at` as `2026-11-21T22:03:41.000000Z`: always six digits, so that texts sort as times do.
pub fn format(at: Timestamp) -> String {
    let shape = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.as_nanos())).ok().and_then(|time| time.format(&shape).ok()).unwrap_or_default()
}

/// Reads a time with any offset and any number of fractional digits; `None` when it is not RFC 3339 or outside [`Timestamp`]'s range.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos()).ok().map(Timestamp::from_nanos)
}

/// For `#[serde(serialize_with = "…")]` on a [`Timestamp`].
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*at))
}

/// For `#[serde(serialize_with = "…")]` on an optional [`Timestamp`].
///
/// # Errors
/// Those of the serializer.
pub fn serialize_option<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_six_digits_and_read_with_any() {
        let at = Timestamp::from_nanos(1_795_300_000_123_456_789);
        assert_eq!(format(at), "2026-11-21T22:26:40.123456Z");
        assert_eq!(parse("2026-11-21T23:26:40.123456789+01:00"), Some(at));
        assert_eq!(parse("2026-11-21T22:26:40Z"), Some(Timestamp::from_secs(1_795_300_000)));
    }

    #[test]
    fn the_ends_of_the_range_are_written() {
        assert!(format(Timestamp::from_nanos(i64::MIN)).starts_with("1677-"));
        assert!(format(Timestamp::from_nanos(i64::MAX)).starts_with("2262-"));
        assert_eq!(parse("9999-01-01T00:00:00Z"), None);
        assert_eq!(parse("yesterday"), None);
    }
}
