//! One request behind a verified handshake: what the control plane answers, and when it says it is.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{DATE, HOST, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_protocol::farewell;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{STEP, Service, Silence};

/// More than any link carries in one packet, and less than the control plane's limit for headers: what is too long for some link
/// on the way shows here.
const PADDING_BYTES: usize = 9 * 1024;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// The answer to a request for a path that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status: 404 when this gateway would be let in, 403 when not.
    pub status: u16,
    /// The reason that it gave.
    pub detail: String,
    /// Its clock, in whole seconds.
    pub date: Option<Timestamp>,
    /// The oldest and the newest protocol version that it speaks; `None` from one that does not tell.
    pub versions: Option<(u32, u32)>,
}

/// Asks on a connection whose handshake is done.
pub(super) async fn ask<I>(tls: I, service: Service, authority: &str) -> Result<Answer, Silence>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = async {
        let response = match service {
            Service::Enrolment => {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(silence)?;
                let request = request("/enrol/v1", authority);
                drive(connection, async move { sender.send_request(request).await }).await?
            }
            Service::Tunnel => {
                let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
                let (mut sender, connection) = builder.handshake(TokioIo::new(tls)).await.map_err(silence)?;
                let request = request(&format!("https://{authority}/tunnel/v1/examine"), authority);
                drive(connection, async move { sender.send_request(request).await }).await?
            }
        };
        Ok(response)
    };
    tokio::time::timeout(STEP, exchange).await.unwrap_or(Err(Silence::Unanswered))
}

fn request(uri: &str, authority: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    if let Ok(uri) = uri.parse() {
        *request.uri_mut() = uri;
    }
    if let Ok(host) = authority.parse() {
        request.headers_mut().insert(HOST, host);
    }
    if let Ok(padding) = "-".repeat(PADDING_BYTES).parse() {
        request.headers_mut().insert("postern-padding", padding);
    }
    request
}

/// Runs connection and request in one task; both end with it.
async fn drive(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    request: impl Future<Output = Result<Response<Incoming>, hyper::Error>>,
) -> Result<Answer, Silence> {
    let answered = async {
        let response = request.await.map_err(silence)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Answer { status: head.status.as_u16(), detail: detail(&body), date: date(&head.headers), versions: versions(&head.headers) })
    };
    tokio::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(silence(error)),
        },
    }
}

/// A certificate of ours that the control plane refuses shows only here: in TLS 1.3 the client is done before.
fn silence(error: hyper::Error) -> Silence {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or_else(|| error.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return Silence::Alert(*alert);
        }
        cause = error.source();
    }
    Silence::Http(error)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    httpdate::parse_http_date(text).ok().map(Timestamp::from)
}

fn versions(headers: &HeaderMap) -> Option<(u32, u32)> {
    farewell::parse_versions(headers.get(farewell::VERSIONS_HEADER)?.to_str().ok()?)
}

/// Reads the reason out of an RFC 9457 problem.
fn detail(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default)]
        detail: String,
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.detail.chars().filter(|c| !c.is_control()).take(500).collect()
}
