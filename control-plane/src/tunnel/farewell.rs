//! Why a session ended, what the gateway is told of it, and what the log says.

use postern_protocol::farewell::QUARANTINED;
use postern_protocol::message::Goodbye;

use super::context::{Context, HandlerError};
use super::frames::StreamError;
use super::lane::LaneError;
use super::registry::EndReason;
use super::session::SILENCE;
use crate::metrics::Metrics;
use crate::store::StoreError;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The gateway ended it.
    #[error("the gateway ended it")]
    Closed,
    /// The gateway sent what the protocol does not allow at that place.
    #[error("the gateway sent {0}")]
    Disorder(&'static str),
    /// A lane ended it.
    #[error("a lane ended it")]
    Lane(#[from] LaneError),
    /// The gateway is to come again.
    #[error("{0}")]
    Later(String),
    /// The gateway may not have a session.
    #[error("{0}")]
    Refused(String),
    /// Nothing came for too long.
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It had to end.
    #[error("it had to end: {0:?}")]
    Told(EndReason),
    /// The gateway speaks no version that we know.
    #[error("the gateway speaks no protocol version that we know")]
    Version,
}

impl From<HandlerError> for End {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Invalid(what) => Self::Disorder(what),
            HandlerError::Later(why) => Self::Later(why),
            HandlerError::Refused(why) => Self::Refused(why),
            HandlerError::Store(error) => Self::Store(error),
            HandlerError::Stream(error) => Self::Stream(error),
        }
    }
}

/// What the gateway is told at the end; nothing when it is gone.
pub(super) fn goodbye(end: &End) -> Option<Goodbye> {
    let (reason, retry) = match end {
        End::Closed | End::Silent | End::Stream(StreamError::Lost(_) | StreamError::Unread) => return None,
        End::Lane(LaneError::Stream(StreamError::Lost(_) | StreamError::Unread)) => return None,
        End::Disorder(_)
        | End::Lane(LaneError::Batch(_) | LaneError::Gap { .. } | LaneError::Stream(StreamError::Frame(_)))
        | End::Stream(StreamError::Frame(_)) => (crate::chain(end), true),
        End::Lane(LaneError::Store(_)) | End::Store(_) => ("the control plane cannot store anything now".to_owned(), true),
        End::Later(why) => (why.clone(), true),
        End::Refused(why) => (why.clone(), false),
        End::Told(EndReason::Expired) => ("this gateway's certificate has ended: it is renewed on the next attempt".to_owned(), true),
        End::Told(EndReason::Replaced) => ("another session of this gateway began".to_owned(), true),
        End::Told(EndReason::SetAside) => {
            (format!("this copy of the gateway {QUARANTINED} for good: an admin decided that another machine stays"), false)
        }
        End::Told(EndReason::Revoked) => ("this gateway was revoked".to_owned(), false),
        End::Told(EndReason::Stopping) => ("the control plane stops".to_owned(), true),
        End::Version => ("this control plane does not speak the gateway's protocol version".to_owned(), false),
    };
    Some(Goodbye { reason, retry })
}

/// Logs and counts the end.
pub(super) fn log(context: &Context, end: &End) {
    let (gateway, reason) = (&context.peer.gateway, crate::chain(end));
    match end {
        End::Closed
        | End::Later(_)
        | End::Silent
        | End::Stream(_)
        | End::Told(_)
        | End::Lane(LaneError::Gap { .. } | LaneError::Stream(_)) => {
            tracing::info!(%gateway, reason, "tunnel session ended");
        }
        End::Lane(LaneError::Store(_)) | End::Store(_) => tracing::error!(%gateway, reason, "tunnel session ended"),
        End::Disorder(_) | End::Lane(LaneError::Batch(_)) | End::Refused(_) | End::Version => {
            tracing::warn!(%gateway, reason, "tunnel session ended");
        }
    }
    let misbehaved = matches!(
        end,
        End::Disorder(_)
            | End::Lane(LaneError::Batch(_) | LaneError::Stream(StreamError::Frame(_)))
            | End::Stream(StreamError::Frame(_))
            | End::Version
    );
    if misbehaved {
        Metrics::add(&context.app.metrics.protocol_errors, 1);
    }
}
