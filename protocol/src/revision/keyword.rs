//! The words for syslog facilities and severities (RFC 5427 §3) in documents and alerts.

/// Facilities by number (RFC 5424 §6.2.1).
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "console",
    "cron2", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// Severities by number, gravest first (RFC 5424 §6.2.1).
pub const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Returns the number of the facility called `keyword`.
pub fn facility(keyword: &str) -> Option<u8> {
    FACILITIES.iter().zip(0..).find(|(name, _)| **name == keyword).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_stand_at_their_numbers() {
        assert_eq!((facility("kern"), facility("authpriv"), facility("local7"), facility("LOCAL7")), (Some(0), Some(10), Some(23), None));
        assert_eq!(SEVERITIES[3], "err");
    }
}
