//! One `CONNECT` through an HTTP proxy, with credentials when it asks for them.
//!
//! The first request has none: so the proxy says which scheme it wants, and a password is never sent in a weaker way than it
//! must be. Each request has a connection of its own, because many proxies close theirs after a 407. Called by [`super::dial`].

use std::io;

use data_encoding::{BASE64, HEXLOWER};
use httparse::ParserConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::challenge::{self, Challenge};
use super::digest::{Asked, DigestChallenge};
use super::error::{Demand, DialError, Page};
use super::{Dialled, STEP_TIMEOUT, race};
use crate::url::{Credentials, HostPort, ProxyUrl};

/// Longest head of a proxy's answer, and most of its fields.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// Requests for one connection: without credentials, with them, and with a fresh nonce where the first had grown old.
const MAX_REQUESTS: usize = 3;

/// Every answer of HTTP/1 begins so (RFC 9112 §4).
const BEGINNING: &[u8] = b"HTTP/1.";

/// Connects to `to` through `proxy`.
pub(super) async fn open(proxy: &ProxyUrl, to: &HostPort, segment_bytes: Option<u32>) -> Result<Dialled, DialError> {
    let mut authorization = None;
    let mut challenges = Vec::new();
    for _ in 0..MAX_REQUESTS {
        let Dialled { mut stream, peer, .. } = race::first(std::slice::from_ref(proxy.address()), segment_bytes).await?;
        let asking = ask(&mut stream, to, proxy, authorization.as_ref());
        let answer = tokio::time::timeout(STEP_TIMEOUT, asking).await;
        match answer.unwrap_or_else(|_| Err(DialError::ProxyTimeout { proxy: proxy.to_string() }))? {
            Answer::Connected => return Ok(Dialled { stream, address: to.clone(), peer }),
            Answer::Demands(new) => challenges = new,
        }
        let answered = answer_to(&challenges, proxy.credentials(), to, authorization.as_ref());
        authorization = Some(answered.map_err(|demand| demanded(proxy, &challenges, demand))?);
    }
    Err(demanded(proxy, &challenges, Demand::Refused))
}

fn demanded(proxy: &ProxyUrl, challenges: &[Challenge], demand: Demand) -> DialError {
    let mut schemes: Vec<String> = Vec::new();
    for Challenge { scheme, .. } in challenges {
        if !schemes.contains(scheme) {
            schemes.push(scheme.chars().take(40).collect());
        }
    }
    DialError::ProxyAuthentication { proxy: proxy.to_string(), schemes, demand }
}

/// Returns the value of `Proxy-Authorization` that answers `challenges`; `earlier` is the one to which they came.
fn answer_to(
    challenges: &[Challenge],
    credentials: Option<&Credentials>,
    to: &HostPort,
    earlier: Option<&Zeroizing<String>>,
) -> Result<Zeroizing<String>, Demand> {
    let digest = DigestChallenge::strongest(challenges);
    let is_basic = challenges.iter().any(|challenge| challenge.is("basic"));
    if digest.is_none() && !is_basic {
        return Err(Demand::Foreign);
    }
    let credentials = credentials.ok_or(Demand::Missing)?;
    match digest {
        // A nonce that has grown old says nothing against the password.
        Some(digest) if earlier.is_none() || digest.is_stale => {
            let mut nonce = [0; 16];
            aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Demand::Refused)?;
            let asked = Asked { method: "CONNECT", uri: &to.to_string() };
            Ok(digest.answer(credentials, asked, &HEXLOWER.encode(&nonce)))
        }
        None if earlier.is_none() => {
            // RFC 7617 §2.
            let text = Zeroizing::new(format!("{}:{}", credentials.user, credentials.password.as_str()));
            Ok(Zeroizing::new(format!("Basic {}", BASE64.encode(text.as_bytes()))))
        }
        Some(_) | None => Err(Demand::Refused),
    }
}

enum Answer {
    Connected,
    Demands(Vec<Challenge>),
}

