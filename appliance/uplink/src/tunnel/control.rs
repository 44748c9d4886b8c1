//! One session from its first byte to its last: the control stream, and the lanes' tasks beside it.
//!
//! The decisions are [`Session`]'s; this shell owns the clock, the streams and the queues. Called by [`super::run`], once for
//! every attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_protocol::id::Lane;
use postern_protocol::message::{Down, Hello, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, down};
use postern_protocol::status::TunnelState;
use postern_protocol::timestamp::Timestamp;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Connection, FrameReader, FrameSender, Loss};
use super::lane::{self, LaneTask};
use super::mail::Mail;
use super::pace::Paces;
use super::session::{Action, Fault, Now, Session};
use super::tap::{Stream, Tap};
use super::{Control, Incoming, Interrupt, Interrupted, TunnelOptions, report};
use crate::dial::link::LinkSettings;
use crate::spool::Spool;

/// Messages for the control plane that may wait in the stream.
const QUEUE_FRAMES: usize = 32;

/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a session ended.
pub(super) struct Ended {
    /// How long it was established; zero when it never was.
    pub(super) lived: Duration,
    /// Why.
    pub(super) ending: Ending,
}

/// Why a session ended.
pub(super) enum Ending {
    /// From this side, in good order.
    Interrupted(Interrupted),
    /// It was lost, or could not be opened.
    Lost(Loss),
}

/// What one session works with.
pub(super) struct Surroundings<'a> {
    pub(super) options: &'a TunnelOptions,
    pub(super) settings: LinkSettings,
    /// With which of the addresses to begin.
    pub(super) turn: usize,
    /// Counts the attempts of this start.
    pub(super) attempt: u64,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) spool: &'a Spool,
}

/// Opens a session and keeps it until it is lost or interrupted.
pub(super) async fn run(around: &Surroundings<'_>, control: &mut Control, mail: &mut Mail, interrupt: &mut Interrupt) -> Ended {
    let never = |ending| Ended { lived: Duration::ZERO, ending };
    let way = around.settings.way(around.turn);
    control.state.send_modify(|state| {
        state.address = way.addresses.first().map(ToString::to_string);
        state.proxy = way.proxy.as_ref().map(ToString::to_string);
    });
    let opening = Connection::open(&around.settings.server, &way, Arc::clone(&around.tls));
    let opened = tokio::select! {
        biased;
        interrupted = interrupt.wait() => return never(Ending::Interrupted(interrupted)),
        opened = mail.attend(control, opening) => opened,
    };
    let (connection, lost) = match opened {
        Ok(opened) => opened,
        Err(loss) => return never(Ending::Lost(loss)),
    };
    control.state.send_modify(|state| state.address = Some(connection.address().to_string()));
    let mut running = Running {
        around,
        connection,
        lanes: JoinSet::new(),
        paces: watch::channel(Paces::default()).0,
        start: Instant::now(),
        protocol: OLDEST_PROTOCOL_VERSION,
        established: None,
    };
    let outcome = tokio::select! {
        biased;
        outcome = running.run(control, mail, interrupt) => outcome,
        lost = lost => Err(lost.ok().and_then(Result::err).map_or(Loss::StreamEnded, Loss::Http)),
    };
    let lived = running.established.map_or(Duration::ZERO, |at| at.elapsed());
    let Running { connection, mut lanes, .. } = running;
    lanes.shutdown().await;
    connection.close(if outcome.is_ok() { FAREWELL } else { Duration::ZERO }).await;
    Ended { lived, ending: outcome.map_or_else(Ending::Lost, Ending::Interrupted) }
}

struct Running<'a> {
    around: &'a Surroundings<'a>,
    connection: Connection,
    lanes: JoinSet<Loss>,
    paces: watch::Sender<Paces>,
    start: Instant,
    /// What the session speaks.
    protocol: u32,
    established: Option<Instant>,
}

