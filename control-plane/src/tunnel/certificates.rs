//! A gateway's renewal of its client certificate over the tunnel.

use postern_protocol::message::{CertificateReply, CertificateRequest, down};

use super::context::{Context, HandlerError};
use super::downward::Downward;
use crate::enrolment::renewal::{self, Requests};
use crate::store::audit::By;

/// Issues a certificate for the gateway's fresh key, or says why not.
pub(super) async fn answer(context: &Context, request: CertificateRequest, down: &mut Downward) -> Result<(), HandlerError> {
    let gateway = &context.peer.gateway;
    let requests = Requests::from_der(&request.request, &request.listener_request);
    let issued = match requests {
        Ok(requests) => renewal::issue(&context.app, &context.peer.tenant, gateway, (requests, By::gateway(gateway))).await,
        Err(error) => Err(error.into()),
    };
    let reply = match issued {
        Ok(issued) => CertificateReply {
            chain: vec![issued.client.der.to_vec()],
            refused: String::new(),
            listener_chain: issued.listener.iter().map(|listener| listener.der.to_vec()).collect(),
        },
        Err(renewal::IssueError::Request(reason)) => {
            tracing::warn!(%gateway, reason, "a certificate request is refused");
            CertificateReply { refused: reason, ..CertificateReply::default() }
        }
        Err(renewal::IssueError::Store(error)) => return Err(error.into()),
        Err(error) => {
            tracing::error!(%gateway, error = %crate::chain(&error), "a certificate cannot be issued");
            let refused = "the control plane cannot issue a certificate now; its log says why".to_owned();
            CertificateReply { refused, ..CertificateReply::default() }
        }
    };
    context.publish();
    Ok(down.send(down::Kind::CertificateReply(reply)).await?)
}
