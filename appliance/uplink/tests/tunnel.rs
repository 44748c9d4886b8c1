//! The tunnel against a control plane over real TLS and HTTP/2: nothing lost, nothing twice, nothing out of order, and never stuck.

// A test file may stop at the first surprise.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::Lane;
use postern_protocol::message::{CloseAlert, RevisionStatus, SignedRevision, down};
use postern_protocol::status::TunnelState;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::spool::Worth;
use postern_uplink::tunnel::{Incoming, Outgoing, TunnelOptions};
use postern_uplink::url::{ProxyUrl, ServerUrl};
use support::gateway::{Gateway, numbers, options, site, texts};
use support::{Cloud, Mood, Pki, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[tokio::test]
async fn records_arrive_in_order_are_acknowledged_and_leave_the_spool() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    for n in numbers(0, 100) {
        gateway.commit(Lane::Alerts, &n).await;
        gateway.commit(Lane::Samples, &n).await;
    }
    cloud.until(|store| store.records.len() == 200).await;
    gateway.until_empty().await;
    {
        let store = cloud.store.lock().unwrap();
        assert_eq!((texts(&store, "alerts"), texts(&store, "samples")), (numbers(0, 100), numbers(0, 100)));
        assert_eq!((store.gaps, store.requests), (0, 3), "a stream for control and for each lane that had something");
        let hello = &store.hellos[0];
        assert_eq!((hello.epoch, hello.effective_revision, hello.newest_revision, hello.heads.len()), (7, 3, 4, 4));
    }
    gateway.until(|state| state.state == TunnelState::Up).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_lane_that_the_control_plane_does_not_take_waits_and_holds_nothing_else_up() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { refused: Some(Lane::Logs), ..Store::default() }).await;
    let gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    gateway.commit(Lane::Logs, "waits").await;
    for n in numbers(0, 10) {
        gateway.commit(Lane::Alerts, &n).await;
    }
    cloud.until(|store| store.records.len() == 10).await;
    assert_eq!(cloud.store.lock().unwrap().hellos.len(), 1);
    assert_eq!(gateway.spool.fill().lanes["logs"].records, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_cut_before_or_after_the_commit_loses_and_doubles_nothing() {
    let site = site();
    let moods = [Mood::Good, Mood::Cuts, Mood::CommitsThenCuts, Mood::Good, Mood::Cuts, Mood::CommitsThenCuts, Mood::Good].repeat(5);
    let cloud = Cloud::start(&site.pki, Store { moods, ..Store::default() }).await;
    let gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    for (index, n) in numbers(0, 600).iter().enumerate() {
        gateway.commit(Lane::Alerts, n).await;
        if index % 20 == 19 {
            // Five at a time stay on their way while the next ones come.
            cloud.until(|store| store.records.len() + 5 >= index).await;
        }
    }
    cloud.until(|store| store.records.len() == 600).await;
    gateway.until_empty().await;
    let store = cloud.store.lock().unwrap();
    assert_eq!(texts(&store, "alerts"), numbers(0, 600));
    assert_eq!(store.gaps, 0);
    assert!(store.hellos.len() > 20, "{} sessions", store.hellos.len());
}

#[tokio::test]
async fn what_was_committed_while_the_control_plane_was_down_arrives_after_it_is_back() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (address, url) = (cloud.address, cloud.url());
    let mut gateway = Gateway::start(site.dir.path(), options(url, Arc::clone(&site.identity)));
    gateway.commit(Lane::Alerts, "0").await;
    cloud.until(|store| store.records.len() == 1).await;
    let store = cloud.crash().await;
    let waiting = gateway.until(|state| state.state != TunnelState::Up && state.last_error.is_some()).await;
    assert!(waiting.rtt_ms.is_none());
    for n in numbers(1, 50) {
        gateway.commit(Lane::Alerts, &n).await;
    }
    let cloud = Cloud::start_on(&site.pki, store, TcpListener::bind(address).await.unwrap());
    cloud.until(|store| store.records.len() == 50).await;
    assert_eq!(texts(&cloud.store.lock().unwrap(), "alerts"), numbers(0, 50));
    assert_eq!(gateway.until(|state| state.state == TunnelState::Up).await.last_error, None);
}

/// Five alerts in 3,000 steps, the third of which is over; the last word is on the second.
async fn backlog(gateway: &Gateway) -> Vec<String> {
    let mut texts = numbers(1, 3000);
    for (text, key) in texts.iter().zip((1..=5).cycle()) {
        gateway.commit_state(key, (text, if key == 3 { Worth::Ended } else { Worth::Open })).await;
    }
    gateway.commit_state(2, ("last", Worth::Open)).await;
    texts.push("last".to_owned());
    texts
}

