//! The tunnel's server side over real TLS and HTTP/2, spoken to frame by frame.

use std::collections::BTreeMap;

use crate::support::{Identity, Link, Site, Stream, hello};
use hyper::StatusCode;
use postern_control::auth::{Actor, Principal, Role};
use postern_control::clock;
use postern_control::configuration::{self, Force};
use postern_control::store::audit::By;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, RevisionNumber, RuleId};
use postern_protocol::message::{
    Ack, Batch, Heartbeat, Hello, LanePosition, Records, RevisionProblem, RevisionState, RevisionStatus, down, up,
};
use postern_protocol::revision::{self, BUILT_IN};
use postern_protocol::timestamp::Timestamp;
use prost::Message as _;

const LANE: &str = "/tunnel/v1/lane/alerts";

fn alert(revision: u64) -> Alert {
    Alert {
        key: AlertKey { resource: "10.0.0.7/if/3".into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence: 10,
        revision,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: "Link 3 is down".into(),
        count: revision - 9,
        first_seen: Timestamp::from_secs(100),
        last_seen: Timestamp::from_secs(200),
        cleared_at: None,
        labels: BTreeMap::new(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

fn batch(first_sequence: u64, records: Vec<Vec<u8>>) -> Batch {
    let records = Records { records: records.into_iter().map(Into::into).collect() };
    Batch { epoch: 77, first_sequence, records_zstd: zstd::bulk::compress(&records.encode_to_vec(), 1).unwrap(), ..Batch::default() }
}

fn admin(site: &Site) -> Principal {
    Principal { tenant: site.tenant.clone(), actor: Actor::User { name: "anna".to_owned() }, role: Role::Admin, from: None }
}

/// Runs the built-in revision 1, so that nothing but what a test wants is sent.
fn at_revision_1() -> Hello {
    Hello { effective_revision: 1, newest_revision: 1, ..hello() }
}

async fn quiet(site: &Site) -> (Identity, Link, Stream) {
    let identity = site.enrol().await;
    let (link, control, _) = site.session(&identity, at_revision_1()).await;
    (identity, link, control)
}

#[tokio::test]
async fn a_new_gateway_gets_its_first_revision_signed() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let (_link, mut control, welcome) = site.session(&identity, hello()).await;
    assert_eq!((welcome.protocol, welcome.resend_open_alerts), (1, false));
    let Some(down::Kind::Revision(signed)) = control.hear().await else { panic!("a revision follows") };
    assert_eq!((signed.number, signed.document.as_slice()), (1, BUILT_IN.as_bytes()));
    let key = data_encoding::BASE64.decode(identity.response.revision_keys[0].as_bytes()).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key);
    let input = revision::signing_input(&identity.response.gateway, RevisionNumber(1), &signed.document);
    assert!(key.verify(&input, &signed.signature).is_ok());

    control.say(up::Kind::RevisionStatus(RevisionStatus { number: 1, state: RevisionState::Applied.into(), problems: vec![] })).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 5 })).await;
    assert!(matches!(control.hear().await, Some(down::Kind::HeartbeatReply(reply)) if reply.nonce == 5));
    let view = site.app.stores.find_gateway(&site.tenant, &identity.response.gateway).await.unwrap().unwrap();
    assert!(view.connected);
    assert_eq!(view.revision.effective, Some(RevisionNumber(1)));
    site.stop().await;
}

#[tokio::test]
async fn a_batch_is_acknowledged_when_it_is_in_the_store() {
    let site = Site::start().await;
    let (identity, mut link, control) = quiet(&site).await;
    let mut lane = link.open(LANE).await.unwrap();
    lane.send(&batch(1, vec![alert(10).encode(), alert(11).encode()])).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: 77, sequence: 2, ..Ack::default() }));
    let id = AlertId::derive(&identity.response.gateway, &alert(10).key);
    let stored = site.app.stores.tenant(&site.tenant).unwrap().find_alert(id.as_str()).await.unwrap().unwrap();
    assert_eq!((stored.count, stored.state), (2, AlertState::Open));
    drop((lane, control, link));

    let heads = vec![LanePosition { lane: 1, epoch: 77, sequence: 2 }];
    let (_link, _control, welcome) = site.session(&identity, Hello { heads, ..at_revision_1() }).await;
    assert_eq!(welcome.committed, [LanePosition { lane: 1, epoch: 77, sequence: 2 }]);
    assert!(!welcome.resend_open_alerts);
    site.stop().await;
}

