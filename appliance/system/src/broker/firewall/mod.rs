//! The firewall in force: looks what it should be, and loads it when that has changed.
//!
//! Called by the boot program once and by the broker every few seconds. When a ruleset cannot be loaded, the one before stays.

pub(crate) mod addresses;
pub(crate) mod resolver;
pub(crate) mod ruleset;
pub(crate) mod sources;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use self::addresses::Addresses;
use self::ruleset::{Ruleset, Ssh};
use super::command::{CommandError, Program, run};
use super::paths::Paths;
use super::people::People;
use super::systemd::{self, Unit};
use crate::files::{Access, Dir, FileError};
use crate::settings::Settings;
use crate::settings::host::Host;
use crate::verb;
use crate::veto::{Listener, Veto};

/// Why the firewall is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirewallError {
    /// A program.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The copy of the ruleset in `/run/postern`.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What the openings follow from.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub(crate) settings: &'a Settings,
    /// `None` when it cannot be used: then nothing is open.
    pub(crate) veto: Option<&'a Veto>,
}

/// Whether a look at the firewall changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It was loaded anew with other addresses, or because it was gone.
    Loaded,
    /// It was loaded anew with other ports.
    Ports {
        /// Listeners whose ports are open.
        open: Vec<Listener>,
        /// SSH's port.
        ssh: Ssh,
    },
    /// It is as it was.
    Same,
}

/// The firewall and what it is made from.
pub(crate) struct Firewall {
    paths: Paths,
    people: People,
    pub(crate) addresses: Addresses,
    loaded: Option<Ruleset>,
    failure: Option<String>,
}

impl Firewall {
    /// Knows nothing yet: the first look loads.
    pub(crate) fn new(paths: Paths, people: People) -> Self {
        Self { paths, people, addresses: Addresses::default(), loaded: None, failure: None }
    }

    /// Loads what can be known before the network is there: nothing is open.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub(crate) fn load_closed(&mut self, basis: Basis<'_>) -> Result<(), FirewallError> {
        let ruleset = self.ruleset(basis, &BTreeSet::new());
        self.load(ruleset)
    }

    /// Looks what the ruleset should be, and loads it if it is another, or none is in force.
    ///
    /// # Errors
    /// [`FirewallError`]; the ruleset before stays in force.
    pub(crate) fn look(&mut self, basis: Basis<'_>) -> Result<Look, FirewallError> {
        let looked = self.try_look(basis);
        self.failure = looked.as_ref().err().map(ToString::to_string);
        looked
    }

    /// Tells whether the resolvers or time servers in use are others than the firewall knows; cheap enough to ask often.
    pub(crate) fn is_overtaken(&self, settings: &Settings) -> bool {
        let resolvers = sources::resolvers(&self.paths);
        let changed = self.loaded.as_ref().is_none_or(|loaded| loaded.resolvers != resolvers);
        changed || self.loaded.as_ref().is_some_and(|loaded| loaded.time_servers != self.time_servers(settings))
    }

    /// Returns the resolvers that the firewall lets through.
    pub(crate) fn resolvers(&self) -> BTreeSet<IpAddr> {
        self.loaded.as_ref().map(|loaded| loaded.resolvers.clone()).unwrap_or_default()
    }

    /// Returns the names that need an address.
    pub(crate) fn wanted_names(&self, settings: &Settings) -> BTreeSet<String> {
        let mut hosts = sources::time_servers(&self.paths, settings);
        hosts.extend(sources::target(settings).map(|target| target.host.clone()));
        let names = hosts.into_iter().filter_map(|host| match host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        });
        names.collect()
    }

    /// Tells how it is.
    pub(crate) fn status(&self) -> verb::Firewall {
        let counted = counters(&self.paths);
        verb::Firewall {
            failure: self.failure.clone().or_else(|| counted.as_ref().err().map(ToString::to_string)),
            open: self.loaded.iter().flat_map(|ruleset| ruleset.open.iter().copied()).collect(),
            dropped_in: counted.as_ref().map_or(0, |counters| counters.dropped_in),
            dropped_out: counted.as_ref().map_or(0, |counters| counters.dropped_out),
            unresolved: self.addresses.failing(),
        }
    }

    fn try_look(&mut self, basis: Basis<'_>) -> Result<Look, FirewallError> {
        let mut units: Vec<&str> = sources::UNITS.iter().map(|(unit, _)| *unit).collect();
        units.push(Unit::Ssh.name());
        let active = systemd::active(&self.paths, &units)?;
        let ruleset = self.ruleset(basis, &active);
        let ports = |ruleset: &Ruleset| (ruleset.open.iter().copied().collect::<Vec<_>>(), ruleset.ssh);
        let before = self.loaded.as_ref().map(ports).unwrap_or_default();
        // Someone may have taken the table away.
        if self.loaded.as_ref() == Some(&ruleset) && counters(&self.paths).is_ok() {
            return Ok(Look::Same);
        }
        let after = ports(&ruleset);
        self.load(ruleset)?;
        Ok(if before == after { Look::Loaded } else { Look::Ports { open: after.0, ssh: after.1 } })
    }

    fn ruleset(&self, basis: Basis<'_>, active: &BTreeSet<String>) -> Ruleset {
        let target = sources::target(basis.settings);
        let targets = target.iter().flat_map(|target| self.addresses.of(&target.host).into_iter().map(|address| (address, target.port)));
        Ruleset {
            open: sources::open_listeners(active, basis.veto),
            ssh: if active.contains(Unit::Ssh.name()) { Ssh::Open } else { Ssh::Shut },
            resolvers: sources::resolvers(&self.paths),
            time_servers: self.time_servers(basis.settings),
            targets: targets.collect(),
            gateway: self.people.gateway,
            timesync: self.people.timesync,
        }
    }

    fn time_servers(&self, settings: &Settings) -> BTreeSet<IpAddr> {
        sources::time_servers(&self.paths, settings).iter().flat_map(|host| self.addresses.of(host)).collect()
    }

    fn load(&mut self, ruleset: Ruleset) -> Result<(), FirewallError> {
        let text = ruleset.render();
        run(&self.paths, Program::Nft, &["-f", "-"], text.clone())?;
        Dir::open(&self.paths.run())?.write("firewall.nft", text.as_bytes(), Access::PRIVATE)?;
        self.loaded = Some(ruleset);
        Ok(())
    }
}

/// Packets that were not let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) dropped_in: u64,
    pub(crate) dropped_out: u64,
}

/// Reads the counters.
///
/// # Errors
/// When the table is not loaded.
pub(crate) fn counters(paths: &Paths) -> Result<Counters, CommandError> {
    let missing = || CommandError::Failed { program: "/usr/sbin/nft", said: "the table inet postern is not loaded".to_owned() };
    let text = run(paths, Program::Nft, &["-j", "list", "counters", "table", "inet", "postern"], String::new())?;
    let value: Value = serde_json::from_str(&text).map_err(|_| missing())?;
    let packets = |name: &str| {
        let objects = value.get("nftables")?.as_array()?;
        let counter =
            objects.iter().filter_map(|object| object.get("counter")).find(|counter| counter.get("name").is_some_and(|n| n == name));
        counter?.get("packets")?.as_u64()
    };
    match (packets("dropped_in"), packets("dropped_out")) {
        (Some(dropped_in), Some(dropped_out)) => Ok(Counters { dropped_in, dropped_out }),
        _ => Err(missing()),
    }
}
