//! A control plane's authority, servers that it or others vouch for, and an identity that enrolment could have written.

use std::path::Path;

use data_encoding::BASE64;
use postern_uplink::tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's chain and key.
pub(crate) struct Server {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.as_ref().der().clone()
    }

    /// Issues a certificate for loopback that is valid between two points of time, seen from now.
    pub(crate) fn server(&self, key: KeyPair, (from, to): (Duration, Duration)) -> Server {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "control plane");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now + from, now + to);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Server { chain: vec![certificate.der().clone(), self.der()], key }
    }

    /// Writes an identity whose authority this is, and which expects a server with one of these keys.
    pub(crate) fn identity(&self, dir: &Path, pins: &[[u8; 32]]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gw-1");
        params.distinguished_name.push(DnType::OrganizationName, "acme");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&key, &self.0).unwrap().pem();
        for name in ["client", "listener"] {
            std::fs::write(dir.join(format!("{name}.pem")), &client).unwrap();
            std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        std::fs::write(dir.join("ca.pem"), self.0.pem()).unwrap();
        let pins: Vec<String> = pins.iter().map(|pin| BASE64.encode(pin)).collect();
        let json = serde_json::json!({
            "gateway": "gw-1", "tenant": "acme", "server_url": "https://127.0.0.1:1", "server_pins": pins, "revision_keys": [],
        });
        std::fs::write(dir.join("gateway.json"), json.to_string()).unwrap();
    }
}

/// Valid for a year around now.
pub(crate) fn around_now() -> (Duration, Duration) {
    (Duration::days(-180), Duration::days(180))
}

pub(crate) fn fresh_key() -> KeyPair {
    KeyPair::generate().unwrap()
}

impl Server {
    pub(crate) fn pin(&self) -> [u8; 32] {
        tls::spki_sha256(&self.chain[0]).unwrap()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}
