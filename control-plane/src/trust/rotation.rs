//! The steps by which keys are replaced. Each changes files only; whether a step is safe yet is [`Readiness`]'s to say.

use std::net::Ipv6Addr;
use std::path::Path;

use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::ServerName;

use super::ring::{NextAuthority, NextKey, Ring, RingError, Stage};
use crate::ca::{CaError, CertificateAuthority};
use crate::key_file::{self, KeyFileError};
use crate::store::certificates::GatewayTrust;

/// Most further addresses; gateways refuse more.
const MAX_ADDRESSES: usize = 8;

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The authority cannot be made.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The key cannot be made.
    #[error("a key cannot be made")]
    Key(#[source] rcgen::Error),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It is no address.
    #[error("{0:?} is not host:port, as in control.example.com:443 or [2001:db8::1]:443")]
    Address(String),
    /// Another step comes first.
    #[error("{0}")]
    Order(&'static str),
    /// The ring cannot be changed.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Gateways take no more.
    #[error("{0} addresses are more than {MAX_ADDRESSES}")]
    TooManyAddresses(usize),
}

/// Tells gateways where else this control plane is found, in place of what they were told before.
///
/// # Errors
/// [`RotationError::Address`] for the first that is none.
pub fn set_addresses(folder: &Path, addresses: Vec<String>) -> Result<(), RotationError> {
    if addresses.len() > MAX_ADDRESSES {
        return Err(RotationError::TooManyAddresses(addresses.len()));
    }
    if let Some(bad) = addresses.iter().find(|address| !is_address(address)) {
        return Err(RotationError::Address(bad.clone()));
    }
    Ring::change(folder, |ring| {
        ring.addresses = addresses;
        Ok(())
    })
}

/// Whether a text is `host:port`, an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => ServerName::try_from(host).is_ok() && host.parse::<Ipv6Addr>().is_err(),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Makes the next certificate authority. Gateways are told of it from then on; it issues nothing for them.
///
/// # Errors
/// [`RotationError::Order`] when there is one already.
pub fn prepare_authority(folder: &Path, now: Timestamp) -> Result<(), RotationError> {
    Ring::change(folder, |ring| {
        if ring.next_authority.is_some() {
            return Err(RotationError::Order("the next authority is there already: go on with --switch, then --finish"));
        }
        let name = ring.fresh_name("ca");
        remove(folder, &name);
        CertificateAuthority::create(folder, &name, now)?;
        ring.next_authority = Some(NextAuthority { name, since: ring.coming_serial(), stage: Stage::Prepared });
        Ok(())
    })
}

/// Lets the next authority issue. Certificates of the one before stay good.
///
/// # Errors
/// [`RotationError::Order`] when none is prepared.
pub fn switch_authority(folder: &Path) -> Result<(), RotationError> {
    Ring::change(folder, |ring| match &mut ring.next_authority {
        Some(next) if next.stage == Stage::Prepared => {
            next.stage = Stage::Switched;
            Ok(())
        }
        Some(_) => Err(RotationError::Order("the next authority issues already: go on with --finish")),
        None => Err(RotationError::Order("there is no next authority: begin with --prepare")),
    })
}

/// Ends the old authority and removes its key.
///
/// # Errors
/// [`RotationError::Order`] when the next one does not issue yet.
pub fn finish_authority(folder: &Path) -> Result<(), RotationError> {
    let old = Ring::change(folder, |ring| match ring.next_authority.take() {
        Some(next) if next.stage == Stage::Switched => Ok(std::mem::replace(&mut ring.authority, next.name)),
        Some(_) => Err(RotationError::Order("the next authority does not issue yet: go on with --switch")),
        None => Err(RotationError::Order("there is no next authority: begin with --prepare")),
    })?;
    remove(folder, &old);
    Ok(())
}

/// Puts a fresh key in the place of the tunnel's next one: when that may have been seen by others.
///
/// # Errors
/// [`RotationError`] when it cannot be made.
pub fn prepare_pin(folder: &Path) -> Result<(), RotationError> {
    let old = Ring::change(folder, |ring| {
        let next = fresh_key(folder, ring)?;
        Ok::<_, RotationError>(std::mem::replace(&mut ring.next_tunnel, next).name)
    })?;
    remove(folder, &old);
    Ok(())
}

/// Lets the tunnel show its next key, and makes the one after that.
///
/// # Errors
/// [`RotationError`] when that cannot be made.
pub fn switch_pin(folder: &Path) -> Result<(), RotationError> {
    let old = Ring::change(folder, |ring| {
        let next = fresh_key(folder, ring)?;
        let current = std::mem::replace(&mut ring.next_tunnel, next);
        Ok::<_, RotationError>(std::mem::replace(&mut ring.tunnel, current.name))
    })?;
    remove(folder, &old);
    Ok(())
}

fn fresh_key(folder: &Path, ring: &mut Ring) -> Result<NextKey, RotationError> {
    let name = ring.fresh_name("tunnel");
    remove(folder, &name);
    let key = KeyPair::generate().map_err(RotationError::Key)?;
    key_file::create(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
    Ok(NextKey { name, since: ring.coming_serial() })
}

/// Removes a key that is not in use; one that stays harms nothing, its name is never used again.
fn remove(folder: &Path, name: &str) {
    for end in ["key", "pem"] {
        let _absent = std::fs::remove_file(folder.join(format!("{name}.{end}")));
    }
}

/// Which step is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`finish_authority`]
    FinishAuthority,
    /// [`switch_authority`]
    SwitchAuthority,
    /// [`switch_pin`]
    SwitchPin,
}

/// A gateway for which a step would come too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// Which.
    pub gateway: GatewayId,
    /// Why, and what would become of it.
    pub reason: String,
}

