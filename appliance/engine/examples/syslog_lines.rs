//! What it costs to decode one syslog line, by shape: `cargo run --release -p postern-engine --example syslog_lines [SHAPE COUNT]`.
//!
//! With a shape and a count it decodes so many lines and says nothing, for callgrind; without, it prints nanoseconds a line.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    reason = "a program for whoever measures: the clock and the arguments are its business"
)]

use std::hint::black_box;
use std::time::Instant;

use postern_engine::syslog::{self, Context, Zone};
use postern_protocol::timestamp::Timestamp;

const SHAPES: [(&str, &str); 9] = [
    (
        "5424",
        "<38>1 2026-11-21T22:09:39.123456+00:00 web1.example.com sshd 812 - - Failed password for invalid user oracle from 198.51.100.9 port 40111 ssh2",
    ),
    (
        "5424-sd",
        "<165>1 2026-11-21T22:09:39.719Z mx1 mgd 3046 UI_LOGOUT [junos@2636.1.1.1.2.18 username=\"alice\" class=\"super-user\"] User 'alice' exiting configuration mode",
    ),
    ("3164", "<38>Nov 21 22:09:39 web1 sshd[812]: Failed password for invalid user oracle from 198.51.100.9 port 40111 ssh2"),
    ("3164-tagless", "<13>Nov 21 22:09:39 10.0.0.99 Port 1/0/5 of the switch in the basement is down, and nobody knows the reason"),
    (
        "cisco",
        "<189>45: sw-access-7: 000310: Nov 21 22:09:39.123: %LINEPROTO-5-UPDOWN: Line protocol on Interface Vlan10, changed state to down",
    ),
    (
        "asa",
        "<166>Nov 21 2026 22:09:39 asa-edge : %ASA-6-302013: Built outbound TCP connection 9151 for outside:198.51.100.7/443 to inside:192.0.2.10/51000",
    ),
    (
        "fortigate",
        "<189>date=2026-11-21 time=22:09:39 devname=\"FGT-EDGE\" devid=\"FGT60F0000000001\" eventtime=1795298979123456789 tz=\"+0000\" logid=\"0100032001\" type=\"event\" subtype=\"system\" level=\"information\" vd=\"root\" logdesc=\"Admin login successful\" user=\"admin\" msg=\"Administrator admin logged in\"",
    ),
    (
        "paloalto",
        "<14>Nov 21 22:09:39 pa-440 1,2026/11/21 22:09:38,001801000001,TRAFFIC,end,2561,2026/11/21 22:09:38,192.0.2.10,198.51.100.7,203.0.113.2,198.51.100.7,allow-web,,,ssl,vsys1,trust,untrust,ethernet1/2,ethernet1/1,fwd,2026/11/21 22:09:38,4711,1,51000,443,40111,443,0x400053,tcp,allow,5000,1200,3800,20",
    ),
    (
        "cef",
        "<134>Nov 21 22:09:39 dsm.example.com CEF:0|Trend Micro|Deep Security Manager|20.0.222|600|User Signed In|3|src=10.0.0.5 suser=admin target=admin msg=User signed in from 2001:db8::5",
    ),
];

/// 2026-11-21T22:09:40Z.
const RECEIVED: Timestamp = Timestamp::from_secs(1_795_298_980);

fn decode(line: &str, zone: &Zone, count: u32) {
    for _ in 0..count {
        black_box(syslog::decode(black_box(line.as_bytes()), &Context { received: RECEIVED, zone })).expect("it is a line");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some(shape), Some(count)) = (arguments.next(), arguments.next()) {
        let (_, line) = SHAPES.iter().find(|(name, _)| *name == shape).expect("a shape");
        return decode(line, &Zone::UTC, count.parse().expect("a number"));
    }
    let berlin = Zone::parse("Europe/Berlin").expect("a zone");
    for (name, line) in SHAPES {
        for (zone_name, zone) in [("UTC", &Zone::UTC), ("Europe/Berlin", &berlin)] {
            decode(line, zone, 20_000);
            let start = Instant::now();
            decode(line, zone, 300_000);
            println!("{name:<14} {zone_name:<14} {:>6} ns", start.elapsed().as_nanos() / 300_000);
        }
    }
}
