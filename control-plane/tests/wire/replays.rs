//! Replays on the tunnel: asked, told again to the next session, answered; and the counters of rules.

use std::time::Duration;

use postern_control::clock;
use postern_control::store::audit::By;
use postern_control::store::replays::{NewReplay, ReplayStanding};
use postern_protocol::message::{Heartbeat, Hello, ReplayReply, down, up};
use postern_protocol::replay::{Figures, ReplayState, Replayed, RuleFigures, RuleReport};
use postern_protocol::timestamp::Timestamp;

use crate::support::{Site, Stream, hello};

async fn replay(control: &mut Stream) -> postern_protocol::message::Replay {
    loop {
        match control.hear().await {
            Some(down::Kind::Replay(replay)) => return replay,
            Some(_) => {}
            None => panic!("the session ended"),
        }
    }
}

async fn settled(control: &mut Stream) {
    control.say(up::Kind::Heartbeat(Heartbeat { nonce: 99 })).await;
    while !matches!(control.hear().await, Some(down::Kind::HeartbeatReply(reply)) if reply.nonce == 99) {}
}

#[tokio::test]
async fn a_replay_is_told_to_every_session_until_it_is_answered() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let gateway = identity.response.gateway.clone();
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    let greeting = || Hello { protocol: 2, effective_revision: 1, newest_revision: 1, ..hello() };
    let (first, mut control, _) = site.session(&identity, greeting()).await;
    let since = Timestamp::from_secs(clock::now().as_secs() - 3600);
    let new = NewReplay { gateway: gateway.clone(), document: b"{}".to_vec(), since, by: By::command_line(), at: clock::now() };
    let number = store.ask_replay(new).await.unwrap();
    site.app.gateways.wake(&gateway);
    let asked = replay(&mut control).await;
    assert_eq!((asked.number, asked.document.as_slice(), asked.from), (number, b"{}".as_slice(), since.as_nanos()));
    assert_eq!(asked.asked_by, "command line");
    drop((first, control));
    let (_second, mut control, _) = site.session(&identity, greeting()).await;
    assert_eq!(replay(&mut control).await.number, number);
    let result = Replayed {
        state: ReplayState::Done,
        reason: String::new(),
        problems: Vec::new(),
        from: 1,
        until: 2,
        events: 9,
        undecodable: 0,
        effective: Figures::default(),
        candidate: Figures { raised: 3, ..Figures::default() },
        differences: Vec::new(),
        further: 0,
    };
    control.say(up::Kind::ReplayReply(ReplayReply { number, result: serde_json::to_vec(&result).unwrap() })).await;
    let report =
        RuleReport { revision: 1, since, rules: vec![RuleFigures { id: "if-link-down".into(), matched: 7, ..RuleFigures::default() }] };
    control.say(up::Kind::Rules(serde_json::to_vec(&report).unwrap())).await;
    settled(&mut control).await;
    let view = store.find_replay(&gateway, number, clock::now()).await.unwrap().unwrap();
    assert_eq!((view.state, view.result), (ReplayStanding::Answered, Some(result)));
    let counters = store.rule_counters(&gateway).await.unwrap().unwrap();
    assert_eq!((counters.revision.0, counters.rules[0].matched), (1, 7));
    site.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_too_old_is_told_nothing_and_who_waits_hears_why() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    let gateway = identity.response.gateway.clone();
    let store = site.app.stores.tenant(&site.tenant).unwrap();
    let (_link, mut control, _) =
        site.session(&identity, Hello { protocol: 1, effective_revision: 1, newest_revision: 1, ..hello() }).await;
    let (document, since, at) = (b"{}".to_vec(), clock::now(), clock::now());
    let number = store.ask_replay(NewReplay { gateway: gateway.clone(), document, since, by: By::command_line(), at }).await.unwrap();
    site.app.gateways.wake(&gateway);
    let answered = async {
        loop {
            settled(&mut control).await;
            let view = store.find_replay(&gateway, number, clock::now()).await.unwrap().unwrap();
            if let Some(result) = view.result {
                return result;
            }
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
    assert_eq!(result.state, ReplayState::Unavailable);
    assert!(result.reason.contains("too old"), "{}", result.reason);
    site.stop().await;
}
