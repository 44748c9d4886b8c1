//! What is sent: SNMPv2c and SNMPv3 traps and RFC 5424 lines, all prepared before the clock runs.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac};
use postern_tests::snmp::{LINK_DOWN, TRAP_V2, integer, link, tlv};

/// Interfaces that go down, so that the same alerts are reported again and again.
const INTERFACES: u32 = 20;

/// SNMPv3 engines that send.
pub(crate) const ENGINES: u32 = 20;

/// Name and passphrases of the SNMPv3 user.
pub(crate) const USER: &str = "bench";
pub(crate) const AUTH_PASSPHRASE: &str = "bench-authentication";
pub(crate) const PRIV_PASSPHRASE: &str = "bench-encryption";

/// RFC 7860: usmHMAC192SHA256AuthProtocol keeps 24 bytes.
const MAC_BYTES: usize = 24;

/// linkDown traps.
pub(crate) fn v2c(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| link(TRAP_V2, i32::try_from(n).unwrap(), LINK_DOWN, u32::try_from(n).unwrap() % INTERFACES + 1)).collect()
}

/// RFC 5424 lines of servers; one in twenty is an error that a rule of the built-in set is for.
pub(crate) fn syslog(count: usize) -> Vec<Vec<u8>> {
    let line = |n: usize| {
        let (host, pid) = (n % 40, 1000 + n % 7000);
        let (micros, second) = (n % 1_000_000, n / 1_000_000 % 60);
        if n.is_multiple_of(20) {
            let text = "disk sda1: I/O error, dev sda, sector 1953525160 op 0x0:(READ) flags 0x80700";
            format!("<3>1 2026-11-20T08:15:{second:02}.{micros:06}+01:00 server-{host:02}.example.net kernel - - - {text}")
        } else {
            format!(
                "<38>1 2026-11-20T08:15:{second:02}.{micros:06}+01:00 server-{host:02}.example.net sshd {pid} - - \
                 Accepted publickey for deploy from 192.0.2.{} port {} ssh2: ED25519 SHA256:0123456789abcdef",
                n % 250,
                40_000 + n % 20_000
            )
        }
    };
    (0..count).map(|n| line(n).into_bytes()).collect()
}

/// The engine ID of sender `n`, in the form of RFC 3411 §5 with the documentation's enterprise number.
pub(crate) fn engine_id(n: u32) -> Vec<u8> {
    [&[0x80, 0, 0x7e, 0xd9, 5][..], b"bench", &n.to_be_bytes()].concat()
}

/// linkDown traps of SNMPv3, authPriv with SHA-256 and AES-128 (RFC 3414, RFC 3826, RFC 7860). No two are the same.
pub(crate) fn v3(count: usize, first: usize) -> Vec<Vec<u8>> {
    let (auth, privacy) = (password_to_key(AUTH_PASSPHRASE), password_to_key(PRIV_PASSPHRASE));
    let senders: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = (0..ENGINES)
        .map(engine_id)
        .map(|engine| (localise(&auth, &engine), localise(&privacy, &engine), engine))
        .map(|(auth, privacy, engine)| (engine, auth, privacy))
        .collect();
    (first..first + count).map(|n| sealed(&senders[n % senders.len()], n)).collect()
}

fn sealed((engine, auth, privacy): &(Vec<u8>, Vec<u8>, Vec<u8>), n: usize) -> Vec<u8> {
    let number = i32::try_from(n).unwrap();
    // An engine whose clock stands still would make its receiver remember every message.
    let (boots, time) = (1_u32, 1_000 + u32::try_from(n / 10_000).unwrap());
    // RFC 3412 §6: a scoped PDU around the PDU that SNMPv2c has, too.
    let v2c = link(TRAP_V2, number, LINK_DOWN, u32::try_from(n).unwrap() % INTERFACES + 1);
    let at = 2 + usize::from(v2c[1] & 0x80 != 0) * usize::from(v2c[1] & 0x7f);
    let pdu = &v2c[at + 3 + 8..];
    let scoped = tlv(0x30, &[tlv(4, engine), tlv(4, b""), pdu.to_vec()].concat());
    let salt = (n as u64).to_be_bytes();
    let iv: [u8; 16] = [&boots.to_be_bytes()[..], &time.to_be_bytes(), &salt].concat().try_into().unwrap();
    let mut encrypted = scoped;
    let key = EncryptingKey::cfb128(UnboundCipherKey::new(&AES_128, &privacy[..16]).unwrap()).unwrap();
    key.less_safe_encrypt(&mut encrypted, EncryptionContext::Iv128(FixedLength::from(iv))).unwrap();
    let whole = |mac: &[u8]| {
        let security =
            [tlv(4, engine), integer(boots.into()), integer(time.into()), tlv(4, USER.as_bytes()), tlv(4, mac), tlv(4, &salt)].concat();
        let global = [integer(number.into()), integer(65_507), tlv(4, &[3]), integer(3)].concat();
        tlv(0x30, &[integer(3), tlv(0x30, &global), tlv(4, &tlv(0x30, &security)), tlv(4, &encrypted)].concat())
    };
    let unsigned = whole(&[0; MAC_BYTES]);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, auth), &unsigned);
    whole(&mac.as_ref()[..MAC_BYTES])
}

/// RFC 3414 A.2 with SHA-256.
fn password_to_key(passphrase: &str) -> Vec<u8> {
    let million: Vec<u8> = passphrase.bytes().cycle().take(1_048_576).collect();
    digest::digest(&digest::SHA256, &million).as_ref().to_vec()
}

fn localise(key: &[u8], engine: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, &[key, engine, key].concat()).as_ref().to_vec()
}
