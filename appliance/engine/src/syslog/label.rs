//! The labels by which network devices name their messages: `%LINK-3-UPDOWN:` (Cisco, Arista, Dell …), `%%01IFNET/4/IF_STATE(l)[3]:`
//! (Huawei, H3C and HPE Comware).

use super::scan::Scanner;

/// A label that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label<'a> {
    /// What becomes the program: Cisco's whole label, as any syslog server names it; Huawei's module.
    pub(super) program: &'a [u8],
    /// The message's own name.
    pub(super) mnemonic: &'a [u8],
}

/// Takes a label, the colon and the space behind it.
pub(super) fn take<'a>(scanner: &mut Scanner<'a>) -> Option<Label<'a>> {
    let mut ahead = *scanner;
    let label = if ahead.rest().starts_with(b"%%") { slashed(&mut ahead) } else { dashed(&mut ahead) }?;
    ahead.skip_spaces();
    *scanner = ahead;
    Some(label)
}

/// Takes `%FACILITY[-SUBFACILITY]-SEVERITY-MNEMONIC` and the colon.
fn dashed<'a>(scanner: &mut Scanner<'a>) -> Option<Label<'a>> {
    let label = scanner.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'_' | b'-'));
    let spaced = scanner.peek() == Some(b' ');
    scanner.skip_spaces();
    let colon = scanner.eat(b':');
    if !colon && !spaced {
        return None;
    }
    let parts = label.strip_prefix(b"%")?;
    let severity = parts.windows(3).position(|window| matches!(window, [b'-', level, b'-'] if is_severity(*level)))?;
    let mnemonic = parts.get(severity.checked_add(3)?..).filter(|mnemonic| !mnemonic.is_empty())?;
    // ACI and some of NX-OS' lines have no colon: then only capitals are a mnemonic.
    let capitals = mnemonic.len() > 2 && mnemonic.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    (severity > 0 && (colon || capitals)).then_some(Label { program: label, mnemonic })
}

/// Says whether it is a severity: a digit, or a letter as Cisco's small business switches write it (`%LINK-W-Down`).
const fn is_severity(level: u8) -> bool {
    matches!(level, b'0'..=b'7' | b'A' | b'C' | b'D' | b'E' | b'F' | b'I' | b'N' | b'W')
}

/// Takes `%%01MODULE/SEVERITY/MNEMONIC(l)[3]:`; the number is the format's version, the letter the kind of record.
fn slashed<'a>(scanner: &mut Scanner<'a>) -> Option<Label<'a>> {
    scanner.eat_all(b"%%");
    scanner.take_while(|byte| byte.is_ascii_digit());
    let module = name(scanner)?;
    scanner.eat(b'/').then_some(())?;
    let severity = scanner.take_while(|byte| byte.is_ascii_digit());
    if !matches!(severity, [b'0'..=b'7']) || !scanner.eat(b'/') {
        return None;
    }
    let mnemonic = name(scanner)?;
    if scanner.eat(b'(') {
        scanner.take_while(|byte| byte.is_ascii_alphanumeric());
        scanner.eat(b')').then_some(())?;
    }
    if scanner.eat(b'[') {
        scanner.take_while(|byte| byte.is_ascii_digit());
        scanner.eat(b']').then_some(())?;
    }
    (scanner.eat(b':') || scanner.eat(b';')).then_some(Label { program: module, mnemonic })
}

/// Takes H3C's older `IFNET/3/LINK_UPDOWN:`, which no percent sign precedes.
pub(super) fn take_plain<'a>(scanner: &mut Scanner<'a>) -> Option<Label<'a>> {
    let mut ahead = *scanner;
    if !ahead.peek()?.is_ascii_uppercase() {
        return None;
    }
    let label = slashed(&mut ahead)?;
    ahead.skip_spaces();
    *scanner = ahead;
    Some(label)
}

fn name<'a>(scanner: &mut Scanner<'a>) -> Option<&'a [u8]> {
    let name = scanner.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (!name.is_empty()).then_some(name)
}
