//! What the running daemon says of itself: buffers, listeners, spool, audit log, and the control plane's last words to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use postern_protocol::farewell;
use postern_protocol::status::doctor::Finding;
use postern_protocol::status::intake::CanaryState;
use postern_protocol::status::{Listener, Status, TunnelState};
use tokio::net::TcpStream;

use super::finding::{Id, good};
use super::identity::span;

/// Less room than this is a fault.
const NO_TIME: Duration = Duration::from_secs(3600);

/// How long a listener of our own may take to be connected to.
const CONNECT: Duration = Duration::from_secs(3);

/// What trying a listener from inside came to.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) name: String,
    pub(super) addr: String,
    pub(super) outcome: io::Result<()>,
}

/// Connects to every listener that takes connections.
pub(super) async fn try_listeners(listeners: &[Listener]) -> Vec<Tried> {
    let mut tried = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.proto != "udp") {
        let outcome = match listener.addr.parse().map(from_inside) {
            Err(_) => Err(io::Error::other("its address is not known")),
            Ok(address) => match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(connected) => connected.map(drop),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        tried.push(Tried { name: listener.name.clone(), addr: listener.addr.clone(), outcome });
    }
    tried
}

/// A listener on every address is tried on loopback.
fn from_inside(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// Judges what the daemon reports, and what trying its listeners came to; room in the spool for less than `warn_below` is told.
pub(super) fn judge(status: &Status, tried: &[Tried], warn_below: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(last_words(status));
    findings.extend(listeners(status, tried));
    findings.extend(buffers(&status.listeners));
    findings.extend(spool(status, warn_below));
    findings.extend(audit(status));
    findings
}

/// What the control plane said when it ended the session; it is not let go before a session is up again.
fn last_words(status: &Status) -> Option<Finding> {
    let said = status.tunnel.last_error.as_deref().filter(|_| status.tunnel.state != TunnelState::Up)?;
    if said.contains(farewell::QUARANTINED) {
        return Some(quarantined(said));
    }
    if said.contains(farewell::REVOKED) {
        return Some(revoked(said));
    }
    let versions = said.contains(farewell::VERSION) || said.contains("wants protocol version");
    versions.then(|| no_common_version(said))
}

/// Says that one of the two sides is too old for the other.
pub(super) fn no_common_version(evidence: impl Into<String>) -> Finding {
    let advice = "install a gateway version that this control plane still speaks with: its own version, or the one before";
    Id::VersionTooOld.fault("this gateway and the control plane have no protocol version in common", evidence, advice)
}

/// Says that another machine goes on under this identity.
pub(super) fn quarantined(said: &str) -> Finding {
    let advice = "two machines show the same identity, as after copying a virtual machine: the console (Gateways, this gateway) shows both; \
                  keep one there, and on the other move the identity directory away and enrol it as a gateway of its own";
    Id::IdentityQuarantined.fault("another machine goes on under this gateway's identity", said, advice)
}

/// Says that the control plane does not let this gateway in.
pub(super) fn revoked(said: &str) -> Finding {
    let advice = "when that was not intended, move the identity directory away and enrol this gateway anew with a new token";
    Id::IdentityRevoked.fault("the control plane does not let this gateway in", said, advice)
}

fn listeners(status: &Status, tried: &[Tried]) -> Vec<Finding> {
    let advice = "look at status for that listener, at the firewall's rules for loopback, and restart the daemon";
    let mut findings = Vec::new();
    for Tried { name, addr, outcome } in tried {
        if let Err(error) = outcome {
            let what = format!("the listener {name} on {addr} does not answer");
            findings.push(Id::ListenerUnreachable.fault(what, format!("connecting from this machine: {error}"), advice));
        }
    }
    // Datagrams have no answer: the path canary sends itself one.
    for path in status.intake.canary.iter().filter(|path| path.state == CanaryState::Missed) {
        let what = format!("a message of the gateway's own did not come through {}", path.path);
        findings.push(Id::ListenerUnreachable.fault(what, path.broken.clone(), advice));
    }
    if findings.is_empty() && !status.listeners.is_empty() {
        let names: Vec<String> = status.listeners.iter().map(|listener| format!("{} {}", listener.name, listener.proto)).collect();
        findings.push(good("listeners", "the listeners answer", names.join(", ")));
    }
    findings
}

fn buffers(listeners: &[Listener]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in listeners {
        let (Some(asked), Some(got)) = (listener.rcvbuf_asked, listener.rcvbuf_effective) else { continue };
        // The kernel counts its own overhead, too, and reports twice what it grants.
        if got / 2 < asked {
            let what = format!("the receive buffer of {} ({}) is smaller than asked for", listener.name, listener.addr);
            let drops = listener.kernel_drops.unwrap_or(0);
            let evidence = format!("{} bytes of {asked}; {drops} datagrams were dropped in the kernel since the start", got / 2);
            findings.push(Id::ReceiveBuffer.warning(what, evidence, buffer_advice(asked)));
        }
    }
    findings
}

/// Says how a buffer of `asked` bytes is had.
pub(super) fn buffer_advice(asked: u64) -> String {
    format!("set net.core.rmem_max = {asked} (sysctl), or ReceiveBuffer={asked} in the socket unit, and restart the daemon")
}

fn spool(status: &Status, warn_below: Duration) -> Vec<Finding> {
    let spool = &status.spool;
    let mut findings = Vec::new();
    if spool.damaged_records > 0 {
        let what = format!("{} records of the spool are damaged", spool.damaged_records);
        let kept = if spool.damaged_files.is_empty() { "no file is kept".to_owned() } else { spool.damaged_files.join(", ") };
        let advice = "the drive or its controller lost data that it had confirmed: look at dmesg and smartctl; the files are kept for that";
        findings.push(Id::SpoolDamaged.warning(what, kept, advice));
    }
    let waiting: u64 = spool.lanes.values().map(|lane| lane.records).sum();
    let left = spool.seconds_left.map(Duration::from_secs).filter(|_| waiting > 0);
    match left {
        Some(left) if left < warn_below.max(NO_TIME) => {
            let what = format!("at this rate the spool is full in {}", span(left));
            let evidence = format!("{waiting} records wait, {} MiB of {} MiB are used", mib(spool.bytes_on_disk), mib(spool.quota_bytes));
            let advice = "get the tunnel up again; until then raise spool.max_bytes if the disk has room. Logs and samples are given up \
                          first, open alerts never";
            let none = left < NO_TIME;
            findings.push(if none {
                Id::SpoolTimeLeft.fault(what, evidence, advice)
            } else {
                Id::SpoolTimeLeft.warning(what, evidence, advice)
            });
        }
        left => {
            let room = left.map_or_else(|| "nothing waits".to_owned(), |left| format!("room for another {}", span(left)));
            let used = format!("{waiting} records wait, {} MiB on disk", mib(spool.bytes_on_disk));
            findings.push(good("spool", format!("the spool has room: {room}"), used));
        }
    }
    findings
}

const fn mib(bytes: u64) -> u64 {
    bytes / 1_048_576
}

fn audit(status: &Status) -> Option<Finding> {
    let audit = status.audit.as_ref()?;
    let Some(damage) = &audit.damage else {
        let evidence = format!("{} entries, countersigned up to {}", audit.number, audit.countersigned);
        return Some(good("audit", "the audit log is whole", evidence));
    };
    let advice = "run postern-gateway audit verify, keep a copy of the audit directory, and find out who changed it";
    Some(Id::AuditDamaged.fault("the audit log is not whole", damage.clone(), advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use postern_protocol::status::doctor::Grade;
    use postern_protocol::status::{AuditState, LaneFill};

    fn status() -> Status {
        let text = serde_json::json!({
            "version": "0", "uptime_s": 1,
            "tunnel": { "state": "waiting", "since": 0, "rtt_ms": null, "clock_offset_ms": null, "last_error": null },
            "spool": { "lanes": {}, "bytes_on_disk": 0, "seconds_left": null },
            "revision": { "desired": null, "effective": null, "failed": null },
            "ledger": { "totals": { "received": 0, "accepted": 0, "in_flight": 0, "dropped": {} }, "by_protocol": {}, "top_sources": [], "crash_windows": [] },
            "listeners": [], "open_alerts": 0,
        });
        serde_json::from_value(text).unwrap()
    }

    fn ids(status: &Status, tried: &[Tried]) -> Vec<(String, Grade)> {
        let warn_below = Duration::from_secs(24 * 3600);
        judge(status, tried, warn_below)
            .into_iter()
            .filter(|finding| finding.grade != Grade::Good)
            .map(|finding| (finding.id, finding.grade))
            .collect()
    }

    #[test]
    fn the_control_planes_last_words_are_understood() {
        for (said, id) in [
            (format!("the control plane ended the session: this identity {}: …", farewell::QUARANTINED), "identity-quarantined"),
            (format!("the control plane ended the session: this gateway {}", farewell::REVOKED), "identity-revoked"),
            (format!("the control plane ended the session: this control plane {}", farewell::VERSION), "version-too-old"),
        ] {
            let mut status = status();
            status.tunnel.last_error = Some(said);
            assert_eq!(ids(&status, &[]), [(id.to_owned(), Grade::Fault)]);
            status.tunnel.state = TunnelState::Up;
            assert_eq!(ids(&status, &[]), []);
        }
    }

    #[test]
    fn a_capped_buffer_and_a_dead_listener_are_told() {
        let mut status = status();
        status.listeners = vec![Listener {
            name: "snmp_trap".to_owned(),
            proto: "udp".to_owned(),
            addr: "0.0.0.0:162".to_owned(),
            rcvbuf_effective: Some(425_984),
            rcvbuf_asked: Some(33_554_432),
            kernel_drops: Some(3),
            connections: None,
        }];
        let dead =
            Tried { name: "proxy".to_owned(), addr: "0.0.0.0:3128".to_owned(), outcome: Err(io::ErrorKind::ConnectionRefused.into()) };
        let expected = [("listener-unreachable".to_owned(), Grade::Fault), ("receive-buffer".to_owned(), Grade::Warning)];
        assert_eq!(ids(&status, &[dead]), expected);
    }

    #[test]
    fn a_filling_spool_and_a_damaged_log_are_told() {
        let mut status = status();
        status.spool.lanes = BTreeMap::from([("alerts".to_owned(), LaneFill { records: 5, bytes: 9, evicted: 0 })]);
        status.spool.seconds_left = Some(3600 * 5);
        assert_eq!(ids(&status, &[]), [("spool-time-left".to_owned(), Grade::Warning)]);
        status.spool.seconds_left = Some(60);
        status.audit = Some(AuditState { damage: Some("entry 4 is missing".to_owned()), ..AuditState::default() });
        status.spool.damaged_records = 2;
        let expected = [("spool-damaged", Grade::Warning), ("spool-time-left", Grade::Fault), ("audit-damaged", Grade::Fault)];
        assert_eq!(ids(&status, &[]), expected.map(|(id, grade)| (id.to_owned(), grade)));
    }

    #[test]
    fn the_revision_says_from_when_on_the_spools_time_is_short() {
        let mut status = status();
        status.spool.lanes = BTreeMap::from([("alerts".to_owned(), LaneFill { records: 5, bytes: 9, evicted: 0 })]);
        status.spool.seconds_left = Some(3600 * 30);
        for (hours, grade) in [(24, None), (30, None), (31, Some(Grade::Warning)), (72, Some(Grade::Warning))] {
            let found = judge(&status, &[], Duration::from_secs(hours * 3600));
            let short = found.iter().find(|finding| finding.id == Id::SpoolTimeLeft.name()).map(|finding| finding.grade);
            assert_eq!(short, grade, "{hours} h");
        }
    }

    #[tokio::test]
    async fn listeners_are_tried_from_inside() {
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listening.local_addr().unwrap().port();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listener = |port| Listener {
            name: "proxy".to_owned(),
            proto: "tcp".to_owned(),
            addr: format!("0.0.0.0:{port}"),
            rcvbuf_effective: None,
            rcvbuf_asked: None,
            kernel_drops: None,
            connections: Some(0),
        };
        let tried = try_listeners(&[listener(port), listener(free)]).await;
        assert!(tried[0].outcome.is_ok() && tried[1].outcome.is_err());
    }
}
