//! The vault: what it opens, what it refuses, and what rests in its files.

use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;

/// What no file may hold in clear.
const MARK: &str = "maplesyrup-mark-7vk3wd9tp2xr";

struct Site {
    dir: tempfile::TempDir,
    signer: Ed25519KeyPair,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), signer: Ed25519KeyPair::generate().unwrap() }
    }

    fn open(&self) -> Vault {
        self.open_with(None).unwrap()
    }

    fn open_with(&self, credentials: Option<&Path>) -> Result<Vault, VaultError> {
        Vault::open(&self.dir.path().join("vault"), credentials, owner())
    }

    fn signers(&self) -> Signers {
        Signers::fixed(owner().gateway, vec![self.signer.public_key().as_ref().try_into().unwrap()])
    }

    fn sign(&self, serial: u64, secrets: Vec<SealedSecret>) -> SealedSecrets {
        let input = secret::signing_input(&owner().gateway, serial, &secrets);
        SealedSecrets { serial, secrets, signature: self.signer.sign(&input).as_ref().to_vec() }
    }

    fn take(&self, vault: &mut Vault, serial: u64, secrets: Vec<SealedSecret>) -> Result<Changed, VaultError> {
        vault.take(&self.sign(serial, secrets), &self.signers())
    }
}

fn owner() -> Owner {
    Owner { tenant: TenantId::new("acme").unwrap(), gateway: GatewayId::new("gw-1").unwrap() }
}

/// Seals as a browser does.
fn seal_in(context: &str, public_key: &[u8], content: &[u8]) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap()).unwrap();
    let (mut key, mut nonce) = ([0; 32], [0; 12]);
    rand::fill(&mut key).unwrap();
    rand::fill(&mut nonce).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, Some(context.as_bytes())).unwrap();
    let mut sealed = content.to_vec();
    let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    aead.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed).unwrap();
    [&[secret::FORMAT][..], &u16::try_from(wrapped.len()).unwrap().to_be_bytes(), wrapped, &nonce, &sealed].concat()
}

fn seal(vault: &Vault, name: &str, version: u32, content: &str) -> SealedSecret {
    let context = secret::context(&owner().tenant, &owner().gateway, name, version);
    SealedSecret { name: name.to_owned(), version, sealed: seal_in(&context, vault.public_key_der(), content.as_bytes()) }
}

fn content(vault: &Vault, name: &str) -> Option<String> {
    vault.secret(name).map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
}

#[test]
fn what_is_sealed_to_it_opens_and_survives_a_restart() {
    let site = Site::new();
    let mut vault = site.open();
    assert_eq!((vault.serial(), vault.report()), (0, Vec::new()));
    let secrets = vec![seal(&vault, "a.auth", 1, "first"), seal(&vault, "b.auth", 3, "second")];
    assert_eq!(site.take(&mut vault, 7, secrets).unwrap(), Changed::Yes);
    for vault in [vault.clone(), site.open()] {
        assert_eq!((content(&vault, "a.auth").as_deref(), content(&vault, "b.auth").as_deref()), (Some("first"), Some("second")));
        assert_eq!((vault.serial(), content(&vault, "c")), (7, None));
        assert!(vault.report().iter().all(|secret| secret.problem.is_empty()));
    }
    assert_eq!((site.open().public_key_der(), site.open().fingerprint()), (vault.public_key_der(), vault.fingerprint()));
}

#[test]
fn only_its_owner_can_read_the_files_and_none_holds_a_secret_in_clear() {
    let site = Site::new();
    let mut vault = site.open();
    let secrets = vec![seal(&vault, "a", 1, MARK)];
    site.take(&mut vault, 1, secrets).unwrap();
    let dir = site.dir.path().join("vault");
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()), "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["machine.key", "sealing.key", "secrets.bin"]);
}

#[test]
fn a_seal_for_another_tenant_gateway_name_or_version_does_not_open_and_spoils_no_other() {
    let site = Site::new();
    let mut vault = site.open();
    let contexts = ["acmf|gw-1|a|1", "acme|gw-2|a|1", "acme|gw-1|b|1", "acme|gw-1|a|2"];
    for (serial, context) in (1..).zip(contexts) {
        let sealed = seal_in(&format!("postern-secret-v1|{context}"), vault.public_key_der(), b"x");
        let wrong = SealedSecret { name: "a".to_owned(), version: 1, sealed };
        let good = seal(&vault, "z", 1, "good");
        site.take(&mut vault, serial, vec![wrong, good]).unwrap();
        assert_eq!((content(&vault, "a"), content(&vault, "z").as_deref()), (None, Some("good")), "{context}");
        assert!(vault.report()[0].problem.contains("another gateway, name or version"), "{context}");
    }
    assert!(site.open().report()[0].problem.contains("seal it again"), "the problem is kept");
}

#[test]
fn an_altered_truncated_empty_or_overlong_secret_keeps_a_problem() {
    let site = Site::new();
    let mut vault = site.open();
    let good = seal(&vault, "a", 1, "passphrase");
    let mut cases = vec![Vec::new(), good.sealed[..40].to_vec()];
    for at in [0, 1, 20, good.sealed.len() - 30, good.sealed.len() - 1] {
        let mut altered = good.sealed.clone();
        altered[at] ^= 1;
        cases.push(altered);
    }
    cases.push(seal(&vault, "a", 1, "").sealed);
    cases.push(seal(&vault, "a", 1, &"x".repeat(secret::MAX_CONTENT_BYTES + 1)).sealed);
    for (serial, sealed) in (1..).zip(cases) {
        site.take(&mut vault, serial, vec![SealedSecret { sealed, ..good.clone() }]).unwrap();
        assert_eq!(content(&vault, "a"), None);
        assert!(!vault.report()[0].problem.is_empty());
    }
    site.take(&mut vault, 100, vec![good]).unwrap();
    assert_eq!(content(&vault, "a").as_deref(), Some("passphrase"));
}

