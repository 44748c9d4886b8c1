//! What a gateway has to be told of its secrets: the whole sealed set, signed, whenever it does not have the present one. Also notes
//! the key that its greeting says. Always read from the store.

use postern_protocol::message::{Hello, SealedSecrets, down};
use postern_protocol::secret;

use super::context::{Context, HandlerError};
use super::downward::Downward;
use crate::sealing;
use crate::store::secrets::KeyNoted;

/// Greatest serial that a gateway may have: nobody gave it a greater one.
const MAX_SERIAL: u64 = i64::MAX as u64 - 1;

/// What a session has told its gateway of secrets.
pub(super) struct Secrets {
    context: Context,
    /// Serial of the set that it has, or was sent in this session; `None` for a gateway that has no vault.
    sent: Option<u64>,
}

impl Secrets {
    pub(super) fn new(context: Context) -> Self {
        Self { context, sent: None }
    }

    /// Notes the gateway's key and sends the set if it has another one.
    pub(super) async fn greet(&mut self, hello: &Hello, down: &mut Downward) -> Result<(), HandlerError> {
        let gateway = &self.context.peer.gateway;
        if hello.sealing_key.is_empty() {
            return Ok(());
        }
        if sealing::wrapped_key_bytes(&hello.sealing_key).is_err() || hello.secrets_serial > MAX_SERIAL {
            tracing::warn!(%gateway, "the gateway's sealing key or serial of secrets is not one: it gets no secrets");
            return Ok(());
        }
        match self.context.store.note_sealing_key(gateway, hello.sealing_key.clone(), self.context.app.now()).await? {
            KeyNoted::Changed => {
                tracing::warn!(%gateway, "the gateway has a new sealing key: what was sealed to the old one must be sealed again");
                self.context.publish();
            }
            KeyNoted::First => tracing::info!(%gateway, "the gateway's sealing key is known now"),
            KeyNoted::Same => {}
        }
        if hello.secrets_serial > self.context.store.secrets_serial(gateway).await? {
            tracing::warn!(%gateway, serial = hello.secrets_serial, "the store lacked changes of secrets that the gateway has seen");
            self.context.store.pass_secrets_serial(gateway, hello.secrets_serial).await?;
        }
        self.sent = Some(hello.secrets_serial);
        self.send(down).await
    }

    /// Sends the set if it has changed since the last time.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let gateway = &self.context.peer.gateway;
        let Some(sent) = self.sent else { return Ok(()) };
        if self.context.store.secrets_serial(gateway).await? == sent {
            return Ok(());
        }
        let (serial, secrets) = self.context.store.sealed_set(gateway).await?;
        let signature = self.context.app.signer.sign_input(&secret::signing_input(gateway, serial, &secrets));
        let count = secrets.len();
        let message = SealedSecrets { serial, secrets, signature };
        down.send(down::Kind::Secrets(message)).await?;
        self.sent = Some(serial);
        tracing::info!(%gateway, serial, secrets = count, "sealed secrets sent");
        Ok(())
    }
}
