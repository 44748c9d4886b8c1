//! `postern-gateway events ALERT-ID`: the received events behind an alert, for somebody on site.
//!
//! Off unless the bootstrap file says otherwise, written into the audit log, and over a unix socket (mode 0600, the daemon's own user) only:
//! nothing here has a way into the tunnel. The ring is read through the rules in force: an event is shown when a rule makes it evidence for
//! the alert. Question: the alert's identifier, a line. Answer: JSON, one event a line; the last line says how it ended.

use std::fmt::{self, Write as _};
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_engine::event::{Body, Event, Notification, Value};
use postern_engine::rule::RuleIndex;
use postern_protocol::dictionary::Dictionary;
use postern_protocol::id::{AlertId, GatewayId};
use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audit::action::Action;
use crate::config::{Config, EventReading};
use crate::replay::decode::Decoder;
use crate::replay::live::Stage;
use crate::ring::Reader;
use crate::ring::entry::Entry;
use crate::status::StatusSocket;

/// Characters of an alert's identifier.
const ID_CHARACTERS: usize = 32;

/// Longest wait for a question, and for whoever reads the answer to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lines that wait for whoever reads them; full: the ring's reading waits.
const LINES: usize = 64;

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An event.
    Event(Shown),
    /// The end.
    Done {
        /// Events that were shown.
        events: u64,
        /// Blocks of the ring that are damaged.
        damaged: u64,
    },
    /// Nothing is shown.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// One event as it was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// When, RFC 3339.
    pub at: String,
    /// By which listener.
    pub way: String,
    /// The sender.
    pub peer: IpAddr,
    /// Subject of its certificate, or its push key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// The line or body; of a trap its OID and varbinds. No community.
    pub text: String,
}

impl fmt::Display for Shown {
    /// One line: what is no printable character is shown as such.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.tls_name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        let line = format!("{}  {}{name}  {}  {}", self.at, self.peer, self.way, self.text);
        line.chars().try_for_each(|character| f.write_char(if character.is_control() { '\u{fffd}' } else { character }))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// It is no identifier.
    #[error("{0:?} is not an alert's identifier: it has {ID_CHARACTERS} hexadecimal digits, as the console and the API show it")]
    Id(String),
    /// The daemon does not answer.
    #[error("the daemon does not answer on {}: is it running?", path.display())]
    Connect {
        /// The socket.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It answered something else, or not to the end.
    #[error("the daemon's answer is not whole: look into its log, and ask again")]
    Answer,
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// The task that answers.
pub(crate) struct Events {
    pub(crate) stage: Stage,
    pub(crate) reading: EventReading,
    pub(crate) gateway: GatewayId,
    pub(crate) socket: StatusSocket,
}

impl Events {
    /// Answers, one at a time, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the socket cannot accept any more.
    pub(crate) async fn run(self, stop: CancellationToken) -> io::Result<()> {
        loop {
            // Cancel-safe: a connection that is not accepted waits in the backlog.
            let stream = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                stream = self.socket.accept() => stream?,
            };
            // Cancel-safe: whoever reads sees that the answer has no end.
            let answered = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answered = self.answer(stream) => answered,
            };
            if let Err(error) = answered {
                tracing::debug!(error = %error, "who asked for events went away");
            }
        }
    }

    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let user = stream.peer_cred()?.uid();
        let (input, mut output) = stream.into_split();
        let mut id = String::new();
        let mut question = BufReader::new(input.take(1 + ID_CHARACTERS as u64));
        tokio::time::timeout(PATIENCE, question.read_line(&mut id)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let id = id.trim_end().to_owned();
        let refuse = |reason: &str| Line::Refused { reason: reason.to_owned() };
        let refused = match (self.reading, &self.stage.ring) {
            (EventReading::Refused, _) => Some(refuse(
                "this site does not let received events be read: set read_events = true in section [ring] of the gateway's file, and restart it",
            )),
            (EventReading::Allowed, None) => Some(refuse("this site keeps no received events ([ring] bytes = 0 in the gateway's file)")),
            (EventReading::Allowed, Some(_)) if !is_id(&id) => Some(refuse("that is not an alert's identifier")),
            (EventReading::Allowed, Some(_)) => None,
        };
        if let Some(line) = refused {
            return write(&mut output, &line).await;
        }
        let Some(ring) = self.stage.ring.clone() else { return Ok(()) };
        // Nothing is shown that is not written down.
        if let Err(error) = self.stage.audit.note(Action::EventsRead { alert: id.clone(), user }).kept().await {
            return write(&mut output, &refuse(&format!("it cannot be written into the audit log: {}", crate::chain(&error)))).await;
        }
        let in_force = match self.stage.in_force().await {
            Ok(in_force) => in_force,
            Err(error) => return write(&mut output, &refuse(&crate::chain(&error))).await,
        };
        ring.flush().await;
        let (lines, mut found) = mpsc::channel(LINES);
        let search = Search { rules: in_force, decoder: self.stage.decoder(), gateway: self.gateway.clone(), id };
        let work = tokio::task::spawn_blocking(move || search.run(&ring, &lines));
        while let Some(line) = found.recv().await {
            write(&mut output, &line).await?;
        }
        work.await.map_err(io::Error::other)?;
        Ok(())
    }
}

