//! The one owner of everything that the broker keeps: answers requests one by one, and looks after firewall and SSH in between.
//!
//! Each request goes the same way: budget, who may, the site's veto, the audit, the deed, the audit again. Looking is not audited,
//! only counted; what is refused always is.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use super::apply;
use super::firewall::resolver::Found;
use super::firewall::ruleset::Ssh;
use super::firewall::{Basis, Firewall, Look};
use super::paths::Paths;
use super::people::People;
use super::policy::{Facts, Who, decide};
use super::store::{Kept, Store};
use super::systemd::{self, Unit};
use super::throttle::{Admission, Throttle};
use super::{ServeError, reset, slots, ssh};
use crate::audit::{Audit, Event};
use crate::verb::{Address, Answer, EnrolOutcome, Reply, SshState, Status, Verb};

/// Between two looks at the firewall and the clock.
const LOOK: Duration = Duration::from_secs(5);
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
    /// The service manager wants the broker to end.
    Stop,
}

/// The owner.
pub(crate) struct Owner {
    paths: Paths,
    people: People,
    store: Store,
    kept: Kept,
    audit: Audit,
    firewall: Firewall,
    throttle: Throttle,
    names: Sender<BTreeSet<String>>,
    wanted: BTreeSet<String>,
    refused: u64,
    last_trouble: Option<String>,
}

/// Why a deed was not done: a fault of the machine, or something that the one who asked can change.
enum Undone {
    Failed(String),
    Refused(String),
}

