//! Lanes other than alerts, slow-down, and what heals after one side was set back: spoken to frame by frame.

use std::collections::BTreeMap;

use postern_control::clock;
use postern_control::store::audit::By;
use postern_control::store::gateway_events::Happening;
use postern_control::store::samples::SampleFilter;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, RuleId};
use postern_protocol::inventory::Inventory;
use postern_protocol::message::{Ack, Batch, Heartbeat, Hello, LanePosition, Pace, Records, Resent, down, up};
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;
use prost::Message as _;

use crate::support::{Identity, Site, Stream, hello};

const EPOCH: u64 = 77;

fn batch(first_sequence: u64, records: Vec<Vec<u8>>) -> Batch {
    let records = Records { records: records.into_iter().map(Into::into).collect() };
    Batch { epoch: EPOCH, first_sequence, records_zstd: zstd::bulk::compress(&records.encode_to_vec(), 1).unwrap(), ..Batch::default() }
}

fn sample(n: u16) -> Vec<u8> {
    let at = Timestamp::from_secs(clock::now().as_secs() - 3600 + i64::from(n));
    let sample =
        Sample { resource: "press-4".into(), metric: "load".into(), value: f64::from(n), unit: "%".into(), at, labels: BTreeMap::new() };
    sample.encode()
}

fn alert(resource: &str, revision: u64, state: AlertState) -> Alert {
    Alert {
        key: AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence: 1,
        revision,
        state,
        severity: Severity::Major,
        summary: "Link is down".into(),
        count: 1,
        first_seen: Timestamp::from_secs(100),
        last_seen: Timestamp::from_secs(200),
        cleared_at: (state == AlertState::Cleared).then_some(Timestamp::from_secs(200)),
        labels: BTreeMap::new(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

/// A greeting of the present version, so that nothing but what a test wants is sent.
fn greeting(alert_revision: u64) -> Hello {
    Hello { protocol: 2, effective_revision: 1, newest_revision: 1, alert_revision, ..hello() }
}

async fn state(site: &Site, identity: &Identity, resource: &str) -> AlertState {
    let id = AlertId::derive(&identity.response.gateway, &alert(resource, 1, AlertState::Open).key);
    site.app.stores.tenant(&site.tenant).unwrap().find_alert(id.as_str()).await.unwrap().unwrap().state
}

/// Waits until everything that was said before is handled, and returns what came in between, but for renewed trust.
async fn settled(control: &mut Stream) -> Vec<down::Kind> {
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 99 })).await;
    let mut heard = Vec::new();
    loop {
        match control.hear().await.expect("the session lasts") {
            down::Kind::HeartbeatReply(_) => return heard,
            down::Kind::TrustBundle(_) => {}
            kind => heard.push(kind),
        }
    }
}

#[tokio::test]
async fn samples_are_stored_once_whatever_is_said_twice() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let count = async || {
        let store = site.app.stores.tenant(&site.tenant).unwrap();
        store.list_samples(SampleFilter::default(), 1000, None).await.unwrap().items.len()
    };
    let (mut link, control, _) = site.session(&identity, greeting(0)).await;
    let mut lane = link.open("/tunnel/v1/lane/samples").await.unwrap();
    // More than one transaction takes.
    lane.send(&batch(1, (0..600).map(sample).collect())).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: EPOCH, sequence: 600, ..Ack::default() }));
    lane.send(&batch(1, (0..600).map(sample).collect())).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: EPOCH, sequence: 600, ..Ack::default() }));
    assert_eq!(count().await, 600);
    drop((lane, control, link));

    let heads = vec![LanePosition { lane: 4, epoch: EPOCH, sequence: 601 }];
    let (mut link, _control, welcome) = site.session(&identity, Hello { heads, ..greeting(0) }).await;
    assert_eq!(welcome.committed, [LanePosition { lane: 4, epoch: EPOCH, sequence: 600 }]);
    assert!(welcome.peer.starts_with("127.0.0.1:"), "{}", welcome.peer);
    let mut lane = link.open("/tunnel/v1/lane/samples").await.unwrap();
    lane.send(&batch(400, (399..601).map(sample).collect())).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: EPOCH, sequence: 601, ..Ack::default() }));
    assert_eq!(count().await, 601);
    site.stop().await;
}

#[tokio::test]
async fn missing_samples_are_written_down_and_end_nothing() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let (mut link, mut control, _) = site.session(&identity, greeting(0)).await;
    let mut lane = link.open("/tunnel/v1/lane/samples").await.unwrap();
    lane.send(&batch(11, vec![sample(1)])).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: EPOCH, sequence: 11, ..Ack::default() }));
    settled(&mut control).await;
    let events = site.app.stores.tenant(&site.tenant).unwrap().gateway_events(&identity.response.gateway, 10).await.unwrap();
    assert_eq!(events[0].what, Happening::RecordsMissing);
    assert!(events[0].text.starts_with("10 records of the lane samples"), "{}", events[0].text);
    site.stop().await;
}

