//! Opens the TCP connection to the control plane: directly, or through an HTTP proxy with `CONNECT` (RFC 9110 §9.3.6).
//!
//! What comes back carries TLS and nothing in between. Called by the tunnel and by enrolment.

use std::io;
use std::time::Duration;

use data_encoding::BASE64;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::url::{ProxyUrl, authority};

/// Longest head of a proxy's answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long one step, to connect or to be answered by the proxy, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// Silence after which the kernel probes the peer, so that a proxy or firewall keeps the connection and a dead one is found.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The TCP connection could not be made.
    #[error("cannot connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The proxy asks for a user name and password, or refused the ones it was given (407).
    #[error("the proxy {proxy} wants a user name and password, or refuses those it was given")]
    ProxyAuthentication {
        /// Its address.
        proxy: String,
    },
    /// The connection to the proxy broke.
    #[error("the connection to the proxy {proxy} broke")]
    ProxyBroke {
        /// Its address.
        proxy: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What came back is not an HTTP answer.
    #[error("{proxy} does not answer as an HTTP proxy")]
    ProxyNotHttp {
        /// Its address.
        proxy: String,
    },
    /// The proxy refused.
    #[error("the proxy {proxy} refuses to connect to {to}: {status} {reason}")]
    ProxyRefused {
        /// Its address.
        proxy: String,
        /// Where we wanted to go.
        to: String,
        /// HTTP status.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// Somebody took too long.
    #[error("{who} did not answer within {} s", STEP_TIMEOUT.as_secs())]
    Timeout {
        /// Who.
        who: String,
    },
}

/// Connects to `host`:`port`, through `proxy` when there is one.
///
/// # Errors
/// [`DialError`], which says whose fault it is.
pub async fn dial(host: &str, port: u16, proxy: Option<&ProxyUrl>) -> Result<TcpStream, DialError> {
    let Some(proxy) = proxy else { return connect(host, port).await };
    let mut stream = connect(proxy.host(), proxy.port()).await?;
    let opened = tokio::time::timeout(STEP_TIMEOUT, open_tunnel(&mut stream, &authority(host, port), proxy)).await;
    opened.unwrap_or_else(|_| Err(DialError::Timeout { who: format!("the proxy {proxy}") }))?;
    Ok(stream)
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let to = authority(host, port);
    match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => {
            keep_alive(&stream);
            Ok(stream)
        }
        Ok(Err(cause)) => Err(DialError::Connect { to, cause }),
        Err(_) => Err(DialError::Timeout { who: to }),
    }
}

/// Has small writes sent at once and a silent peer probed, as every connection that this module opens.
pub fn keep_alive(stream: &TcpStream) {
    // Neither option is worth a failure.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _unset = stream.set_nodelay(true);
    let _unset = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

async fn open_tunnel(stream: &mut TcpStream, to: &str, proxy: &ProxyUrl) -> Result<(), DialError> {
    let broke = |cause| DialError::ProxyBroke { proxy: proxy.to_string(), cause };
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some(credentials) = proxy.credentials() {
        // RFC 7617 §2.
        request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(credentials.as_bytes())));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;

    let head = read_head(stream).await.map_err(broke)?;
    let not_http = || DialError::ProxyNotHttp { proxy: proxy.to_string() };
    let (status, reason) = head.as_deref().and_then(parse_status).ok_or_else(not_http)?;
    match status {
        200..=299 => Ok(()),
        407 => Err(DialError::ProxyAuthentication { proxy: proxy.to_string() }),
        _ => Err(DialError::ProxyRefused { proxy: proxy.to_string(), to: to.to_owned(), status, reason }),
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to TLS. `None` when the head is too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD_BYTES {
            return Ok(None);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(Some(head))
}

/// Parses `HTTP/1.1 200 Connection established` (RFC 9112 §4); control characters do not survive in the reason.
fn parse_status(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = String::from_utf8_lossy(line.strip_prefix(b"HTTP/1.")?).into_owned();
    let mut parts = line.splitn(3, ' ');
    let (_minor, status, reason) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let status = Some(status).filter(|text| text.len() == 3)?.parse().ok()?;
    Some((status, reason.chars().filter(|char| !char.is_control()).take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A proxy that takes one request, answers `answer`, and returns what it was asked.
    async fn asked_by_dial(url: &str, answer: &'static str) -> (String, Result<TcpStream, DialError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = ProxyUrl::parse(&format!("{url}127.0.0.1:{port}")).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await.unwrap().unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            (String::from_utf8(head).unwrap(), stream)
        };
        let ((head, _stream), dialled) = tokio::join!(serve, dial("cloud.example", 443, Some(&proxy)));
        (head, dialled)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_to_connect_and_not_a_byte_behind_its_answer_is_lost() {
        let (head, dialled) = asked_by_dial("http://", "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nAB").await;
        assert_eq!(head, "CONNECT cloud.example:443 HTTP/1.1\r\nHost: cloud.example:443\r\n\r\n");
        let mut behind = [0; 2];
        dialled.unwrap().read_exact(&mut behind).await.unwrap();
        assert_eq!(&behind, b"AB");
    }

    #[tokio::test]
    async fn a_proxys_password_is_sent_as_basic_credentials() {
        let (head, dialled) = asked_by_dial("http://site:secret@", "HTTP/1.0 200 OK\r\n\r\n").await;
        assert!(head.contains("\r\nProxy-Authorization: Basic c2l0ZTpzZWNyZXQ=\r\n"), "{head}");
        assert!(dialled.is_ok());
    }

    #[tokio::test]
    async fn a_proxys_refusal_is_told_with_its_reason() {
        let (_, dialled) = asked_by_dial("http://", "HTTP/1.1 403 Not\u{7} on this list\r\n\r\n").await;
        let error = dialled.unwrap_err();
        assert!(matches!(&error, DialError::ProxyRefused { status: 403, reason, .. } if reason == "Not on this list"), "{error:?}");
        let (_, dialled) = asked_by_dial("http://", "HTTP/1.1 407 No\r\n\r\n").await;
        assert!(matches!(dialled, Err(DialError::ProxyAuthentication { .. })));
        let (_, dialled) = asked_by_dial("http://", "SSH-2.0-OpenSSH\r\n\r\n").await;
        assert!(matches!(dialled, Err(DialError::ProxyNotHttp { .. })));
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_told_as_such() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = dial("127.0.0.1", port, None).await.unwrap_err();
        assert!(matches!(error, DialError::Connect { .. }), "{error:?}");
    }
}
