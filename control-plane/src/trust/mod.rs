//! Whom gateways are to trust, and whom we trust: certificate authorities and the tunnel's pins, while they are replaced too.
//!
//! **Authority.** `--prepare` makes the next one and tells every gateway of it; `--switch` lets it issue, and gateways renew with it at
//! once; `--finish` ends the old one. In between both are trusted on both sides: the tunnel shows each gateway a certificate of the
//! authority that its ClientHello names (RFC 8446 §4.2.4), of the old one to a gateway that names none, so that one that was off all the
//! while comes back by itself. The **tunnel's key** has always a successor that gateways pin beside it.
//!
//! A gateway takes a [`TrustBundle`] only under a signature of the revision key; it keeps it, and says so, before anything is switched.
//! The command line changes the files; a running server notices ([`watch`]) and needs no restart.

pub mod ring;
pub mod rotation;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::id::GatewayId;
use postern_protocol::message::TrustBundle;
use postern_protocol::trust::signing_input;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::ring::{Ring, Stage};
use crate::app::App;
use crate::ca::{self, CertificateAuthority};
use crate::key_file;
use crate::signer::Signer;
use crate::tls::{ServerConfigs, TlsError};

/// How often a running server looks whether the command line changed the ring.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often our own certificates are looked at.
const RENEWAL_EVERY: Duration = Duration::from_secs(12 * 3600);

/// The keys in use, as one ring says.
pub struct Trust {
    ring: Ring,
    authority: CertificateAuthority,
    next: Option<(Stage, CertificateAuthority)>,
    /// SHA-256 of the SPKIs of the tunnel's key and of its successor.
    pins: [[u8; 32]; 2],
}

impl Trust {
    /// Loads the keys that the ring of `folder` names.
    ///
    /// # Errors
    /// [`TlsError`] when one cannot be read.
    pub fn load(folder: &Path) -> Result<Self, TlsError> {
        let ring = Ring::load(folder)?;
        let authority = CertificateAuthority::load(folder, &ring.authority)?;
        let next = match &ring.next_authority {
            Some(next) => Some((next.stage, CertificateAuthority::load(folder, &next.name)?)),
            None => None,
        };
        let pin = |name: &str| Ok::<_, TlsError>(ca::spki_sha256(&load_key(folder, name)?));
        let pins = [pin(&ring.tunnel)?, pin(&ring.next_tunnel.name)?];
        Ok(Self { ring, authority, next, pins })
    }

    /// Returns the ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Returns the authority that issues certificates now.
    pub fn issuing(&self) -> &CertificateAuthority {
        match &self.next {
            Some((Stage::Switched, next)) => next,
            Some((Stage::Prepared, _)) | None => &self.authority,
        }
    }

    /// Returns the authority that vouches for the tunnel and for enrolment towards whoever says nothing else: the old one, until the
    /// change of authorities is finished. Tokens name it.
    pub fn presented(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// Returns the authority that takes the place of the presented one.
    pub fn next(&self) -> Option<&CertificateAuthority> {
        self.next.as_ref().map(|(_, next)| next)
    }

    /// Returns the authorities whose certificates are good, the issuing one first.
    pub fn authorities(&self) -> Vec<&CertificateAuthority> {
        match &self.next {
            Some((Stage::Switched, next)) => vec![next, &self.authority],
            Some((Stage::Prepared, next)) => vec![&self.authority, next],
            None => vec![&self.authority],
        }
    }

    /// Returns the authority's certificate with this SHA-256 of its SubjectPublicKeyInfo, among those that are trusted.
    pub fn by_spki(&self, spki_sha256: [u8; 32]) -> Option<&CertificateAuthority> {
        self.authorities().into_iter().find(|authority| authority.spki_sha256() == spki_sha256)
    }

    /// Returns the certificates of the authorities that are trusted, the issuing one first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.authorities().into_iter().map(|authority| authority.certificate().clone()).collect()
    }

    /// Returns the same in PEM.
    pub fn pem(&self) -> String {
        self.authorities().into_iter().map(CertificateAuthority::pem).collect()
    }

