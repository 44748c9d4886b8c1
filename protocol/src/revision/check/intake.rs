//! The meaning of the `snmp` and `sources` sections.

use std::collections::BTreeSet;

use super::Problems;
use crate::revision::intake::{AuthAlgorithm, PrivAlgorithm, SecurityLevel, Snmp, SourceFacts, User, WeakAlgorithm};
use crate::revision::locate::Place;
use crate::revision::time_zone::TimeZone;

/// Most SNMPv3 users of a document.
const MAX_USERS: usize = 4_096;

/// Most entries of each other list.
const MAX_ENTRIES: usize = 4_096;

/// Most bytes of a source's name, site, owner or group.
const MAX_FACT_BYTES: usize = 128;

/// Checks the `snmp` section.
pub(super) fn snmp(snmp: &Snmp, place: &Place<'_>, problems: &mut Problems<'_>) {
    bounded(snmp.users.len(), MAX_USERS, &place.key("users"), problems);
    for (index, one) in snmp.users.iter().enumerate() {
        user(one, snmp, &place.key("users").index(index), problems);
    }
    bounded(snmp.communities.len(), MAX_ENTRIES, &place.key("communities"), problems);
    for (index, grant) in snmp.communities.iter().enumerate() {
        let list = place.key("communities");
        let place = list.index(index);
        networks(&grant.sources, &place.key("sources"), problems);
        if grant.secrets.is_empty() {
            problems.add(&place.key("secrets"), "name at least one secret");
        }
        for (index, name) in grant.secrets.iter().enumerate() {
            secret(name, &place.key("secrets").index(index), problems);
        }
    }
    if !snmp.trusted_relays.is_empty() {
        networks(&snmp.trusted_relays, &place.key("trusted_relays"), problems);
    }
    bounded(snmp.engine_resets.len(), MAX_ENTRIES, &place.key("engine_resets"), problems);
    let mut seen = BTreeSet::new();
    for (index, reset) in snmp.engine_resets.iter().enumerate() {
        let list = place.key("engine_resets");
        let entry = list.index(index);
        engine(&reset.engine, &entry.key("engine"), problems);
        if !seen.insert(reset.engine.to_ascii_lowercase()) {
            problems.add(&entry.key("engine"), "this engine has a reset already: count its serial up");
        }
    }
}

/// Checks the `sources` section.
pub(super) fn sources(sources: &[SourceFacts], place: &Place<'_>, problems: &mut Problems<'_>) {
    bounded(sources.len(), MAX_ENTRIES, place, problems);
    for (index, facts) in sources.iter().enumerate() {
        let place = place.index(index);
        networks(&facts.networks, &place.key("networks"), problems);
        if let Some(error) = facts.time_zone.as_deref().and_then(|zone| TimeZone::parse(zone).err()) {
            problems.add(&place.key("time_zone"), error);
        }
        for (key, text) in [("name", &facts.name), ("site", &facts.site), ("owner", &facts.owner), ("group", &facts.group)] {
            if text.as_deref().is_some_and(|text| text.trim().is_empty() || text.len() > MAX_FACT_BYTES || text.contains(char::is_control))
            {
                let reason = format!("a text here has 1 to {MAX_FACT_BYTES} bytes and no control characters; leave it out for none");
                problems.add(&place.key(key), reason);
            }
        }
        super::rule::tags(&facts.tags, &place.key("tags"), problems);
    }
}

fn user(user: &User, snmp: &Snmp, place: &Place<'_>, problems: &mut Problems<'_>) {
    if user.name.is_empty() || user.name.len() > 32 {
        problems.add(&place.key("name"), "a user name has 1 to 32 bytes (RFC 3414 §5)");
    }
    for (index, id) in user.engines.iter().enumerate() {
        engine(id, &place.key("engines").index(index), problems);
    }
    if user.engines.is_empty() && user.sources.is_empty() {
        problems.add(place, "say which engines or which sources (networks) may use this user");
    }
    if !user.sources.is_empty() {
        networks(&user.sources, &place.key("sources"), problems);
    }
    if let Some(auth) = &user.auth {
        secret(&auth.secret, &place.key("auth").key("secret"), problems);
        if snmp.forbid_auth.contains(&auth.algorithm) {
            problems.add(&place.key("auth").key("algorithm"), "snmp.forbid_auth forbids this algorithm: choose another");
        } else if auth.algorithm == AuthAlgorithm::Md5 && !snmp.allow_weak.contains(&WeakAlgorithm::Md5) {
            problems.add(&place.key("auth").key("algorithm"), WEAK);
        }
    }
    if let Some(privacy) = &user.privacy {
        secret(&privacy.secret, &place.key("priv").key("secret"), problems);
        if user.auth.is_none() {
            problems.add(&place.key("priv"), "privacy needs auth (RFC 3411 §3.4.3)");
        }
        let weak = match privacy.algorithm {
            PrivAlgorithm::Des => Some(WeakAlgorithm::Des),
            PrivAlgorithm::TripleDes => Some(WeakAlgorithm::TripleDes),
            PrivAlgorithm::Aes128 | PrivAlgorithm::Aes192 | PrivAlgorithm::Aes256 => None,
        };
        if snmp.forbid_priv.contains(&privacy.algorithm) {
            problems.add(&place.key("priv").key("algorithm"), "snmp.forbid_priv forbids this algorithm: choose another");
        } else if weak.is_some_and(|weak| !snmp.allow_weak.contains(&weak)) {
            problems.add(&place.key("priv").key("algorithm"), WEAK);
        }
    }
    let highest = match (&user.auth, &user.privacy) {
        (None, _) => SecurityLevel::NoAuthNoPriv,
        (Some(_), None) => SecurityLevel::AuthNoPriv,
        (Some(_), Some(_)) => SecurityLevel::AuthPriv,
    };
    if user.minimum_level.is_some_and(|level| level > highest) {
        problems.add(&place.key("minimum_level"), "the user has no keys for this level: give auth and priv");
    }
}

const WEAK: &str = "this algorithm is weak and off: choose sha-256 and aes-128 or better, or name it in snmp.allow_weak";

fn engine(text: &str, place: &Place<'_>, problems: &mut Problems<'_>) {
    let good = (10..=64).contains(&text.len()) && text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !good {
        problems.add(place, "an engine ID is 5 to 32 bytes in hexadecimal (RFC 3411 §5), such as 80001f8880e9630000d61ff449");
    }
}

fn secret(name: &str, place: &Place<'_>, problems: &mut Problems<'_>) {
    if !crate::secret::is_name(name) {
        problems.add(place, "the name of a secret has 1 to 64 characters of a-z, 0-9, . _ -");
    }
}

fn networks(networks: &[String], place: &Place<'_>, problems: &mut Problems<'_>) {
    if networks.is_empty() {
        problems.add(place, "name at least one network, such as 10.0.0.0/8");
    }
    bounded(networks.len(), MAX_ENTRIES, place, problems);
    for (index, network) in networks.iter().enumerate() {
        if network.parse::<ipnet::IpNet>().is_err() {
            problems.add(&place.index(index), "not a network: write it as 10.0.0.0/8, a single address with /32 or /128");
        }
    }
}

fn bounded(count: usize, most: usize, place: &Place<'_>, problems: &mut Problems<'_>) {
    if count > most {
        problems.add(place, format!("{count} entries are more than {most}"));
    }
}
