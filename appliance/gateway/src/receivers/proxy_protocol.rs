//! The PROXY protocol's header, version 1 and 2: bytes in, the client's address out. Pure: no socket, no clock, no trust.
//!
//! `receivers::stream` reads the bytes and decides whose headers it believes. The format is HAProxy's "The PROXY protocol, Versions
//! 1 & 2". Bounded: a header that is longer than [`MAX_HEADER_BYTES`] is refused before its end has come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most bytes of a header: of version 2 with an ample lot of what may follow the addresses.
pub(crate) const MAX_HEADER_BYTES: usize = V2_FIXED_BYTES + 1024;

/// How version 2 begins.
pub(crate) const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const V2_FIXED_BYTES: usize = 16;

/// How version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";

/// Longest line of version 1, its end included (§2.1).
const V1_MAX_BYTES: usize = 107;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole header.
    Header(Header),
    /// The beginning of one, of which at least so many bytes are still to come.
    Wants(usize),
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client, a v4-mapped address normalised; `None` when the sender speaks for itself (`LOCAL`) or knows none (`UNKNOWN`).
    pub(crate) client: Option<IpAddr>,
    /// Bytes of the header; what follows is the connection's own.
    pub(crate) bytes: usize,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Neither version begins like this.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// It begins like one and goes on otherwise.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It is longer than the bound.
    #[error("the PROXY protocol header has more than {MAX_HEADER_BYTES} bytes")]
    TooLong,
}

/// Tells whether a connection begins with a header, as far as its first bytes can tell.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let v1 = [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"];
    bytes.starts_with(&V2_SIGNATURE) || v1.iter().any(|prefix| bytes.starts_with(prefix))
}