#[tokio::test]
async fn far_behind_the_newest_state_of_what_lasts_goes_first_and_all_comes_in_order() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (address, url) = (cloud.address, cloud.url());
    let store = cloud.crash().await;
    let gateway = Gateway::start(site.dir.path(), options(url, Arc::clone(&site.identity)));
    let expected = backlog(&gateway).await;
    // The first ahead of all is cut: it goes again.
    store.lock().unwrap().moods = vec![Mood::Cuts];
    let cloud = Cloud::start_on(&site.pki, store, TcpListener::bind(address).await.unwrap());
    cloud.until(|store| store.records.len() == expected.len()).await;
    gateway.until_empty().await;
    let store = cloud.store.lock().unwrap();
    assert_eq!(texts(&store, "alerts"), expected);
    assert_eq!((store.gaps, store.foreign), (0, 0));
    // 2998 is the last word on what is over, 2997 was overtaken by "last".
    assert_eq!(store.ahead, [(0, ["last", "2999", "2996", "2995"].map(Bytes::from).to_vec())]);
}

#[tokio::test]
async fn to_a_control_plane_of_version_1_nothing_goes_ahead() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (address, url) = (cloud.address, cloud.url());
    let store = cloud.crash().await;
    let gateway = Gateway::start(site.dir.path(), options(url, Arc::clone(&site.identity)));
    let expected = backlog(&gateway).await;
    store.lock().unwrap().protocol = 1;
    let cloud = Cloud::start_on(&site.pki, store, TcpListener::bind(address).await.unwrap());
    cloud.until(|store| store.records.len() == expected.len()).await;
    let store = cloud.store.lock().unwrap();
    assert!(store.ahead.is_empty() && store.foreign == 0);
}

#[tokio::test]
async fn records_of_an_earlier_run_are_sent_first_and_their_epoch_stays() {
    let site = site();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = ServerUrl::parse(&format!("https://{nowhere}")).unwrap();
    let gateway = Gateway::start_in(site.dir.path(), 99, options(nowhere, Arc::clone(&site.identity)));
    gateway.commit(Lane::Alerts, "old").await;
    gateway.stop().await;
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let gateway = Gateway::start_in(site.dir.path(), 3, options(cloud.url(), site.identity));
    gateway.commit(Lane::Alerts, "new").await;
    cloud.until(|store| store.records.len() == 2).await;
    let store = cloud.store.lock().unwrap();
    let seen: Vec<_> = store.records.iter().map(|(_, epoch, sequence, bytes)| (*epoch, *sequence, bytes.clone())).collect();
    assert_eq!(seen, [(99, 1, Bytes::from("old")), (3, 1, Bytes::from("new"))]);
}

#[tokio::test]
async fn a_server_key_that_is_not_pinned_is_refused_before_any_request() {
    let site = site();
    let identity = site.pki.identity(site.dir.path(), &[[1; 32], [2; 32]]);
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), identity));
    let refused = gateway.until(|state| state.last_error.is_some()).await;
    assert!(refused.last_error.as_ref().is_some_and(|error| error.contains("none of the pinned ones")), "{refused:?}");
    assert_eq!(cloud.store.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_even_if_its_key_is_pinned() {
    let (site, other) = (site(), Pki::new());
    let identity = site.pki.identity(site.dir.path(), &[other.server_pin()]);
    let cloud = Cloud::start(&other, Store::default()).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), identity));
    let refused = gateway.until(|state| state.last_error.is_some()).await;
    assert!(refused.last_error.as_ref().is_some_and(|error| error.contains("invalid peer certificate")), "{refused:?}");
    assert_eq!(cloud.store.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn a_server_certificate_for_another_name_is_refused() {
    let pki = Pki::for_names(&["elsewhere.example"]);
    let dir = tempfile::tempdir().unwrap();
    let identity = pki.identity(dir.path(), &[pki.server_pin()]);
    let cloud = Cloud::start(&pki, Store::default()).await;
    let mut gateway = Gateway::start(dir.path(), options(cloud.url(), identity));
    let refused = gateway.until(|state| state.last_error.is_some()).await;
    assert!(refused.last_error.as_ref().is_some_and(|error| error.contains("not valid for name")), "{refused:?}");
}

#[tokio::test]
async fn a_goodbye_is_shown_and_followed_by_another_attempt() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { mood: Mood::Goodbye, ..Store::default() }).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    let error = gateway.until(|state| state.last_error.is_some()).await.last_error;
    assert_eq!(error.as_deref(), Some("the control plane ended the session: moving house"));
    gateway.until(|state| state.state == TunnelState::Up).await;
}

#[tokio::test]
async fn heartbeats_tell_the_round_trip_and_how_far_the_clocks_are_apart() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    let up = gateway.until(|state| state.rtt_ms.is_some()).await;
    assert_eq!(up.state, TunnelState::Up);
    assert!(up.rtt_ms.is_some_and(|rtt| rtt > 0.0 && rtt < 10_000.0), "{up:?}");
    assert!(up.clock_offset_ms.is_some_and(|offset| offset < -1e12), "the test's control plane lives in 1970: {up:?}");
}

