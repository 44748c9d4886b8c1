//! Whose signature makes what is pushed authentic: revisions, secrets, dictionaries, receipts of the audit log.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::message::SignedRevision;
use postern_protocol::revision;
use tokio::sync::watch;

use crate::identity::trusted::Trusted;

/// Who may sign, and for whom.
#[derive(Clone)]
pub(crate) struct Signers {
    /// This gateway.
    pub(crate) gateway: GatewayId,
    /// Their keys are the signing keys of it.
    pub(crate) trusted: watch::Receiver<Trusted>,
}

impl Signers {
    /// Names those of an identity that does not change meanwhile.
    pub(crate) fn fixed(gateway: GatewayId, signing_keys: Vec<[u8; 32]>) -> Self {
        // The value outlives its sender.
        Self { gateway, trusted: watch::channel(Trusted { signing_keys, addresses: Vec::new() }).1 }
    }

    /// Tells whether one of the keys signed a revision for this gateway, with this number.
    pub(super) fn verify(&self, signed: &SignedRevision) -> bool {
        let input = revision::signing_input(&self.gateway, RevisionNumber(signed.number), &signed.document);
        self.signed(&input, &signed.signature)
    }

    /// Tells whether one of the keys signed `input`.
    pub(crate) fn signed(&self, input: &[u8], signature: &[u8]) -> bool {
        self.trusted.borrow().signing_keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(input, signature).is_ok())
    }
}
