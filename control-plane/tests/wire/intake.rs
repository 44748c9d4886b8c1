//! The intake's part of the tunnel: the ledger's minutes and reports come up, the dictionary goes down in pieces.

use bytes::Bytes;
use postern_control::clock;
use postern_control::mib::report::Report;
use postern_control::store::mibs::{NewDictionary, NewUpload, UploadChange};
use postern_control::store::minutes::{Span, minute_of};
use postern_protocol::dictionary;
use postern_protocol::message::{Heartbeat, Hello, LedgerMinute, LedgerMinutes, SourceMinute, down, up};

use crate::support::{Identity, Link, Site, Stream, hello};

/// Runs the built-in revision 1, so that nothing but what a test wants is sent.
fn at_revision_1() -> Hello {
    Hello { effective_revision: 1, newest_revision: 1, ..hello() }
}

async fn quiet(site: &Site, hello: Hello) -> (Identity, Link, Stream) {
    let identity = site.enrol().await;
    let (link, control, _) = site.session(&identity, hello).await;
    (identity, link, control)
}

/// Waits until everything that was said is stored.
async fn settled(control: &mut Stream) {
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 99 })).await;
    loop {
        match control.hear().await {
            Some(down::Kind::HeartbeatReply(reply)) if reply.nonce == 99 => return,
            Some(_) => {}
            None => panic!("the session ended"),
        }
    }
}

async fn give_dictionary(site: &Site, table: Vec<u8>) -> [u8; 32] {
    let digest = dictionary::digest(&table);
    let archive = Bytes::from(digest.to_vec());
    let upload = UploadChange::Add(NewUpload { name: "x".into(), sha256: digest, archive });
    let new = NewDictionary { digest, table, report: Report::default(), by: "anna".into(), at: clock::now() };
    site.app.stores.tenant(&site.tenant).unwrap().change_mibs(upload, new).await.unwrap();
    digest
}

#[tokio::test]
async fn minutes_are_stored_a_repetition_replaces_and_nonsense_is_left_out() {
    let site = Site::start().await;
    let (identity, _link, mut control) = quiet(&site, at_revision_1()).await;
    let present = minute_of(clock::now());
    let minute = |minute, protocol: &str, received| LedgerMinute {
        minute,
        protocol: protocol.to_owned(),
        received,
        accepted: received,
        sources: vec![SourceMinute { source: "10.0.0.1".into(), received, accepted: received, ..SourceMinute::default() }],
        ..LedgerMinute::default()
    };
    let minutes =
        vec![minute(present - 1, "syslog", 5), minute(present - 1, "nonsense", 5), minute(7, "syslog", 5), minute(u64::MAX, "push", 1)];
    control.say(up::Kind::Minutes(LedgerMinutes { minutes })).await;
    control.say(up::Kind::Minutes(LedgerMinutes { minutes: vec![minute(present - 1, "syslog", 9)] })).await;
    settled(&mut control).await;
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    let all = Span { from: 0, to: u64::MAX };
    let found = store.minutes(&identity.response.gateway, all).await.unwrap();
    assert_eq!(found.minutes.iter().map(|one| (one.minute, one.account.received)).collect::<Vec<_>>(), [(present - 1, 9)]);
    assert_eq!(store.minute_sources(&identity.response.gateway, all, 9).await.unwrap()[0].account.received, 9);
    site.stop().await;
}

#[tokio::test]
async fn a_report_with_far_too_much_is_cut_and_its_unknown_oids_are_kept() {
    let site = Site::start().await;
    let (identity, _link, mut control) = quiet(&site, at_revision_1()).await;
    let now = clock::now().as_nanos();
    let unknown: Vec<_> = (0..700)
        .map(|n| serde_json::json!({"oid": format!("1.3.{n}"), "count": 1, "first_seen": now, "last_seen": now, "source": "x".repeat(300)}))
        .collect();
    let status = serde_json::json!({
        "version": "1", "uptime_s": 1, "open_alerts": 0, "listeners": [], "revision": {},
        "tunnel": {"state": "up", "since": 0, "rtt_ms": null, "clock_offset_ms": null, "last_error": null},
        "spool": {"lanes": {}, "bytes_on_disk": 0, "seconds_left": null},
        "ledger": {"totals": {"received": 0, "accepted": 0, "in_flight": 0, "dropped": {}}, "by_protocol": {}, "top_sources": [],
                   "crash_windows": []},
        "intake": {"unknown_oids": unknown, "warnings": ["y".repeat(5000)]},
    });
    control.say(up::Kind::Status(serde_json::to_vec(&status).unwrap())).await;
    settled(&mut control).await;
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    assert_eq!(store.unknown_oids(clock::now(), 9999).await.unwrap().len(), 512);
    let view = site.app.stores.find_gateway(&site.tenant, &identity.response.gateway).await.unwrap().unwrap();
    assert_eq!(view.status.unwrap().intake.warnings[0].len(), 400);
    site.stop().await;
}

#[tokio::test]
async fn a_dictionary_goes_in_signed_pieces_and_a_heartbeat_passes_between_them() {
    let site = Site::start().await;
    let (identity, _link, mut control) = quiet(&site, at_revision_1()).await;
    let table: Vec<u8> = (0..dictionary::MAX_TABLE_BYTES).map(|n| n.to_le_bytes()[1]).collect();
    let digest = give_dictionary(&site, table.clone()).await;
    site.app.gateways.wake(&identity.response.gateway);
    let (mut whole, mut answered) = (Vec::new(), None);
    let signature = loop {
        match control.hear().await.expect("a message") {
            down::Kind::DictionaryPart(part) => {
                assert_eq!((part.offset, part.total_bytes), (whole.len() as u64, table.len() as u64));
                assert_eq!(part.digest, digest);
                if whole.is_empty() {
                    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 7 })).await;
                }
                whole.extend_from_slice(&part.bytes);
                if whole.len() == table.len() {
                    break part.signature;
                }
                assert!(part.signature.is_empty());
            }
            down::Kind::HeartbeatReply(_) => answered = Some(whole.len()),
            other => panic!("{other:?}"),
        }
    };
    assert!(whole == table && answered.is_some_and(|at| at < table.len()), "answered after {answered:?} bytes");
    let key = data_encoding::BASE64.decode(identity.response.revision_keys[0].as_bytes()).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key);
    assert!(key.verify(&dictionary::signing_input(&identity.response.gateway, &digest), &signature).is_ok());
    site.stop().await;
}

#[tokio::test]
async fn a_gateway_that_has_the_dictionary_gets_none() {
    let site = Site::start().await;
    let digest = give_dictionary(&site, vec![1, 2, 3]).await;
    let (_, _link, mut control) = quiet(&site, Hello { dictionary: digest.to_vec(), ..at_revision_1() }).await;
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 1 })).await;
    assert!(matches!(control.hear().await, Some(down::Kind::HeartbeatReply(_))));
    let (_, _link, mut other) = quiet(&site, at_revision_1()).await;
    assert!(matches!(other.hear().await, Some(down::Kind::DictionaryPart(part)) if part.bytes == [1, 2, 3]), "one that has another");
    site.stop().await;
}
