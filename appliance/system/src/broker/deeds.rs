//! What the owner does for each verb once it is allowed and audited.

use std::collections::BTreeSet;

use postern_protocol::enrolment::Token;

use super::owner::Owner;
use super::policy::Who;
use super::store::{Kept, KeptVeto};
use super::systemd::{self, Unit};
use super::{apply, gateway, reset, slots, ssh};
use crate::secret::Secret;
use crate::verb::{Address, Answer, EnrolOutcome, Reply, SshState, Status, Verb};
use crate::veto::Veto;

/// Why a deed was not done: a fault of the machine, or something that the one who asked can change.
pub(crate) enum Undone {
    Failed(String),
    Refused(String),
}

impl<E: std::error::Error + 'static> From<E> for Undone {
    fn from(error: E) -> Self {
        Self::Failed(crate::chain(&error))
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

impl Owner {
    /// Does what `verb` says.
    ///
    /// # Errors
    /// [`Undone`].
    pub(crate) fn act(&mut self, verb: Verb, who: Option<Who>) -> Result<Answer, Undone> {
        match verb {
            Verb::Apply { settings, token, veto } => {
                let mut new = Kept { settings: *settings, ..self.kept.clone() };
                if who == Some(Who::Firstboot) {
                    // Power was cut between the settings and the report: the token has done its work.
                    let token = token.filter(|_| !self.store.is_enrolled());
                    self.apply(new, token.as_ref(), veto.as_deref())?;
                } else {
                    // A person changes what `status` shows, and that is without the password.
                    if let (Some(proxy), Some(kept)) = (&mut new.settings.proxy, &self.kept.settings.proxy) {
                        *proxy = proxy.clone().or_credentials_of(kept);
                    }
                    self.apply(new, token.as_ref(), veto.as_deref())?;
                    // Once a person has set the machine up, what a hypervisor offers later is not looked at.
                    self.store.end_firstboot()?;
                }
            }
            Verb::Doctor {} => return Ok(Answer::Doctor { report: gateway::doctor(&self.paths)? }),
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
    fn apply(&mut self, mut new: Kept, token: Option<&Secret>, veto: Option<&str>) -> Result<(), Undone> {
        if token.is_some() && self.store.is_enrolled() {
            return Err(Undone::Refused("this gateway is enrolled; leave the token out, or reset it first".to_owned()));
        }
        if let Some(text) = veto {
            let parsed = Veto::parse(text).map_err(|error| Undone::Refused(format!("veto: {error}")))?;
            new.veto = KeptVeto::Set(parsed);
        }
        if let Some(token) = token {
            let parsed = Token::parse(token.expose());
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

    fn try_apply(&self, new: &Kept, token: Option<&Secret>, veto: Option<&str>) -> Result<(), Undone> {
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
                KeptVeto::Set(veto) => Some(veto.clone()),
                KeptVeto::Damaged | KeptVeto::None => None,
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
