//! Makes a gateway known to its control plane: checks the CA against the token, makes the keys, sends the requests, saves the identity.
//!
//! The hash in the token is checked inside the TLS handshake, so a wrong server never sees a byte of HTTP. Both keys are made
//! here and only their certificate requests leave. Called once in a gateway's life, by `postern-gateway enrol`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use postern_protocol::enrolment::{EnrolRequest, EnrolResponse, Token};
use postern_protocol::timestamp::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::dial::error::DialError;
use crate::dial::{Way, dial};
use crate::identity::{Identity, IdentityError, NewIdentity};
use crate::tls::{self, Distrust, TlsError};
use crate::url::{ProxyUrl, ServerUrl, UrlError};

/// How long the control plane may take for the handshake and for its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What enrolment needs to know.
pub struct EnrolOptions {
    /// The control plane.
    pub server: ServerUrl,
    /// The one-time token.
    pub token: Token,
    /// The site's HTTP proxy.
    pub proxy: Option<ProxyUrl>,
    /// Where the identity goes; absent or empty.
    pub dir: PathBuf,
    /// The host's name, for people.
    pub hostname: String,
    /// Names and addresses of the gateway's own TLS listeners.
    pub listener_names: Vec<String>,
    /// Program version.
    pub program_version: String,
}

/// Why a gateway could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The control plane's answer is not one.
    #[error("the control plane's answer cannot be understood: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke after the request had begun: the token may be used up.
    #[error("the connection broke before the control plane had answered; if it says now that the token was used, issue another one")]
    Broke(#[source] hyper::Error),
    /// No connection.
    #[error("cannot reach the control plane")]
    Dial(#[from] DialError),
    /// The server is not who the token says, or something stands in between.
    #[error(transparent)]
    Distrust(Distrust),
    /// The token has expired by this machine's clock.
    #[error("the enrolment token expired {} s ago by this machine's clock: issue another one, or set the clock", .0.as_secs())]
    Expired(Duration),
    /// The TLS handshake failed.
    #[error("no TLS connection to the control plane")]
    Handshake(#[source] io::Error),
    /// The identity could not be saved, or there is one.
    #[error("cannot save the identity")]
    Identity(#[from] IdentityError),
    /// The keys or certificate requests could not be made.
    #[error("cannot make the keys and certificate requests")]
    Keys(#[from] rcgen::Error),
    /// The control plane refused.
    #[error("the control plane refused to enrol this gateway ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// The control plane took too long.
    #[error("the control plane did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// The server's address cannot stand in a certificate.
    #[error("the control plane's address is not usable")]
    Url(#[from] UrlError),
}

/// RFC 9457 §3.1, as far as a person wants to read it.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// Enrols this gateway and returns the identity that was saved.
///
/// # Errors
/// [`EnrolError`]. The token is unused unless it is [`EnrolError::Answer`], [`EnrolError::Broke`], [`EnrolError::Timeout`] or
/// [`EnrolError::Identity`].
pub async fn enrol(options: EnrolOptions) -> Result<Identity, EnrolError> {
    if Identity::exists(&options.dir) {
        return Err(IdentityError::Exists { dir: options.dir }.into());
    }
    // What could fail here later, after the token is used, fails now.
    Identity::check_writable(&options.dir)?;
    let late = Timestamp::from(SystemTime::now()).saturating_since(options.token.expires);
    if !late.is_zero() {
        return Err(EnrolError::Expired(late));
    }
    let (client_key, client_csr) = key_and_request(&options.hostname, &[])?;
    let (listener_key, listener_csr) = key_and_request(&options.hostname, &options.listener_names)?;
    let request = EnrolRequest {
        secret: BASE64URL_NOPAD.encode(&options.token.secret),
        client_csr,
        listener_csr,
        hostname: options.hostname,
        program_version: options.program_version,
    };
    let body = serde_json::to_vec(&request).map_err(|error| EnrolError::Answer { reason: error.to_string() })?;

    let stream = connect(&options.server, options.token.ca_spki_sha256, options.proxy.as_ref()).await?;
    let authority = options.server.authority();
    let answer: EnrolResponse = answer("/enrol/v1", stream, &authority, body).await?;

    let new = NewIdentity {
        gateway: answer.gateway,
        tenant: answer.tenant,
        server_url: options.server,
        server_pins: answer.server_pins,
        revision_keys: answer.revision_keys,
        client_chain: answer.client_certificate,
        client_key,
        listener_chain: answer.listener_certificate,
        listener_key,
        ca: answer.ca,
    };
    let dir = options.dir;
    let saved = tokio::task::spawn_blocking(move || Identity::save(&new, &dir)).await;
    Ok(saved.map_err(|error| EnrolError::Answer { reason: error.to_string() })??)
}

/// Makes an ECDSA P-256 key and a PKCS#10 request for it (RFC 2986), both in PEM; a common name has at most 64 characters (RFC 5280 A.1).
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn key_and_request(common_name: &str, names: &[String]) -> Result<(Zeroizing<String>, String), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    let request = params.serialize_request(&key)?.pem()?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

async fn connect(server: &ServerUrl, ca_spki: [u8; 32], proxy: Option<&ProxyUrl>) -> Result<TlsStream<TcpStream>, EnrolError> {
    shake(server, tls::enrolment_client(ca_spki)?, &Way::to(server.host_port(), proxy.cloned())).await
}

/// Opens a connection to the control plane by `way`.
///
/// # Errors
/// [`EnrolError`] of the way, of the handshake, or of what was found there.
pub(crate) async fn shake(server: &ServerUrl, config: ClientConfig, way: &Way) -> Result<TlsStream<TcpStream>, EnrolError> {
    let connector = TlsConnector::from(Arc::new(config));
    let name = server.server_name()?;
    let dialled = dial(way).await?;
    let handshake = tokio::time::timeout(TIMEOUT, connector.connect(name, dialled.stream)).await.map_err(|_| EnrolError::Timeout)?;
    handshake.map_err(|error| match tls::distrust(&error) {
        Some(reason) => EnrolError::Distrust(reason),
        None => EnrolError::Handshake(error),
    })
}

/// Sends the one request of this connection, as HTTP/1.1, and reads the answer in time.
///
/// # Errors
/// [`EnrolError`] of the exchange.
pub(crate) async fn answer<T: DeserializeOwned>(
    path: &str,
    stream: TlsStream<TcpStream>,
    authority: &str,
    body: Vec<u8>,
) -> Result<T, EnrolError> {
    let body = tokio::time::timeout(TIMEOUT, post(path, stream, authority, body)).await.map_err(|_| EnrolError::Timeout)??;
    serde_json::from_slice(&body).map_err(|error| EnrolError::Answer { reason: error.to_string() })
}

async fn post(path: &str, stream: TlsStream<TcpStream>, authority: &str, body: Vec<u8>) -> Result<Bytes, EnrolError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(EnrolError::Broke)?;
    let malformed = |reason: String| EnrolError::Answer { reason };
    let request = Request::post(path).header(HOST, authority).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| malformed(error.to_string()))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(EnrolError::Broke)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| malformed(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven by the same task and dropped with it: there is only one exchange on it.
    tokio::pin!(exchange);
    let outcome = tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(EnrolError::Broke(error)),
        },
    };
    let (status, body) = outcome?;
    if status != StatusCode::OK && status != StatusCode::CREATED {
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let detail = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
        let detail = detail.unwrap_or_else(|| "it gave no reason".to_owned());
        return Err(EnrolError::Refused { status: status.as_u16(), detail: detail.chars().take(1000).collect() });
    }
    Ok(body)
}
