//! A status report as text for people. Numbers and names only; `status --json` is for programs.

use std::fmt::{self, Display, Formatter};

use postern_protocol::status::intake::{Intake, Waiting};
use postern_protocol::status::{Account, Status, TunnelState};

/// Writes a report as aligned text.
pub struct Table<'a>(pub &'a Status);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let status = self.0;
        writeln!(f, "gateway    {} · up {}", status.version, span(status.uptime_s))?;
        let tunnel = &status.tunnel;
        let state = match tunnel.state {
            TunnelState::Connecting => "connecting",
            TunnelState::Up => "up",
            TunnelState::Waiting => "waiting",
        };
        write!(f, "tunnel     {state}")?;
        if let Some(rtt) = tunnel.rtt_ms {
            write!(f, " · round trip {rtt:.1} ms")?;
        }
        if let Some(offset) = tunnel.clock_offset_ms {
            write!(f, " · clock offset {offset:.0} ms")?;
        }
        if let Some(error) = tunnel.last_error.as_ref().filter(|_| tunnel.state != TunnelState::Up) {
            write!(f, " · {error}")?;
        }
        let revision = &status.revision;
        let number = |number: Option<postern_protocol::id::RevisionNumber>| number.map_or_else(|| "built-in".to_owned(), |n| n.to_string());
        write!(f, "\nrevision   in force {}", number(revision.effective))?;
        if revision.desired.is_some() && revision.desired != revision.effective {
            write!(f, " · wanted {}", number(revision.desired))?;
        }
        if let Some(failed) = &revision.failed {
            let first = failed.problems.first();
            let (path, reason) = first.map_or(("", ""), |problem| (problem.path.as_str(), problem.reason.as_str()));
            write!(f, " · {} failed: {path} {reason}", failed.number)?;
        }
        writeln!(f, "\nalerts     {} open", status.open_alerts)?;
        write!(f, "spool      {} on disk", bytes(status.spool.bytes_on_disk))?;
        for (name, lane) in status.spool.lanes.iter().filter(|(_, lane)| lane.records > 0 || lane.evicted > 0) {
            write!(f, " · {name}: {} waiting ({}), {} given up", lane.records, bytes(lane.bytes), lane.evicted)?;
        }
        if let Some(sandbox) = &status.sandbox {
            write!(f, "\nsandbox    files {} · system calls {}", sandbox.landlock, sandbox.seccomp)?;
        }
        vault(f, &status.intake)?;
        writeln!(f, "\n\n{:<12} {:>12} {:>12} {:>10}  dropped", "events", "received", "accepted", "in flight")?;
        for (name, account) in &status.ledger.by_protocol {
            account_line(f, name, account)?;
        }
        account_line(f, "total", &status.ledger.totals)?;
        if let Some(window) = status.ledger.crash_windows.last() {
            let seconds = window.to.saturating_sub(window.from) / 1_000_000_000;
            writeln!(f, "last unclean stop: what came in the {seconds} s before the start may be lost")?;
        }
        writeln!(f, "\n{:<12} {:<5} {:<22} {:>10} {:>12} {:>12}", "listener", "proto", "address", "buffer", "kernel drops", "connections")?;
        for listener in &status.listeners {
            let shown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let buffer = listener.rcvbuf_effective.map_or_else(|| "-".to_owned(), bytes);
            let (drops, connections) = (shown(listener.kernel_drops), shown(listener.connections));
            writeln!(f, "{:<12} {:<5} {:<22} {buffer:>10} {drops:>12} {connections:>12}", listener.name, listener.proto, listener.addr)?;
        }
        intake(f, &status.intake)
    }
}

/// The fingerprint stands in groups of eight digits, as on the console: a person compares the two.
fn vault(f: &mut Formatter<'_>, intake: &Intake) -> fmt::Result {
    let Some(sealing_key) = &intake.sealing_key else { return Ok(()) };
    let unusable = intake.secrets.iter().filter(|secret| !secret.problem.is_empty()).count();
    write!(f, "\nvault      {} secrets", intake.secrets.len())?;
    if unusable > 0 {
        write!(f, ", {unusable} of them cannot be opened")?;
    }
    write!(f, "\nsealed to ")?;
    for (at, digit) in sealing_key.chars().enumerate() {
        write!(f, "{}{digit}", if at % 8 == 0 { " " } else { "" })?;
    }
    Ok(())
}

fn intake(f: &mut Formatter<'_>, intake: &Intake) -> fmt::Result {
    if let Some(engine) = &intake.snmp_engine {
        writeln!(f, "\nSNMP engine {} · boots {}", engine.engine_id, engine.boots)?;
    }
    for warning in &intake.warnings {
        writeln!(f, "warning: {warning}")?;
    }
    if !intake.waiting_room.is_empty() {
        writeln!(f, "\nwaiting room: SNMPv3 notifications that were refused, and what to do")?;
    }
    for waiting in &intake.waiting_room {
        let Waiting { reason, source, engine_id, user, level, count, advice, .. } = waiting;
        writeln!(f, "{reason:<18} {source:<22} engine {engine_id} · user {user} · {level} · {count} times\n{:<18} {advice}", "")?;
    }
    Ok(())
}

fn account_line(f: &mut Formatter<'_>, name: &str, account: &Account) -> fmt::Result {
    let dropped: Vec<String> = account.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    let Account { received, accepted, in_flight, .. } = account;
    writeln!(f, "{name:<12} {received:>12} {accepted:>12} {in_flight:>10}  {}", dropped.join(", "))
}

fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{} KiB", n / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", n / 1_048_576),
        _ => format!("{} GiB", n / 1_073_741_824),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_grouped_for_the_eye() {
        struct Shown(Intake);
        impl Display for Shown {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                vault(f, &self.0)
            }
        }
        let intake = Intake { sealing_key: Some("0123456789abcdef".repeat(4)), ..Intake::default() };
        let groups = ["01234567", "89abcdef"].repeat(4).join(" ");
        assert_eq!(Shown(intake).to_string(), format!("\nvault      0 secrets\nsealed to  {groups}"));
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!((span(61).as_str(), span(7200).as_str(), span(90_000).as_str()), ("1 min 1 s", "2 h 0 min", "1 d 1 h"));
        assert_eq!((bytes(1023).as_str(), bytes(2048).as_str(), bytes(5 << 30).as_str()), ("1023 B", "2 KiB", "5 GiB"));
    }
}
