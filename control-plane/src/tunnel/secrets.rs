//! What a gateway has to be told of its secrets: the whole sealed set, signed, whenever it does not have the present one. Also notes
//! the key that its greeting says. Always read from the store.

use std::sync::Arc;

use postern_protocol::message::{Down, Hello, SealedSecrets, down};
use postern_protocol::secret;

use super::frames::Writer;
use super::identity::Peer;
use super::news::NewsError;
use crate::app::App;
use crate::feed::Change;
use crate::sealing;
use crate::store::TenantStore;
use crate::store::secrets::KeyNoted;

/// Greatest serial that a gateway may have: nobody gave it a greater one.
const MAX_SERIAL: u64 = i64::MAX as u64 - 1;

/// What a session has told its gateway of secrets.
pub(super) struct Secrets {
    app: Arc<App>,
    peer: Peer,
    store: TenantStore,
    /// Serial of the set that it has, or was sent in this session; `None` for a gateway that has no vault.
    sent: Option<u64>,
}

impl Secrets {
    pub(super) fn new(app: Arc<App>, peer: Peer, store: TenantStore) -> Self {
        Self { app, peer, store, sent: None }
    }

    /// Notes the gateway's key and sends the set if it has another one.
    pub(super) async fn greet(&mut self, hello: &Hello, writer: &mut Writer) -> Result<(), NewsError> {
        let gateway = &self.peer.gateway;
        if hello.sealing_key.is_empty() {
            return Ok(());
        }
        if sealing::wrapped_key_bytes(&hello.sealing_key).is_err() || hello.secrets_serial > MAX_SERIAL {
            tracing::warn!(%gateway, "the gateway's sealing key or serial of secrets is not one: it gets no secrets");
            return Ok(());
        }
        match self.store.note_sealing_key(gateway, hello.sealing_key.clone(), self.app.now()).await? {
            KeyNoted::Changed => {
                tracing::warn!(%gateway, "the gateway has a new sealing key: what was sealed to the old one must be sealed again");
                self.app.feed.publish(&self.peer.tenant, Change::Gateway { id: gateway.clone() });
            }
            KeyNoted::First => tracing::info!(%gateway, "the gateway's sealing key is known now"),
            KeyNoted::Same => {}
        }
        if hello.secrets_serial > self.store.secrets_serial(gateway).await? {
            tracing::warn!(%gateway, serial = hello.secrets_serial, "the store lacked changes of secrets that the gateway has seen");
            self.store.pass_secrets_serial(gateway, hello.secrets_serial).await?;
        }
        self.sent = Some(hello.secrets_serial);
        self.send(writer).await
    }

    /// Sends the set if it has changed since the last time.
    pub(super) async fn send(&mut self, writer: &mut Writer) -> Result<(), NewsError> {
        let gateway = &self.peer.gateway;
        let Some(sent) = self.sent else { return Ok(()) };
        if self.store.secrets_serial(gateway).await? == sent {
            return Ok(());
        }
        let (serial, secrets) = self.store.sealed_set(gateway).await?;
        let signature = self.app.signer.sign_input(&secret::signing_input(gateway, serial, &secrets));
        let count = secrets.len();
        let message = SealedSecrets { serial, secrets, signature };
        writer.send(&Down { kind: Some(down::Kind::Secrets(message)) }).await?;
        self.sent = Some(serial);
        tracing::info!(%gateway, serial, secrets = count, "sealed secrets sent");
        Ok(())
    }
}
