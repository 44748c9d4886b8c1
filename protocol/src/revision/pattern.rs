//! Regular expressions and networks of rules: compiled under the same limits by the console's check and by the gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

/// Most bytes of a pattern.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// Most bytes of a text that a pattern is held against; the rest is not looked at.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Most bytes of one compiled pattern, and of its lazily built automaton.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// Deepest nesting of groups.
const MAX_NESTING: u32 = 32;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The compiled form is too large.
    #[error("the regular expression is too large once compiled: use shorter repetitions, or (?-u) with ASCII classes")]
    Compiled,
    /// The text is too long.
    #[error("a regular expression has at most {MAX_PATTERN_BYTES} bytes, not {0}")]
    Size(usize),
    /// The syntax is wrong.
    #[error("the regular expression is not valid: {0}")]
    Syntax(String),
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Bits after the prefix are set.
    #[error("bits after the prefix are set: write {0}")]
    HostBits(IpNet),
    /// Not an address with a prefix length.
    #[error("not a network: write an address, or an address with its prefix length such as 10.0.0.0/8")]
    Syntax,
}

/// Compiles `text` under the limits. The engine matches in linear time; look-around and back-references do not exist.
///
/// # Errors
/// [`PatternError`] says what is wrong.
pub fn compile(text: &str) -> Result<Regex, PatternError> {
    if text.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::Size(text.len()));
    }
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).nest_limit(MAX_NESTING);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::Compiled,
        // The text draws the pattern over several lines; its last one says what is wrong.
        other => {
            let text = other.to_string();
            let last = text.lines().next_back().unwrap_or_default();
            PatternError::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        }
    })
}

/// Parses a network in CIDR notation; a bare address is a network of one.
///
/// # Errors
/// [`NetworkError`] says what is wrong.
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| NetworkError::Syntax)?;
    match network.trunc() {
        right if right == network => Ok(network),
        right => Err(NetworkError::HostBits(right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_pattern_are_one_line() {
        assert_eq!(compile("a(").unwrap_err(), PatternError::Syntax("unclosed group".to_owned()));
        assert_eq!(compile(r"(?:\w{100}){100}").unwrap_err(), PatternError::Compiled);
        assert_eq!(compile(&"a".repeat(1025)).unwrap_err(), PatternError::Size(1025));
        assert!(matches!(compile("(?=a)").unwrap_err(), PatternError::Syntax(text) if text.contains("look-around")));
    }

    #[test]
    fn networks_are_written_exactly() {
        assert_eq!(network("10.0.0.7").unwrap().prefix_len(), 32);
        assert_eq!(network("2001:db8::/32").unwrap().prefix_len(), 32);
        assert_eq!(network("10.0.0.7/8").unwrap_err().to_string(), "bits after the prefix are set: write 10.0.0.0/8");
        assert_eq!(network("10.0.0.0/33"), Err(NetworkError::Syntax));
    }
}