#[tokio::test]
async fn a_configuration_reaches_the_live_session_and_its_failure_comes_back() {
    let site = Site::start().await;
    let (identity, _link, mut control) = quiet(&site).await;
    let gateway = &identity.response.gateway;
    let number = configuration::put(&site.app, &admin(&site), gateway, b"{\"broken\"", Force::Forced).await.unwrap();
    let Some(down::Kind::Revision(signed)) = control.hear().await else { panic!("a revision follows") };
    assert_eq!((signed.number, number), (2, RevisionNumber(2)));
    let problems = vec![RevisionProblem { path: "rules".into(), line: 1, column: 10, reason: "not JSON".into() }];
    control.say(up::Kind::RevisionStatus(RevisionStatus { number: 2, state: RevisionState::Failed.into(), problems })).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 1 })).await;
    control.hear().await;
    let view = site.app.stores.find_gateway(&site.tenant, gateway).await.unwrap().unwrap();
    assert_eq!(view.revision.effective, Some(RevisionNumber(1)));
    assert_eq!(view.revision.failed.unwrap().problems[0].reason, "not JSON");
    // A refused revision is not pushed again and again.
    let (_link, mut control, _) = site.session(&identity, Hello { newest_revision: 2, ..at_revision_1() }).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 2 })).await;
    assert!(matches!(control.hear().await, Some(down::Kind::HeartbeatReply(_))));
    site.stop().await;
}

/// Says how far revision 2 got.
async fn say(control: &mut Stream, state: RevisionState) {
    control.say(up::Kind::RevisionStatus(RevisionStatus { number: 2, state: state.into(), problems: vec![] })).await;
}

async fn state_of_2(site: &Site, identity: &Identity) -> &'static str {
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    store.find_revision(&identity.response.gateway, RevisionNumber(2)).await.unwrap().unwrap().view.state.name()
}

#[tokio::test]
async fn a_revision_on_trial_is_confirmed_in_its_session_or_in_the_next() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let speaks_2 = Hello { protocol: 2, ..at_revision_1() };
    let (link, mut control, _) = site.session(&identity, speaks_2.clone()).await;
    let document = br#"{"format":1,"rules":[]}"#;
    configuration::put(&site.app, &admin(&site), &identity.response.gateway, document, Force::Checked).await.unwrap();
    while !matches!(control.hear().await, Some(down::Kind::Revision(signed)) if signed.number == 2) {}
    say(&mut control, RevisionState::Provisional).await;
    while !matches!(control.hear().await, Some(down::Kind::ConfirmRevision(confirm)) if confirm.number == 2) {}
    assert_eq!(state_of_2(&site, &identity).await, "provisional");
    drop((control, link));
    // The confirm was lost: the greeting says so, and it is said again.
    let on_trial = Hello { effective_revision: 2, newest_revision: 2, provisional_revision: 2, ..speaks_2.clone() };
    let (link, mut control, _) = site.session(&identity, on_trial).await;
    while !matches!(control.hear().await, Some(down::Kind::ConfirmRevision(confirm)) if confirm.number == 2) {}
    drop((control, link));
    // It arrived, and what was said of that was lost.
    let confirmed = Hello { effective_revision: 2, newest_revision: 2, ..speaks_2 };
    let (_link, mut control, _) = site.session(&identity, confirmed).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 3 })).await;
    while !matches!(control.hear().await, Some(down::Kind::HeartbeatReply(_))) {}
    assert_eq!(state_of_2(&site, &identity).await, "applied");
    site.stop().await;
}