#[test]
fn a_set_that_is_altered_unsigned_or_for_another_gateway_is_refused() {
    let site = Site::new();
    let mut vault = site.open();
    let good = site.sign(5, vec![seal(&vault, "a", 1, "x")]);
    let other = Signers { gateway: GatewayId::new("gw-2").unwrap(), ..site.signers() };
    assert!(matches!(vault.take(&good, &other), Err(VaultError::Signature)));
    assert!(matches!(vault.take(&good, &Site::new().signers()), Err(VaultError::Signature)), "another signer");
    for alter in [
        |set: &mut SealedSecrets| set.serial += 1,
        |set: &mut SealedSecrets| set.secrets.clear(),
        |set: &mut SealedSecrets| set.secrets[0].version += 1,
        |set: &mut SealedSecrets| set.secrets[0].name.push('b'),
        |set: &mut SealedSecrets| set.secrets[0].sealed[300] ^= 1,
        |set: &mut SealedSecrets| set.signature.clear(),
    ] {
        let mut set = good.clone();
        alter(&mut set);
        assert!(matches!(vault.take(&set, &site.signers()), Err(VaultError::Signature)));
    }
    assert_eq!(vault.serial(), 0);
    vault.take(&good, &site.signers()).unwrap();
}

#[test]
fn an_older_set_is_refused_and_the_same_one_changes_nothing() {
    let site = Site::new();
    let mut vault = site.open();
    let old = vec![seal(&vault, "a", 1, "old")];
    let new = vec![seal(&vault, "a", 2, "new")];
    site.take(&mut vault, 2, new.clone()).unwrap();
    assert_eq!(site.take(&mut vault, 2, new.clone()).unwrap(), Changed::No);
    assert!(matches!(site.take(&mut vault, 1, old.clone()), Err(VaultError::Older { held: 2, sent: 1 })));
    assert!(matches!(site.take(&mut site.open(), 1, old.clone()), Err(VaultError::Older { .. })), "also after a restart");
    assert_eq!(site.take(&mut vault, 3, new).unwrap(), Changed::No, "the same secrets under a newer serial");
    site.take(&mut vault, 4, old).unwrap();
    assert_eq!(content(&vault, "a").as_deref(), Some("new"), "an older version of a secret that is held does not come back");
}

#[test]
fn what_is_not_in_the_set_is_forgotten() {
    let site = Site::new();
    let mut vault = site.open();
    let secrets = vec![seal(&vault, "a", 1, "x"), seal(&vault, "b", 1, "y")];
    site.take(&mut vault, 1, secrets.clone()).unwrap();
    assert_eq!(site.take(&mut vault, 2, secrets[..1].to_vec()).unwrap(), Changed::Yes);
    assert_eq!((content(&vault, "b"), content(&site.open(), "b")), (None, None));
}

#[test]
fn a_malformed_set_is_refused_whole() {
    let site = Site::new();
    let mut vault = site.open();
    let (a, b) = (seal(&vault, "a", 1, "x"), seal(&vault, "b", 1, "y"));
    let named = SealedSecret { name: "../a".to_owned(), ..a.clone() };
    for set in [vec![b.clone(), a.clone()], vec![a.clone(), a.clone()], vec![named], vec![a; secret::MAX_SECRETS + 1]] {
        assert!(matches!(site.take(&mut vault, 1, set), Err(VaultError::Malformed(_))));
    }
    assert_eq!(vault.serial(), 0);
}

#[test]
fn secrets_rest_under_the_machine_key_and_are_asked_for_again_when_that_has_changed() {
    let site = Site::new();
    let mut vault = site.open();
    let secrets = vec![seal(&vault, "a", 1, "x")];
    site.take(&mut vault, 1, secrets.clone()).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("postern-machine-key"), [7; 32]).unwrap();
    let mut vault = site.open_with(Some(credentials.path())).unwrap();
    assert_eq!((vault.serial(), content(&vault, "a")), (0, None));
    site.take(&mut vault, 1, secrets).unwrap();
    assert_eq!(content(&site.open_with(Some(credentials.path())).unwrap(), "a").as_deref(), Some("x"));
    std::fs::write(credentials.path().join("postern-machine-key"), [7; 31]).unwrap();
    assert!(matches!(site.open_with(Some(credentials.path())), Err(VaultError::MachineKey { .. })));
}

#[test]
fn a_damaged_file_counts_as_none() {
    let site = Site::new();
    let mut vault = site.open();
    let secrets = vec![seal(&vault, "a", 1, "x")];
    site.take(&mut vault, 1, secrets).unwrap();
    let path = site.dir.path().join("vault/secrets.bin");
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 4, 20, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(site.open().serial(), 0, "byte {at}");
    }
    std::fs::write(&path, b"PV").unwrap();
    assert_eq!(site.open().serial(), 0);
    let key = site.dir.path().join("vault/sealing.key");
    std::fs::write(&key, b"damaged").unwrap();
    assert_ne!(site.open().fingerprint(), vault.fingerprint());
    assert_eq!(std::fs::read(key.with_extension("damaged")).unwrap(), b"damaged");
}
