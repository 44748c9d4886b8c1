//! The head of one HTTP/1.1 request to the proxy listener: bytes in, a typed request or a refusal out.
//!
//! Pure: no socket, no clock, no policy. Strict where leniency lets two readers disagree about where a request ends (RFC 9112 §11.2).
//! `proxy::serve` reads the bytes, `policy` decides on a [`Connect`], `push` answers a [`Push`].

use std::net::IpAddr;

/// Most bytes that a request's head may have.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The host name under which an absolute-form request reaches the gateway itself.
pub const OWN_NAME: &str = "postern.internal";

const MAX_HEADERS: usize = 64;
const PUSH_PATH: &str = "/v1/push";

/// A whole head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it asks for.
    pub request: Request,
    /// Bytes of the head; what follows belongs to the body or the tunnel.
    pub bytes: usize,
    /// Whether the connection can carry another request after this one.
    pub keep_alive: bool,
    /// Value of `Proxy-Authorization` of a `CONNECT`.
    pub proxy_authorization: Option<ProxyCredential>,
}

/// What an agent shows the proxy; a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCredential(String);

impl ProxyCredential {
    /// Returns the header's value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ProxyCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyCredential")
    }
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `CONNECT host:port`.
    Connect(Connect),
    /// `POST /v1/push`.
    Push(Push),
}

/// A tunnel to open (RFC 9110 §9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Where to.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// A host as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; a v4-mapped one is normalised.
    Address(IpAddr),
    /// A name in lower case without the root's dot.
    Name(String),
}

impl Host {
    /// Parses a host as it stands in a URL: a name, an IPv4 address or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inside) = text.strip_prefix('[') {
            let address: std::net::Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A last label of digits would be an odd spelling of an IPv4 address (WHATWG URL, "ends in a number").
        let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"));
        if name.len() > 253 || numeric || !name.split('.').all(label) {
            return None;
        }
        Some(Self::Name(name.to_ascii_lowercase()))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A push; its body follows.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// Bytes of the body.
    pub content_length: usize,
    /// Value of `Authorization`; a secret.
    pub authorization: Option<String>,
    /// Value of `Postern-Signature`.
    pub signature: Option<String>,
    /// Value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

/// Leaves the credential out.
impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("content_length", &self.content_length).finish_non_exhaustive()
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The reason, for the person behind the client.
    pub reason: String,
    /// Whether it was a push, to be counted as one.
    pub push: bool,
}

impl Refusal {
    fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), push: false }
    }

    fn push(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), push: true }
    }
}

/// Parses the beginning of a connection's bytes; `None` while the head is incomplete.
///
/// # Errors
/// [`Refusal`] with the status and reason to answer; the connection ends after it.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(httparse::Status::Complete(_)) => return Err(too_large()),
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_BYTES => return Err(too_large()),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::new(431, format!("the request has more than {MAX_HEADERS} headers"))),
        Err(error) => return Err(Refusal::new(400, format!("the request is not HTTP/1.1: {error}"))),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::new(400, "the request is not HTTP/1.1: its first line is incomplete"));
    };
    let headers = Headers(request.headers);
    let hosts = headers.all("host").count();
    if hosts > 1 || (minor == 1 && hosts == 0) {
        // RFC 9112 §3.2: "A server MUST respond with a 400 … to any HTTP/1.1 request message that lacks a Host header field".
        return Err(Refusal::new(400, "the request needs exactly one Host header"));
    }
    let keep_alive = minor == 1 && !headers.all("connection").any(|value| lists(value, "close"));
    if method == "CONNECT" {
        let connect = connect(target)?;
        if headers.all("transfer-encoding").chain(headers.all("content-length")).any(|value| value != b"0") {
            return Err(Refusal::new(400, "a CONNECT request has no body"));
        }
        let credential = headers.one("proxy-authorization");
        let credential = credential.map_err(|()| Refusal::new(400, "the header proxy-authorization is there twice or is not text"))?;
        let proxy_authorization = credential.map(|value| ProxyCredential(value.to_owned()));
        return Ok(Some(Head { request: Request::Connect(connect), bytes: length, keep_alive: false, proxy_authorization }));
    }
    let path = own_path(method, target)?;
    let request = Request::Push(push(method, path, &headers)?);
    Ok(Some(Head { request, bytes: length, keep_alive, proxy_authorization: None }))
}

fn too_large() -> Refusal {
    Refusal::new(431, format!("the request's head has more than {MAX_HEAD_BYTES} bytes"))
}

/// Parses `host:port` (RFC 9110 §7.1: CONNECT takes the authority form and the port is not optional).
fn connect(target: &str) -> Result<Connect, Refusal> {
    let fault = || Refusal::new(400, "CONNECT takes host:port, for example CONNECT control.example.com:443");
    let (host, port) = target.rsplit_once(':').ok_or_else(fault)?;
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    let port: u16 = port.parse().map_err(|_| fault())?;
    let host = Host::parse(host).filter(|_| port != 0).ok_or_else(fault)?;
    Ok(Connect { host, port })
}

/// Returns the path on the gateway itself, or refuses what is meant for somebody else.
fn own_path<'a>(method: &str, target: &'a str) -> Result<&'a str, Refusal> {
    if target.starts_with('/') {
        return Ok(target);
    }
    let scheme_end = target.find("://").filter(|at| target.get(..*at).is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphanumeric())));
    let Some(at) = scheme_end else {
        return Err(Refusal::new(400, "the request target is neither a path nor a URL"));
    };
    let rest = target.get(at.saturating_add(3)..).unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let name = authority.strip_suffix(":80").unwrap_or(authority);
    if name.eq_ignore_ascii_case(OWN_NAME) && target.get(..at).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) {
        return Ok(path);
    }
    Err(Refusal::new(
        403,
        format!("this proxy fetches nothing ({method} of another site): it offers CONNECT to the control plane and POST {PUSH_PATH}"),
    ))
}