async fn write(output: &mut (impl tokio::io::AsyncWrite + Unpin), line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    tokio::time::timeout(PATIENCE, output.write_all(&text)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Looks for an alert's events.
struct Search {
    rules: (RuleIndex, Arc<Dictionary>),
    decoder: Decoder,
    gateway: GatewayId,
    id: String,
}

impl Search {
    fn run(mut self, ring: &Reader, lines: &mpsc::Sender<Line>) {
        let ever = (Timestamp::from_nanos(i64::MIN), Timestamp::from(SystemTime::now()));
        let mut events = 0_u64;
        let found = ring.read(ever, |entry| {
            for event in self.decoder.decode(entry).unwrap_or_default() {
                if self.is_evidence(&event) {
                    events = events.saturating_add(1);
                    if lines.blocking_send(Line::Event(show(entry, &event))).is_err() {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        });
        let last = match found {
            Ok(found) => Line::Done { events, damaged: found.damaged },
            Err(error) => Line::Refused { reason: crate::chain(&error) },
        };
        // Whoever asked may be gone.
        let _ = lines.blocking_send(last);
    }

    fn is_evidence(&self, event: &Event) -> bool {
        let (rules, names) = &self.rules;
        rules.keys(event, names).iter().any(|key| AlertId::derive(&self.gateway, key).as_str() == self.id)
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn show(entry: &Entry<'_>, event: &Event) -> Shown {
    let at = jiff::Timestamp::from_nanosecond(i128::from(entry.received.as_nanos())).unwrap_or_default();
    let text = match &event.body {
        Body::Notification(notification) => trap(notification),
        // As received, but readable.
        Body::Push(_) | Body::Syslog(_) => String::from_utf8_lossy(entry.bytes).into_owned(),
    };
    Shown { at: at.to_string(), way: entry.way.name().to_owned(), peer: entry.peer, tls_name: entry.tls_name.map(str::to_owned), text }
}

fn trap(notification: &Notification) -> String {
    let varbinds = notification.varbinds.iter().map(|varbind| format!(" {} = {}", varbind.name, value(&varbind.value)));
    format!("{} uptime {}", notification.trap_oid, notification.uptime) + &varbinds.collect::<String>()
}

fn value(value: &Value) -> String {
    let octets = |octets: &[u8]| match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("0x{}", data_encoding::HEXLOWER.encode(octets)),
    };
    match value {
        Value::Counter32(number) | Value::Gauge32(number) | Value::TimeTicks(number) => number.to_string(),
        Value::Counter64(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::IpAddress(address) => address.to_string(),
        Value::Null => "null".to_owned(),
        Value::OctetString(content) | Value::Opaque(content) => octets(content),
        Value::Oid(oid) => oid.to_string(),
    }
}

/// Asks the running daemon; calls `show` with each event.
///
/// # Errors
/// [`EventsError`]; what came before was shown.
pub async fn ask(config: &Config, id: &str, mut show: impl FnMut(&Shown)) -> Result<(u64, u64), EventsError> {
    if !is_id(id) {
        return Err(EventsError::Id(id.to_owned()));
    }
    let path = config.events_socket();
    let connect = |path: &Path, cause| EventsError::Connect { path: path.to_owned(), cause };
    let mut stream = UnixStream::connect(&path).await.map_err(|cause| connect(&path, cause))?;
    stream.write_all(format!("{id}\n").as_bytes()).await.map_err(|cause| connect(&path, cause))?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(|_| EventsError::Answer)? {
        match serde_json::from_str(&line).map_err(|_| EventsError::Answer)? {
            Line::Event(event) => show(&event),
            Line::Done { events, damaged } => return Ok((events, damaged)),
            Line::Refused { reason } => return Err(EventsError::Refused(reason)),
        }
    }
    Err(EventsError::Answer)
}