    /// Returns SHA-256 of the SPKIs that the tunnel's server may present: the present one, then the next.
    pub fn pins(&self) -> [[u8; 32]; 2] {
        self.pins
    }

    /// Returns what `gateway` is to trust, signed; `None` as long as nothing has changed since `init`.
    pub fn bundle(&self, gateway: &GatewayId, signer: &Signer) -> Option<TrustBundle> {
        if self.ring.serial == 0 {
            return None;
        }
        let mut bundle = TrustBundle {
            serial: self.ring.serial,
            server_pins: self.pins.iter().map(|pin| pin.to_vec()).collect(),
            authorities: self.certificates().iter().map(|certificate| certificate.to_vec()).collect(),
            signing_keys: vec![signer.public_key().to_vec()],
            addresses: self.ring.addresses.clone(),
            signature: Vec::new(),
        };
        bundle.signature = signer.sign_input(&signing_input(gateway, &bundle));
        Some(bundle)
    }
}

/// Reads one of the control plane's TLS keys.
///
/// # Errors
/// [`TlsError`] when it cannot be read or is none.
pub(crate) fn load_key(folder: &Path, name: &str) -> Result<KeyPair, TlsError> {
    let pem = key_file::read(&folder.join(format!("{name}.key")))?;
    KeyPair::from_pem(&pem).map_err(|source| TlsError::Key { name: name.to_owned(), source })
}

/// The trust of a running control plane: whoever asks gets what is in force at that moment.
pub struct Authorities {
    folder: PathBuf,
    current: watch::Sender<Arc<Trust>>,
}

impl Authorities {
    /// Loads what the `keys` folder holds.
    ///
    /// # Errors
    /// [`TlsError`] when a key cannot be read.
    pub fn load(folder: &Path) -> Result<Self, TlsError> {
        Ok(Self { folder: folder.to_owned(), current: watch::Sender::new(Arc::new(Trust::load(folder)?)) })
    }

    /// Returns what is in force.
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.current.borrow())
    }

    /// Raises the serial above `serial`, which a gateway has from a state of our keys that was lost.
    ///
    /// # Errors
    /// [`TlsError`] when the ring cannot be written.
    pub(crate) fn raise(&self, serial: u64) -> Result<(), TlsError> {
        Ring::change(&self.folder, |ring| {
            ring.serial = ring.serial.max(serial.saturating_add(1));
            Ok::<_, TlsError>(())
        })?;
        self.reload()
    }

    fn reload(&self) -> Result<(), TlsError> {
        self.current.send_replace(Arc::new(Trust::load(&self.folder)?));
        Ok(())
    }
}

/// Watches the ring and our own certificates until `app.stop`: what changes is in force at once, and gateways are told.
pub async fn watch(app: Arc<App>, configs: watch::Sender<ServerConfigs>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut served = app.trust.current().ring.clone();
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let due = renewed.elapsed() >= RENEWAL_EVERY;
        match look(&app, &served, due) {
            Ok(None) => {}
            Ok(Some((ring, current))) => {
                renewed = tokio::time::Instant::now();
                configs.send_replace(current);
                if ring != served {
                    tracing::info!(serial = ring.serial, "trusted keys have changed: gateways are told");
                    served = ring;
                    app.gateways.connected().iter().for_each(|(_, gateway)| app.gateways.wake(gateway));
                }
            }
            Err(error) => tracing::error!(error = %crate::chain(&error), "our certificates cannot be renewed"),
        }
    }
}

fn look(app: &App, served: &Ring, due: bool) -> Result<Option<(Ring, ServerConfigs)>, TlsError> {
    let folder = app.config.keys();
    let ring = Ring::load(&folder)?;
    if ring == *served && !due {
        return Ok(None);
    }
    if ring != app.trust.current().ring {
        app.trust.reload()?;
    }
    let trust = app.trust.current();
    let configs = ServerConfigs::load(&folder, &trust, &app.config.names, app.now())?;
    Ok(Some((trust.ring.clone(), configs)))
}
