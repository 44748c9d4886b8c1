//! More than the gateway can or may take: every datagram is accounted, also those that only the kernel saw.

use nix::sys::signal::{Signal, kill};
use postern_protocol::status::Account;

use crate::harness::rig::{Options, Rig};
use postern_tests::snmp::{LINK_DOWN, Sender, TRAP_V2, link};
use postern_tests::tools::run;

fn send_traps(rig: &Rig, count: u32) {
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    for number in 1..=count {
        sender.send(&link(TRAP_V2, i32::try_from(number).unwrap(), LINK_DOWN, number % 10));
    }
}

fn wait_for_received(rig: &Rig, received: u64) -> Account {
    rig.wait_for_status("all datagrams", |status| status.ledger.totals.received == received && status.ledger.totals.in_flight == 0)
        .ledger
        .totals
}

fn configured(section: &str, lines: &str) -> Rig {
    let mut rig = Rig::enrolled(&Options::default());
    rig.configure(section, lines);
    rig.start_gateway();
    rig
}

#[test]
fn what_the_kernel_drops_is_counted_once_over_restarts_too() {
    let mut rig = configured("receivers.snmp_trap", "receive_buffer_bytes = 65536");
    kill(rig.gateway_pid(), Signal::SIGSTOP).unwrap();
    send_traps(&rig, 3000);
    kill(rig.gateway_pid(), Signal::SIGCONT).unwrap();
    let account = wait_for_received(&rig, 3000);
    let dropped = account.dropped["kernel_buffer"];
    assert!(dropped > 1000, "{account:?}");
    assert_eq!(account.accepted, 3000 - dropped);
    let status = rig.status().unwrap();
    let socket = status.listeners.iter().find(|socket| socket.name == "snmp_trap").unwrap();
    assert_eq!(socket.kernel_drops, Some(dropped), "{socket:?}");
    assert!(socket.rcvbuf_effective.is_some_and(|bytes| bytes >= 65_536), "{socket:?}");
    let alert = rig.api.wait_for_alert("the kernel's drops", |alert| alert["kind"] == "kernel-drops");
    assert_eq!(alert["resource"], "gateway");
    assert!(alert.to_string().contains(&dropped.to_string()), "it says how many: {alert:#}");

    // The socket, and the kernel's counter with it, outlives the gateway.
    rig.stop_gateway();
    rig.start_gateway();
    assert_eq!(rig.status().unwrap().ledger.totals, account, "nothing is counted again");
    send_traps(&rig, 10);
    let later = wait_for_received(&rig, 3010);
    assert_eq!(later.dropped["kernel_buffer"], dropped);
}

#[test]
fn what_the_kernel_drops_while_the_gateway_is_down_is_counted() {
    let mut rig = configured("receivers.snmp_trap", "receive_buffer_bytes = 65536");
    rig.stop_gateway();
    send_traps(&rig, 3000);
    rig.start_gateway();
    let account = wait_for_received(&rig, 3000);
    assert!(account.dropped["kernel_buffer"] > 1000, "{account:?}");
}

#[test]
fn sources_beyond_their_rate_or_off_the_list_are_counted_by_reason() {
    let rig = configured("receivers.snmp_trap", "rate_limit_per_source = 50");
    send_traps(&rig, 1000);
    let account = wait_for_received(&rig, 1000);
    assert!(account.accepted >= 50 && account.dropped["rate_limited"] > 500, "{account:?}");
    drop(rig);

    let rig = configured("receivers.snmp_trap", "allow = [\"192.0.2.0/24\"]");
    send_traps(&rig, 20);
    let account = wait_for_received(&rig, 20);
    assert_eq!(account.dropped["source_denied"], 20, "{account:?}");
    let status = rig.status().unwrap();
    assert_eq!(status.ledger.top_sources[0].source, "127.0.0.1");
}

#[test]
fn the_admin_address_tells_health_and_metrics() {
    let rig = Rig::start();
    let text = std::fs::read(rig.layout().control_dir().join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let get = |path: &str| {
        let output = run("curl", &["-sS", "--fail", &format!("http://{}{path}", addresses["admin"].as_str().unwrap())]);
        assert!(output.status.success(), "{path}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((get("/healthz").trim(), get("/readyz").trim()), ("ok", "ready"));
    let metrics = get("/metrics");
    assert!(metrics.contains("# TYPE "), "{metrics}");
}
