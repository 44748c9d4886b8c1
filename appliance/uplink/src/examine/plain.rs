//! One plain HTTP request where TLS failed: what answers it is a captive portal or a filter that blocks, never the control plane.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Most bytes of an answer that are looked at.
const MAX_BYTES: usize = 8 * 1024;

const PATIENCE: Duration = Duration::from_secs(5);

/// What answered in plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainAnswer {
    /// HTTP status.
    pub status: u16,
    /// Where it wants a browser to go.
    pub location: Option<String>,
    /// Whether it sent a page for people.
    pub is_page: bool,
}

/// Asks for `/` of `host`; `None` when what comes back is not HTTP, or nothing does.
pub async fn ask_plainly<I>(mut stream: I, host: &str) -> Option<PlainAnswer>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while answer.len() < MAX_BYTES {
            let read = stream.read_buf(&mut answer).await.ok()?;
            if read == 0 || parse(&answer).is_some_and(|answer| answer.is_page || answer.location.is_some()) {
                break;
            }
        }
        parse(&answer)
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok().flatten()
}

/// Reads an answer's head (RFC 9112 §4), and whether a page follows.
fn parse(answer: &[u8]) -> Option<PlainAnswer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut answer = PlainAnswer { status, ..PlainAnswer::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("location") {
            answer.location = Some(value.chars().filter(|c| !c.is_control()).take(300).collect());
        }
        if name.eq_ignore_ascii_case("content-type") && value.to_ascii_lowercase().starts_with("text/html") {
            answer.is_page = true;
        }
    }
    answer.is_page |= body.trim_start().starts_with('<');
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_and_a_page_are_told_from_other_answers() {
        let redirect = parse(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\n\r\n").unwrap();
        assert_eq!((redirect.status, redirect.location.as_deref()), (302, Some("http://portal.example/login")));
        assert!(parse(b"HTTP/1.0 200 OK\r\n\r\n<html>").unwrap().is_page);
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\n\r\n").unwrap().is_page);
        assert_eq!(parse(b"\x15\x03\x03\x00\x02\x02\x46"), None);
        assert_eq!(parse(b"SSH-2.0-x\r\n"), None);
    }
}