/// Whether a step is safe.
pub struct Readiness<'a> {
    /// The ring before the step.
    pub ring: &'a Ring,
    /// SHA-256 of the SPKI of the next authority.
    pub next_authority: Option<[u8; 32]>,
}

impl Readiness<'_> {
    /// Returns the gateways for which `step` would come too early. Revoked ones do not count. Pure.
    pub fn missing(&self, step: Step, gateways: &[GatewayTrust]) -> Vec<NotReady> {
        let standing = gateways.iter().filter(|gateway| !gateway.is_revoked);
        standing.filter_map(|gateway| Some(NotReady { gateway: gateway.gateway.clone(), reason: self.reason(step, gateway)? })).collect()
    }

    fn reason(&self, step: Step, gateway: &GatewayTrust) -> Option<String> {
        let away = if gateway.is_connected { "" } else { "; it is not connected" };
        let has = |since: u64| gateway.confirmed >= since;
        let refused = gateway.refused.as_ref().map(|why| format!(": it refused ({why})")).unwrap_or_default();
        let since_authority = self.ring.next_authority.as_ref().map_or(0, |next| next.since);
        match step {
            // One that is away is told when it comes back, before it renews.
            Step::SwitchAuthority if gateway.is_connected && !has(since_authority) => {
                Some(format!("it has not confirmed the next authority{refused}"))
            }
            Step::SwitchAuthority => None,
            Step::SwitchPin if !has(self.ring.next_tunnel.since) => {
                Some(format!("it has not confirmed the next pin{refused}{away}: it would have to be enrolled anew"))
            }
            Step::SwitchPin => None,
            Step::FinishAuthority if !has(since_authority) => {
                Some(format!("it has not confirmed the next authority{refused}{away}: it would have to be enrolled anew"))
            }
            Step::FinishAuthority if gateway.issuer != self.next_authority => {
                Some(format!("its certificate is still of the old authority{away}: it would have to be enrolled anew"))
            }
            Step::FinishAuthority => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Trust;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn keys() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        CertificateAuthority::create(folder.path(), "ca", NOW).unwrap();
        crate::tls::create_keys(folder.path()).unwrap();
        folder
    }

    fn spki(authority: &CertificateAuthority) -> [u8; 32] {
        authority.spki_sha256()
    }

    #[test]
    fn an_authority_is_replaced_in_three_steps_and_in_no_other_order() {
        let folder = keys();
        let path = folder.path();
        let old = spki(Trust::load(path).unwrap().issuing());
        assert!(matches!(switch_authority(path), Err(RotationError::Order(_))));
        assert!(matches!(finish_authority(path), Err(RotationError::Order(_))));
        prepare_authority(path, NOW).unwrap();
        assert!(matches!(prepare_authority(path, NOW), Err(RotationError::Order(_))));
        assert!(matches!(finish_authority(path), Err(RotationError::Order(_))));
        let trust = Trust::load(path).unwrap();
        assert_eq!((spki(trust.issuing()), spki(trust.presented()), trust.certificates().len()), (old, old, 2));
        switch_authority(path).unwrap();
        let trust = Trust::load(path).unwrap();
        let new = spki(trust.issuing());
        assert_eq!((spki(trust.presented()), trust.certificates().len()), (old, 2));
        assert_ne!(new, old);
        finish_authority(path).unwrap();
        let trust = Trust::load(path).unwrap();
        assert_eq!((spki(trust.issuing()), spki(trust.presented()), trust.certificates().len()), (new, new, 1));
        assert!(!path.join("ca.key").exists(), "the old key is gone");
        assert_eq!(trust.ring().serial, 3);
    }

    #[test]
    fn the_tunnels_next_key_takes_its_place_and_gets_a_successor() {
        let folder = keys();
        let before = Trust::load(folder.path()).unwrap().pins();
        switch_pin(folder.path()).unwrap();
        let after = Trust::load(folder.path()).unwrap().pins();
        assert_eq!(after[0], before[1]);
        assert!(!before.contains(&after[1]));
        assert!(!folder.path().join("tunnel.key").exists());
        prepare_pin(folder.path()).unwrap();
        let replaced = Trust::load(folder.path()).unwrap().pins();
        assert_eq!(replaced[0], after[0]);
        assert_ne!(replaced[1], after[1]);
    }

    #[test]
    fn gateways_are_told_of_further_addresses_and_of_nothing_that_is_none() {
        let folder = keys();
        let told = |addresses: &[&str]| set_addresses(folder.path(), addresses.iter().map(|&text| text.to_owned()).collect());
        for bad in
            ["control.example", "control.example:0", "control.example:70000", "2001:db8::1:443", "[192.0.2.1]:443", "a b:443", ":443"]
        {
            assert!(matches!(told(&[bad]), Err(RotationError::Address(text)) if text == bad));
        }
        assert!(matches!(told(&["a:1"; 9]), Err(RotationError::TooManyAddresses(9))));
        let good = ["control.example:443", "192.0.2.1:8443", "[2001:db8::1]:443"];
        told(&good).unwrap();
        let signer = crate::signer::Signer::create(&folder.path().join("revision.key")).unwrap();
        let trust = Trust::load(folder.path()).unwrap();
        let bundle = trust.bundle(&GatewayId::new("gw").unwrap(), &signer).unwrap();
        assert_eq!((bundle.addresses.as_slice(), bundle.serial), (good.map(str::to_owned).as_slice(), 1));
        told(&[]).unwrap();
        let trust = Trust::load(folder.path()).unwrap();
        assert_eq!((trust.ring().addresses.len(), trust.ring().serial), (0, 2));
    }

    fn gateway(confirmed: u64, issuer: Option<[u8; 32]>) -> GatewayTrust {
        GatewayTrust {
            gateway: GatewayId::new("gw").unwrap(),
            name: "Site".to_owned(),
            is_revoked: false,
            is_connected: true,
            confirmed,
            refused: None,
            issuer,
        }
    }

    #[test]
    fn a_step_waits_for_the_gateways_that_it_would_shut_out() {
        let next_authority = Some(NextAuthority { name: "ca-2".to_owned(), since: 4, stage: Stage::Switched });
        let ring = Ring { serial: 5, next_authority, next_tunnel: NextKey { name: "t".to_owned(), since: 3 }, ..Ring::default() };
        let readiness = Readiness { ring: &ring, next_authority: Some([7; 32]) };
        let waits = |step, gateway: GatewayTrust| !readiness.missing(step, &[gateway]).is_empty();
        assert!(waits(Step::SwitchPin, gateway(2, None)) && !waits(Step::SwitchPin, gateway(3, None)));
        assert!(waits(Step::SwitchAuthority, gateway(3, None)) && !waits(Step::SwitchAuthority, gateway(4, None)));
        assert!(!waits(Step::SwitchAuthority, GatewayTrust { is_connected: false, ..gateway(0, None) }));
        assert!(waits(Step::FinishAuthority, gateway(3, Some([7; 32]))));
        assert!(waits(Step::FinishAuthority, gateway(5, Some([6; 32]))) && waits(Step::FinishAuthority, gateway(5, None)));
        assert!(!waits(Step::FinishAuthority, gateway(5, Some([7; 32]))));
        let revoked = GatewayTrust { is_revoked: true, ..gateway(0, None) };
        assert!(!waits(Step::FinishAuthority, revoked));
    }
}
