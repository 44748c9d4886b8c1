//! The one owner of everything that the broker keeps: answers requests one by one, and looks after firewall and SSH in between.
//!
//! Each request goes the same way: budget, who may, the site's veto, the audit, the deed, the audit again. Looking is not audited,
//! only counted; what is refused always is.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::apply;
use super::deeds::Undone;
use super::firewall::resolver::Found;
use super::firewall::ruleset::Ssh;
use super::firewall::{Basis, Firewall, Look};
use super::paths::Paths;
use super::people::People;
use super::policy::{Facts, Who, decide};
use super::store::{Kept, Store};
use super::systemd::{self, Unit};
use super::throttle::{Admission, Throttle};
use super::{ServeError, ssh};
use crate::audit::{Audit, Event};
use crate::verb::{Reply, Verb};

/// Between two looks at the firewall and the clock.
const LOOK: Duration = Duration::from_secs(5);
/// Between two glances at the resolvers in use: right after DHCP everything waits for them.
const GLANCE: Duration = Duration::from_secs(1);
/// Longest reason for a request that is none: it may repeat what was sent.
const MAX_REASON_CHARS: usize = 300;

/// Who asks, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
}

/// What reaches the owner.
pub(crate) enum Mail {
    /// A connection's one request, or why it is none.
    Request { peer: Peer, verb: Result<Verb, String>, reply: SyncSender<Reply> },
    /// DNS has answered.
    Resolved(Found),
    /// A part of the broker has ended, or a signal says that all shall.
    Stop,
    /// A connection was refused: there were too many.
    TurnedAway,
}

/// The owner.
pub(crate) struct Owner {
    pub(crate) paths: Paths,
    pub(crate) people: People,
    pub(crate) store: Store,
    pub(crate) kept: Kept,
    pub(crate) firewall: Firewall,
    audit: Audit,
    throttle: Throttle,
    names: Sender<BTreeSet<String>>,
    wanted: BTreeSet<String>,
    pub(crate) refused: u64,
    last_trouble: Option<String>,
}

impl Owner {
    /// Opens what is kept. `names` tells the resolver's thread what to ask.
    ///
    /// # Errors
    /// [`ServeError`].
    pub(crate) fn open(paths: &Paths, names: Sender<BTreeSet<String>>) -> Result<Self, ServeError> {
        let people = People::load(paths)?;
        let store = Store::open(paths)?;
        let mut audit = Audit::open(&paths.log())?;
        audit.append(&Event::Start { version: env!("CARGO_PKG_VERSION") })?;
        let owner = Self {
            kept: store.load(),
            store,
            audit,
            firewall: Firewall::new(paths.clone(), people),
            throttle: Throttle::default(),
            names,
            wanted: BTreeSet::new(),
            refused: 0,
            last_trouble: None,
            paths: paths.clone(),
            people,
        };
        // SSH without a deadline would stay on: someone else started it, or its time was lost.
        if ssh::seconds_left(paths)?.is_none() && systemd::active(paths, &[Unit::Ssh.name()])?.contains(Unit::Ssh.name()) {
            systemd::stop(paths, Unit::Ssh)?;
        }
        Ok(owner)
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// [`ServeError::Gone`] when nobody can ask any more.
    pub(crate) fn run(mut self, inbox: &Receiver<Mail>) -> Result<(), ServeError> {
        self.look_after();
        notify(NotifyState::Ready);
        let (mut next_look, mut next_glance) = (Instant::now() + LOOK, Instant::now() + GLANCE);
        loop {
            let now = Instant::now();
            if now >= next_glance {
                next_glance = now + GLANCE;
                if now >= next_look || self.firewall.is_overtaken(&self.kept.settings) {
                    next_look = now + LOOK;
                    self.look_after();
                    notify(NotifyState::Watchdog);
                }
            }
            match inbox.recv_timeout(next_glance.saturating_duration_since(Instant::now())) {
                Ok(Mail::Request { peer, verb, reply }) => {
                    // The one who asked may have gone.
                    let _ = reply.send(self.answer(peer, verb));
                }
                Ok(Mail::Resolved(found)) => {
                    for (name, addresses) in found {
                        self.firewall.addresses.learn(name, addresses, Instant::now());
                    }
                    self.firewall.addresses.retain(&self.wanted);
                    self.look_after();
                }
                Ok(Mail::Stop) => return Ok(()),
                Ok(Mail::TurnedAway) => self.refused = self.refused.saturating_add(1),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ServeError::Gone),
            }
        }
    }