impl Running<'_> {
    /// Returns what interrupted it.
    async fn run(&mut self, control: &mut Control, mail: &mut Mail, interrupt: &mut Interrupt) -> Result<Interrupted, Loss> {
        let (mut sender, mut reader, mut session) = tokio::select! {
            biased;
            interrupted = interrupt.wait() => return Ok(interrupted),
            greeted = self.greet(control, mail) => greeted?,
        };
        loop {
            while self.established.is_some() && sender.room() > 1 {
                let Some(message) = mail.outbox.take() else { break };
                let Some(message) = session.outward(message) else { continue };
                if !sender.queue(&message) {
                    return Err(Loss::StreamEnded);
                }
            }
            // All waits are cancel-safe: the reader keeps its bytes, the mail its messages.
            tokio::select! {
                biased;
                interrupted = interrupt.wait() => {
                    drop(sender);
                    let _gone = tokio::time::timeout(FAREWELL, reader.drain()).await;
                    return Ok(interrupted);
                }
                Some(ended) = self.lanes.join_next() => {
                    let loss = ended.unwrap_or(Loss::StreamEnded);
                    return Err(last_words(&mut reader).await.unwrap_or(loss));
                }
                () = tokio::time::sleep_until(self.start + session.deadline()) => {
                    if let Some(beat) = session.tick(self.now())? {
                        // When the queue is full the peer does not read, and its silence ends the session.
                        sender.queue(&beat);
                    }
                }
                message = reader.next::<Down>() => {
                    let message = message?.ok_or(Loss::StreamEnded)?;
                    let actions = session.take(message, self.now())?;
                    self.protocol = session.protocol().unwrap_or(OLDEST_PROTOCOL_VERSION);
                    for action in actions {
                        self.act(action, control, mail).await?;
                    }
                }
                () = mail.turn(control) => {}
            }
        }
    }

    async fn greet(&mut self, control: &Control, mail: &mut Mail) -> Result<(FrameSender, FrameReader, Session), Loss> {
        let spool = self.around.spool;
        let facts = control.facts.borrow().clone();
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            program_version: self.around.options.program_version.clone(),
            epoch: spool.epoch().0,
            heads: spool.heads(),
            effective_revision: facts.effective,
            newest_revision: facts.newest,
            dictionary: facts.dictionary,
            sealing_key: facts.sealing_key,
            secrets_serial: facts.secrets_serial,
            trust_serial: facts.trust_serial,
            incarnation: facts.incarnation,
            previous_incarnation: facts.previous_incarnation,
            earlier_incarnations: facts.earlier_incarnations,
            session: self.around.attempt,
            audit_number: facts.audit_number,
            provisional_revision: facts.provisional,
            rollback: facts.rollback,
            alert_revision: facts.alert_revision,
        };
        let session = Session::new(self.around.options.heartbeat, hello, spool.acknowledged());
        let (mut sender, reader) = self.connection.opener(self.tap()).open(Stream::Control, QUEUE_FRAMES).await?;
        sender.queue(&session.greeting());
        self.start = Instant::now();
        mail.outbox.begin_session();
        Ok((sender, reader, session))
    }

    async fn act(&mut self, action: Action, control: &Control, mail: &mut Mail) -> Result<(), Loss> {
        match action {
            Action::Acknowledge(lane, epoch, sequence) => self.around.spool.acknowledge(lane, epoch, sequence),
            Action::Deliver(message) => mail.deliver(message)?,
            Action::Establish => {
                self.established = Some(Instant::now());
                tracing::info!(server = %self.around.settings.server, address = %self.connection.address(), "tunnel up");
                report(&control.state, TunnelState::Up, None);
                for lane in Lane::ALL {
                    let running = lane::run(LaneTask {
                        lane,
                        protocol: self.protocol,
                        spool: self.around.spool.clone(),
                        opener: self.connection.opener(self.tap()),
                        paces: self.paces.subscribe(),
                    });
                    self.lanes.spawn(async move {
                        match running.await {
                            Ok(never) => match never {},
                            Err(loss) => loss,
                        }
                    });
                }
            }
            Action::Measured { rtt, clock_offset } => {
                control.state.send_modify(|state| {
                    state.rtt_ms = Some(rtt.as_secs_f64() * 1e3);
                    state.clock_offset_ms = Some(clock_offset as f64 / 1e6);
                });
            }
            Action::Pace(pace) => {
                tracing::info!(lane = pace.lane, bytes_per_second = pace.bytes_per_second, "the control plane sets the pace");
                self.paces.send_modify(|paces| paces.set(pace));
            }
            Action::RenewEpoch => {
                let epoch = self.around.spool.renew_epoch().await?;
                tracing::warn!(epoch = epoch.0, "the control plane knows more than this gateway: going on under a new epoch");
                mail.deliver(Incoming::ResendOpenAlerts { nonce: 0 })?;
                return Err(Fault::RolledBack.into());
            }
        }
        Ok(())
    }

    fn tap(&self) -> Tap {
        self.around.options.tap.clone()
    }

    fn now(&self) -> Now {
        Now { since_start: self.start.elapsed(), wall: Timestamp::from(SystemTime::now()) }
    }
}

/// Returns the farewell of a control plane that ends lanes and says why on the control stream.
async fn last_words(reader: &mut FrameReader) -> Option<Loss> {
    let listening = async {
        loop {
            if let down::Kind::Goodbye(goodbye) = reader.next::<Down>().await.ok()??.kind? {
                return Some(Fault::from(goodbye).into());
            }
        }
    };
    tokio::time::timeout(FAREWELL, listening).await.ok()?
}
