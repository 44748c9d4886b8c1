//! Keeps both programs running until the launcher is told to stop.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::layout::Layout;
use super::ports::Sockets;
use super::program::Binaries;
use super::{POLL, Prepared, announce, control_plane, gateway};

/// Pause before a program is started again: well under half a second, and long enough not to spin.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How long the gateway may take to hand on what it has, then the control plane: together under 15 s.
const STOP_GATEWAY: Duration = Duration::from_secs(7);
const STOP_CONTROL_PLANE: Duration = Duration::from_secs(6);

/// Sets the demo up, runs it, and stops it on SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn run(layout: Layout, binaries: Binaries, sockets: Sockets) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let prepared = super::prepare(layout, binaries, sockets)?;
    gateway::write_config(&prepared, prepared.sockets.https(), "")?;
    let (mut control, mut gateway) = (Slot::new("control plane"), Slot::new("gateway"));
    let outcome = tokio::select! {
        biased;
        () = stop.asked() => Ok(()),
        outcome = keep_running(&prepared, &mut control, &mut gateway) => outcome,
    };
    gateway.stop(STOP_GATEWAY).await;
    control.stop(STOP_CONTROL_PLANE).await;
    outcome
}

/// Starts, announces and restarts; returns only with an error.
async fn keep_running(prepared: &Prepared, control: &mut Slot, gateway: &mut Slot) -> anyhow::Result<()> {
    control.start(control_plane::serve(&prepared.binaries, &prepared.layout)?)?;
    tokio::select! {
        outcome = control.keep(|| control_plane::serve(&prepared.binaries, &prepared.layout)) => return outcome,
        outcome = enrol(prepared) => outcome?,
    }
    gateway.start(gateway::run(prepared)?)?;
    tokio::select! {
        outcome = control.keep(|| control_plane::serve(&prepared.binaries, &prepared.layout)) => outcome,
        outcome = gateway.keep(|| gateway::run(prepared)) => outcome,
        outcome = announce_when_ready(prepared) => outcome,
    }
}

async fn enrol(prepared: &Prepared) -> anyhow::Result<()> {
    let log = prepared.layout.log("control-plane");
    let mut patience = Patience::new();
    while !control_plane::answers(prepared.sockets.https()) {
        patience.wait(|| format!("the control plane does not answer; its log is {}", log.display())).await;
    }
    gateway::enrol(prepared)
}

/// Writes `demo.json` once everything answers, then waits for ever.
async fn announce_when_ready(prepared: &Prepared) -> anyhow::Result<()> {
    let mut patience = Patience::new();
    loop {
        let reason = match gateway::status(&prepared.binaries, &prepared.layout) {
            Ok(status) => gateway::not_ready(&status),
            Err(error) => Some(format!("{error:#}")),
        };
        let Some(reason) = reason else { break };
        patience.wait(|| format!("{reason}; the log is {}", prepared.layout.log("gateway").display())).await;
    }
    announce::announce(&prepared.describe()?, &prepared.layout)?;
    std::future::pending().await
}

/// Waits between looks, and says every ten seconds what it waits for.
struct Patience {
    told: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { told: Instant::now() }
    }

    async fn wait(&mut self, reason: impl FnOnce() -> String) {
        if self.told.elapsed() > Duration::from_secs(10) {
            self.told = Instant::now();
            eprintln!("still waiting: {}", reason());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One program that is to stay.
struct Slot {
    name: &'static str,
    child: Option<Child>,
}

impl Slot {
    const fn new(name: &'static str) -> Self {
        Self { name, child: None }
    }

    fn start(&mut self, command: Command) -> anyhow::Result<()> {
        let child = tokio::process::Command::from(command).spawn();
        self.child = Some(child.with_context(|| format!("cannot start the {}", self.name))?);
        Ok(())
    }

    /// Starts the program again whenever it ends; returns only with an error.
    ///
    /// Dropped at any await, it has lost nothing: the child stays in its slot until it was seen to end.
    async fn keep(&mut self, command: impl Fn() -> anyhow::Result<Command>) -> anyhow::Result<()> {
        loop {
            let ended = self.ended().await?;
            eprintln!("the {} ended ({ended}); starting it again", self.name);
            tokio::time::sleep(RESTART_PAUSE).await;
            self.start(command()?)?;
        }
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await.with_context(|| format!("cannot wait for the {}", self.name)),
            None => std::future::pending().await,
        }
    }

    /// Asks the program to stop, and kills it when it has not within `patience`.
    async fn stop(&mut self, patience: Duration) {
        let Some(pid) = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok()) else { return };
        if kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok() && tokio::time::timeout(patience, self.ended()).await.is_err() {
            eprintln!("the {} did not stop within {} s; killing it", self.name, patience.as_secs());
            if let Some(child) = &mut self.child {
                // It may have ended just now, which is as good.
                drop(child.kill().await);
            }
        }
    }
}

/// The signals that end the demo.
struct Stop {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => (),
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
