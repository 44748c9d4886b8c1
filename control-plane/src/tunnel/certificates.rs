//! A gateway's renewal of its client certificate over the tunnel.

use postern_protocol::message::CertificateRequest;

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// Issues a certificate for the gateway's fresh key, or says why not.
pub(super) async fn answer(_context: &Context, _request: CertificateRequest, _down: &mut Downward) -> Result<(), HandlerError> {
    Ok(())
}
