//! BER as far as SNMP uses it (X.690 §8, RFC 3417 §8): definite lengths and one-byte tags, read and written.
//!
//! Strict and bounded: nothing is read past an element, nothing is allocated by an announced length. Where agents in the field
//! slip (padded or unsigned integers, empty OIDs) it does what net-snmp does. Knows no SNMP message; `snmp` calls it.

use std::net::Ipv4Addr;

use postern_protocol::oid::{MAX_SUB_IDENTIFIERS, Oid};

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// SEQUENCE and SEQUENCE OF.
pub const SEQUENCE: u8 = 0x30;

/// An OID of fewer encoded bytes has no more sub-identifiers than this.
const SHORT_OID: usize = 24;

/// Why bytes are not the expected BER, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (at byte {at})")]
pub struct BerError {
    /// Offset of the element in the bytes that were given first.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An IpAddress that has not 4 bytes.
    #[error("an address has {0} bytes instead of 4")]
    AddressLength(usize),
    /// The length octets are indefinite, reserved or more than four (RFC 3417 §8: definite form only).
    #[error("the length octets are invalid")]
    Length,
    /// A value lies outside the range of its type or field.
    #[error("a number is out of range")]
    Number,
    /// An integer of no bytes, or of more than any type has.
    #[error("a number has {0} bytes")]
    NumberLength(usize),
    /// An OID that is padded, cut, too long or has a sub-identifier above 32 bits.
    #[error("an object identifier is invalid")]
    Oid,
    /// The element needs more bytes than there are.
    #[error("bytes are missing")]
    Truncated,
    /// Bytes follow where an element must end.
    #[error("there are bytes too many")]
    TrailingBytes,
    /// Another kind of element stands there.
    #[error("tag {found:#04x} instead of {expected:#04x}")]
    UnexpectedTag {
        /// The tag that the grammar asks for.
        expected: u8,
        /// The tag that is there.
        found: u8,
    },
    /// A tag that no SNMP type has there.
    #[error("tag {0:#04x} is unknown")]
    UnknownTag(u8),
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

/// One element: a tag and its content.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The tag's byte.
    pub tag: u8,
    /// The content's bytes.
    pub content: &'a [u8],
    at: usize,
    content_at: usize,
}

impl<'a> Reader<'a> {
    /// Makes a reader of `bytes`; errors count from their start.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Says whether all is read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns how far it has read: an offset in the bytes that were given first.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Reads the next element, whatever its tag.
    ///
    /// # Errors
    /// [`Fault::Truncated`] or [`Fault::Length`]. A length may have more octets than it needs (X.690 §8.1.3.5).
    pub fn element(&mut self) -> Result<Element<'a>, BerError> {
        let at = self.at;
        let error = |fault| BerError { at, fault };
        let [tag, first, rest @ ..] = self.rest else { return Err(error(Fault::Truncated)) };
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let count = usize::from(long & 0x7f);
                let (octets, rest) = rest.split_at_checked(count).ok_or(error(Fault::Truncated))?;
                (octets.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet)), rest)
            }
            _ => return Err(error(Fault::Length)),
        };
        let header = self.rest.len().saturating_sub(rest.len());
        let (content, rest) = rest.split_at_checked(length).ok_or(error(Fault::Truncated))?;
        let content_at = at.saturating_add(header);
        self.rest = rest;
        self.at = content_at.saturating_add(length);
        Ok(Element { tag: *tag, content, at, content_at })
    }

    /// Reads the next element, which must have `tag`.
    ///
    /// # Errors
    /// As [`Reader::element`], and [`Fault::UnexpectedTag`].
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, BerError> {
        let element = self.element()?;
        if element.tag == tag { Ok(element) } else { Err(element.error(Fault::UnexpectedTag { expected: tag, found: element.tag })) }
    }

    /// Says that nothing may follow.
    ///
    /// # Errors
    /// [`Fault::TrailingBytes`].
    pub const fn finish(&self) -> Result<(), BerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BerError { at: self.at, fault: Fault::TrailingBytes }) }
    }
}

