//! What a revision says of the site's senders, ready for the receivers: SNMPv3 users with their keys, communities, trusted relays.
//!
//! Compiled from the document's `snmp` and `sources` and the vault's secrets; whole, away from the receive threads, and handed to them
//! through a `watch` that they look at once a batch. A revision that names a secret that is not there is refused; what was in force
//! already goes on without it, fails closed for that one user or community, and says so. Never logs or shows a secret.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use ipnet::IpNet;
use postern_engine::snmp::usm::{self, UserConfig, Users};
use postern_engine::syslog::Zone;
use postern_protocol::revision::Problem;
use postern_protocol::revision::document::Document;
use postern_protocol::revision::intake::{CommunityGrant, SecurityLevel, Snmp, SourceFacts, User};

use crate::network_map::NetworkMap;
use crate::pipeline::usm::Reset;
use crate::vault::Secret;

/// Fewest characters of a passphrase (RFC 3414 §11.2).
const MIN_PASSPHRASE_BYTES: usize = 8;

/// The document's part that a [`Site`] is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    snmp: Snmp,
    sources: Vec<SourceFacts>,
}

impl From<&Document> for Settings {
    fn from(document: &Document) -> Self {
        Self { snmp: document.snmp.clone().unwrap_or_default(), sources: document.sources.clone() }
    }
}

/// The site's settings in force; by default nobody is known and any community is taken. No `Debug`: it holds secrets.
#[derive(Default)]
pub(crate) struct Site {
    settings: Arc<Settings>,
    users: Arc<Users>,
    /// What the users were made of, by the secrets' names.
    passphrases: BTreeMap<String, Secret>,
    resets: Vec<Reset>,
    /// Community strings by source; `None` takes any from anywhere.
    communities: Option<NetworkMap<Secret>>,
    relays: NetworkMap<()>,
    zones: NetworkMap<Zone>,
    warnings: Vec<String>,
}

impl Site {
    /// Compiles the settings with the secrets that `find` finds by name; takes processor time for each new passphrase.
    ///
    /// The site can be used whatever the problems are: a user whose secret is missing is not known, and a grant's missing community
    /// is not taken.
    pub(crate) fn compile(settings: Arc<Settings>, find: &dyn Fn(&str) -> Option<Secret>, before: Option<&Self>) -> (Self, Vec<Problem>) {
        let mut lookup = Lookup { find, passphrases: BTreeMap::new(), problems: Vec::new() };
        let entries = users(&settings.snmp.users, &mut lookup);
        let passphrases = std::mem::take(&mut lookup.passphrases);
        let users = match before {
            None => Arc::new(Users::new(entries)),
            // The same object: keys that were localised already stay.
            Some(before) if before.settings.snmp.users == settings.snmp.users && same(&before.passphrases, &passphrases) => {
                Arc::clone(&before.users)
            }
            Some(before) => Arc::new(before.users.renew(entries)),
        };
        let resets = settings.snmp.engine_resets.iter();
        let resets = resets.filter_map(|reset| Some(Reset { engine: reset.engine.parse().ok()?, serial: reset.serial })).collect();
        let zones = zones(&settings.sources, &mut lookup);
        let communities = (!settings.snmp.communities.is_empty()).then(|| communities(&settings.snmp.communities, &mut lookup));
        let relays = NetworkMap::new(networks(&settings.snmp.trusted_relays).map(|network| (network, ())));
        let problems = lookup.problems;
        let warnings = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.reason)).collect();
        (Self { settings, users, passphrases, resets, communities, relays, zones, warnings }, problems)
    }

    /// Returns what it was compiled of, to compile it again when the vault has changed.
    pub(crate) const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Returns what is amiss, for reports.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the SNMPv3 users; the same object as long as they are the same.
    pub(crate) const fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// Returns the engines that may start over.
    pub(crate) fn resets(&self) -> &[Reset] {
        &self.resets
    }

    /// Returns the zone of time stamps from `source` that name none.
    pub(crate) fn zone(&self, source: IpAddr) -> &Zone {
        self.zones.of(source).next().unwrap_or(&Zone::UTC)
    }

    /// Tells whether `source` may use `community`. Compares every granted one in constant time.
    pub(crate) fn takes_community(&self, source: IpAddr, community: &[u8]) -> bool {
        let Some(grants) = &self.communities else { return true };
        grants.of(source).fold(false, |taken, secret| constant_time::verify_slices_are_equal(secret.expose(), community).is_ok() | taken)
    }

    /// Tells whether `source` is a relay whose `snmpTrapAddress.0` is believed.
    pub(crate) fn trusts_relay(&self, source: IpAddr) -> bool {
        self.relays.of(source).next().is_some()
    }
}

