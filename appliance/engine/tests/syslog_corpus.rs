//! Lines of real products, decoded: PRI, time and host of every one of them right, and the rest.
//!
//! The files in `syslog_corpus/` read so: `p` names the product and where its format is published, `l` is a line (`\t`, `\xHH` as in
//! Rust), `=` what it means: facility.severity, time, host, program, pid, msgid and how the message begins, `-` for what is not there; `f` is
//! a field and `s` a structured-data parameter that it has. `z` and `r` set the source's zone and the time of receipt for the next line.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code outside of #[test] functions")]

use std::collections::BTreeMap;
use std::path::Path;

use postern_engine::event::SyslogMessage;
use postern_engine::syslog::{self, Context, Zone};
use postern_protocol::timestamp::Timestamp;

const FILES: [&str; 4] = [
    include_str!("syslog_corpus/network.txt"),
    include_str!("syslog_corpus/security.txt"),
    include_str!("syslog_corpus/servers.txt"),
    include_str!("syslog_corpus/time.txt"),
];

/// 2026-11-21T22:09:40Z.
const RECEIVED: Timestamp = Timestamp::from_secs(1_795_298_980);

struct Case {
    product: String,
    line: Vec<u8>,
    zone: Zone,
    received: Timestamp,
    expected: Vec<String>,
    fields: Vec<(String, String)>,
    params: Vec<(String, String)>,
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((plain, behind)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        rest = match behind.as_bytes() {
            [b't', ..] => {
                out.push(b'\t');
                &behind[1..]
            }
            [b'x', ..] => {
                out.push(u8::from_str_radix(&behind[1..3], 16).unwrap());
                &behind[3..]
            }
            _ => {
                out.push(b'\\');
                behind
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Reads a time through the decoder of RFC 5424, whose own tests are elsewhere.
fn time(text: &str) -> Timestamp {
    syslog::decode(format!("<13>1 {text} - - - - -").as_bytes(), &Context::utc(RECEIVED)).unwrap().timestamp.unwrap()
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let (mut product, mut zone, mut received) = (String::new(), Zone::UTC, RECEIVED);
    for text in FILES.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = text.split_once(' ').unwrap();
        let pair = || {
            let (name, value) = rest.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        match kind {
            "p" => {
                let (name, address) = rest.split_once(" | ").unwrap();
                assert!(address.starts_with("http") || address.starts_with("RFC"), "{text}");
                name.clone_into(&mut product);
            }
            "z" => zone = Zone::parse(rest).unwrap(),
            "r" => received = time(rest),
            "l" => {
                let (product, line) = (product.clone(), unescaped(rest));
                cases.push(Case { product, line, zone, received, expected: vec![], fields: vec![], params: vec![] });
                (zone, received) = (Zone::UTC, RECEIVED);
            }
            "=" => cases.last_mut().unwrap().expected = rest.splitn(7, " | ").map(str::to_owned).collect(),
            "f" => cases.last_mut().unwrap().fields.push(pair()),
            "s" => cases.last_mut().unwrap().params.push(pair()),
            _ => panic!("{text}"),
        }
    }
    cases
}

fn param<'m>(message: &'m SyslogMessage, path: &str) -> Option<&'m str> {
    let (id, name) = path.rsplit_once('.').unwrap();
    let (_, params) = message.structured_data.iter().find(|(element, _)| element == id)?;
    params.iter().find(|(param, _)| param == name).map(|(_, value)| value.as_str())
}

#[test]
fn every_line_of_every_product_is_understood() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let cases = cases();
    for case in &cases {
        let message = syslog::decode(&case.line, &Context { received: case.received, zone: &case.zone }).unwrap();
        let line = String::from_utf8_lossy(&case.line);
        let [pri, at, host, program, pid, msgid, start] = case.expected.as_slice() else { panic!("{line}: {:?}", case.expected) };
        let text = |text: &str| (text != "-").then(|| text.to_owned());
        let mut check = |part: &str, good: bool| {
            if !good {
                wrong.push(format!("{} | {part}\n    {line}\n    {message:?}", case.product));
            }
        };
        check("PRI", text(pri) == message.pri_present.then(|| format!("{}.{}", message.facility, message.severity)));
        check("time", text(at).map(|at| time(&at)) == message.timestamp);
        check("host", text(host) == message.host);
        check("program", text(program) == message.program);
        check("pid", text(pid) == message.pid);
        check("msgid", text(msgid) == message.msgid);
        check("message", message.message.starts_with(start.as_str()) || (start == "-" && message.message.is_empty()));
        for (name, value) in &case.fields {
            check(name, message.fields.get(name) == Some(value));
        }
        for (path, value) in &case.params {
            check(path, param(&message, path) == Some(value));
        }
        *counts.entry(case.product.clone()).or_default() += 1;
    }
    for (product, count) in &counts {
        println!("{count:4} {product}");
    }
    println!("{:4} lines of {} products", cases.len(), counts.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.len() >= 150 && counts.len() >= 40, "{} lines of {} products", cases.len(), counts.len());
}

/// Lines of two machines, as they were logged: `Mmm dd hh:mm:ss host program[pid]: text`.
#[test]
#[expect(clippy::disallowed_methods, reason = "the two files lie outside of the repository, and only where they were put")]
fn the_lines_of_real_machines_lose_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap().join("shared/data/syslog");
    for file in ["Linux_2k.log", "OpenSSH_2k.log"] {
        let Ok(bytes) = std::fs::read(folder.join(file)) else {
            println!("skipped: {file} is not in {}", folder.display());
            continue;
        };
        let mut lines = 0;
        for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty()) {
            let message = syslog::decode(&[b"<38>", line].concat(), &Context::utc(RECEIVED)).unwrap();
            let text = String::from_utf8_lossy(line);
            // Taken apart by position, not by the decoder's rules.
            let (stamp, rest) = text.split_at(16);
            let (host, rest) = rest.split_once(' ').unwrap();
            let rest = rest.trim_start();
            let tag = rest.split_once(": ").map_or(rest.trim_end_matches(':'), |(tag, _)| tag);
            let program = tag.split(['[']).next().unwrap().trim_end_matches(" 1.4.1");
            assert_eq!((message.facility, message.severity, message.pri_present), (4, 6, true), "{text}");
            let year = if stamp.starts_with("Dec") { 2025 } else { 2026 };
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = month.iter().position(|name| stamp.starts_with(name)).unwrap() + 1;
            let at = format!("{year}-{month:02}-{}T{}Z", stamp[4..6].replace(' ', "0"), &stamp[7..15]);
            assert_eq!(message.timestamp, Some(time(&at)), "{text}");
            assert_eq!(message.host.as_deref(), Some(host), "{text}");
            assert_eq!(message.program.as_deref(), Some(program), "{text}");
            lines += 1;
        }
        println!("{file}: {lines} lines");
        assert_eq!(lines, 2_000);
    }
}
