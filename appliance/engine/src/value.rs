//! A varbind's value as text: for templates, for rules' `equals` and `regex`, and for people.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use postern_protocol::oid::Oid;

use crate::event::Value;

/// Returns `value` as templates write it.
///
/// Numbers are decimal (TimeTicks in hundredths of a second), OIDs and addresses dotted. An OCTET STRING that is printable UTF-8
/// is that text, without the NUL bytes that some agents append; any other is hexadecimal with colons, `00:1a:2b`, and so is an
/// Opaque, unless it wraps a float or a double as net-snmp does. NULL and the exceptions are the empty text.
pub fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Integer(number) => number.to_string().into(),
        Value::OctetString(bytes) => printable(bytes).map_or_else(|| hex(bytes).into(), Cow::Borrowed),
        Value::Null => Cow::Borrowed(""),
        Value::Oid(name) => oid(name).into(),
        Value::IpAddress(address) => address.to_string().into(),
        Value::Counter32(number) | Value::Gauge32(number) | Value::TimeTicks(number) => number.to_string().into(),
        Value::Opaque(bytes) => opaque(bytes).into(),
        Value::Counter64(number) => number.to_string().into(),
    }
}

/// Returns an address as alerts write it. IPv4 without the formatting machinery: every alert has two or three.
pub(crate) fn address(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    dotted(&address.octets().map(u32::from), 4)
}

/// Returns an OID in its dotted form.
pub(crate) fn oid(oid: &Oid) -> String {
    dotted(oid.numbers(), 3)
}

/// Writes numbers with dots between them; most take `width` bytes, the dot included.
fn dotted(numbers: &[u32], width: usize) -> String {
    let mut out = Vec::with_capacity(numbers.len().saturating_mul(width));
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_number(&mut out, *number);
    }
    // Digits and dots are UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends the digits of a number, without the formatting machinery: most have one, two or three.
fn push_number(out: &mut Vec<u8>, number: u32) {
    let mut digits = [b'0'; 10];
    let (mut left, mut count) = (number, 0_usize);
    for digit in digits.iter_mut().rev() {
        *digit |= (left % 10) as u8;
        left /= 10;
        count = count.saturating_add(1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len().saturating_sub(count)..).unwrap_or_default());
}

fn printable(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let readable = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    // Nothing but NULs is a value of its own, not an empty text.
    (text.chars().all(readable) && (bytes.is_empty() || !text.is_empty())).then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(3));
    for (at, byte) in bytes.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = if at == 0 { write!(out, "{byte:02x}") } else { write!(out, ":{byte:02x}") };
    }
    out
}

/// The tags 0x9f78 (float) and 0x9f79 (double) are net-snmp's own, seen in UCD-SNMP-MIB.
fn opaque(bytes: &[u8]) -> String {
    match bytes {
        [0x9f, 0x78, 4, float @ ..] => <[u8; 4]>::try_from(float).map_or_else(|_| hex(bytes), |raw| f32::from_be_bytes(raw).to_string()),
        [0x9f, 0x79, 8, double @ ..] => <[u8; 8]>::try_from(double).map_or_else(|_| hex(bytes), |raw| f64::from_be_bytes(raw).to_string()),
        _ => hex(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_oids_are_written_as_the_library_writes_them() {
        for number in [0, 1, 0x0a00_0064, 0xc0a8_0109, 0x0909_6363, u32::MAX] {
            let expected = std::net::Ipv4Addr::from(number);
            assert_eq!(address(expected.into()), expected.to_string());
        }
        for numbers in [&[1, 3][..], &[2, 999, 0, 10, 9, 100, 99, 4_294_967_295, 1_000_000_000, 999_999_999]] {
            let name = Oid::new(numbers).unwrap();
            assert_eq!(oid(&name), name.to_string());
        }
        assert_eq!(address("2001:db8::1".parse().unwrap()), "2001:db8::1");
    }

    #[test]
    fn every_type_has_its_text() {
        for (value, expected) in [
            (Value::Integer(-5), "-5"),
            (Value::OctetString("Gi0/1 – büro".into()), "Gi0/1 – büro"),
            (Value::OctetString(b"text\0".to_vec()), "text"),
            (Value::OctetString(vec![0, 0x1a, 0x2b]), "00:1a:2b"),
            (Value::OctetString(vec![0]), "00"),
            (Value::OctetString(vec![]), ""),
            (Value::OctetString(vec![0xff]), "ff"),
            (Value::Null, ""),
            (Value::Oid("1.3.6.1".parse().unwrap()), "1.3.6.1"),
            (Value::IpAddress([10, 1, 2, 3].into()), "10.1.2.3"),
            (Value::Counter32(u32::MAX), "4294967295"),
            (Value::Gauge32(1), "1"),
            (Value::TimeTicks(12345), "12345"),
            (Value::Opaque(vec![0x9f, 0x78, 4, 0x3f, 0xc0, 0, 0]), "1.5"),
            (Value::Opaque(vec![0x9f, 0x78, 5, 1]), "9f:78:05:01"),
            (Value::Counter64(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }
}