/// Parses the beginning of a connection.
///
/// # Errors
/// [`HeaderError`]; the connection cannot be used.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let begins_like = |whole: &[u8]| bytes.iter().zip(whole).all(|(a, b)| a == b);
    // Fewer bytes than the signature are asked for: version 1 has at least 15.
    if begins_like(&V2_SIGNATURE) {
        return v2(bytes);
    }
    if begins_like(V1_PREFIX) {
        return v1(bytes);
    }
    Err(HeaderError::Absent)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 56324 443`, CR, LF (§2.1).
fn v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let line = bytes.get(..bytes.len().min(V1_MAX_BYTES)).unwrap_or_default();
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() {
            V1_MAX_BYTES.. => Err(HeaderError::Malformed),
            // At least the line's end is still to come.
            _ if bytes.last() == Some(&b'\r') => Ok(Parsed::Wants(1)),
            length if length < V2_SIGNATURE.len() => Ok(Parsed::Wants(V2_SIGNATURE.len().saturating_sub(length))),
            _ => Ok(Parsed::Wants(2.min(V1_MAX_BYTES.saturating_sub(bytes.len())))),
        };
    };
    let text = line.get(V1_PREFIX.len()..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or(HeaderError::Malformed)?;
    let header = |client| Parsed::Header(Header { client, bytes: end.saturating_add(2) });
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // §2.1: "the receiver must ignore anything presented before the CRLF is found".
        return Ok(header(None));
    }
    let [Some(client), Some(server), Some(client_port), Some(server_port), None] =
        [words.next(), words.next(), words.next(), words.next(), words.next()]
    else {
        return Err(HeaderError::Malformed);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical()),
        _ => None,
    };
    let (Some(client), Some(_)) = (address(client), address(server)) else { return Err(HeaderError::Malformed) };
    if !is_port(client_port) || !is_port(server_port) {
        return Err(HeaderError::Malformed);
    }
    Ok(header(Some(client)))
}

/// §2.1: a port is "in the range [0..65535]" without leading zeros.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
}

/// Signature, `0x20` or `0x21`, family and transport, length, addresses, and what we pass over (§2.2).
fn v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        // The signature first: what differs from it is seen as soon as it can be.
        let whole = if bytes.len() < V2_SIGNATURE.len() { V2_SIGNATURE.len() } else { V2_FIXED_BYTES };
        return Ok(Parsed::Wants(whole.saturating_sub(bytes.len())));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = V2_FIXED_BYTES.saturating_add(length);
    if !matches!(command, LOCAL | PROXY) {
        return Err(HeaderError::Malformed);
    }
    if end > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong);
    }
    let Some(rest) = bytes.get(V2_FIXED_BYTES..end) else { return Ok(Parsed::Wants(end.saturating_sub(bytes.len()))) };
    let client = match (command, family) {
        (LOCAL, _) => None,
        (_, TCP_OVER_IPV4) => {
            Some(IpAddr::from(*rest.first_chunk::<12>().and_then(|both| both.first_chunk::<4>()).ok_or(HeaderError::Malformed)?))
        }
        (_, TCP_OVER_IPV6) => Some(
            IpAddr::from(*rest.first_chunk::<36>().and_then(|both| both.first_chunk::<16>()).ok_or(HeaderError::Malformed)?).to_canonical(),
        ),
        // §2.2: unspecified, or a client that has no address of the internet.
        (_, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Err(HeaderError::Malformed),
    };
    Ok(Parsed::Header(Header { client, bytes: end }))
}

/// Version 2, "the connection was established on purpose by the proxy without being relayed".
const LOCAL: u8 = 0x20;

/// Version 2, on behalf of another node.
const PROXY: u8 = 0x21;

const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: Option<&str>, bytes: usize) -> Result<Parsed, HeaderError> {
        Ok(Parsed::Header(Header { client: client.map(|text| text.parse().unwrap()), bytes }))
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn the_first_version_names_the_client() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n", Some("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 2001:db8::9 0 65535\r\n", Some("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 any thing 0 0\r\n", None),
        ] {
            let bytes = [line.as_bytes(), b"<34>1 - h p - - - text"].concat();
            assert_eq!(parse(&bytes), header(client, line.len()), "{line}");
        }
    }

    #[test]
    fn the_second_version_names_the_client() {
        let four = [192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(parse(&second(0x21, 0x11, &four)), header(Some("192.0.2.1"), 28));
        let with_more = [&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(parse(&second(0x21, 0x11, &with_more)), header(Some("192.0.2.1"), 35));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(parse(&second(0x21, 0x21, &six)), header(Some("2001:db8::1"), 52));
        assert_eq!(parse(&second(0x20, 0x11, &four)), header(None, 28), "the balancer asks how we are");
        assert_eq!(parse(&second(0x20, 0x00, &[])), header(None, 16));
        assert_eq!(parse(&second(0x21, 0x00, &[1, 2])), header(None, 18));
        assert_eq!(parse(&second(0x21, 0x31, &[0; 216])), header(None, 232));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (bytes, error) in [
            (b"<34>1 - h p".to_vec(), HeaderError::Absent),
            (b"PRAXY TCP4 ".to_vec(), HeaderError::Absent),
            (b"PROXY TCP4 192.0.2.1 192.0.2.9 56324\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 2001:db8::1 192.0.2.9 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.9 065 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.9 70000 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY UDP4 192.0.2.1 192.0.2.9 1 1\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY \xff\r\n".to_vec(), HeaderError::Malformed),
            ([b"PROXY ".as_slice(), &[b'x'; 101]].concat(), HeaderError::Malformed),
            (second(0x11, 0x11, &[0; 12]), HeaderError::Malformed),
            (second(0x22, 0x11, &[0; 12]), HeaderError::Malformed),
            (second(0x21, 0x41, &[0; 12]), HeaderError::Malformed),
            (second(0x21, 0x11, &[0; 11]), HeaderError::Malformed),
            (second(0x21, 0x21, &[0; 35]), HeaderError::Malformed),
            (second(0x21, 0x00, &[0; 1025]), HeaderError::TooLong),
        ] {
            assert_eq!(parse(&bytes), Err(error), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_reader_that_takes_what_is_wanted_never_reads_beyond_the_header() {
        for whole in [b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\n".to_vec(), b"PROXY UNKNOWN\r\n".to_vec(), second(0x21, 0x11, &[7; 40])]
        {
            let mut have = 0;
            let parsed = loop {
                match parse(&whole[..have]).unwrap() {
                    Parsed::Wants(more) => have += more,
                    Parsed::Header(header) => break header,
                }
                assert!(have <= whole.len());
            };
            assert_eq!((parsed.bytes, have), (whole.len(), whole.len()));
        }
    }

    #[test]
    fn a_header_is_recognised_where_none_is_wanted() {
        assert!(begins(b"PROXY TCP4 1.2.3.4 ...") && begins(&second(0x21, 0x11, &[0; 12])));
        assert!(!begins(b"PROXY server restarted") && !begins(b"<34>PROXY TCP4 ") && !begins(b""));
    }
}
