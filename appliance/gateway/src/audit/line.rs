//! One line of an audit file: pure, and exact to the byte, for the digests cover the entry's text as it lies there.
//!
//! Each line is JSON. The first of a file says where it goes on, `{"continues":12,"digest":"…"}`: number and digest of the entry
//! before; every other is an entry, `{"number":13,"digest":"…","entry":{…}}`.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use postern_protocol::audit::{ORIGIN, chain_input};

/// A place in the chain: an entry's number and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) digest: [u8; 32],
}

impl Place {
    /// Before the first entry.
    pub(super) const ORIGIN: Self = Self { number: 0, digest: ORIGIN };

    /// Returns where the chain is after an entry with this text.
    pub(super) fn after(self, text: &[u8]) -> Self {
        let number = self.number.saturating_add(1);
        let mut out = Self { number, digest: ORIGIN };
        let hash = digest(&SHA256, &chain_input(&self.digest, number, text));
        out.digest.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    pub(super) fn hex(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}

/// An entry as it lies in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryLine<'a> {
    /// What the line says of itself.
    pub(super) place: Place,
    /// The entry's text.
    pub(super) text: &'a [u8],
}

/// Writes the first line of a file that goes on after `place`.
pub(super) fn head(place: &Place) -> String {
    format!("{{\"continues\":{},\"digest\":\"{}\"}}\n", place.number, place.hex())
}

/// Reads the first line of a file, without its end.
pub(super) fn read_head(line: &[u8]) -> Option<Place> {
    let (place, rest) = place(line.strip_prefix(b"{\"continues\":")?)?;
    (rest == b"}").then_some(place)
}

/// Appends the line of an entry to `out`.
pub(super) fn push_entry(out: &mut Vec<u8>, place: &Place, text: &[u8]) {
    out.extend_from_slice(format!("{{\"number\":{},\"digest\":\"{}\",\"entry\":", place.number, place.hex()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"}\n");
}

/// Reads the line of an entry, without its end.
pub(super) fn read_entry(line: &[u8]) -> Option<EntryLine<'_>> {
    let (place, rest) = place(line.strip_prefix(b"{\"number\":")?)?;
    let text = rest.strip_prefix(b",\"entry\":")?.strip_suffix(b"}")?;
    Some(EntryLine { place, text })
}

/// Reads `12,"digest":"…"` and returns what follows.
fn place(text: &[u8]) -> Option<(Place, &[u8])> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (number, rest) = text.split_at_checked(comma)?;
    let number = std::str::from_utf8(number).ok().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let (hex, rest) = rest.strip_prefix(b",\"digest\":\"")?.split_at_checked(64)?;
    let digest = HEXLOWER.decode(hex).ok()?.try_into().ok()?;
    Some((Place { number, digest }, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let place = Place::ORIGIN.after(br#"{"what":"stopped"}"#);
        assert_eq!(read_head(head(&place).trim_end().as_bytes()), Some(place));
        let mut line = Vec::new();
        push_entry(&mut line, &place, br#"{"what":"stopped"}"#);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&line).unwrap()["entry"]["what"], "stopped");
        let read = read_entry(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((read.place, read.text), (place, br#"{"what":"stopped"}"#.as_slice()));
    }

    #[test]
    fn a_digest_depends_on_number_text_and_all_that_came_before() {
        let first = Place::ORIGIN.after(b"a");
        assert_ne!(first.after(b"b"), Place::ORIGIN.after(b"x").after(b"b"));
        assert_ne!(first.after(b"b").digest, first.after(b"c").digest);
        assert_ne!(Place { number: 5, ..first }.after(b"b").digest, first.after(b"b").digest);
    }

    #[test]
    fn what_was_never_written_is_no_line() {
        for bad in ["", "{}", "{\"number\":1}", "{\"number\":+1,\"digest\":\"", "{\"number\":99999999999999999999,\"digest\":\"\""] {
            assert_eq!(read_entry(bad.as_bytes()), None, "{bad}");
        }
    }
}