impl<E: std::error::Error + 'static> From<E> for Undone {
    fn from(error: E) -> Self {
        Self::Failed(super::chain(&error))
    }
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
        let mut next_look = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_look {
                self.look_after();
                next_look = now + LOOK;
            }
            match inbox.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
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
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ServeError::Gone),
            }
        }
    }

    /// Ends SSH when it is time and keeps the firewall as it should be. Trouble is told once, and tried again at the next look.
    fn look_after(&mut self) {
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

    fn look_at_firewall(&mut self) -> Result<(), Undone> {
        let wanted = self.firewall.wanted_names(&self.kept.settings);
        if wanted != self.wanted {
            self.wanted.clone_from(&wanted);
            self.names.send(wanted)?;
        }
        let veto = self.kept.veto.in_force();
        let basis = Basis { settings: &self.kept.settings, veto: veto.as_ref() };
        match self.firewall.look(basis)? {
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
        if let Ok(verb @ (Verb::Slots {} | Verb::Status {})) = decided {
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

    fn act(&mut self, verb: Verb, who: Option<Who>) -> Result<Answer, Undone> {
        match verb {
            Verb::Apply { settings, token, veto } => {
                let mut new = Kept { settings: *settings, ..self.kept.clone() };
                if who == Some(Who::Firstboot) {
                    // Power was cut between the settings and the report: the token has done its work.
                    let token = token.filter(|_| !self.store.is_enrolled());
                    self.apply(new, token.as_ref(), veto.as_deref())?;
                } else {
                    // A person changes what `status` shows, and that is without the password.
                    let (proxy, kept) = (new.settings.proxy.take(), &self.kept.settings.proxy);
                    new.settings.proxy = proxy.map(|proxy| kept.iter().fold(proxy, |proxy, kept| proxy.or_credentials_of(kept)));
                    self.apply(new, token.as_ref(), veto.as_deref())?;
                    // Once a person has set the machine up, what a hypervisor offers later is not looked at.
                    self.store.end_firstboot()?;
                }
            }
            Verb::EnrolFinished { outcome } => {
                if let EnrolOutcome::Refused { reason } = outcome {
                    self.store.save_refusal(&reason)?;
                }
                self.store.erase_token()?;
            }
            Verb::FactoryReset { .. } => {
                reset::request(&self.paths)?;
                systemd::leave(&self.paths, Unit::Reboot)?;
            }
            Verb::Firewall {} => self.look_at_firewall()?,
            Verb::FirstbootReport { report } => {
                self.store.save_report(&report)?;
                if report.done {
                    self.store.end_firstboot()?;
                }
            }
            Verb::PowerOff {} => systemd::leave(&self.paths, Unit::PowerOff)?,
            Verb::Reboot {} => systemd::leave(&self.paths, Unit::Reboot)?,
            Verb::Slots {} => return Ok(Answer::Slots { slots: slots::slots(&self.paths) }),
            Verb::Ssh { state } => {
                match (state, &self.kept.settings.ssh_key) {
                    (SshState::Off {}, _) => ssh::switch_off(&self.paths)?,
                    (SshState::On { minutes }, Some(key)) => ssh::switch_on(&self.paths, key, minutes)?,
                    (SshState::On { .. }, None) => return Err(Undone::Refused("no SSH key is set; set ssh_key first".to_owned())),
                }
                self.look_at_firewall()?;
            }
            Verb::Status {} => return Ok(Answer::Status { status: Box::new(self.status()) }),
        }
        Ok(Answer::Done {})
    }

    /// Keeps `new` and puts it in force; when something fails, what was before is kept and in force again.
    fn apply(&mut self, mut new: Kept, token: Option<&crate::secret::Secret>, veto: Option<&str>) -> Result<(), Undone> {
        if token.is_some() && self.store.is_enrolled() {
            return Err(Undone::Refused("this gateway is enrolled; leave the token out, or reset it first".to_owned()));
        }
        if let Some(text) = veto {
            let parsed = crate::veto::Veto::parse(text).map_err(|error| Undone::Refused(format!("veto: {error}")))?;
            new.veto = super::store::KeptVeto::Set(parsed);
        }
        if let Some(token) = token {
            let parsed = postern_protocol::enrolment::Token::parse(token.expose());
            parsed.map_err(|error| Undone::Refused(format!("token: {error}")))?;
            if new.settings.control_plane.is_none() {
                return Err(Undone::Refused("control_plane: a token needs the URL of its control plane".to_owned()));
            }
        }
        let applied = self.try_apply(&new, token, veto);
        if applied.is_ok() {
            new.damage = None;
            self.kept = new;
            // Other targets; the next look tells what else is wrong.
            self.look_after();
            return Ok(());
        }
        for undone in [self.undo_veto(veto), self.store.save_settings(&self.kept.settings).map_err(Undone::from), self.restore()] {
            if let Err(Undone::Failed(reason) | Undone::Refused(reason)) = undone {
                tracing::error!(reason, "the settings from before are not in force again");
            }
        }
        applied
    }

    fn try_apply(&self, new: &Kept, token: Option<&crate::secret::Secret>, veto: Option<&str>) -> Result<(), Undone> {
        if let Some(text) = veto {
            self.store.save_veto(text)?;
        }
        self.store.save_settings(&new.settings)?;
        apply::put_in_force(&self.paths, &new.settings, new.veto.in_force().as_ref(), self.people.gateway_group)?;
        ssh::change_key(&self.paths, new.settings.ssh_key.as_ref())?;
        // Last: enrolment starts when the token is there.
        if let Some(token) = token {
            self.store.save_token(token, &self.people)?;
        }
        Ok(())
    }

    fn undo_veto(&self, veto: Option<&str>) -> Result<(), Undone> {
        if veto.is_some() { Ok(self.store.take_back_veto()?) } else { Ok(()) }
    }

    fn restore(&self) -> Result<(), Undone> {
        let veto = self.kept.veto.in_force();
        apply::put_in_force(&self.paths, &self.kept.settings, veto.as_ref(), self.people.gateway_group)?;
        Ok(ssh::change_key(&self.paths, self.kept.settings.ssh_key.as_ref())?)
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: apply::host_name(&self.paths),
            settings: self.kept.settings.without_secrets(),
            damage: self.kept.damage.clone(),
            veto: match &self.kept.veto {
                super::store::KeptVeto::Set(veto) => Some(veto.clone()),
                super::store::KeptVeto::Damaged | super::store::KeptVeto::None => None,
            },
            addresses: addresses(),
            enrolment: self.store.enrolment(),
            firstboot: self.store.report(),
            ssh: ssh::status(&self.paths),
            slots: slots::slots(&self.paths),
            firewall: self.firewall.status(),
            refused_requests: self.refused,
        }
    }
}

impl From<Undone> for Reply {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Failed(reason) => Self::Failed { reason },
            Undone::Refused(reason) => Self::Refused { reason },
        }
    }
}

fn failed(error: &dyn std::error::Error) -> Reply {
    let reason = super::chain(error);
    tracing::error!(reason, "a request could not be audited");
    Reply::Failed { reason }
}

fn too_many() -> Reply {
    Reply::Refused { reason: "too many requests; wait a minute".to_owned() }
}

/// Addresses of the network cards, without those that only this machine reaches.
fn addresses() -> Vec<Address> {
    let mut found = BTreeSet::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| std::net::IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| std::net::IpAddr::V6(v6.ip()));
        if let Some(address) = v4.or(v6).filter(|address| !address.is_loopback()) {
            found.insert(Address { interface: interface.interface_name, address });
        }
    }
    found.into_iter().collect()
}
