//! The rows of the comparison: each starts what it needs, loads it, and notes figures.

use std::time::Duration;

use postern_protocol::status::Account;
use tempfile::TempDir;

use crate::connect;
use crate::datagrams;
use crate::peers::{self, Peer, absent, kernel_drops};
use crate::postern::Postern;
use crate::process::Process;
use crate::send::{Channel, Sender, stream};
use crate::table::{Goal, Table};

/// A row's name and what measures it.
pub(crate) type NamedRow = (&'static str, fn(&mut Table));

/// Every row.
pub(crate) const ALL: [NamedRow; 7] = [
    ("v2c traps", v2c),
    ("v3 traps", v3),
    ("syslog udp", syslog_udp),
    ("syslog streams", syslog_streams),
    ("bursts", bursts),
    ("connect", connect_tunnels),
    ("memory", memory),
];

/// Time of a paced load.
const PACED: Duration = Duration::from_secs(20);

/// Time of a burst.
const BURST: Duration = Duration::from_secs(2);

/// Memory that the gateway may have had at most, in MiB.
const PEAK_MIB: f64 = 64.0;

fn dir() -> TempDir {
    tempfile::Builder::new().prefix("postern-bench-").tempdir().unwrap()
}

/// Processor seconds that a million events cost `process`.
fn per_million(process: &Process, events: usize, load: impl FnOnce()) -> f64 {
    process.settle();
    let before = process.cpu();
    load();
    process.settle();
    (process.cpu() - before) / (events as f64 / 1e6)
}

fn count(rate: f64, time: Duration) -> usize {
    (rate * time.as_secs_f64()) as usize
}

/// Sends at `rate` to the peer; its cost, and whether it wrote them all.
fn peer_cost(peer: &Peer, load: &[Vec<u8>], rate: f64) -> f64 {
    peer.forget();
    let sender = Sender::new(peer.udp);
    let cost = per_million(&peer.process, load.len(), || {
        sender.paced(load, rate);
    });
    peer.flush();
    println!("the peer wrote {} of {}; kernel drops {}", peer.events(), load.len(), kernel_drops(peer.udp));
    cost
}

/// Sends at `rate` to the gateway; its cost. The ledger must hold every datagram.
fn our_cost(postern: &Postern, protocol: &str, load: &[Vec<u8>], rate: f64) -> f64 {
    let before = account(postern, protocol);
    let control = postern.control.cpu();
    let sender = Sender::new(if protocol == "snmp_trap" { postern.trap() } else { postern.syslog() });
    let cost = per_million(&postern.gateway, load.len(), || {
        sender.paced(load, rate);
    });
    let beside = (postern.control.cpu() - control) / (load.len() as f64 / 1e6);
    let after = account(postern, protocol);
    println!(
        "the gateway took {} of {}; dropped {:?}; the control plane beside it {beside:.1} CPU s/M",
        after.accepted - before.accepted,
        load.len(),
        after.dropped
    );
    assert_eq!(after.received - before.received, load.len() as u64, "sent = received");
    cost
}

/// The account of a protocol when nothing is in flight.
fn account(postern: &Postern, protocol: &str) -> Account {
    loop {
        let account = postern.status().ledger.by_protocol.remove(protocol).unwrap();
        if account.in_flight == 0 {
            return account;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn v2c(table: &mut Table) {
    let load = datagrams::v2c(count(3_000.0, PACED));
    let ours = {
        let dir = dir();
        our_cost(&Postern::start(dir.path(), ""), "snmp_trap", &load, 3_000.0)
    };
    let dir = dir();
    let peer = peers::snmptrapd(dir.path());
    let theirs = peer.as_ref().map(|peer| ("snmptrapd", peer_cost(peer, &load, 3_000.0)));
    if theirs.is_none() {
        absent("snmptrapd", "snmptrapd");
    }
    table.add("v2c traps at 3,000/s", "CPU s/M", ours, theirs, Goal::AtMost(1.0 / 8.0));
}

fn v3(table: &mut Table) {
    let load = datagrams::v3(count(3_000.0, PACED), 0);
    let ours = {
        let dir = dir();
        let postern = Postern::start(dir.path(), "");
        seal_user(&postern);
        with_user(&postern);
        our_cost(&postern, "snmp_trap", &load, 3_000.0)
    };
    let dir = dir();
    let theirs = peers::snmptrapd(dir.path()).map(|peer| ("snmptrapd", peer_cost(&peer, &load, 3_000.0)));
    table.add("v3 authPriv traps at 3,000/s", "CPU s/M", ours, theirs, Goal::AtMost(1.0 / 6.0));
}

/// Puts the passphrases of [`datagrams::USER`] into the gateway's vault.
pub(crate) fn seal_user(postern: &Postern) {
    postern.seal("bench-auth", datagrams::AUTH_PASSPHRASE);
    postern.seal("bench-priv", datagrams::PRIV_PASSPHRASE);
}

/// Gives the gateway the user of [`datagrams::v3`], with the rules that it has anyway: a new revision, and waits for it.
pub(crate) fn with_user(postern: &Postern) {
    let mut document: serde_json::Value = serde_json::from_str(postern_protocol::revision::BUILT_IN).unwrap();
    document["snmp"] = serde_json::json!({ "users": [{
        "name": datagrams::USER, "sources": ["127.0.0.0/8"],
        "auth": { "algorithm": "sha-256", "secret": "bench-auth" }, "priv": { "algorithm": "aes-128", "secret": "bench-priv" },
    }] });
    postern.configure(&document.to_string());
    crate::process::wait_until("the revision", || {
        let revision = postern.status().revision;
        assert!(revision.failed.is_none(), "{:?}", revision.failed);
        revision.effective.is_some() && revision.effective == revision.desired
    });
}

fn syslog_udp(table: &mut Table) {
    for rate in [3_000.0, 20_000.0] {
        let load = datagrams::syslog(count(rate, PACED));
        let ours = {
            let dir = dir();
            our_cost(&Postern::start(dir.path(), ""), "syslog", &load, rate)
        };
        let dir = dir();
        let theirs = peers::rsyslogd(dir.path()).map(|peer| ("rsyslog", peer_cost(&peer, &load, rate)));
        table.add(&format!("syslog UDP at {rate}/s"), "CPU s/M", ours, theirs, Goal::AtMost(1.0));
    }
}

fn syslog_streams(table: &mut Table) {
    const LINES: usize = 100_000;
    const COPIES: usize = 30;
    const CONNECTIONS: usize = 2;
    let mut text = Vec::new();
    for line in datagrams::syslog(LINES) {
        // RFC 6587 §3.4.1: octet counting.
        text.extend(format!("{} ", line.len()).bytes());
        text.extend(line);
    }
    for (name, tls) in [("TCP", false), ("TLS", true)] {
        let ours = {
            let dir = dir();
            let postern = Postern::start(dir.path(), "");
            let ca = postern.ca();
            let (to, channel) = if tls { (postern.syslog_tls(), Channel::Tls(&ca)) } else { (postern.syslog(), Channel::Plain) };
            let before = account(&postern, "syslog");
            let cost = per_million(&postern.gateway, LINES * COPIES, || {
                let taken = stream(to, channel, CONNECTIONS, COPIES, &text);
                println!("{:.0} lines/s", (LINES * COPIES) as f64 / taken.as_secs_f64());
            });
            let after = account(&postern, "syslog");
            assert_eq!(after.accepted - before.accepted, (LINES * COPIES) as u64, "{:?}", after.dropped);
            cost
        };
        let dir = dir();
        let theirs = peers::rsyslogd(dir.path()).filter(|peer| !tls || peer.tls.port() != 0).map(|peer| {
            let (to, channel) = if tls { (peer.tls, Channel::Tls(&peer.ca)) } else { (peer.tcp, Channel::Plain) };
            let cost = per_million(&peer.process, LINES * COPIES, || {
                let taken = stream(to, channel, CONNECTIONS, COPIES, &text);
                println!("rsyslog: {:.0} lines/s", (LINES * COPIES) as f64 / taken.as_secs_f64());
            });
            peer.flush();
            println!("the peer wrote {} of {}", peer.events(), LINES * COPIES);
            ("rsyslog", cost)
        });
        if theirs.is_none() {
            absent("rsyslog", if tls { "rsyslog-openssl" } else { "rsyslog" });
        }
        table.add(&format!("syslog {name} flat out"), "CPU s/M", ours, theirs, Goal::AtMost(1.0));
    }
}

/// The highest rate at which a burst loses nothing: `rates` are tried upwards. A burst says how long it took and what it lost.
fn lossless(rates: &[f64], mut burst: impl FnMut(f64) -> (Duration, u64)) -> f64 {
    let mut best = 0.0;
    for rate in rates {
        let (taken, lost) = burst(*rate);
        let really = count(*rate, BURST) as f64 / taken.as_secs_f64();
        println!("{really:>9.0}/s for {:.1} s: {lost} lost", taken.as_secs_f64());
        if lost > 0 {
            break;
        }
        best = really;
    }
    best
}

fn bursts(table: &mut Table) {
    const SLOW: [f64; 8] = [8e3, 12e3, 16e3, 20e3, 26e3, 34e3, 44e3, 60e3];
    const FAST: [f64; 7] = [80e3, 110e3, 150e3, 200e3, 250e3, 300e3, 400e3];
    for (what, protocol, goal) in [("burst of v2c traps, 2 s", "snmp_trap", 10.0), ("burst of syslog UDP, 2 s", "syslog", 1.0)] {
        let make = if protocol == "snmp_trap" { datagrams::v2c } else { datagrams::syslog };
        let load = make(count(FAST[FAST.len() - 1], BURST));
        let ours = {
            let dir = dir();
            let postern = Postern::start(dir.path(), "");
            let sender = Sender::new(if protocol == "snmp_trap" { postern.trap() } else { postern.syslog() });
            lossless(&FAST, |rate| {
                let before = account(&postern, protocol);
                let load = &load[..count(rate, BURST)];
                let taken = sender.paced(load, rate);
                postern.gateway.settle();
                let after = account(&postern, protocol);
                assert_eq!(after.received - before.received, load.len() as u64, "what was lost is in the ledger, to the datagram");
                (taken, load.len() as u64 - (after.accepted - before.accepted))
            })
        };
        let dir = dir();
        let (name, peer) =
            if protocol == "snmp_trap" { ("snmptrapd", peers::snmptrapd(dir.path())) } else { ("rsyslog", peers::rsyslogd(dir.path())) };
        let rates: &[f64] = if protocol == "snmp_trap" { &SLOW } else { &FAST };
        let theirs = peer.map(|peer| {
            let sender = Sender::new(peer.udp);
            let best = lossless(rates, |rate| {
                peer.forget();
                let load = &load[..count(rate, BURST)];
                let taken = sender.paced(load, rate);
                peer.process.settle();
                peer.flush();
                (taken, (load.len() as u64).saturating_sub(peer.events()))
            });
            (name, best / 1e3)
        });
        table.add(what, "thousand/s", ours / 1e3, theirs, Goal::AtLeast(goal));
    }
}

fn connect_tunnels(table: &mut Table) {
    const SHORT: usize = 20_000;
    const BULK: u64 = 4_000_000_000 / (256 * 1024) * (256 * 1024);
    let origin = connect::origin();
    let measure = |process: &Process, at, name: &str| {
        let (before, taken) = (process.cpu(), connect::short(at, origin, SHORT));
        let short = (process.cpu() - before) / (SHORT as f64 / 1e3);
        println!("{name}: {:.0} tunnels/s", SHORT as f64 / taken.as_secs_f64());
        let (before, taken) = (process.cpu(), connect::bulk(at, origin, BULK));
        let bulk = (process.cpu() - before) / (BULK as f64 / 1e9);
        println!(
            "{name}: {:.2} GB/s; half-closed tunnels deliver: {}",
            BULK as f64 / 1e9 / taken.as_secs_f64(),
            connect::keeps_half_closed(at, origin)
        );
        (short, bulk)
    };
    let ours = {
        let dir = dir();
        let postern = Postern::start(dir.path(), &format!("connect_allow = [\"{origin}\"]\n"));
        assert!(connect::keeps_half_closed(postern.proxy(), origin));
        measure(&postern.gateway, postern.proxy(), "postern")
    };
    let dir = dir();
    let tinyproxy = peers::tinyproxy(dir.path()).map(|(process, at)| measure(&process, at, "tinyproxy"));
    let squid = peers::squid(dir.path()).map(|(process, at)| measure(&process, at, "squid"));
    table.add("CONNECT, 1,000 short tunnels", "CPU s", ours.0, tinyproxy.map(|(short, _)| ("tinyproxy", short)), Goal::AtMost(0.6));
    table.add("CONNECT, bulk", "CPU s/GB", ours.1, squid.map(|(_, bulk)| ("squid", bulk)), Goal::AtMost(1.0 / 3.0));
}

/// All of it, one after the other, in one gateway.
fn memory(table: &mut Table) {
    let (dir, origin) = (dir(), connect::origin());
    let postern = Postern::start(dir.path(), &format!("connect_allow = [\"{origin}\"]\n"));
    seal_user(&postern);
    with_user(&postern);
    let idle = postern.gateway.resident_mib();
    Sender::new(postern.trap()).paced(&datagrams::v2c(400_000), 200_000.0);
    Sender::new(postern.trap()).paced(&datagrams::v3(100_000, 0), 50_000.0);
    Sender::new(postern.syslog()).paced(&datagrams::syslog(400_000), 200_000.0);
    connect::short(postern.proxy(), origin, 2_000);
    connect::bulk(postern.proxy(), origin, 1 << 30);
    postern.gateway.settle();
    println!("idle {idle} MiB, afterwards {} MiB", postern.gateway.resident_mib());
    table.add("peak memory under all of it", "MiB", postern.gateway.peak_mib() as f64, None, Goal::Below(PEAK_MIB));
}
