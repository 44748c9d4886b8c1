//! Identities over the years, made short: renewal in time and too late, revocation, other authorities and keys.

use std::time::{Duration, SystemTime};

use postern_protocol::status::{IdentityState, TunnelState};
use postern_tests::deadline::wait_for;
use postern_tests::snmp::Sender;

use crate::harness::forwarder::Forwarder;
use crate::harness::rig::{Options, Rig};

/// Within this a short-lived certificate is renewed, and a revocation has its effect.
const A_MINUTE: Duration = Duration::from_secs(60);

fn identity(rig: &Rig) -> IdentityState {
    rig.status().unwrap().identity.unwrap()
}

fn standing(rig: &Rig, of: &str) -> serde_json::Value {
    serde_json::from_str(&rig.control_command(&[of, "status", "--json"]).unwrap()).unwrap()
}

/// Waits until the gateway has confirmed what the control plane trusts now, and what `is_it` wants besides.
fn wait_for_trust(rig: &Rig, what: &str, is_it: impl Fn(&serde_json::Value) -> bool) {
    wait_for(what, A_MINUTE, || {
        let standing = standing(rig, "ca");
        let gateway = &standing["gateways"][0];
        let confirmed = gateway["confirmed_serial"] == standing["serial"] && is_it(gateway);
        if confirmed { Ok(()) } else { Err(format!("{standing:#}\n{}", rig.gateway_log())) }
    });
}

#[test]
fn a_certificate_is_renewed_while_informs_flow_and_none_is_lost() {
    let rig = Rig::start_with(&Options { control_toml: &[("client_certificate_life_s", "20")], ..Options::default() });
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    crate::revisions::without_noise_control(&rig);
    let (first, mut renewals, mut sent) = (identity(&rig), 0, 0);
    let (mut last, begun) = (first.certificate.clone(), std::time::Instant::now());
    while renewals < 2 && begun.elapsed() < A_MINUTE {
        let volley = sender.inform(sent + 1..sent + 3, A_MINUTE, |_| ());
        assert_eq!(volley.acknowledged, 2);
        sent += 2;
        let now = identity(&rig);
        assert_eq!(now.renewal_error, None);
        if now.certificate != last {
            (last, renewals) = (now.certificate, renewals + 1);
        }
    }
    assert_eq!(renewals, 2, "{}", rig.gateway_log());
    println!("{sent} informs while the certificate was renewed twice in {:?}", begun.elapsed());
    rig.wait_for_status("the tunnel with the new certificate", |status| status.tunnel.state == TunnelState::Up);
    let status = rig.wait_until_delivered();
    assert_eq!(status.open_alerts, u64::from(sent));
    assert_eq!(rig.api.alerts().len(), usize::try_from(sent).unwrap());
}

#[test]
fn a_gateway_that_slept_past_its_certificates_end_comes_back_by_itself() {
    let mut rig = Rig::start_with(&Options { control_toml: &[("client_certificate_life_s", "15")], ..Options::default() });
    rig.stop_gateway();
    let slept = std::time::Instant::now();
    // It may have been renewed just before the stop.
    let longest = Duration::from_secs(17);
    wait_for("the certificate to end", A_MINUTE, || if slept.elapsed() > longest { Ok(()) } else { Err("not yet".to_owned()) });
    rig.spawn_gateway();
    rig.wait_for_status_within("the tunnel", A_MINUTE, |status| status.tunnel.state == TunnelState::Up);
    let renewed = identity(&rig);
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    assert!(renewed.not_after > now);
    assert!(rig.gateway_log().contains("asked for without the tunnel"), "{}", rig.gateway_log());
    let id = rig.gateway_id();
    let seen: serde_json::Value = serde_json::from_str(&rig.control_command(&["gateway", "identity", &id, "--json"]).unwrap()).unwrap();
    assert!(seen["certificates"].as_array().unwrap().len() >= 2, "{seen:#}");
    assert_eq!(seen["quarantine"], serde_json::Value::Null);
}

#[test]
fn a_gateway_that_slept_for_too_long_waits_for_an_admin() {
    let settings = [("client_certificate_life_s", "15"), ("renew_expired_within_s", "0")];
    let mut rig = Rig::start_with(&Options { control_toml: &settings, ..Options::default() });
    rig.stop_gateway();
    let slept = std::time::Instant::now();
    let longest = Duration::from_secs(17);
    wait_for("the certificate to end", A_MINUTE, || if slept.elapsed() > longest { Ok(()) } else { Err("not yet".to_owned()) });
    rig.spawn_gateway();
    let refused = rig.wait_for_status_within("the refusal", A_MINUTE, |status| {
        status.identity.as_ref().and_then(|identity| identity.renewal_error.as_ref()).is_some_and(|error| error.contains("allow-renewal"))
    });
    assert_ne!(refused.tunnel.state, TunnelState::Up);
    rig.control_command(&["gateway", "allow-renewal", &rig.gateway_id(), "--for", "1h"]).unwrap();
    rig.wait_for_status_within("the tunnel", A_MINUTE, |status| status.tunnel.state == TunnelState::Up);
}

