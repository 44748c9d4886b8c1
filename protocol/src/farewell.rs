//! Words that stand in a [`crate::message::Goodbye`]'s reason or in a refusal, by which the gateway's doctor knows what it is.
//!
//! The reason is for a person; a program only looks whether one of these is in it, so no version of either side needs a new field.

/// Two machines show one identity, and this one is not the one that may go on.
pub const QUARANTINED: &str = "is quarantined";

/// An admin ended this gateway's right to connect.
pub const REVOKED: &str = "was revoked";

/// The two sides have no protocol version in common.
pub const VERSION: &str = "does not speak the gateway's protocol version";

/// Header of every answer on the tunnel's port that opens no stream: the oldest and the newest protocol version, as `1-2`.
pub const VERSIONS_HEADER: &str = "postern-protocol";

/// Writes the value of [`VERSIONS_HEADER`].
pub fn versions(oldest: u32, newest: u32) -> String {
    format!("{oldest}-{newest}")
}

/// Reads the value of [`VERSIONS_HEADER`]: the oldest and the newest version; `None` when it is something else.
pub fn parse_versions(text: &str) -> Option<(u32, u32)> {
    let (oldest, newest) = text.split_once('-')?;
    let (oldest, newest) = (oldest.parse().ok()?, newest.parse().ok()?);
    (oldest <= newest).then_some((oldest, newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_versions_is_read_as_it_is_written() {
        assert_eq!(parse_versions(&versions(1, 2)), Some((1, 2)));
        for other in ["", "2", "2-1", "a-b", "1-2-3"] {
            assert_eq!(parse_versions(other), None, "{other}");
        }
    }
}