#[tokio::test]
async fn a_revision_that_was_taken_back_is_not_sent_again() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let speaks_2 = Hello { protocol: 2, ..at_revision_1() };
    let (link, mut control, _) = site.session(&identity, speaks_2.clone()).await;
    let document = br#"{"format":1,"rules":[]}"#;
    configuration::put(&site.app, &admin(&site), &identity.response.gateway, document, Force::Checked).await.unwrap();
    while !matches!(control.hear().await, Some(down::Kind::Revision(signed)) if signed.number == 2) {}
    say(&mut control, RevisionState::Provisional).await;
    while !matches!(control.hear().await, Some(down::Kind::ConfirmRevision(_))) {}
    drop((control, link));
    let (_link, mut control, _) = site.session(&identity, Hello { newest_revision: 2, ..speaks_2 }).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 4 })).await;
    loop {
        match control.hear().await {
            Some(down::Kind::HeartbeatReply(_)) => break,
            Some(down::Kind::Revision(_)) => panic!("it is sent again"),
            Some(_) => {}
            None => panic!("the session ended"),
        }
    }
    assert_eq!(state_of_2(&site, &identity).await, "reverted");
    site.stop().await;
}

#[tokio::test]
async fn a_gateway_that_knows_newer_numbers_gets_a_newer_one() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let ahead = Hello { effective_revision: 40, newest_revision: 41, ..hello() };
    let (_link, mut control, _) = site.session(&identity, ahead).await;
    let Some(down::Kind::Revision(signed)) = control.hear().await else { panic!("a revision follows") };
    assert_eq!((signed.number, signed.document.as_slice()), (42, BUILT_IN.as_bytes()));
    site.stop().await;
}

#[tokio::test]
async fn a_close_is_told_until_the_gateway_confirms_it() {
    let site = Site::start().await;
    let (identity, mut link, mut control) = quiet(&site).await;
    let mut lane = link.open(LANE).await.unwrap();
    lane.send(&batch(1, vec![alert(10).encode()])).await;
    lane.next::<Ack>().await.unwrap();
    let id = AlertId::derive(&identity.response.gateway, &alert(10).key).as_str().to_owned();
    let action = postern_control::store::alert_actions::AlertAction::Close;
    let wish = postern_control::alert_actions::Wish { id, action, expected: None, once: None };
    postern_control::alert_actions::act(&site.app, &admin(&site), wish).await.unwrap();
    let Some(down::Kind::CloseAlert(close)) = control.hear().await else { panic!("the close follows") };
    assert_eq!((close.resource.as_str(), close.occurrence, close.count_seen), ("10.0.0.7/if/3", 10, 1));
    drop((lane, control, link));

    let (mut link, mut control, _) = site.session(&identity, at_revision_1()).await;
    assert!(matches!(control.hear().await, Some(down::Kind::CloseAlert(_))));
    let mut lane = link.open(LANE).await.unwrap();
    lane.send(&batch(2, vec![Alert { state: AlertState::Closed, ..alert(12) }.encode()])).await;
    lane.next::<Ack>().await.unwrap();
    assert!(site.app.stores.tenant(&site.tenant).unwrap().pending_closes(&identity.response.gateway).await.unwrap().is_empty());
    site.stop().await;
}

#[tokio::test]
async fn a_bad_record_ends_the_session_and_is_counted() {
    let site = Site::start().await;
    let (_identity, mut link, mut control) = quiet(&site).await;
    let mut lane = link.open(LANE).await.unwrap();
    lane.send(&batch(1, vec![b"junk".to_vec()])).await;
    let Some(down::Kind::Goodbye(goodbye)) = control.hear().await else { panic!("a goodbye follows") };
    assert!(goodbye.reason.contains("record 1 of epoch"), "{}", goodbye.reason);
    assert_eq!(lane.next::<Ack>().await, None);
    assert!(site.app.metrics.render().contains("control_protocol_errors_total 1"));
    site.stop().await;
}

