//! Lines that begin as vendors' lines do: the same bytes mean the same, output stays within bounds, and what was read survives RFC 5424.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::syslog::{self, Context, Zone};
use postern_protocol::timestamp::Timestamp;

/// How devices' lines begin; the fuzzer goes on from there.
const BEGINNINGS: [&str; 24] = [
    "<189>45: r1: 000310: *Nov 21 22:09:39.123 CET: %SYS-5-",
    "<189>9: r1 RP/0/RSP0/CPU0:Nov 21 22:09:39.123 : ifmgr[209]: %PKT_INFRA-LINK-3-",
    "<187>: 2026 Nov 21 22:09:39 UTC: %$ VDC-1 %$ %ETHPORT-5-",
    "<166>Nov 21 2026 22:09:39 fw1 : %FTD-6-430003: DeviceUUID: 1, ",
    "<189>date=2026-11-21 time=22:09:39 devname=\"fw\" tz=\"+0100\" ",
    "<134>id=firewall sn=1 time=\"2026-11-21 22:09:39 UTC\" fw=192.0.2.1 ",
    "<14>Nov 21 22:09:39 pa 1,2026/11/21 22:09:38,001,TRAFFIC,",
    "<14>1,2026/11/21 22:09:38,001,SYSTEM,",
    "<134>1 2026-11-21T22:09:39Z cp CheckPoint 1 - [action:\"Accept\"; ",
    "<134>1 2026-11-21T22:09:39Z h a p m [x@1 a=\"",
    "<134>1 1795298979.123 MX84 flows ",
    "<13>CEF:0|V|P|1|2|n|5|",
    "<13>Nov 21 22:09:39 h LEEF:2.0|V|P|1|e|^|",
    "<134> 11/21/2026:22:09:39 GMT ns1 0-PPE-0 : default ",
    "<134>Nov 21 22:09:39 filterlog[1]: 5,,,1,igb0,match,block,in,4,",
    "<13>Nov 21 22:09:39 h MSWinEventLog\t1\tSecurity\t",
    "<133>Nov 21 22:09:39 [node:event:notice]: ",
    "<30>Nov 21 22:09:39 (\"U7LT,f09fc2000001,v4\") ",
    "<189>%Nov 21 22:09:39:123 2026 h3c %%10IFNET/3/",
    "<30>2026:11:21-22:09:39 utm x[1]: id=\"1\" ",
    "<4>Nov 21 22:09:39 fw kernel: [1.2] IN=eth0 ",
    "<14>Nov 21 22:09:39 r Nov 21 22:09:38 h ",
    "time=1795298979|hostname=h|product=F|ifdir=in|",
    "<13>",
];

fuzz_target!(|input: (u8, u8, i64, &[u8])| {
    let (beginning, zone, received, rest) = input;
    let zone = Zone::parse(["UTC", "Europe/Berlin", "America/St_Johns", "-09:30"][usize::from(zone) % 4]).unwrap();
    let context = Context { received: Timestamp::from_nanos(received), zone: &zone };
    let line = [BEGINNINGS[usize::from(beginning) % BEGINNINGS.len()].as_bytes(), rest].concat();
    let Ok(message) = syslog::decode(&line, &context) else { return assert!(line.len() > syslog::MAX_LINE_BYTES) };
    assert_eq!(syslog::decode(&line, &context).as_ref(), Ok(&message));
    let pairs: usize = message.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(message.message.len() <= line.len() * 3 && pairs <= line.len() * 6 + 2_048);
    // RFC 5424's header may exceed the RFC's lengths; what leaves the site is cut by the rules.
    assert!(message.fields.len() <= 256 && message.host.as_ref().is_none_or(|host| host.len() <= line.len() * 3));
    // A message that was read is read again as it is.
    let again = [b"<13>1 - - - - - - \xef\xbb\xbf ", message.message.as_bytes()].concat();
    let trimmed = message.message.trim_end_matches(['\n', '\r', '\0']);
    if let Ok(again) = syslog::decode(&again, &context) {
        assert_eq!(again.message, trimmed);
    }
});
