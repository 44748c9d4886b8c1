//! A pushed revision from its signature to what the control plane is told, with every part of the self-test working or not.

use std::net::{Ipv4Addr, UdpSocket};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::signing_input;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::{SpoolOptions, fresh_epoch};

use super::*;
use crate::audit::upload;
use crate::canary::probe::{Probe, Target};
use crate::canary::{Canary, Path};
use crate::pipeline::Rehearsal;
use crate::revision::signers::Signers;
use crate::revision::veto::Veto;
use crate::revision::{Mode, Opening};
use crate::vault::Owner;

const GOOD: &str = r#"{"format":1,"rules":[{"id":"r","match":{"syslog":{}},"then":{"suppress":{}}}]}"#;

/// What does not work once the revision is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Listener,
    Nothing,
    Rules,
    Spool,
}

/// A control task, and those around it.
struct Rig {
    dir: tempfile::TempDir,
    key: Ed25519KeyPair,
    control: Control,
    orders: mpsc::Receiver<Order>,
    told: mpsc::Receiver<Outgoing>,
    probe: Probe,
    /// Nobody reads it.
    _socket: UdpSocket,
}

impl Rig {
    fn new(broken: Broken) -> Self {
        let (dir, key) = (tempfile::tempdir().unwrap(), Ed25519KeyPair::generate().unwrap());
        let gateway = GatewayId::new("gw").unwrap();
        let signers = Signers::fixed(gateway.clone(), vec![key.public_key().as_ref().try_into().unwrap()]);
        let opening = Opening { signers: signers.clone(), veto: Veto::default(), mode: Mode::Normal, now: clock::now() };
        let (revisions, _) = Revisions::open(&dir.path().join("revisions"), opening).unwrap();
        let owner = Owner { tenant: TenantId::new("acme").unwrap(), gateway };
        let vault = Vault::open(&dir.path().join("vault"), None, owner).unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let options = SpoolOptions {
            dir: dir.path().join("spool"),
            segment_bytes: 1 << 20,
            max_bytes: 1 << 24,
            machine_key: vault.spool_key().clone(),
        };
        let (spool, _, _writer) = Spool::open(options, fresh_epoch().unwrap(), now).unwrap();
        let (orders, order_queue) = mpsc::channel(8);
        let (outgoing, told) = mpsc::channel(8);
        let (names, _) = Names::open(&dir.path().join("dictionary"), signers.clone()).unwrap();
        let bootstrap = LinkSettings::new("https://127.0.0.1:1".parse().unwrap(), None);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target { path: Path::SnmpTrap, address: socket.local_addr().unwrap(), tls: None };
        let targets = if broken == Broken::Listener { vec![target] } else { Vec::new() };
        let (probe, _) = Probe::new(Canary::new().unwrap(), targets, orders.clone());
        let control = Control {
            incoming: mpsc::channel(1).1,
            outgoing,
            orders,
            facts: watch::Sender::new(GreetingFacts::default()),
            report: watch::Sender::new(revisions.report()),
            tunnel: watch::channel(postern_uplink::tunnel::initial_state(now)).1,
            spool,
            trusted: signers.trusted.clone(),
            signers,
            names: Some(names),
            vault: watch::Sender::new(vault),
            site: watch::Sender::new(Arc::new(Site::default())),
            audit: Audit::open(&dir.path().join("audit")).unwrap(),
            letters: upload::letters().0,
            identity: mpsc::channel(1).0,
            link: watch::Sender::new(bootstrap.clone()),
            bootstrap,
            uplink: None,
            resend_nonce: 0,
            warn_below_hours: watch::Sender::new(24),
            taken_back: None,
            session: trial::Link::default(),
            prober: probe.prober(),
            replays: mpsc::channel(1).0,
            revisions,
        };
        Self { dir, key, control, orders: order_queue, told, probe, _socket: socket }
    }

    fn sign(&self, number: u64) -> SignedRevision {
        let input = signing_input(&GatewayId::new("gw").unwrap(), RevisionNumber(number), GOOD.as_bytes());
        SignedRevision { number, document: GOOD.as_bytes().to_vec(), signature: self.key.sign(&input).as_ref().to_vec() }
    }
}

/// The pipeline's part.
async fn obey(mut orders: mpsc::Receiver<Order>, broken: Broken) {
    let mut left_waiting = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::ReplaceRules(_, done) => done.send(()).unwrap(),
            Order::Rehearse(Rehearsal { events, decided, durable }) => {
                assert_eq!(events.len(), 2);
                if broken == Broken::Rules {
                    left_waiting.push(decided);
                    continue;
                }
                decided.send(()).unwrap();
                if broken == Broken::Spool {
                    left_waiting.push(durable);
                } else {
                    durable.send(()).unwrap();
                }
            }
            _ => panic!("nothing else is wanted"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_its_self_test_is_taken_back_at_once_and_nobody_is_asked_to_confirm_it() {
    for (broken, reason) in [
        (Broken::Nothing, None),
        (Broken::Rules, Some("the rules did not decide")),
        (Broken::Spool, Some("the spool did not take a commit")),
        (Broken::Listener, Some("the listener snmp_trap")),
    ] {
        let rig = Rig::new(broken);
        let signed = rig.sign(1);
        let Rig { dir, mut control, orders, mut told, probe, .. } = rig;
        let stop = CancellationToken::new();
        let push = async {
            control.revision(signed.clone()).await.unwrap();
            // Once more: it is answered, and not tried again.
            control.revision(signed).await.unwrap();
        };
        tokio::select! {
            () = push => {}
            () = obey(orders, broken) => panic!("the control task keeps the queue"),
            ended = probe.run(stop.clone()) => panic!("the prober ended: {ended:?}"),
        }
        let mut states = Vec::new();
        while let Ok(Outgoing::RevisionStatus(status)) = told.try_recv() {
            let reason = status.problems.first().map(|problem| problem.reason.clone());
            states.push((RevisionState::try_from(status.state).unwrap(), reason));
        }
        let report = control.revisions.report();
        control.audit.note(Action::Stopped).kept().await.unwrap();
        let audit: String = std::fs::read_dir(dir.path().join("audit"))
            .unwrap()
            .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
            .collect();
        let Some(reason) = reason else {
            let provisional = (RevisionState::Provisional, None);
            assert_eq!(states, [(RevisionState::Applying, None), provisional.clone(), provisional]);
            assert_eq!(report.provisional.map(|provisional| provisional.number), Some(RevisionNumber(1)));
            continue;
        };
        let kinds: Vec<RevisionState> = states.iter().map(|(state, _)| *state).collect();
        assert_eq!(kinds, [RevisionState::Applying, RevisionState::Reverted, RevisionState::Reverted], "{broken:?}");
        assert!(states.iter().skip(1).all(|(_, told)| told.as_ref().is_some_and(|told| told.contains(reason))), "{states:?}");
        assert_eq!((report.effective, report.provisional, report.desired), (None, None, Some(RevisionNumber(1))));
        assert!(audit.contains(reason), "{audit}");
    }
}