#[tokio::test]
async fn missing_records_at_a_sessions_start_make_the_gateway_send_its_open_alerts() {
    let site = Site::start().await;
    let (identity, mut link, mut control) = quiet(&site).await;
    let mut lane = link.open(LANE).await.unwrap();
    lane.send(&batch(6, vec![alert(10).encode()])).await;
    assert_eq!(lane.next::<Ack>().await, Some(Ack { epoch: 77, sequence: 6, ..Ack::default() }));
    assert!(matches!(control.hear().await, Some(down::Kind::Goodbye(goodbye)) if goodbye.retry));
    drop((lane, control, link));

    let heads = vec![LanePosition { lane: 1, epoch: 77, sequence: 6 }];
    let again = Hello { heads, ..at_revision_1() };
    let (link, mut control, welcome) = site.session(&identity, again.clone()).await;
    assert!(welcome.resend_open_alerts);
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 1 })).await;
    control.hear().await.unwrap();
    drop((control, link));
    // The first heartbeat proves nothing yet.
    let (link, mut control, welcome) = site.session(&identity, again.clone()).await;
    assert!(welcome.resend_open_alerts);
    for nonce in 1..=2 {
        control.say(up::Kind::Heartbeat(Heartbeat { nonce })).await;
        control.hear().await.unwrap();
    }
    drop((control, link));
    let (_link, _control, welcome) = site.session(&identity, again).await;
    assert!(!welcome.resend_open_alerts);
    site.stop().await;
}

#[tokio::test]
async fn the_newest_of_two_sessions_wins() {
    let site = Site::start().await;
    let (identity, _link, mut older) = quiet(&site).await;
    let (_newer_link, mut newer, _) = site.session(&identity, at_revision_1()).await;
    assert!(matches!(older.hear().await, Some(down::Kind::Goodbye(goodbye)) if goodbye.reason.contains("another session")));
    newer.say(up::Kind::Heartbeat(Heartbeat { nonce: 1 })).await;
    assert!(matches!(newer.hear().await, Some(down::Kind::HeartbeatReply(_))));
    let view = site.app.stores.find_gateway(&site.tenant, &identity.response.gateway).await.unwrap().unwrap();
    assert!(view.connected);
    site.stop().await;
}

#[tokio::test]
async fn a_revoked_gateway_is_told_and_gets_no_other_session() {
    let site = Site::start().await;
    let (identity, _link, mut control) = quiet(&site).await;
    let gateway = &identity.response.gateway;
    site.app.stores.system().revoke_gateway(&site.tenant, gateway, (By::command_line(), clock::now())).await.unwrap();
    assert!(matches!(control.hear().await, Some(down::Kind::Goodbye(goodbye)) if !goodbye.retry && goodbye.reason.contains("revoked")));
    let refused = site.link(&identity).await.open("/tunnel/v1/control").await.err().unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    site.stop().await;
}

#[tokio::test]
async fn a_lane_that_nothing_stores_is_refused() {
    let site = Site::start().await;
    let (_identity, mut link, _control) = quiet(&site).await;
    assert_eq!(link.open("/tunnel/v1/lane/logs").await.err().unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(link.open("/api/v1/alerts").await.err().unwrap().status(), StatusCode::NOT_FOUND);
    site.stop().await;
}

#[tokio::test]
async fn a_stop_says_goodbye() {
    let mut site = Site::start().await;
    let (_identity, _link, mut control) = quiet(&site).await;
    site.app.stop.cancel();
    assert!(matches!(control.hear().await, Some(down::Kind::Goodbye(goodbye)) if goodbye.retry));
    site.tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_revision_number_that_nobody_gave_it_is_the_gateways_fault() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    for newest_revision in [1 << 53, u64::MAX] {
        let mut link = site.link(&identity).await;
        let mut control = link.open("/tunnel/v1/control").await.unwrap();
        control.say(up::Kind::Hello(Hello { newest_revision, ..hello() })).await;
        let Some(down::Kind::Goodbye(goodbye)) = control.hear().await else { panic!("no session begins") };
        assert!(goodbye.reason.contains("a revision number that nobody gave it"), "{}", goodbye.reason);
    }
    let (_link, mut control, _) = site.session(&identity, at_revision_1()).await;
    control
        .say(up::Kind::RevisionStatus(RevisionStatus { number: u64::MAX, state: RevisionState::Applied.into(), problems: vec![] }))
        .await;
    let Some(down::Kind::Goodbye(goodbye)) = control.hear().await else { panic!("the session ends") };
    assert!(goodbye.reason.contains("out of range"), "{}", goodbye.reason);
    site.stop().await;
}