#[test]
fn a_revocation_by_another_process_ends_the_session_within_a_minute() {
    let rig = Rig::start();
    let begun = std::time::Instant::now();
    rig.control_command(&["gateway", "revoke", &rig.gateway_id()]).unwrap();
    rig.wait_for_status_within("the end of the session", A_MINUTE, |status| {
        status.tunnel.state != TunnelState::Up && status.tunnel.last_error.as_ref().is_some_and(|error| error.contains("was revoked"))
    });
    println!("the session of a revoked gateway ended after {:?}", begun.elapsed());
}

#[test]
fn the_tunnels_key_and_the_authority_are_replaced_under_a_running_gateway() {
    let mut rig = Rig::start();
    let before = identity(&rig);
    // The next key is pinned since enrolment; the one after it becomes known and confirmed.
    rig.control_command(&["pin", "rotate", "--switch"]).unwrap();
    wait_for_trust(&rig, "the pin after the next", |gateway| gateway["has_next_pin"] == true);
    let after = identity(&rig);
    assert_eq!((after.server_pins[0].as_str(), after.trust_serial), (before.server_pins[1].as_str(), 1));
    rig.control_command(&["pin", "rotate", "--switch"]).unwrap();
    wait_for_trust(&rig, "the pin after that", |gateway| gateway["has_next_pin"] == true);

    assert!(rig.control_command(&["ca", "rotate", "--finish"]).is_err(), "the steps have an order");
    rig.control_command(&["ca", "rotate", "--prepare"]).unwrap();
    wait_for_trust(&rig, "the next authority", |gateway| gateway["has_next_authority"] == true);
    assert!(rig.control_command(&["ca", "rotate", "--finish"]).is_err(), "it does not issue yet");
    rig.control_command(&["ca", "rotate", "--switch"]).unwrap();
    wait_for_trust(&rig, "a certificate of the next authority", |gateway| gateway["certificate_of_next_authority"] == true);
    assert_ne!(identity(&rig).certificate, before.certificate);
    rig.control_command(&["ca", "rotate", "--finish"]).unwrap();
    wait_for_trust(&rig, "the end of the old authority", |_| true);

    // What was learnt outlives both programs.
    rig.stop_gateway();
    rig.stop_control();
    rig.start_control();
    rig.start_gateway();
    let status = rig.status().unwrap();
    assert_eq!(status.tunnel.state, TunnelState::Up);
    assert_eq!(status.identity.unwrap().trust_serial, standing(&rig, "pin")["serial"].as_u64().unwrap());
}

#[test]
fn a_gateway_that_was_off_while_the_authority_was_replaced_comes_back_before_the_old_one_is_ended() {
    let mut rig = Rig::start();
    rig.stop_gateway();
    rig.control_command(&["ca", "rotate", "--prepare"]).unwrap();
    rig.control_command(&["ca", "rotate", "--switch"]).unwrap();
    let refused = rig.control_command(&["ca", "rotate", "--finish"]).unwrap_err();
    assert!(format!("{refused:#}").contains("has not confirmed the next authority"), "{refused:#}");
    rig.start_gateway();
    wait_for_trust(&rig, "a certificate of the next authority", |gateway| gateway["certificate_of_next_authority"] == true);
    rig.control_command(&["ca", "rotate", "--finish"]).unwrap();
    wait_for_trust(&rig, "the end of the old authority", |_| true);
}

#[test]
fn an_address_that_the_control_plane_adds_is_used_at_once_when_the_own_one_goes() {
    let mut rig = Rig::start();
    let port = rig.prepared.sockets.https().port();
    // The only way that the bootstrap file knows can be cut.
    let own = Forwarder::start("127.0.0.2".parse().unwrap(), rig.prepared.sockets.https());
    rig.stop_gateway();
    rig.configure("server", &format!("addresses = [\"127.0.0.2:{port}\"]"));
    rig.start_gateway();
    assert!(own.connections() > 0);

    let refused = rig.control_command(&["address", "set", "no-port.example"]).unwrap_err();
    assert!(format!("{refused:#}").contains("no-port.example"), "{refused:#}");
    rig.control_command(&["address", "set", "127.0.0.3:22"]).unwrap();
    wait_for("the refusal of a port that the sandbox shuts", A_MINUTE, || {
        let standing = standing(&rig, "address");
        let refused = standing["gateways"][0]["refused"].as_str().unwrap_or_default().to_owned();
        if refused.contains("127.0.0.3:22") && refused.contains("8443") { Ok(()) } else { Err(format!("{standing:#}")) }
    });
    assert_eq!(identity(&rig).trust_serial, 0, "nothing of it is kept");

    let further = Forwarder::start("127.0.0.3".parse().unwrap(), rig.prepared.sockets.https());
    rig.control_command(&["address", "set", &further.address.to_string()]).unwrap();
    wait_for_trust(&rig, "the further address", |_| true);
    rig.wait_for_status("the tunnel by its own address", |status| status.tunnel.state == TunnelState::Up);
    drop(own);
    let came_back = |status: &postern_protocol::status::Status| {
        status.tunnel.state == TunnelState::Up && status.tunnel.address.as_deref() == Some(&further.address.to_string())
    };
    rig.wait_for_status_within("the tunnel by the further address", A_MINUTE, came_back);
    assert_eq!(rig.gateway_log().matches("the gateway is ready").count(), 2, "no start but the test's own");
    // And after a start, with nothing but the further address to come by.
    rig.stop_gateway();
    rig.spawn_gateway();
    rig.wait_for_status_within("the tunnel after a start", A_MINUTE, came_back);
}