#[tokio::test]
async fn a_silent_control_plane_is_left_and_tried_again() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { mood: Mood::Silent, ..Store::default() }).await;
    let options = TunnelOptions { heartbeat: Duration::from_millis(20), ..options(cloud.url(), site.identity) };
    let mut gateway = Gateway::start(site.dir.path(), options);
    gateway.commit(Lane::Alerts, "0").await;
    let error = gateway.until(|state| state.last_error.is_some()).await.last_error;
    assert_eq!(error.as_deref(), Some("the control plane is silent"));
    cloud.store.lock().unwrap().mood = Mood::Good;
    gateway.until_empty().await;
    assert_eq!(texts(&cloud.store.lock().unwrap(), "alerts"), numbers(0, 1));
}

#[tokio::test]
async fn what_the_control_plane_wants_reaches_the_daemon_in_order_though_it_is_slow() {
    let site = site();
    let close = |n: u64| CloseAlert { resource: "r".to_owned(), occurrence: n, ..CloseAlert::default() };
    let news = (0..20).map(|n| postern_protocol::message::Down { kind: Some(down::Kind::CloseAlert(close(n))) }).collect();
    let cloud = Cloud::start(&site.pki, Store { news, ..Store::default() }).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    for n in 0..20 {
        assert_eq!(gateway.incoming().await, Incoming::CloseAlert(close(n)));
    }
    let revision = SignedRevision { number: 5, document: vec![7; 2_000_000], signature: vec![1; 64] };
    cloud.until(|store| !store.hellos.is_empty()).await;
    cloud.say(down::Kind::Revision(revision.clone())).await;
    assert_eq!(gateway.incoming().await, Incoming::Revision(revision));
}

#[tokio::test]
async fn the_daemon_can_speak_while_there_is_no_session_and_the_newest_status_is_what_arrives() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::start(site.dir.path(), options(url, site.identity));
    for n in 0..50 {
        gateway.outgoing.send(Outgoing::Status(vec![n])).await.unwrap();
    }
    let applied = RevisionStatus { number: 5, state: 2, problems: Vec::new() };
    gateway.outgoing.send(Outgoing::RevisionStatus(applied.clone())).await.unwrap();
    // The last message is in the tunnel's hands once there is room for four more.
    let _all_taken = gateway.outgoing.reserve_many(4).await.unwrap();
    let cloud = Cloud::start_on(&site.pki, Arc::default(), TcpListener::bind(address).await.unwrap());
    cloud.until(|store| store.statuses == [[49]] && store.revision_statuses == [applied.clone()]).await;
}

#[tokio::test]
async fn a_gateway_that_was_set_back_goes_on_under_a_new_epoch_and_sends_all_open_alerts_again() {
    let site = site();
    let cursors = [((1, 7), 1000)].into();
    let cloud = Cloud::start(&site.pki, Store { cursors, ..Store::default() }).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    assert_eq!(gateway.incoming().await, Incoming::ResendOpenAlerts { nonce: 0 });
    gateway.commit(Lane::Alerts, "open alert").await;
    cloud.until(|store| store.records.len() == 1).await;
    let store = cloud.store.lock().unwrap();
    assert_eq!(store.hellos[0].epoch, 7);
    assert_eq!(store.records[0].1, store.hellos[1].epoch);
    assert_ne!(store.records[0].1, 7);
}

#[tokio::test]
async fn the_tunnel_goes_through_an_http_proxy() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = ProxyUrl::parse(&format!("http://{}", proxy.local_addr().unwrap())).unwrap();
    let options =
        TunnelOptions { link: watch::channel(LinkSettings::new(cloud.url(), Some(proxy_url))).1, ..options(cloud.url(), site.identity) };
    let gateway = Gateway::start(site.dir.path(), options);
    gateway.commit(Lane::Alerts, "0").await;
    let mut relay = JoinSet::new();
    relay.spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let to = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
        let mut server = TcpStream::connect(to).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    cloud.until(|store| store.records.len() == 1).await;
}

#[tokio::test]
async fn the_tunnel_stops_at_once_whatever_it_is_doing() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { mood: Mood::Silent, ..Store::default() }).await;
    let gateway = Gateway::start(site.dir.path(), options(cloud.url(), Arc::clone(&site.identity)));
    gateway.commit(Lane::Alerts, "0").await;
    cloud.until(|store| store.records.len() == 1).await;
    gateway.stop().await;

    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::parse(&format!("https://{}", deaf.local_addr().unwrap())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), options(url, site.identity));
    let _connection = deaf.accept().await.unwrap();
    gateway.stop().await;
}
