//! What a table says of one OID.

use super::varint::{Reader, unzigzag};

/// Most bytes of the name of an OID, a module or an enumeration's label, or of a display hint.
pub const MAX_NAME_BYTES: usize = 255;

/// Most labels of one enumeration.
pub const MAX_LABELS: usize = 4096;

/// Most objects of one notification.
pub const MAX_OBJECTS: usize = 256;

/// What an OID names. The numbers are in encoded tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A place in the tree.
    Node = 0,
    /// An object with one instance.
    Scalar = 1,
    /// A table.
    Table = 2,
    /// A row of a table.
    Row = 3,
    /// A column of a table.
    Column = 4,
    /// A notification.
    Notification = 5,
}

/// How an object's value is to be read. The numbers are in encoded tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Not known, or of no use.
    Other = 0,
    /// INTEGER and Integer32, with or without labels.
    Integer = 1,
    /// OCTET STRING.
    OctetString = 2,
    /// OBJECT IDENTIFIER.
    Oid = 3,
    /// IpAddress.
    IpAddress = 4,
    /// Counter32 and Counter64.
    Counter = 5,
    /// Gauge32 and Unsigned32.
    Gauge = 6,
    /// TimeTicks.
    TimeTicks = 7,
    /// Opaque.
    Opaque = 8,
    /// BITS; labels name bits, 0 is the first one.
    Bits = 9,
    /// InetAddress (RFC 4001 §3), whose form its length tells.
    InetAddress = 10,
}

/// The syntax of an object.
#[derive(Clone, Copy, Debug)]
pub struct Syntax<'t> {
    /// How to read the value.
    pub class: Class,
    /// DISPLAY-HINT (RFC 2579 §3.1); empty when there is none.
    pub hint: &'t str,
    pub(super) labels: &'t [u8],
}

/// What a table says of one OID.
#[derive(Clone, Debug)]
pub struct Entry<'t> {
    /// How many numbers its OID has: what follows them in the OID that was asked for is an instance's index.
    pub oid_len: usize,
    /// Its descriptor.
    pub name: String,
    /// The module that defines it.
    pub module: &'t str,
    /// What it is.
    pub kind: Kind,
    /// The syntax, of an object.
    pub syntax: Option<Syntax<'t>>,
    pub(super) objects: &'t [u8],
}

impl Kind {
    pub(super) const fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Node,
            1 => Self::Scalar,
            2 => Self::Table,
            3 => Self::Row,
            4 => Self::Column,
            5 => Self::Notification,
            _ => return None,
        })
    }
}

impl Class {
    pub(super) const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Other,
            1 => Self::Integer,
            2 => Self::OctetString,
            3 => Self::Oid,
            4 => Self::IpAddress,
            5 => Self::Counter,
            6 => Self::Gauge,
            7 => Self::TimeTicks,
            8 => Self::Opaque,
            9 => Self::Bits,
            10 => Self::InetAddress,
            _ => return None,
        })
    }
}

impl<'t> Syntax<'t> {
    /// Returns the numbers that have labels, in ascending order.
    pub fn labels(&self) -> impl Iterator<Item = (i32, &'t str)> + use<'t> {
        let mut reader = Reader::new(self.labels);
        let mut number = 0_i64;
        std::iter::from_fn(move || {
            number = number.wrapping_add(unzigzag(reader.number()?));
            Some((i32::try_from(number).ok()?, reader.text(MAX_NAME_BYTES)?))
        })
    }

    /// Returns the label of `number`.
    pub fn label(&self, number: i64) -> Option<&'t str> {
        self.labels().find(|(labelled, _)| i64::from(*labelled) == number).map(|(_, label)| label)
    }
}

impl Entry<'_> {
    /// Returns the places of a notification's objects among the table's entries, in the order of the notification.
    pub(super) fn objects(&self) -> impl Iterator<Item = usize> + '_ {
        let mut reader = Reader::new(self.objects);
        std::iter::from_fn(move || reader.size())
    }
}