#[tokio::test]
async fn what_a_gateway_is_made_of_is_kept() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let (mut link, _control, _) = site.session(&identity, greeting(0)).await;
    let mut lane = link.open("/tunnel/v1/lane/inventory").await.unwrap();
    let inventory = Inventory { cpus: 8, listeners: vec!["syslog udp 0.0.0.0:514".into()], ..Inventory::default() };
    lane.send(&batch(1, vec![inventory.encode_to_vec()])).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: EPOCH, sequence: 1, ..Ack::default() }));
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    assert_eq!(store.inventory(&identity.response.gateway).await.unwrap(), Some(inventory));
    site.stop().await;
}

#[tokio::test]
async fn a_limit_is_told_at_once_and_at_every_greeting_but_not_to_version_1() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let gateway = &identity.response.gateway;
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    let (_link, mut control, _) = site.session(&identity, greeting(0)).await;
    settled(&mut control).await;
    store.set_pace(gateway, 2048, By::command_line(), clock::now()).await.unwrap();
    site.app.gateways.wake(gateway);
    let told = control.hear().await;
    assert_eq!(told, Some(down::Kind::Pace(Pace { lane: 0, bytes_per_second: 2048 })));
    assert!(store.set_pace(gateway, 1, By::command_line(), clock::now()).await.is_err(), "nothing would ever get through");

    let (_link, mut control, _) = site.session(&identity, greeting(0)).await;
    assert_eq!(settled(&mut control).await, [down::Kind::Pace(Pace { lane: 0, bytes_per_second: 2048 })]);
    let (_link, mut control, _) = site.session(&identity, Hello { protocol: 1, ..greeting(0) }).await;
    assert_eq!(settled(&mut control).await, []);
    site.stop().await;
}

#[tokio::test]
async fn an_alert_whose_clear_was_lost_is_cleared_by_a_resend() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let (mut link, mut control, _) = site.session(&identity, greeting(2)).await;
    let mut lane = link.open("/tunnel/v1/lane/alerts").await.unwrap();
    lane.send(&batch(1, vec![alert("a", 1, AlertState::Open).encode(), alert("b", 2, AlertState::Open).encode()])).await;
    lane.next::<Ack>().await.unwrap();
    // The control stream overtakes the lane: nothing may end before the lane is there.
    control.say(up::Kind::Resent(Resent { epoch: EPOCH, sequence: 3, since_revision: 4, nonce: 0 })).await;
    settled(&mut control).await;
    assert_eq!(state(&site, &identity, "a").await, AlertState::Open);
    lane.send(&batch(3, vec![alert("b", 4, AlertState::Open).encode()])).await;
    lane.next::<Ack>().await.unwrap();
    assert_eq!(state(&site, &identity, "a").await, AlertState::Cleared);
    assert_eq!(state(&site, &identity, "b").await, AlertState::Open);
    site.stop().await;
}

#[tokio::test]
async fn a_gateway_whose_disk_was_set_back_adopts_before_its_resend_counts() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let (mut link, control, _) = site.session(&identity, greeting(3)).await;
    let mut lane = link.open("/tunnel/v1/lane/alerts").await.unwrap();
    let reported = [alert("a", 1, AlertState::Open), alert("b", 2, AlertState::Open), alert("c", 3, AlertState::Cleared)];
    lane.send(&batch(1, reported.iter().map(Alert::encode).collect())).await;
    lane.next::<Ack>().await.unwrap();
    drop((lane, control, link));

    // Another start, whose disk has nothing newer than revision 1.
    let (_link, mut control, welcome) = site.session(&identity, Hello { epoch: 78, ..greeting(1) }).await;
    assert!(!welcome.resend_open_alerts, "it sends them by itself once it has adopted");
    let mut adopted = Vec::new();
    loop {
        match control.hear().await.expect("the session lasts") {
            down::Kind::Adopt(adopt) => {
                adopted.extend(adopt.alerts.iter().map(|alert| Alert::decode(alert).unwrap()));
                if adopt.complete {
                    break;
                }
            }
            down::Kind::TrustBundle(_) => {}
            other => panic!("{other:?} comes before the adoption"),
        }
    }
    assert_eq!(adopted, reported[1..]);
    // A resend from before it adopted knows nothing of b.
    control.say(up::Kind::Resent(Resent { epoch: 78, sequence: 0, since_revision: 9, nonce: 0 })).await;
    settled(&mut control).await;
    assert_eq!(state(&site, &identity, "b").await, AlertState::Open);
    control.say(up::Kind::Resent(Resent { epoch: 78, sequence: 0, since_revision: 9, nonce: welcome.resend_nonce })).await;
    settled(&mut control).await;
    assert_eq!(state(&site, &identity, "b").await, AlertState::Cleared);
    let events = site.app.stores.tenant(&site.tenant).unwrap().gateway_events(&identity.response.gateway, 10).await.unwrap();
    let events = events.iter().map(|event| event.what).filter(|what| *what != Happening::Configuration);
    assert_eq!(events.collect::<Vec<_>>(), [Happening::AlertsHealed, Happening::DiskSetBack]);
    site.stop().await;
}
