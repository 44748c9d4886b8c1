//! The tunnel when things around it change or differ: settings, identities, peers of other versions, lanes that stand still.

// A test file may stop at the first surprise.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postern_protocol::frame::Decoder;
use postern_protocol::id::Lane;
use postern_protocol::message::{
    AuditEntries, Batch, CloseAlert, Down, Pace, Records, Resent, RevisionState, RevisionStatus, TrustStatus, Up, down, up,
};
use postern_protocol::status::TunnelState;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::spool::{Commit, Record};
use postern_uplink::tunnel::tap::{Sent, Stream, Tap};
use postern_uplink::tunnel::{Incoming, Outgoing, TunnelOptions};
use postern_uplink::url::{HostPort, ServerUrl};
use prost::Message as _;
use support::gateway::{Gateway, numbers, options, site, texts};
use support::{Cloud, Pki, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

fn address(cloud: &Cloud) -> HostPort {
    HostPort::parse(&cloud.address.to_string()).unwrap()
}

/// Bytes that do not compress: a linear congruential generator's.
fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed;
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 56) as u8
    };
    (0..bytes).map(|_| next(&mut state)).collect()
}

async fn commit_noise(gateway: &Gateway, lane: Lane, records: u64, bytes: usize) {
    for seed in 0..records {
        let records = vec![Record::plain(lane, noise(bytes, seed))];
        gateway.spool.commit(Commit { records, ..Commit::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn another_address_is_taken_at_once_and_nothing_is_lost_or_doubled() {
    let site = site();
    let first = Cloud::start(&site.pki, Store::default()).await;
    let second = Cloud::start_on(&site.pki, Arc::clone(&first.store), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (link, settings) = watch::channel(LinkSettings::new(first.url(), None));
    let slow = postern_uplink::tunnel::BackOff { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
    let options = TunnelOptions { link: settings, back_off: slow, ..options(first.url(), site.identity) };
    let mut gateway = Gateway::start(site.dir.path(), options);
    gateway.commit(Lane::Alerts, "0").await;
    first.until(|store| store.records.len() == 1).await;
    link.send_modify(|link| link.addresses = vec![address(&second)]);
    let there = second.address.to_string();
    let up = gateway.until(|state| state.state == TunnelState::Up && state.address.as_ref() == Some(&there)).await;
    assert_eq!(up.last_error, None, "a change is no loss");
    gateway.commit(Lane::Alerts, "1").await;
    second.until(|store| store.records.len() == 2).await;
    let store = second.store.lock().unwrap();
    assert_eq!((texts(&store, "alerts"), store.gaps), (numbers(0, 2), 0));
    assert_eq!(store.hellos.iter().map(|hello| hello.session).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn another_identity_is_used_at_once_also_while_the_tunnel_waits() {
    let site = site();
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    // The identity's authority is not the server's: there is no tunnel, and the next attempt would be in an hour.
    let foreign = pki.identity(dir.path(), &[site.pki.server_pin()]);
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (identities, identity) = watch::channel(foreign);
    let slow = postern_uplink::tunnel::BackOff { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
    let options = TunnelOptions { identity, back_off: slow, ..options(cloud.url(), Arc::clone(&site.identity)) };
    let mut gateway = Gateway::start(site.dir.path(), options);
    gateway.until(|state| state.last_error.is_some()).await;
    identities.send_replace(Arc::clone(&site.identity));
    gateway.until(|state| state.state == TunnelState::Up).await;
    identities.send_replace(site.identity);
    cloud.until(|store| store.hellos.len() == 2).await;
}

#[tokio::test]
async fn an_identity_that_is_not_usable_is_left_aside() {
    let site = site();
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    pki.identity(dir.path(), &[site.pki.server_pin()]);
    // The certificate of one, the key of another.
    std::fs::copy(site.dir.path().join("client.key"), dir.path().join("client.key")).unwrap();
    let unusable = Arc::new(postern_uplink::identity::Identity::load(dir.path()).unwrap());
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (identities, identity) = watch::channel(Arc::clone(&site.identity));
    let mut gateway = Gateway::start(site.dir.path(), TunnelOptions { identity, ..options(cloud.url(), site.identity) });
    gateway.until(|state| state.state == TunnelState::Up).await;
    identities.send_replace(unusable);
    cloud.until(|store| store.hellos.len() == 2).await;
    gateway.commit(Lane::Alerts, "0").await;
    cloud.until(|store| store.records.len() == 1).await;
}

#[tokio::test]
async fn an_address_that_only_a_trust_bundle_names_is_dialled_when_the_own_one_is_silent() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let own = LinkSettings::new(ServerUrl::parse("https://127.0.0.1:1").unwrap(), None);
    let (link, settings) = watch::channel(own.clone());
    let gateway = Gateway::start(site.dir.path(), TunnelOptions { link: settings, ..options(cloud.url(), site.identity) });
    gateway.commit(Lane::Alerts, "0").await;
    link.send_replace(LinkSettings { further: vec![address(&cloud)], ..own });
    cloud.until(|store| store.records.len() == 1).await;
}

#[tokio::test]
async fn an_address_that_serves_something_else_gives_way_to_the_next() {
    let (site, other) = (site(), Pki::new());
    let (wrong, right) = (Cloud::start(&other, Store::default()).await, Cloud::start(&site.pki, Store::default()).await);
    let (_link, settings) = watch::channel(LinkSettings {
        addresses: vec![address(&wrong), address(&right)],
        ..LinkSettings::new(ServerUrl::parse("https://127.0.0.1:1").unwrap(), None)
    });
    let gateway = Gateway::start(site.dir.path(), TunnelOptions { link: settings, ..options(right.url(), site.identity) });
    gateway.commit(Lane::Alerts, "0").await;
    right.until(|store| store.records.len() == 1).await;
    assert_eq!(wrong.store.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn the_tap_sees_every_frame_that_leaves() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (tap, mut frames, missed) = Tap::new(64);
    let gateway = Gateway::start(site.dir.path(), TunnelOptions { tap, ..options(cloud.url(), site.identity) });
    gateway.outgoing.send(Outgoing::Status(b"{}".to_vec())).await.unwrap();
    gateway.commit(Lane::Samples, "0").await;
    cloud.until(|store| store.records.len() == 1 && store.statuses.len() == 1).await;
    gateway.stop().await;
    let (mut kinds, mut records) = (Vec::new(), Vec::new());
    while let Ok(Sent { stream, frame }) = frames.try_recv() {
        let mut decoder = Decoder::default();
        decoder.push(&frame);
        match stream {
            Stream::Control => kinds.extend(decoder.next::<Up>().unwrap().unwrap().kind),
            Stream::Lane(lane) => {
                let batch: Batch = decoder.next().unwrap().unwrap();
                let plain = zstd::bulk::decompress(&batch.records_zstd, 1 << 20).unwrap();
                records.extend(Records::decode(plain.as_slice()).unwrap().records.into_iter().map(|record| (lane, record)));
            }
        }
    }
    assert!(matches!(kinds.first(), Some(up::Kind::Hello(_))), "{kinds:?}");
    assert!(kinds.contains(&up::Kind::Status(b"{}".to_vec())), "{kinds:?}");
    assert_eq!(records, [(Lane::Samples, Bytes::from_static(b"0"))]);
    assert_eq!(missed.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_control_plane_of_version_1_hears_nothing_that_it_does_not_know() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { protocol: 1, ..Store::default() }).await;
    let options = TunnelOptions { heartbeat: Duration::from_millis(50), ..options(cloud.url(), site.identity) };
    let mut gateway = Gateway::start(site.dir.path(), options);
    gateway.until(|state| state.state == TunnelState::Up).await;
    let provisional = RevisionStatus { number: 9, state: RevisionState::Provisional.into(), problems: Vec::new() };
    for message in [
        Outgoing::Audit(AuditEntries::default()),
        Outgoing::Resent(Resent::default()),
        Outgoing::TrustStatus(TrustStatus::default()),
        Outgoing::RevisionStatus(provisional),
        Outgoing::Status(b"last".to_vec()),
    ] {
        gateway.outgoing.send(message).await.unwrap();
    }
    // It heals nothing, so nothing more is owed to it than the alerts themselves.
    assert_eq!(gateway.incoming().await, Incoming::ResentHeard { since_revision: 0 });
    assert_eq!(gateway.incoming().await, Incoming::ConfirmRevision(9), "its answer to a heartbeat stands for a confirmation");
    cloud.until(|store| store.statuses.len() == 1 && store.revision_statuses.len() == 1).await;
    let store = cloud.store.lock().unwrap();
    assert_eq!((store.foreign, store.hellos.len()), (0, 1));
    assert_eq!(store.revision_statuses[0].state(), RevisionState::Applied);
}

#[tokio::test]
async fn what_a_control_plane_of_a_later_version_adds_is_skipped() {
    let site = site();
    // A message with a field 4000 alone: a kind that nobody knows yet.
    let unknown = Bytes::from_static(&[0, 0, 0, 4, 0x82, 0xfa, 0x01, 0x00]);
    let close = CloseAlert { resource: "r".to_owned(), ..CloseAlert::default() };
    let cloud = Cloud::start(&site.pki, Store { raw_news: vec![unknown], ..Store::default() }).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    gateway.until(|state| state.rtt_ms.is_some()).await;
    cloud.say(down::Kind::CloseAlert(close.clone())).await;
    assert_eq!(gateway.incoming().await, Incoming::CloseAlert(close));
    assert_eq!(cloud.store.lock().unwrap().hellos.len(), 1);
}

#[tokio::test]
async fn bulk_lanes_that_nobody_reads_delay_no_alert() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store { stalled: Some(Lane::Samples), ..Store::default() }).await;
    let (tap, mut frames, _missed) = Tap::new(64);
    let gateway = Gateway::start(site.dir.path(), TunnelOptions { tap, ..options(cloud.url(), site.identity) });
    commit_noise(&gateway, Lane::Samples, 400, 16 * 1024).await;
    let mut on_its_way = 0;
    while on_its_way < 3 {
        let sent = tokio::time::timeout(Duration::from_secs(10), frames.recv()).await.expect("in time").unwrap();
        on_its_way += usize::from(sent.stream == Stream::Lane(Lane::Samples));
    }
    let mut slowest = Duration::ZERO;
    for n in numbers(0, 100) {
        let began = Instant::now();
        gateway.commit(Lane::Alerts, &n).await;
        let wanted = n.parse::<usize>().unwrap() + 1;
        cloud.until(|store| store.records.len() == wanted).await;
        slowest = slowest.max(began.elapsed());
    }
    println!("slowest of 100 alerts beside a stalled lane: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(texts(&cloud.store.lock().unwrap(), "alerts"), numbers(0, 100));
}

/// Passes one connection on with so many bytes a second from the client, and small buffers.
async fn slow_line(to: std::net::SocketAddr, bytes_per_second: u64) -> (HostPort, JoinSet<()>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = HostPort::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let mut line = JoinSet::new();
    line.spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(to).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let down = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
        let up = async {
            let mut piece = [0; 2048];
            while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / bytes_per_second as f64)).await;
                if to_server.write_all(&piece[..length]).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(down, up);
    });
    (address, line)
}

#[tokio::test]
async fn on_a_slow_line_alerts_overtake_a_backlog_of_samples() {
    let site = site();
    let cloud = Cloud::start(&site.pki, Store::default()).await;
    let (address, _line) = slow_line(cloud.address, 512 * 1024).await;
    let (_link, settings) = watch::channel(LinkSettings { addresses: vec![address], ..LinkSettings::new(cloud.url(), None) });
    let gateway = Gateway::start(site.dir.path(), TunnelOptions { link: settings, ..options(cloud.url(), site.identity) });
    commit_noise(&gateway, Lane::Samples, 300, 16 * 1024).await;
    cloud.until(|store| !store.records.is_empty()).await;
    let mut waits = Vec::new();
    for n in 0..10 {
        let began = Instant::now();
        gateway.commit(Lane::Alerts, &n.to_string()).await;
        cloud.until(|store| texts_of_alerts(store) > n).await;
        waits.push(began.elapsed());
    }
    waits.sort();
    println!("alerts beside a backlog of 4.7 MiB at 512 KiB/s: median {:?}, slowest {:?}", waits[5], waits[9]);
    let left = 300 - cloud.store.lock().unwrap().records.iter().filter(|(lane, ..)| lane == "samples").count();
    assert!(left > 0, "the backlog was gone before the last alert: this shows nothing");
    assert!(waits[9] < Duration::from_secs(2), "{waits:?}");
}

fn texts_of_alerts(store: &Store) -> usize {
    store.records.iter().filter(|(lane, ..)| lane == "alerts").count()
}

#[tokio::test]
async fn a_lane_keeps_to_the_pace_that_it_is_told_and_alerts_do_not_wait_for_it() {
    let site = site();
    let pace = |bytes_per_second| down::Kind::Pace(Pace { lane: 0, bytes_per_second });
    let news = vec![Down { kind: Some(pace(1)) }];
    let cloud = Cloud::start(&site.pki, Store { news, ..Store::default() }).await;
    let mut gateway = Gateway::start(site.dir.path(), options(cloud.url(), site.identity));
    gateway.until(|state| state.rtt_ms.is_some()).await;
    commit_noise(&gateway, Lane::Logs, 8, 48 * 1024).await;
    for n in numbers(0, 20) {
        gateway.commit(Lane::Alerts, &n).await;
    }
    cloud.until(|store| texts_of_alerts(store) == 20).await;
    assert!(cloud.store.lock().unwrap().records.len() <= 21, "one batch goes, and then it waits for hours");
    cloud.say(pace(0)).await;
    cloud.until(|store| store.records.len() == 28).await;
}
