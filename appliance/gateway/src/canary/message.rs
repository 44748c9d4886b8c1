//! What the canary sends: a v2c trap (RFC 3416 §4.2.6) and a syslog line (RFC 5424), each ending with the mark; a `CONNECT` to a name
//! that cannot exist (RFC 6761 §6.4).

use super::{MARK_CHARS, NUMBER_CHARS, Path};

/// `1.3.6.1.4.1.32473.1`, below the enterprise number of documentation (RFC 5612).
const OID: [u8; 9] = [0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1];

/// `sysUpTime.0` and `snmpTrapOID.0` (RFC 3418).
const UPTIME: [u8; 8] = [0x2b, 6, 1, 2, 1, 1, 3, 0];
const TRAP_OID: [u8; 10] = [0x2b, 6, 1, 6, 3, 1, 1, 4, 1, 0];

const LINE: &str = "<46>1 - postern canary - - - ";

/// The domain of `CONNECT`'s name.
const DOMAIN: &str = ".postern-canary.invalid";

const TEXT_CHARS: usize = MARK_CHARS + NUMBER_CHARS;

/// Bytes of the trap with a mark: what `trap` makes, held by a test.
const TRAP_BYTES: usize = 131;

/// Returns how long a message on `path` is; of a `CONNECT` only the mark.
pub(super) const fn length(path: Path) -> usize {
    match path {
        Path::Proxy => TEXT_CHARS,
        Path::SnmpTrap => TRAP_BYTES,
        Path::SyslogTcp | Path::SyslogTls | Path::SyslogUdp => LINE.len() + TEXT_CHARS,
    }
}

/// Makes the message of `path` with the mark `text`.
pub(super) fn of(path: Path, text: &str) -> Vec<u8> {
    match path {
        Path::Proxy => format!("CONNECT {text}{DOMAIN}:443 HTTP/1.1\r\nHost: {text}{DOMAIN}:443\r\n\r\n").into_bytes(),
        Path::SnmpTrap => trap(text),
        Path::SyslogTcp | Path::SyslogTls | Path::SyslogUdp => format!("{LINE}{text}").into_bytes(),
    }
}

/// Returns the mark of a `CONNECT`'s host, if it can be one.
pub(super) fn of_host(host: &str) -> Option<&str> {
    host.strip_suffix(DOMAIN)
}

fn trap(text: &str) -> Vec<u8> {
    let uptime = tlv(0x30, &[tlv(6, &UPTIME), tlv(0x43, &[0])].concat());
    let trap_oid = tlv(0x30, &[tlv(6, &TRAP_OID), tlv(6, &OID)].concat());
    let mark = tlv(0x30, &[tlv(6, &OID), tlv(4, text.as_bytes())].concat());
    let varbinds = tlv(0x30, &[uptime, trap_oid, mark].concat());
    let pdu = tlv(0xa7, &[tlv(2, &[1]), tlv(2, &[0]), tlv(2, &[0]), varbinds].concat());
    tlv(0x30, &[tlv(2, &[1]), tlv(4, b"postern"), pdu].concat())
}

/// Encodes a value of less than 256 bytes.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    let mut out = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trap_is_one_that_decodes() {
        let text = "0".repeat(TEXT_CHARS);
        let message = postern_engine::snmp::decode(&trap(&text)).unwrap();
        assert_eq!(message.notification.trap_oid.to_string(), "1.3.6.1.4.1.32473.1");
    }
}