impl<'a> Element<'a> {
    /// Returns a reader of the elements inside.
    pub const fn reader(&self) -> Reader<'a> {
        Reader { rest: self.content, at: self.content_at }
    }

    /// Returns the offset of the element in the bytes that were given first.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Returns the offset of the content in the bytes that were given first.
    pub(crate) const fn content_at(&self) -> usize {
        self.content_at
    }

    /// Makes the error that says what is wrong with this element.
    pub const fn error(&self, fault: Fault) -> BerError {
        BerError { at: self.at, fault }
    }

    /// Reads a signed number of up to 64 bits. Padding is accepted up to 8 bytes, as net-snmp does.
    ///
    /// # Errors
    /// [`Fault::NumberLength`].
    pub fn integer(&self) -> Result<i64, BerError> {
        match self.content {
            [first, ..] if self.content.len() <= 8 => {
                let sign = if *first & 0x80 == 0 { 0 } else { -1 };
                Ok(self.content.iter().fold(sign, |number: i64, byte| (number << 8) | i64::from(*byte)))
            }
            _ => Err(self.error(Fault::NumberLength(self.content.len()))),
        }
    }

    /// Reads a signed number of 32 bits.
    ///
    /// # Errors
    /// [`Fault::NumberLength`] or [`Fault::Number`].
    pub fn integer32(&self) -> Result<i32, BerError> {
        i32::try_from(self.integer()?).map_err(|_| self.error(Fault::Number))
    }

    /// Reads an unsigned number of 32 bits. Agents that leave out the zero byte before a high bit mean the unsigned number; so does
    /// net-snmp.
    ///
    /// # Errors
    /// [`Fault::NumberLength`] or [`Fault::Number`].
    pub fn unsigned32(&self) -> Result<u32, BerError> {
        let number = match self.content {
            [0, rest @ ..] if rest.len() == 8 => Element { content: rest, ..*self }.integer()?,
            _ => self.integer()?,
        };
        let wrapped = u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned));
        wrapped.map_err(|_| self.error(Fault::Number))
    }

    /// Reads an unsigned number of 64 bits, with the same leniency as [`Element::unsigned32`].
    ///
    /// # Errors
    /// [`Fault::NumberLength`].
    pub fn unsigned64(&self) -> Result<u64, BerError> {
        match self.content {
            [0, rest @ ..] if rest.len() == 8 => Ok(rest.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))),
            _ => self.integer().map(i64::cast_unsigned),
        }
    }

    /// Checks that there is no content (X.690 §8.8).
    ///
    /// # Errors
    /// [`Fault::TrailingBytes`].
    pub const fn null(&self) -> Result<(), BerError> {
        self.reader().finish()
    }

    /// Reads an IpAddress (RFC 2578 §7.1.5).
    ///
    /// # Errors
    /// [`Fault::AddressLength`].
    pub fn ipv4(&self) -> Result<Ipv4Addr, BerError> {
        let bytes: [u8; 4] = self.content.try_into().map_err(|_| self.error(Fault::AddressLength(self.content.len())))?;
        Ok(Ipv4Addr::from(bytes))
    }

    /// Reads an OID (X.690 §8.19). An empty one means `zeroDotZero`, as agents write it and net-snmp reads it.
    ///
    /// # Errors
    /// [`Fault::Oid`].
    pub fn oid(&self) -> Result<Oid, BerError> {
        // Nearly all are short, and what is not there need not be cleared.
        if self.content.len() < SHORT_OID { self.oid_of::<SHORT_OID>() } else { self.oid_of::<MAX_SUB_IDENTIFIERS>() }
    }

    fn oid_of<const MOST: usize>(&self) -> Result<Oid, BerError> {
        let error = self.error(Fault::Oid);
        let mut numbers = [0_u32; MOST];
        let mut used: usize = 0;
        let mut number: u64 = 0;
        let mut inside = false;
        for byte in self.content {
            // §8.19.2: the leading octet of a sub-identifier shall not be 0x80.
            if !inside && *byte == 0x80 {
                return Err(error);
            }
            number = (number << 7) | u64::from(*byte & 0x7f);
            inside = *byte & 0x80 != 0;
            if number > u64::from(u32::MAX) + 80 {
                return Err(error);
            }
            if inside {
                continue;
            }
            if used == 0 {
                // §8.19.4: the first two numbers share one sub-identifier, 40 × first + second.
                let first = (number / 40).min(2);
                *numbers.first_mut().ok_or(error)? = u32::try_from(first).map_err(|_| error)?;
                number -= first * 40;
                used = 1;
            }
            *numbers.get_mut(used).ok_or(error)? = u32::try_from(number).map_err(|_| error)?;
            used += 1;
            number = 0;
        }
        if inside {
            return Err(error);
        }
        Oid::new(numbers.get(..used.max(2)).unwrap_or_default()).map_err(|_| error)
    }
}

