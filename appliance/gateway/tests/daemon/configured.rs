//! Puts a revision in force and secrets into the vault, as a control plane would have, by writing the files that are left of that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf};
use data_encoding::BASE64;
use nix::time::{ClockId, clock_gettime};
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision;

use crate::site::{Site, write_secret};

/// What the test's machine key is made of.
const MACHINE_KEY: [u8; 32] = [5; 32];

impl Site {
    /// Puts a document in force from the next start on.
    pub(crate) fn configure(&self, number: u64, document: &serde_json::Value) {
        self.keep("effective.json", number, document, None);
    }

    /// Makes a document the last confirmed one, from the next start on.
    pub(crate) fn confirm(&self, number: u64, document: &serde_json::Value) {
        self.keep("confirmed.json", number, document, None);
    }

    /// Puts a document in force on trial for so long from now on, taken in as the newest.
    pub(crate) fn try_out(&self, number: u64, document: &serde_json::Value, within: Duration) {
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let trial = serde_json::json!({
            "until": u64::try_from((wall + within).as_nanos()).unwrap(),
            "until_since_boot_ms": u64::try_from((since_boot + within).as_millis()).unwrap(),
            "within_s": within.as_secs(), "unclean_starts": 0, "stopped": true
        });
        self.keep("newest.json", number, document, None);
        self.keep("effective.json", number, document, Some(trial));
    }

    fn keep(&self, file: &str, number: u64, document: &serde_json::Value, trial: Option<serde_json::Value>) {
        let document = document.to_string();
        let gateway = GatewayId::new("gw-test").unwrap();
        let signature = self.signer.sign(&revision::signing_input(&gateway, RevisionNumber(number), document.as_bytes()));
        let mut stored = serde_json::json!({
            "number": number, "document": BASE64.encode(document.as_bytes()), "signature": BASE64.encode(signature.as_ref())
        });
        if let Some(trial) = trial {
            stored["trial"] = trial;
        }
        std::fs::create_dir_all(self.path("data/revisions")).unwrap();
        std::fs::write(self.path("data/revisions").join(file), stored.to_string()).unwrap();
    }

    /// Puts secrets into the vault of a gateway that does not run.
    pub(crate) fn keep_secrets(&self, secrets: &[(&str, &str)]) {
        let mut body = 1_u64.to_be_bytes().to_vec();
        body.extend(u32::try_from(secrets.len()).unwrap().to_be_bytes());
        for (name, content) in secrets {
            body.push(u8::try_from(name.len()).unwrap());
            body.extend(name.as_bytes());
            body.extend(1_u32.to_be_bytes());
            body.extend(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
            body.push(1);
            body.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            body.extend(content.as_bytes());
        }
        let mut key = [0; 32];
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&MACHINE_KEY);
        secret.expand(&[b"postern-vault-at-rest-v1"], hkdf::HKDF_SHA256).unwrap().fill(&mut key).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let (nonce, context) = ([9; 12], b"postern-vault-v1|default|gw-test");
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut body).unwrap();
        std::fs::create_dir_all(self.path("data/vault")).unwrap();
        for (name, content) in [("machine.key", MACHINE_KEY.to_vec()), ("secrets.bin", [b"PVS1", &nonce[..], &body].concat())] {
            let _ = std::fs::remove_file(self.path("data/vault").join(name));
            write_secret(&self.path("data/vault").join(name), &content);
        }
    }
}