/// Looks secrets up and notes those that are not there.
struct Lookup<'a> {
    find: &'a dyn Fn(&str) -> Option<Secret>,
    passphrases: BTreeMap<String, Secret>,
    problems: Vec<Problem>,
}

impl Lookup<'_> {
    fn secret(&mut self, name: &str, path: impl FnOnce() -> String) -> Option<Secret> {
        let found = (self.find)(name);
        if found.is_none() {
            self.problem(path(), format!("no secret of the name \"{name}\" is in the vault: seal it first"));
        }
        found
    }

    /// Looks a passphrase up (RFC 3414 §11.2).
    fn passphrase(&mut self, name: &str, path: impl Fn() -> String) -> Option<usm::Secret> {
        let secret = self.secret(name, &path)?;
        if secret.expose().len() < MIN_PASSPHRASE_BYTES {
            self.problem(path(), format!("the passphrase \"{name}\" has fewer than {MIN_PASSPHRASE_BYTES} characters (RFC 3414 §11.2)"));
            return None;
        }
        let passphrase = usm::Secret::new(secret.expose().to_vec());
        self.passphrases.insert(name.to_owned(), secret);
        Some(passphrase)
    }

    fn problem(&mut self, path: String, reason: String) {
        self.problems.push(Problem { path, line: 0, column: 0, reason });
    }
}

/// The users that have all their secrets.
fn users(users: &[User], lookup: &mut Lookup<'_>) -> Vec<UserConfig> {
    let mut entries = Vec::new();
    for (at, user) in users.iter().enumerate() {
        let auth = user.auth.as_ref().map(|auth| {
            let secret = lookup.passphrase(&auth.secret, || format!("snmp.users[{at}].auth.secret"))?;
            Some((auth.algorithm, secret))
        });
        let privacy = user.privacy.as_ref().map(|privacy| {
            let secret = lookup.passphrase(&privacy.secret, || format!("snmp.users[{at}].priv.secret"))?;
            Some((privacy.algorithm, privacy.key_extension, secret))
        });
        let highest = match (&auth, &privacy) {
            (None, _) => SecurityLevel::NoAuthNoPriv,
            (Some(_), None) => SecurityLevel::AuthNoPriv,
            (Some(_), Some(_)) => SecurityLevel::AuthPriv,
        };
        // Both levels: what was configured, and the secret for it.
        let (Some(auth), Some(privacy)) = (transpose(auth), transpose(privacy)) else { continue };
        entries.push(UserConfig {
            name: user.name.clone(),
            engines: user.engines.iter().filter_map(|engine| engine.parse().ok()).collect(),
            sources: networks(&user.sources).collect(),
            auth,
            privacy,
            minimum: user.minimum_level.unwrap_or(highest),
        });
    }
    entries
}

/// `None` when something was asked for and is not there.
fn transpose<T>(wanted: Option<Option<T>>) -> Option<Option<T>> {
    match wanted {
        None => Some(None),
        Some(None) => None,
        Some(there) => Some(there),
    }
}

fn same(before: &BTreeMap<String, Secret>, now: &BTreeMap<String, Secret>) -> bool {
    let pairs = before.iter().zip(now);
    before.len() == now.len() && pairs.into_iter().all(|((a, x), (b, y))| a == b && x.expose() == y.expose())
}

fn zones(sources: &[SourceFacts], lookup: &mut Lookup<'_>) -> NetworkMap<Zone> {
    let mut entries = Vec::new();
    for (at, facts) in sources.iter().enumerate() {
        match facts.time_zone.as_deref().map(Zone::parse) {
            None => {}
            Some(Ok(zone)) => entries.extend(networks(&facts.networks).map(|network| (network, zone.clone()))),
            Some(Err(error)) => lookup.problem(format!("sources[{at}].time_zone"), crate::chain(&error)),
        }
    }
    NetworkMap::new(entries)
}

