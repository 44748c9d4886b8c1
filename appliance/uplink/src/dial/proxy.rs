//! One `CONNECT` through an HTTP proxy, with credentials when it asks for them.
//!
//! Called by [`super::dial`].

use std::io;

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::{Demand, DialError, Page};
use super::{Dialled, STEP_TIMEOUT, race};
use crate::url::{HostPort, ProxyUrl};

/// Longest head of a proxy's answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Connects to `to` through `proxy`.
pub(super) async fn open(proxy: &ProxyUrl, to: &HostPort, segment_bytes: Option<u32>) -> Result<Dialled, DialError> {
    let Dialled { mut stream, peer, .. } = race::first(std::slice::from_ref(proxy.address()), segment_bytes).await?;
    let opened = tokio::time::timeout(STEP_TIMEOUT, ask(&mut stream, &to.to_string(), proxy)).await;
    opened.unwrap_or_else(|_| Err(DialError::ProxyTimeout { proxy: proxy.to_string() }))?;
    Ok(Dialled { stream, address: to.clone(), peer })
}

async fn ask(stream: &mut TcpStream, to: &str, proxy: &ProxyUrl) -> Result<(), DialError> {
    let broke = |cause| DialError::ProxyBroke { proxy: proxy.to_string(), cause };
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some(credentials) = proxy.credentials() {
        // RFC 7617 §2.
        let text = format!("{}:{}", credentials.user, credentials.password.as_str());
        request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(text.as_bytes())));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;

    let head = read_head(stream).await.map_err(broke)?;
    let not_http = || DialError::ProxyNotHttp { proxy: proxy.to_string() };
    let (status, reason) = head.as_deref().and_then(parse_status).ok_or_else(not_http)?;
    let demand = if proxy.credentials().is_some() { Demand::Refused } else { Demand::Missing };
    match status {
        200..=299 => Ok(()),
        407 => Err(DialError::ProxyAuthentication { proxy: proxy.to_string(), schemes: Vec::new(), demand }),
        _ => {
            let (proxy, to) = (proxy.to_string(), to.to_owned());
            Err(DialError::ProxyRefused { proxy, to, status, reason, page: Page::default() })
        }
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
