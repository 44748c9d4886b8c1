//! Properties of the security model: no panic on any bytes, and no changed message is taken.

#![expect(clippy::unwrap_used, reason = "test code outside of #[test] functions")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use postern_engine::snmp::usm::{LocalEngine, Outcome, Secret, UserConfig, Users, Usm};
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use postern_protocol::timestamp::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: Timestamp = Timestamp::from_secs(9);

fn users() -> Arc<Users> {
    let user = |name: &str, auth: AuthAlgorithm, privacy: Option<PrivAlgorithm>, minimum| UserConfig {
        name: name.to_owned(),
        engines: Vec::new(),
        sources: Vec::new(),
        auth: Some((auth, Secret::new(b"maplesyrup".to_vec()))),
        privacy: privacy.map(|algorithm| (algorithm, KeyExtension::Standard, Secret::new(b"mapleleaves".to_vec()))),
        minimum,
    };
    Arc::new(Users::new(vec![
        user("user", AuthAlgorithm::Sha256, Some(PrivAlgorithm::Aes128), SecurityLevel::AuthNoPriv),
        user("open", AuthAlgorithm::Md5, None, SecurityLevel::NoAuthNoPriv),
    ]))
}

fn usm(users: &Arc<Users>) -> Usm {
    let engine = "80007ed9050102030405060708".parse().unwrap();
    Usm::new(LocalEngine { engine, boots: 3, started: Timestamp::from_secs(0), salt: 1 }, Arc::clone(users))
}

/// The authPriv trap of net-snmp with SHA-256 and AES.
fn genuine() -> Vec<u8> {
    let line = include_str!("data/usm/net-snmp.hex").lines().find_map(|line| line.strip_prefix("SHA-256 AES ")).unwrap();
    line.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_taken_without_a_panic(datagram in vec(any::<u8>(), 0..600)) {
        let _ = usm(&users()).process(&datagram, PEER, NOW);
    }

    #[test]
    fn a_genuine_message_with_bytes_exchanged_is_refused_and_leaves_no_trace(
        changes in vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let users = users();
        let (genuine, mut attacked) = (genuine(), usm(&users));
        let mut changed = genuine.clone();
        for (at, by) in &changes {
            *changed.get_mut(at.index(genuine.len())).unwrap() ^= by;
        }
        if changed != genuine {
            prop_assert!(attacked.process(&changed, PEER, NOW).is_err());
        }
        prop_assert!(attacked.process(genuine.get(..cut.index(genuine.len())).unwrap(), PEER, NOW).is_err());
        let outcomes = [attacked, usm(&users)].map(|mut usm| match usm.process(&genuine, PEER, NOW) {
            Ok(Outcome::Notification(taken)) => (taken.clock, taken.seen),
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(outcomes[0], outcomes[1]);
    }
}