async fn ask(
    stream: &mut TcpStream,
    to: &HostPort,
    proxy: &ProxyUrl,
    authorization: Option<&Zeroizing<String>>,
) -> Result<Answer, DialError> {
    let broke = |cause| DialError::ProxyBroke { proxy: proxy.to_string(), cause };
    let mut request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
    if let Some(authorization) = authorization {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.as_str()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;

    let head = read_head(stream).await.map_err(broke)?;
    let head = head.as_deref().and_then(Head::parse).ok_or_else(|| DialError::ProxyNotHttp { proxy: proxy.to_string() })?;
    let Head { status, reason, page, challenges } = head;
    match status {
        200..=299 => Ok(Answer::Connected),
        407 => Ok(Answer::Demands(challenges)),
        _ => Err(DialError::ProxyRefused { proxy: proxy.to_string(), to: to.to_string(), status, reason, page }),
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to TLS. `None` when it is no head of HTTP, or too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD_BYTES || head.iter().zip(BEGINNING).any(|(byte, wanted)| byte != wanted) {
            return Ok(None);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(Some(head))
}

/// What matters of an answer's head; control characters do not survive in it.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    reason: String,
    page: Page,
    challenges: Vec<Challenge>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let mut config = ParserConfig::default();
        config.allow_multiple_spaces_in_response_status_delimiters(true);
        if !config.parse_response(&mut response, bytes).ok()?.is_complete() {
            return None;
        }
        let values = |name: &'static str| {
            let fields = response.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
            fields.map(|field| String::from_utf8_lossy(field.value).into_owned())
        };
        Some(Self {
            status: response.code?,
            reason: plain(response.reason.unwrap_or_default()),
            page: Page {
                location: values("location").next().map(|location| plain(&location)),
                is_html: values("content-type").any(|kind| kind.to_ascii_lowercase().contains("html")),
            },
            challenges: values("proxy-authenticate").flat_map(|field| challenge::parse(&field)).collect(),
        })
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Way, dial};
    use super::*;
    use tokio::net::TcpListener;

    /// A proxy that gives one answer to each connection, in order; returns what it was asked, and what dialling came to.
    async fn asked_by_dial(credentials: &str, answers: &[&str]) -> (Vec<String>, Result<Dialled, DialError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = ProxyUrl::parse(&format!("http://{credentials}127.0.0.1:{port}")).unwrap();
        let way = Way::to(HostPort::parse("cloud.example:443").unwrap(), Some(proxy));
        let (mut heads, mut streams) = (Vec::new(), Vec::new());
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                heads.push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
                streams.push(stream);
            }
        };
        let ((), dialled) = tokio::join!(serve, dial(&way));
        (heads, dialled)
    }

    const OK: &str = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nAB";
    const BASIC: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    const DIGEST: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"1\", qop=\"auth\"\r\n\r\n";
    const STALE: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"2\", qop=\"auth\", stale=true\r\n\r\n";
    const WINDOWS: &str =
        "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: NTLM\r\n\r\n";

    #[tokio::test]
    async fn a_proxy_is_asked_to_connect_and_not_a_byte_behind_its_answer_is_lost() {
        let (heads, dialled) = asked_by_dial("", &[OK]).await;
        assert_eq!(heads, ["CONNECT cloud.example:443 HTTP/1.1\r\nHost: cloud.example:443\r\n\r\n"]);
        let mut behind = [0; 2];
        dialled.unwrap().stream.read_exact(&mut behind).await.unwrap();
        assert_eq!(&behind, b"AB");
    }

    #[tokio::test]
    async fn a_password_is_sent_only_when_asked_for_and_never_as_basic_when_digest_will_do() {
        let (heads, dialled) = asked_by_dial("site:secret@", &[OK]).await;
        assert!(dialled.is_ok() && !heads[0].contains("Authorization"), "{heads:?}");
        let (heads, dialled) = asked_by_dial("site:secret@", &[BASIC, OK]).await;
        assert!(dialled.is_ok() && heads[1].contains("\r\nProxy-Authorization: Basic c2l0ZTpzZWNyZXQ=\r\n"), "{heads:?}");
        let (heads, dialled) = asked_by_dial("site:secret@", &[DIGEST, OK]).await;
        assert!(dialled.is_ok() && heads[1].contains("\r\nProxy-Authorization: Digest username=\"site\""), "{heads:?}");
        assert!(heads[1].contains("uri=\"cloud.example:443\"") && !heads.concat().contains("Basic"), "{heads:?}");
    }

    #[tokio::test]
    async fn an_old_nonce_is_no_refusal_and_a_refusal_is_not_repeated() {
        let (heads, dialled) = asked_by_dial("site:secret@", &[DIGEST, STALE, OK]).await;
        assert!(dialled.is_ok() && heads[2].contains("nonce=\"2\""), "{heads:?}");
        for answers in [&[BASIC, BASIC][..], &[DIGEST, DIGEST], &[DIGEST, STALE, STALE]] {
            let (_, dialled) = asked_by_dial("site:wrong@", answers).await;
            assert!(matches!(dialled, Err(DialError::ProxyAuthentication { demand: Demand::Refused, .. })), "{dialled:?}");
        }
    }

    #[tokio::test]
    async fn what_a_proxy_demands_is_told_with_the_schemes_that_it_offers_and_what_to_do() {
        let text = |error: Result<Dialled, DialError>| {
            let text = error.unwrap_err().to_string();
            text.split_once(' ').unwrap().1.split_once(' ').unwrap().1.split_once(' ').unwrap().1.to_owned()
        };
        let (_, dialled) = asked_by_dial("", &[DIGEST]).await;
        assert_eq!(text(dialled), "wants a user name and password: set them; it offers Basic, Digest");
        let (_, dialled) = asked_by_dial("site:secret@", &[WINDOWS]).await;
        let advice = "wants a scheme that this program does not speak: have its administrator allow this machine without authentication, \
                      or with Basic or Digest; it offers Negotiate, NTLM";
        assert_eq!(text(dialled), advice);
    }

    #[tokio::test]
    async fn a_proxys_refusal_is_told_with_its_reason_and_a_sign_in_page_is_recognised() {
        let (_, dialled) = asked_by_dial("", &["HTTP/1.1 403 Not  on this list\r\n\r\n"]).await;
        let error = dialled.unwrap_err();
        assert!(matches!(&error, DialError::ProxyRefused { status: 403, reason, .. } if reason == "Not  on this list"), "{error:?}");
        let portal = "HTTP/1.1 302 Found\r\nLocation: http://portal.lan/login\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
        let (_, dialled) = asked_by_dial("", &[portal]).await;
        let wanted = Page { location: Some("http://portal.lan/login".to_owned()), is_html: true };
        assert!(matches!(dialled, Err(DialError::ProxyRefused { status: 302, page, .. }) if page == wanted));
    }

    #[tokio::test]
    async fn what_is_no_http_proxy_is_told_as_such_without_waiting_for_more() {
        let (_, dialled) = asked_by_dial("", &["SSH-2.0-OpenSSH\n"]).await;
        assert!(matches!(dialled, Err(DialError::ProxyNotHttp { .. })));
    }
}
