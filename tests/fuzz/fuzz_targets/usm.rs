//! SNMPv3: bounds hold, answers stay small, and nothing that is not signed passes for authenticated.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use postern_engine::snmp::usm::{LocalEngine, Outcome, Secret, UserConfig, Users, Usm};
use postern_engine::snmp::{self, Kind};
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use postern_protocol::timestamp::Timestamp;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: Timestamp = Timestamp::from_secs(100);

/// "open" needs no key, so that what lies behind the digest is reached, too.
fn users() -> Arc<Users> {
    static USERS: OnceLock<Arc<Users>> = OnceLock::new();
    let user = |name: &str, minimum| UserConfig {
        name: name.to_owned(),
        engines: Vec::new(),
        sources: Vec::new(),
        auth: Some((AuthAlgorithm::Sha256, Secret::new(b"maplesyrup".to_vec()))),
        privacy: Some((PrivAlgorithm::Aes128, KeyExtension::Standard, Secret::new(b"mapleleaves".to_vec()))),
        minimum,
    };
    Arc::clone(
        USERS
            .get_or_init(|| Arc::new(Users::new(vec![user("user", SecurityLevel::AuthNoPriv), user("open", SecurityLevel::NoAuthNoPriv)]))),
    )
}

fuzz_target!(|datagram: &[u8]| {
    let engine = "80007ed9050102030405060708".parse().unwrap();
    let mut usm = Usm::new(LocalEngine { engine, boots: 3, started: Timestamp::from_secs(0), salt: 1 }, users());
    match usm.process(datagram, PEER, NOW) {
        Ok(Outcome::Notification(taken)) => {
            assert!(taken.notification.varbinds.len() <= snmp::MAX_VARBINDS);
            assert_eq!(taken.response.is_some(), taken.kind == Kind::Inform);
            assert!(taken.response.is_none_or(|response| response.len() <= datagram.len() + 32));
            assert_eq!(taken.seen.is_some(), taken.level > SecurityLevel::NoAuthNoPriv && taken.kind == Kind::Trap);
            let again = usm.process(datagram, PEER, NOW);
            assert_eq!(again.is_err(), taken.seen.is_some(), "an authenticated trap is taken once");
        }
        Ok(Outcome::Report(report)) => assert!(report.len() <= datagram.len() + 96),
        Err(refusal) => assert!(refusal.report.is_none_or(|report| report.len() <= datagram.len() + 96)),
    }
});