fn push(method: &str, path: &str, headers: &Headers<'_, '_>) -> Result<Push, Refusal> {
    let (path, _query) = path.split_once('?').unwrap_or((path, ""));
    if path != PUSH_PATH {
        return Err(Refusal::new(
            404,
            format!("there is nothing at this path: the gateway takes POST {PUSH_PATH} and CONNECT to the control plane"),
        ));
    }
    if method != "POST" {
        let known = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT", "TRACE"].contains(&method);
        return Err(Refusal::push(if known { 405 } else { 501 }, format!("{PUSH_PATH} takes POST only")));
    }
    if headers.all("transfer-encoding").next().is_some() {
        return Err(Refusal::push(411, "a push needs Content-Length; Transfer-Encoding is not taken"));
    }
    let content_length = match (headers.one("content-length"), headers.all("content-length").count()) {
        (Ok(Some(text)), 1) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| Refusal::push(413, "Content-Length is out of range"))?
        }
        (Ok(None), _) => return Err(Refusal::push(411, "a push needs Content-Length")),
        _ => return Err(Refusal::push(400, "a push needs exactly one Content-Length, a number")),
    };
    if headers.all("content-encoding").any(|value| !value.eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::push(415, "a push is not compressed"));
    }
    let expects_continue = match headers.one("expect") {
        Ok(None) => false,
        Ok(Some(text)) if text.eq_ignore_ascii_case("100-continue") => true,
        _ => return Err(Refusal::push(417, "the only expectation that is met is 100-continue")),
    };
    let text = |name: &str| match headers.one(name) {
        Ok(value) => Ok(value.map(str::to_owned)),
        Err(()) => Err(Refusal::push(400, format!("the header {name} is there twice or is not text"))),
    };
    Ok(Push {
        content_length,
        authorization: text("authorization")?,
        signature: text("postern-signature")?,
        idempotency_key: text("idempotency-key")?,
        expects_continue,
    })
}

struct Headers<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'h, 'b> Headers<'h, 'b> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim_ascii())
    }

    fn one(&self, name: &str) -> Result<Option<&'b str>, ()> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => std::str::from_utf8(value).map(Some).map_err(|_| ()),
            (Some(_), Some(_)) => Err(()),
        }
    }
}

/// Tells whether a comma-separated list holds `token` (RFC 9110 §5.6.1).
fn lists(value: &[u8], token: &str) -> bool {
    value.split(|b| *b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Option<Head>, Refusal> {
        parse(text.as_bytes())
    }

    fn status(text: &str) -> u16 {
        request(text).unwrap_err().status
    }

    #[test]
    fn connect_takes_names_and_addresses() {
        for (target, host) in [
            ("Control.Example.com.:443", Host::Name("control.example.com".into())),
            ("127.0.0.1:443", Host::Address("127.0.0.1".parse().unwrap())),
            ("[::1]:443", Host::Address("::1".parse().unwrap())),
            ("[::ffff:127.0.0.1]:443", Host::Address("127.0.0.1".parse().unwrap())),
        ] {
            let head = request(&format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\nrest")).unwrap().unwrap();
            assert_eq!(head.request, Request::Connect(Connect { host, port: 443 }), "{target}");
        }
    }

    #[test]
    fn connect_refuses_what_is_no_authority() {
        for target in [
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            ":443",
            "a b:1",
            "127.1:443",
            "0x7f.0x1:443",
            "2130706433:443",
            "[::1:443",
            "http://h:1/",
        ] {
            assert_eq!(status(&format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n")), 400, "{target}");
        }
    }

    #[test]
    fn a_push_is_taken_in_origin_and_absolute_form() {
        for target in ["/v1/push", "http://postern.internal/v1/push", "http://POSTERN.internal:80/v1/push?x"] {
            let head =
                request(&format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nIdempotency-Key: k\r\n\r\n")).unwrap().unwrap();
            let Request::Push(push) = head.request else { panic!("not a push") };
            assert_eq!((push.content_length, push.idempotency_key.as_deref(), head.keep_alive), (5, Some("k"), true));
        }
    }

    #[test]
    fn other_requests_are_refused_with_a_fitting_status() {
        assert_eq!(status("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n"), 403);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
        assert_eq!(status("GET /v1/push HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
        assert_eq!(status("BREW /v1/push HTTP/1.1\r\nHost: h\r\n\r\n"), 501);
        assert_eq!(status("POST /v1/push HTTP/1.1\r\nHost: h\r\n\r\n"), 411);
        assert_eq!(status("POST /v1/push HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), 411);
        assert_eq!(status("POST /v1/push HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400);
        assert_eq!(status("POST /v1/push HTTP/1.1\r\nContent-Length: 3\r\n\r\n"), 400);
        assert_eq!(status("\x16\x03 nonsense\r\n\r\n"), 400);
        assert_eq!(status(&"A".repeat(MAX_HEAD_BYTES)), 431);
    }

    #[test]
    fn an_incomplete_head_asks_for_more() {
        assert_eq!(request("CONNECT h:1 HTTP/1.1\r\nHost"), Ok(None));
        assert_eq!(request(""), Ok(None));
    }
}
