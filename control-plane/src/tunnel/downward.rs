//! The control stream's way down: knows the version that the session speaks and keeps from a gateway what it cannot know.

use postern_protocol::message::{Down, OLDEST_PROTOCOL_VERSION, down};

use super::frames::{StreamError, Writer};

/// Sends messages of the control stream.
pub(super) struct Downward {
    writer: Writer,
    version: u32,
}

impl Downward {
    /// Takes a stream whose gateway has not said its version yet.
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, version: OLDEST_PROTOCOL_VERSION }
    }

    /// Sets the version that both sides speak.
    pub(super) fn agree_on(&mut self, version: u32) {
        self.version = version;
    }

    /// Whether the gateway knows messages of `version`.
    pub(super) fn speaks(&self, version: u32) -> bool {
        self.version >= version
    }

    /// Sends a message; waits while the gateway has much unread. What the gateway's version does not know is left out: such a
    /// gateway works as gateways of its version always did.
    pub(super) async fn send(&mut self, kind: down::Kind) -> Result<(), StreamError> {
        if self.speaks(since(&kind)) {
            self.writer.send(&Down { kind: Some(kind) }).await?;
        }
        Ok(())
    }
}

/// Returns the protocol version that brought a message.
const fn since(kind: &down::Kind) -> u32 {
    match kind {
        down::Kind::Welcome(_)
        | down::Kind::HeartbeatReply(_)
        | down::Kind::Revision(_)
        | down::Kind::CloseAlert(_)
        | down::Kind::Goodbye(_)
        | down::Kind::Secrets(_)
        | down::Kind::DictionaryPart(_) => 1,
        down::Kind::CertificateReply(_)
        | down::Kind::AuditReceipt(_)
        | down::Kind::TrustBundle(_)
        | down::Kind::Pace(_)
        | down::Kind::ConfirmRevision(_)
        | down::Kind::Adopt(_)
        | down::Kind::Replay(_) => 2,
    }
}
