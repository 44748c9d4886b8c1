//! Syslog lines: none but empty ones fail, a PRI is never lost, and text does not grow without bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::event::SyslogMessage;
use postern_engine::syslog::{self, Context};
use postern_protocol::timestamp::Timestamp;

/// What names of columns can add to the text of a line.
const FIELD_NAMES: usize = 2_048;

fuzz_target!(|input: (i64, &[u8])| {
    let (received, line) = input;
    let Ok(message) = syslog::decode(line, &Context::utc(Timestamp::from_nanos(received))) else {
        assert!(line.len() > syslog::MAX_LINE_BYTES || line.iter().all(|byte| matches!(byte, b'\n' | b'\r' | 0)));
        return;
    };
    assert!(message.facility < 24 && message.severity < 8);
    if let Some(pri) = pri(line) {
        assert_eq!((message.pri_present, u16::from(message.facility) * 8 + u16::from(message.severity)), (true, pri));
    }
    assert!(text_bytes(&message) <= line.len() * 12 + FIELD_NAMES);
});

fn pri(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"<")?;
    let digits = rest.iter().position(|byte| *byte == b'>')?;
    let number: u16 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    ((1..=3).contains(&digits) && rest[0] != b'+' && number <= 191).then_some(number)
}

fn text_bytes(message: &SyslogMessage) -> usize {
    let fields = [&message.host, &message.program, &message.pid, &message.msgid];
    let fields: usize = fields.into_iter().flatten().map(String::len).sum();
    let data = message.structured_data.iter();
    let data: usize = data.map(|(id, params)| id.len() + params.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()).sum();
    let pairs: usize = message.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    fields + data + pairs + message.message.len()
}