/// Writes elements one after the other, in the shortest form.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Returns what was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Writes an element of which the content is known.
    pub fn element(&mut self, tag: u8, content: &[u8]) {
        self.out.push(tag);
        match u8::try_from(content.len()) {
            Ok(short @ 0..=0x7f) => self.out.push(short),
            _ => {
                let octets = content.len().to_be_bytes();
                let octets = octets.get(octets.iter().take_while(|octet| **octet == 0).count()..).unwrap_or_default();
                self.out.push(0x80 | octets.len().to_le_bytes()[0]);
                self.out.extend_from_slice(octets);
            }
        }
        self.out.extend_from_slice(content);
    }

    /// Writes an element that holds what `fill` writes.
    pub fn constructed(&mut self, tag: u8, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.element(tag, &inner.out);
    }

    /// Appends elements that are encoded already.
    pub fn raw(&mut self, elements: &[u8]) {
        self.out.extend_from_slice(elements);
    }

    /// Writes a signed number.
    pub fn integer(&mut self, tag: u8, number: i64) {
        self.number(tag, i128::from(number));
    }

    /// Writes an unsigned number.
    pub fn unsigned(&mut self, tag: u8, number: u64) {
        self.number(tag, i128::from(number));
    }

    /// Writes an OID.
    pub fn oid(&mut self, oid: &Oid) {
        let mut content = Vec::with_capacity(oid.numbers().len().saturating_add(4));
        if let [first, second, rest @ ..] = oid.numbers() {
            base128(&mut content, u64::from(*first) * 40 + u64::from(*second));
            rest.iter().for_each(|number| base128(&mut content, u64::from(*number)));
        }
        self.element(OBJECT_IDENTIFIER, &content);
    }

    fn number(&mut self, tag: u8, number: i128) {
        let bytes = number.to_be_bytes();
        let fits = |bits: u32| number >> (bits - 1) == 0 || number >> (bits - 1) == -1;
        let length = (1..=9_usize).find(|length| fits(8 * u32::try_from(*length).unwrap_or(9))).unwrap_or(9);
        self.element(tag, bytes.get(bytes.len() - length..).unwrap_or_default());
    }
}