fn communities(grants: &[CommunityGrant], lookup: &mut Lookup<'_>) -> NetworkMap<Secret> {
    let mut entries = Vec::new();
    for (at, grant) in grants.iter().enumerate() {
        for (index, name) in grant.secrets.iter().enumerate() {
            let Some(secret) = lookup.secret(name, || format!("snmp.communities[{at}].secrets[{index}]")) else { continue };
            entries.extend(networks(&grant.sources).map(|network| (network, secret.clone())));
        }
    }
    NetworkMap::new(entries)
}

/// The networks of a list that the document's check has passed.
fn networks(list: &[String]) -> impl Iterator<Item = IpNet> {
    list.iter().filter_map(|network| network.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    const DOCUMENT: &str = r#"{"format":1,"rules":[],"sources":[{"networks":["10.0.0.0/8"],"time_zone":"+02:00"}],"snmp":{
        "users":[{"name":"a","sources":["10.0.0.0/8"],"auth":{"algorithm":"sha-256","secret":"a.auth"},"priv":{"algorithm":"aes-128","secret":"a.priv"}}],
        "communities":[{"sources":["10.0.0.0/8"],"secrets":["wide"]},{"sources":["10.1.0.0/16"],"secrets":["narrow"]}],
        "trusted_relays":["10.0.0.7/32"],"engine_resets":[{"engine":"80001F8801","serial":3}]}}"#;

    fn settings(text: &str) -> Arc<Settings> {
        Arc::new(Settings::from(&postern_protocol::revision::parse(text.as_bytes()).unwrap()))
    }

    fn find(content: &'static str) -> impl Fn(&str) -> Option<Secret> {
        move |name| {
            let content = if name.contains('.') { content } else { name };
            Some(Secret::new(Zeroizing::new(content.as_bytes().to_vec())))
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn communities_hold_for_their_networks() {
        let (site, problems) = Site::compile(settings(DOCUMENT), &find("passphrase"), None);
        assert_eq!(problems, []);
        for (source, community, taken) in [
            ("10.9.9.9", "wide", true),
            ("10.9.9.9", "narrow", false),
            ("10.1.9.9", "narrow", true),
            ("10.1.9.9", "wide", true),
            ("10.1.9.9", "wid", false),
            ("192.0.2.1", "wide", false),
        ] {
            assert_eq!(site.takes_community(address(source), community.as_bytes()), taken, "{source} {community}");
        }
        let (open, _) = Site::compile(settings(r#"{"format":1,"rules":[]}"#), &find("passphrase"), None);
        assert!(open.takes_community(address("192.0.2.1"), b"any"), "without grants any is taken");
    }

    #[test]
    fn relays_zones_and_resets_are_as_configured() {
        let (site, _) = Site::compile(settings(DOCUMENT), &find("passphrase"), None);
        assert!(site.trusts_relay(address("10.0.0.7")) && !site.trusts_relay(address("10.0.0.8")));
        let zone = |source| format!("{:?}", site.zone(address(source)));
        assert_eq!(zone("10.0.0.8"), format!("{:?}", Zone::parse("+02:00").unwrap()));
        assert_eq!(zone("192.0.2.1"), format!("{:?}", Zone::UTC));
        assert_eq!(site.resets(), [Reset { engine: "80001f8801".parse().unwrap(), serial: 3 }]);
    }

    #[test]
    fn a_missing_or_short_secret_is_told_with_its_place_and_fails_closed() {
        let (site, problems) = Site::compile(settings(DOCUMENT), &|_| None, None);
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["snmp.users[0].auth.secret", "snmp.users[0].priv.secret", "snmp.communities[0].secrets[0]", "snmp.communities[1].secrets[0]"]
        );
        assert!(problems.iter().all(|problem| problem.reason.contains("seal it first")));
        assert!(!site.takes_community(address("10.9.9.9"), b"wide"), "a grant without its community takes none");
        assert_eq!(site.warnings().len(), 4);
        let (_, problems) = Site::compile(settings(DOCUMENT), &find("short"), None);
        assert!(problems.first().unwrap().reason.contains("fewer than 8"));
    }

    #[test]
    fn users_are_hashed_again_only_when_they_or_their_secrets_change() {
        let (first, _) = Site::compile(settings(DOCUMENT), &find("passphrase"), None);
        let (same, _) = Site::compile(settings(DOCUMENT), &find("passphrase"), Some(&first));
        assert!(Arc::ptr_eq(first.users(), same.users()));
        let (rotated, _) = Site::compile(settings(DOCUMENT), &find("another passphrase"), Some(&same));
        assert!(!Arc::ptr_eq(same.users(), rotated.users()));
    }
}