    /// Ends SSH when it is time and keeps the firewall as it should be. Trouble is told once, and tried again at the next look.
    pub(crate) fn look_after(&mut self) {
        let trouble = self.expire_ssh().and_then(|()| self.look_at_firewall()).err().map(|undone| match undone {
            Undone::Failed(reason) | Undone::Refused(reason) => reason,
        });
        if let Some(reason) = &trouble
            && self.last_trouble != trouble
        {
            tracing::error!(reason, "the appliance is not as it should be");
        }
        self.last_trouble = trouble;
    }

    fn expire_ssh(&mut self) -> Result<(), Undone> {
        if ssh::seconds_left(&self.paths)?.is_some_and(|seconds| seconds <= 0) {
            self.audit.append(&Event::SshExpired {})?;
            ssh::switch_off(&self.paths)?;
        }
        Ok(())
    }

    pub(crate) fn look_at_firewall(&mut self) -> Result<(), Undone> {
        let resolvers = self.firewall.resolvers();
        let veto = self.kept.veto.in_force();
        let basis = Basis { settings: &self.kept.settings, veto: veto.as_ref() };
        let look = self.firewall.look(basis)?;
        let wanted = self.firewall.wanted_names(&self.kept.settings);
        // Other resolvers may know what the ones before did not, and now they can be asked.
        if wanted != self.wanted || resolvers != self.firewall.resolvers() {
            self.wanted.clone_from(&wanted);
            self.names.send(wanted)?;
        }
        match look {
            Look::Loaded => tracing::debug!("the firewall has other addresses"),
            Look::Ports { open, ssh } => {
                tracing::info!(?open, ?ssh, "the firewall has other ports");
                self.audit.append(&Event::Firewall { open, ssh: ssh == Ssh::Open })?;
            }
            Look::Same => {}
        }
        Ok(())
    }

    fn answer(&mut self, peer: Peer, verb: Result<Verb, String>) -> Reply {
        let reply = match self.throttle.admit(peer.uid, Instant::now()) {
            Admission::Admitted => self.answer_admitted(peer, verb),
            Admission::FirstRefused => {
                let told = self.audit.append(&Event::Throttled { uid: peer.uid });
                told.map_or_else(|error| failed(&error), |_| too_many())
            }
            Admission::Refused => too_many(),
        };
        if !matches!(reply, Reply::Ok { .. }) {
            self.refused = self.refused.saturating_add(1);
        }
        reply
    }

    fn answer_admitted(&mut self, peer: Peer, verb: Result<Verb, String>) -> Reply {
        let who = Who::find(peer.uid, &self.people);
        let (verb, told) = match verb {
            Ok(verb) => {
                let told = verb.for_audit();
                (Ok(verb), told)
            }
            Err(reason) => {
                let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect();
                (Err(reason), serde_json::Value::Null)
            }
        };
        let hostname = apply::host_name(&self.paths);
        let facts = Facts { veto: &self.kept.veto, firstboot_done: self.store.is_firstboot_done(), hostname: &hostname };
        let decided = verb.and_then(|verb| decide(who, &verb, facts).map(|()| verb));
        if let Ok(verb @ (Verb::Doctor {} | Verb::Slots {} | Verb::Status {})) = decided {
            return self.act(verb, who).map_or_else(Reply::from, |answer| Reply::Ok { answer });
        }
        let request = Event::Request { uid: peer.uid, pid: peer.pid, who: who.map(Who::name), verb: told };
        let of = match self.audit.append(&request) {
            Ok(sequence) => sequence,
            Err(error) => return failed(&error),
        };
        let reply = match decided {
            Ok(verb) => self.act(verb, who).map_or_else(Reply::from, |answer| Reply::Ok { answer }),
            Err(reason) => Reply::Refused { reason },
        };
        let (outcome, reason) = match &reply {
            Reply::Failed { reason } => ("failed", Some(reason.clone())),
            Reply::Ok { .. } => ("ok", None),
            Reply::Refused { reason } => ("refused", Some(reason.clone())),
        };
        match self.audit.append(&Event::Outcome { of, outcome, reason }) {
            Ok(_) => reply,
            Err(error) => failed(&error),
        }
    }
}

/// Tells the service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

fn failed(error: &dyn std::error::Error) -> Reply {
    let reason = crate::chain(error);
    tracing::error!(reason, "a request could not be audited");
    Reply::Failed { reason }
}

fn too_many() -> Reply {
    Reply::Refused { reason: "too many requests; wait a minute".to_owned() }
}
