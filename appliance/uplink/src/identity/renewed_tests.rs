//! Crash points of the swap, and what is refused.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_protocol::id::{GatewayId, TenantId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::*;
use crate::identity::NewIdentity;
use crate::url::ServerUrl;

struct World {
    root: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
    signer: Ed25519KeyPair,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let name = format!(
        "CA {}",
        data_encoding::HEXLOWER.encode(&aws_lc_rs::rand::generate::<[u8; 4]>(&aws_lc_rs::rand::SystemRandom::new()).unwrap().expose())
    );
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificates(ca: &CertifiedIssuer<'static, KeyPair>, gateway: &str) -> NewCertificates {
    let issue = |usage| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["gw.lan".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, gateway);
        params.distinguished_name.push(DnType::OrganizationName, "acme");
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
    };
    let (client_certificate, client_key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (listener_certificate, listener_key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
    NewCertificates { client_certificate, client_key, listener_certificate, listener_key }
}

impl World {
    fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap(), ca: authority(), signer: Ed25519KeyPair::generate().unwrap() };
        let first = certificates(&world.ca, "gw-1");
        let new = NewIdentity {
            gateway: GatewayId::new("gw-1").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            server_url: ServerUrl::parse("https://cloud.example").unwrap(),
            server_pins: vec![BASE64.encode(&[1; 32]), BASE64.encode(&[2; 32])],
            revision_keys: vec![BASE64.encode(world.signer.public_key().as_ref())],
            client_chain: first.client_certificate.clone(),
            client_key: Zeroizing::new(first.client_key.clone()),
            listener_chain: first.listener_certificate.clone(),
            listener_key: Zeroizing::new(first.listener_key.clone()),
            ca: world.ca.pem(),
        };
        Identity::save(&new, &world.dir()).unwrap();
        world
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("identity")
    }

    fn renewed(&self) -> PathBuf {
        dir_beside(&self.dir())
    }

    fn load(&self) -> Identity {
        Identity::load(&self.dir()).unwrap()
    }

    fn bundle(&self, serial: u64, pins: &[u8], authorities: &[&CertifiedIssuer<'static, KeyPair>]) -> TrustBundle {
        let mut bundle = TrustBundle {
            serial,
            server_pins: pins.iter().map(|pin| vec![*pin; 32]).collect(),
            authorities: authorities.iter().map(|ca| ca.der().to_vec()).collect(),
            signing_keys: vec![self.signer.public_key().as_ref().to_vec()],
            ..TrustBundle::default()
        };
        bundle.signature = self.signer.sign(&signing_input(&GatewayId::new("gw-1").unwrap(), &bundle)).as_ref().to_vec();
        bundle
    }
}

fn refused(world: &World, bundle: &TrustBundle) -> Option<Distrusted> {
    world.load().with_trust(bundle).err()
}

#[test]
fn a_crash_at_any_point_of_the_swap_leaves_the_old_certificate_or_the_new_one() {
    let world = World::new();
    let (old, new) = (world.load(), certificates(&world.ca, "gw-1"));
    let renewed = old.with_certificates(&new).unwrap();
    let text = serde_json::to_vec(&new).unwrap();
    let staged = world.renewed().join("certificates.json.new");
    // Before anything; while the new file is made; when it is whole but not in place.
    fs::create_dir(world.renewed()).unwrap();
    assert_eq!(world.load().client_chain, old.client_chain);
    for bytes in [0, 1, text.len() / 2, text.len()] {
        fs::write(&staged, &text[..bytes]).unwrap();
        let loaded = world.load();
        assert_eq!(loaded.client_chain, old.client_chain, "{bytes} bytes were written");
        assert!(loaded.warnings.is_empty());
    }
    // The next renewal is not in the way of what an earlier one left.
    keep_certificates(&world.renewed(), &new).unwrap();
    let loaded = world.load();
    assert_eq!((&loaded.client_chain, &loaded.listener_chain), (&renewed.client_chain, &renewed.listener_chain));
    assert!(!staged.exists());
}

#[test]
fn what_is_damaged_is_left_aside_and_told() {
    let world = World::new();
    let old = world.load();
    keep_certificates(&world.renewed(), &certificates(&world.ca, "gw-1")).unwrap();
    for damage in ["", "{", "{\"client_certificate\":\"\"}"] {
        fs::write(world.renewed().join(CERTIFICATES), damage).unwrap();
        let loaded = world.load();
        assert_eq!(loaded.client_chain, old.client_chain);
        assert!(loaded.warnings.iter().any(|warning| warning.contains("certificates.json")), "{:?}", loaded.warnings);
    }
}

#[test]
fn certificates_of_another_gateway_authority_or_key_are_refused() {
    let world = World::new();
    let identity = world.load();
    let unfit = |new: &NewCertificates| identity.with_certificates(new).err();
    assert_eq!(unfit(&certificates(&world.ca, "gw-2")), Some(Unfit::Name));
    assert_eq!(unfit(&certificates(&authority(), "gw-1")), Some(Unfit::Untrusted));
    let (one, mut other) = (certificates(&world.ca, "gw-1"), certificates(&world.ca, "gw-1"));
    other.client_key = one.client_key.clone();
    assert_eq!(unfit(&other), Some(Unfit::Pair));
    let mut listener = certificates(&world.ca, "gw-1");
    listener.client_certificate = listener.listener_certificate.clone();
    listener.client_key = listener.listener_key.clone();
    assert_eq!(unfit(&listener), Some(Unfit::Untrusted), "a server's certificate is no client's");
}

#[test]
fn a_bundle_is_kept_as_it_was_signed_and_checked_at_every_load() {
    let world = World::new();
    let next = authority();
    let bundle = world.bundle(3, &[2, 3], &[&world.ca, &next]);
    assert!(world.load().with_trust(&bundle).is_ok());
    keep_trust(&world.renewed(), &bundle).unwrap();
    let loaded = world.load();
    assert_eq!((loaded.trust_serial, loaded.ca.len()), (3, 2));
    assert_eq!(loaded.server_pins, [[2; 32], [3; 32]]);
    // A daemon that was taken over can write here, but it cannot sign.
    let text = fs::read_to_string(world.renewed().join(TRUST)).unwrap();
    fs::write(world.renewed().join(TRUST), text.replace(&BASE64.encode(&[3; 32]), &BASE64.encode(&[9; 32]))).unwrap();
    let loaded = world.load();
    assert_eq!((loaded.trust_serial, loaded.server_pins), (0, vec![[1; 32], [2; 32]]));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("trust.json")));
}

