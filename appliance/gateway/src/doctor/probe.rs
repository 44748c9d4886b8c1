//! Walks the way out as the tunnel does, and looks closer where it ends. Opens no session.

use std::time::{Duration, SystemTime};

use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::error::DialError;
use postern_uplink::dial::{Way, dial};
use postern_uplink::examine::{self, ExamineError, Look, PlainAnswer, Service, Silence, Trust};
use postern_uplink::identity::Identity;
use postern_uplink::url::{HostPort, ServerUrl};

use super::way::WayFacts;

/// Segments that pass every link: the least MTU of IPv4 hosts is 576 (RFC 791 §3.1), less 40 bytes of headers, less a tunnel's.
pub(super) const SMALL_SEGMENT_BYTES: u32 = 480;

/// How long a connection may take over all addresses; each of its steps has its own limit.
const DIAL: Duration = Duration::from_secs(60);

/// Where a portal answers that leaves HTTPS alone.
const PLAIN_PORT: u16 = 80;

/// What is walked.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) server: &'a ServerUrl,
    pub(super) way: &'a Way,
    pub(super) identity: &'a Identity,
    /// Whether port 80 is tried, too: the daemon's sandbox does not let it.
    pub(super) ports: Ports,
}

/// Which ports are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The control plane's own, or the proxy's.
    Own,
    /// Port 80 as well, where a captive portal answers.
    Plain,
}

/// Walks the way and returns what was seen.
///
/// # Errors
/// [`ExamineError`] when the identity or the address is not usable at all.
pub(super) async fn observe(walk: Walk<'_>) -> Result<WayFacts, ExamineError> {
    let proxy = walk.way.proxy.as_ref().map(ToString::to_string);
    let mut facts = WayFacts::new(walk.server.authority(), proxy);
    let look = walk.look(Service::Tunnel, None).await?;
    facts.now = Timestamp::from(SystemTime::now());
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            facts.not_dialled = Some(error);
            return Ok(facts);
        }
    };
    if matches!(look.answer, Err(Silence::Stalled | Silence::Unanswered)) {
        facts.small = walk.look(Service::Tunnel, Some(SMALL_SEGMENT_BYTES)).await?.ok();
    }
    if matches!(look.trust, Trust::OtherAuthority | Trust::Unseen) && facts.small.as_ref().is_none_or(|look| !look.is_control_plane()) {
        facts.plain = walk.plain().await;
    }
    let is_known = matches!(look.trust, Trust::Good | Trust::OutOfTime);
    if is_known && look.answer.as_ref().map_or(true, |answer| answer.date.is_none()) {
        facts.enrolment = walk.look(Service::Enrolment, None).await?.ok();
        facts.now = Timestamp::from(SystemTime::now());
    }
    facts.tunnel = Some(look);
    Ok(facts)
}

impl Walk<'_> {
    async fn look(&self, service: Service, segment_bytes: Option<u32>) -> Result<Result<Look, DialError>, ExamineError> {
        let way = Way { segment_bytes, ..self.way.clone() };
        let dialled = match tokio::time::timeout(DIAL, dial(&way)).await {
            Ok(Ok(dialled)) => dialled,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(_) => {
                let cause = std::io::ErrorKind::TimedOut.into();
                return Ok(Err(DialError::Connect { to: self.server.authority(), cause, tried: Vec::new() }));
            }
        };
        examine::look(dialled.stream, service, self.server, self.identity).await.map(Ok)
    }

    /// Asks in plain HTTP: at the same place, and where that says nothing, at port 80 of it.
    async fn plain(&self) -> Option<PlainAnswer> {
        let mut ways = vec![self.way.clone()];
        if let (Ports::Plain, None, Ok(plain)) = (self.ports, &self.way.proxy, HostPort::new(self.server.host(), PLAIN_PORT)) {
            ways.push(Way::to(plain, None));
        }
        for way in ways {
            let Ok(Ok(dialled)) = tokio::time::timeout(DIAL, dial(&way)).await else { continue };
            if let Some(answer) = examine::ask_plainly(dialled.stream, self.server.host()).await {
                return Some(answer);
            }
        }
        None
    }
}