fn base128(out: &mut Vec<u8>, number: u64) {
    let groups = (1..=5_u32).find(|groups| number >> (7 * groups) == 0).unwrap_or(5);
    for group in (0..groups).rev() {
        let bits = (number >> (7 * group)).to_le_bytes()[0] & 0x7f;
        out.push(if group == 0 { bits } else { bits | 0x80 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Element<'_> {
        let mut reader = Reader::new(bytes);
        let element = reader.element().unwrap();
        reader.finish().unwrap();
        element
    }

    #[test]
    fn a_length_may_be_short_or_long_but_never_indefinite() {
        assert_eq!(one(&[4, 2, b'h', b'i']).content, b"hi");
        assert_eq!(one(&[4, 0x82, 0, 2, b'h', b'i']).content, b"hi");
        assert_eq!(one(&[4, 0x84, 0, 0, 0, 2, b'h', b'i']).content, b"hi");
        for (bytes, fault) in [
            (&[0x30, 0x80, 0, 0][..], Fault::Length),
            (&[4, 0x85, 0, 0, 0, 0, 1, 0], Fault::Length),
            (&[4, 0xff, 0], Fault::Length),
            (&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 0], Fault::Truncated),
            (&[4, 0x82, 0], Fault::Truncated),
            (&[4, 3, 1, 2], Fault::Truncated),
            (&[4], Fault::Truncated),
            (&[], Fault::Truncated),
        ] {
            assert_eq!(Reader::new(bytes).element().unwrap_err(), BerError { at: 0, fault }, "{bytes:x?}");
        }
    }

    #[test]
    fn an_error_says_where_in_the_datagram_it_is() {
        let mut outer = Reader::new(&[0x30, 5, 2, 1, 7, 4, 9]);
        let mut inner = outer.expect(SEQUENCE).unwrap().reader();
        inner.expect(INTEGER).unwrap();
        assert_eq!(inner.element().unwrap_err(), BerError { at: 5, fault: Fault::Truncated });
    }

    #[test]
    fn integers_may_be_padded_but_not_beyond_their_type() {
        assert_eq!(one(&[2, 1, 0xff]).integer(), Ok(-1));
        assert_eq!(one(&[2, 4, 0, 0, 0, 5]).integer(), Ok(5));
        assert_eq!(one(&[2, 8, 0x80, 0, 0, 0, 0, 0, 0, 0]).integer(), Ok(i64::MIN));
        assert_eq!(one(&[2, 0]).integer().unwrap_err().fault, Fault::NumberLength(0));
        assert_eq!(one(&[2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]).integer().unwrap_err().fault, Fault::NumberLength(9));
        assert_eq!(one(&[2, 5, 1, 0, 0, 0, 0]).integer32().unwrap_err().fault, Fault::Number);
    }

    #[test]
    fn unsigned_numbers_without_their_zero_byte_are_read_as_net_snmp_does() {
        assert_eq!(one(&[0x41, 5, 0, 0xff, 0xff, 0xff, 0xff]).unsigned32(), Ok(u32::MAX));
        assert_eq!(one(&[0x41, 4, 0xff, 0xff, 0xff, 0xfe]).unsigned32(), Ok(u32::MAX - 1));
        assert_eq!(one(&[0x41, 5, 1, 0, 0, 0, 0]).unsigned32().unwrap_err().fault, Fault::Number);
        assert_eq!(one(&[0x41, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1]).unsigned32(), Ok(1));
        assert_eq!(one(&[0x46, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]).unsigned64(), Ok(u64::MAX));
        assert_eq!(one(&[0x46, 8, 255, 255, 255, 255, 255, 255, 255, 255]).unsigned64(), Ok(u64::MAX));
        assert_eq!(one(&[0x46, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unsigned64().unwrap_err().fault, Fault::NumberLength(9));
    }

    #[test]
    fn oids_at_the_edges_are_read_and_bad_ones_refused() {
        for (content, text) in [
            (&[][..], "0.0"),
            (&[0], "0.0"),
            (&[0x27], "0.39"),
            (&[0x4f], "1.39"),
            (&[0x50], "2.0"),
            (&[0x90, 0x80, 0x80, 0x80, 0x4f], "2.4294967295"),
            (&[0x2b, 6, 1, 4, 1, 0x8f, 0xff, 0xff, 0xff, 0x7f], "1.3.6.1.4.1.4294967295"),
        ] {
            let element = Element { tag: OBJECT_IDENTIFIER, content, at: 0, content_at: 0 };
            assert_eq!(element.oid().unwrap().to_string(), text);
        }
        let long = [1_u8; MAX_SUB_IDENTIFIERS];
        for content in [&[0x2b, 0x80, 1][..], &[0x2b, 0x81], &[0x2b, 0x90, 0x80, 0x80, 0x80, 0], &long] {
            let element = Element { tag: OBJECT_IDENTIFIER, content, at: 0, content_at: 0 };
            assert_eq!(element.oid().unwrap_err().fault, Fault::Oid, "{content:x?}");
        }
    }

    #[test]
    fn numbers_are_written_in_the_shortest_form() {
        for (number, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-128, &[2, 1, 0x80]),
            (-129, &[2, 2, 0xff, 0x7f]),
            (i64::MIN, &[2, 8, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut writer = Writer::default();
            writer.integer(INTEGER, number);
            assert_eq!(writer.into_bytes(), bytes);
        }
        let mut writer = Writer::default();
        writer.unsigned(0x46, u64::MAX);
        assert_eq!(writer.into_bytes(), [0x46, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (length, header) in [(0x7f, &[4, 0x7f][..]), (0x80, &[4, 0x81, 0x80]), (0x1_0000, &[4, 0x83, 1, 0, 0])] {
            let mut writer = Writer::default();
            writer.element(OCTET_STRING, &vec![0; length]);
            assert!(writer.into_bytes().starts_with(header));
        }
    }
}
