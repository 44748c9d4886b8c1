//! Says OIDs and values in a MIB module's words: `ifOperStatus.7`, `down(2)`.
//!
//! Pure: which words there are is the dictionary's matter. `display` puts values into words, `unknown` counts notifications for which
//! there are none. Called for released fields only; rules match on what came.

mod display;
mod unknown;

use std::borrow::Cow;
use std::fmt::Write as _;

use postern_protocol::dictionary::Dictionary;
use postern_protocol::dictionary::entry::{Entry, Kind};
use postern_protocol::oid::Oid;

use crate::event::Varbind;

pub(crate) use self::unknown::UnknownOids;

/// Nodes nearer to the root say nothing of what lies far below them: an enterprise is the first that does (RFC 2578 §3).
const MIN_NODE_NUMBERS: usize = 7;

/// Returns the name of a notification.
pub(crate) fn trap_name(dictionary: &Dictionary, oid: &Oid) -> Option<String> {
    dictionary.notification(oid.numbers()).map(|entry| entry.name)
}

/// Returns the name of an instance, `ifOperStatus.7`; the dotted OID when nothing in it has one.
pub(crate) fn name(dictionary: &Dictionary, oid: &Oid) -> String {
    match known(dictionary, oid) {
        Some(entry) => instance(entry, oid),
        None => crate::value::oid(oid),
    }
}

/// Returns the value of `varbind` with its labels and in its display hint's form.
pub(crate) fn value<'v>(dictionary: &Dictionary, varbind: &'v Varbind) -> Cow<'v, str> {
    display::value(dictionary, &varbind.value, known(dictionary, &varbind.name).and_then(|entry| entry.syntax))
}

/// Returns `ifOperStatus.7 = down(2)`.
pub(crate) fn named(dictionary: &Dictionary, varbind: &Varbind) -> String {
    let mut named = name(dictionary, &varbind.name);
    named.push_str(" = ");
    named.push_str(&value(dictionary, varbind));
    named
}

fn known<'d>(dictionary: &'d Dictionary, oid: &Oid) -> Option<Entry<'d>> {
    dictionary.longest_prefix(oid.numbers()).filter(|entry| entry.kind != Kind::Node || entry.oid_len >= MIN_NODE_NUMBERS)
}

fn instance(entry: Entry<'_>, oid: &Oid) -> String {
    let mut name = entry.name;
    for number in oid.numbers().iter().skip(entry.oid_len) {
        // Writing to a String cannot fail.
        let _ = write!(name, ".{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postern_protocol::dictionary::built_in;

    use super::*;
    use crate::event::Value;

    fn varbind(oid: &str, value: Value) -> Varbind {
        Varbind { name: oid.parse().unwrap(), value }
    }

    #[test]
    fn a_varbind_reads_as_its_module_writes_it() {
        let dictionary = Dictionary::new(vec![Arc::new(built_in::table())]);
        for (oid, value, expected) in [
            ("1.3.6.1.2.1.2.2.1.8.7", Value::Integer(2), "ifOperStatus.7 = down(2)"),
            ("1.3.6.1.2.1.2.2.1.8.7", Value::Integer(99), "ifOperStatus.7 = 99"),
            ("1.3.6.1.2.1.2.2.1.6.7", Value::OctetString(vec![0, 0x1a, 0x2b]), "ifPhysAddress.7 = 00:1a:2b"),
            ("1.3.6.1.2.1.1.3.0", Value::TimeTicks(9_012_345), "sysUpTime.0 = 1 d 01:02:03.45"),
            ("1.3.6.1.6.3.1.1.4.1.0", Value::Oid("1.3.6.1.6.3.1.1.5.3".parse().unwrap()), "snmpTrapOID.0 = linkDown"),
            ("1.3.6.1.4.1.9.9.99999.1", Value::Integer(1), "ciscoMgmt.99999.1 = 1"),
            ("1.3.6.1.4.1.4294967295.1", Value::Integer(1), "1.3.6.1.4.1.4294967295.1 = 1"),
        ] {
            assert_eq!(named(&dictionary, &varbind(oid, value)), expected);
        }
    }

    #[test]
    fn without_a_dictionary_everything_stays_as_it_came() {
        let dictionary = Dictionary::default();
        assert_eq!(named(&dictionary, &varbind("1.3.6.1.2.1.2.2.1.8.7", Value::Integer(2))), "1.3.6.1.2.1.2.2.1.8.7 = 2");
        assert_eq!(trap_name(&dictionary, &"1.3.6.1.6.3.1.1.5.3".parse().unwrap()), None);
    }
}