#[test]
fn a_bundle_that_is_old_foreign_incomplete_or_abrupt_is_refused() {
    let world = World::new();
    assert_eq!(refused(&world, &world.bundle(0, &[1], &[&world.ca])), Some(Distrusted::Stale { serial: 0, held: 0 }));
    assert_eq!(refused(&world, &world.bundle(1, &[], &[&world.ca])), Some(Distrusted::Incomplete("pins")));
    assert_eq!(refused(&world, &world.bundle(1, &[1], &[])), Some(Distrusted::Incomplete("certificate authorities")));
    assert_eq!(refused(&world, &world.bundle(1, &[7, 8], &[&world.ca])), Some(Distrusted::NothingInCommon("pin")));
    assert_eq!(refused(&world, &world.bundle(1, &[1], &[&authority()])), Some(Distrusted::NothingInCommon("certificate authority")));
    let mut altered = world.bundle(1, &[1, 2], &[&world.ca]);
    altered.server_pins.push(vec![9; 32]);
    assert_eq!(refused(&world, &altered), Some(Distrusted::Signature));
    let other = World::new();
    assert_eq!(refused(&world, &other.bundle(1, &[1, 2], &[&world.ca])), Some(Distrusted::Signature));
}

fn with_addresses(world: &World, serial: u64, addresses: &[&str]) -> TrustBundle {
    let mut bundle = world.bundle(serial, &[1, 2], &[&world.ca]);
    bundle.addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    bundle.signature = world.signer.sign(&signing_input(&GatewayId::new("gw-1").unwrap(), &bundle)).as_ref().to_vec();
    bundle
}

#[test]
fn a_bundles_addresses_and_signing_keys_hold_at_once_and_after_a_restart() {
    let world = World::new();
    let mut bundle = with_addresses(&world, 1, &["192.0.2.9:443", "[2001:db8::1]:443"]);
    bundle.signing_keys.push(vec![7; 32]);
    bundle.signature = world.signer.sign(&signing_input(&GatewayId::new("gw-1").unwrap(), &bundle)).as_ref().to_vec();
    let trusting = world.load().with_trust(&bundle).unwrap();
    keep_trust(&world.renewed(), &bundle).unwrap();
    for identity in [trusting, world.load()] {
        let addresses: Vec<String> = identity.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.9:443", "[2001:db8::1]:443"]);
        assert_eq!((identity.revision_keys.len(), identity.revision_keys.last()), (2, Some(&[7; 32])));
    }
}

#[test]
fn an_address_that_is_none_refuses_a_new_bundle_and_leaves_a_kept_one_its_pins() {
    let world = World::new();
    let bad = with_addresses(&world, 1, &["no port"]);
    assert!(matches!(refused(&world, &bad), Some(Distrusted::Address { .. })));
    let many = with_addresses(&world, 1, &["192.0.2.9:443"; 9]);
    assert_eq!(refused(&world, &many), Some(Distrusted::TooManyAddresses(9)));
    keep_trust(&world.renewed(), &bad).unwrap();
    let identity = world.load();
    assert_eq!((identity.trust_serial, identity.addresses.len(), identity.warnings.len()), (1, 0, 1));
}

#[test]
fn a_new_enrolment_does_not_inherit_what_the_old_one_renewed() {
    let world = World::new();
    keep_certificates(&world.renewed(), &certificates(&world.ca, "gw-1")).unwrap();
    fs::rename(world.dir(), world.root.path().join("moved-away")).unwrap();
    let first = certificates(&world.ca, "gw-9");
    let new = NewIdentity {
        gateway: GatewayId::new("gw-9").unwrap(),
        tenant: TenantId::new("acme").unwrap(),
        server_url: ServerUrl::parse("https://cloud.example").unwrap(),
        server_pins: vec![BASE64.encode(&[1; 32])],
        revision_keys: vec![BASE64.encode(&[3; 32])],
        client_chain: first.client_certificate.clone(),
        client_key: Zeroizing::new(first.client_key.clone()),
        listener_chain: first.listener_certificate.clone(),
        listener_key: Zeroizing::new(first.listener_key.clone()),
        ca: world.ca.pem(),
    };
    let identity = Identity::save(&new, &world.dir()).unwrap();
    assert_eq!(identity.gateway.as_str(), "gw-9");
    assert!(identity.warnings.is_empty() && !world.renewed().exists());
}
