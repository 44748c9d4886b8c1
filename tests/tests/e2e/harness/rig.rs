//! One control plane and one enrolled gateway in a temporary directory, under the test's own hand instead of a supervisor's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_protocol::status::{Account, Status, TunnelState};
use postern_tests::launcher::layout::Layout;
use postern_tests::launcher::ports::{PortChoice, Sockets};
use postern_tests::launcher::program::Binaries;
use postern_tests::launcher::{Prepared, control_plane, gateway, prepare};

use postern_tests::api::Api;
use postern_tests::deadline::{SOON, wait_for};

/// How a rig differs from the demo.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// Appended to the gateway's configuration.
    pub(crate) gateway_toml: &'a str,
    /// Keys of the control plane's configuration and their TOML values.
    pub(crate) control_toml: &'a [(&'a str, &'a str)],
    /// An unexpected `ERROR` line in a log fails the test, unless it contains one of these.
    pub(crate) expected_errors: &'static [&'static str],
}

/// The rig. Dropping it kills both programs and looks through their logs.
pub(crate) struct Rig {
    pub(crate) prepared: Prepared,
    pub(crate) api: Api,
    control: Option<Child>,
    gateway: Option<Child>,
    expected_errors: &'static [&'static str],
    _dir: tempfile::TempDir,
}

/// Where the programs under test are: beside `postern-demo`, which cargo builds for these tests.
pub(crate) fn binaries() -> Binaries {
    let demo = Path::new(env!("CARGO_BIN_EXE_postern-demo"));
    Binaries::in_dir(demo.parent().unwrap()).unwrap()
}

impl Rig {
    /// Starts the demo as it is.
    pub(crate) fn start() -> Self {
        Self::start_with(&Options::default())
    }

    pub(crate) fn start_with(options: &Options<'_>) -> Self {
        let mut rig = Self::enrolled(options);
        rig.start_gateway();
        rig
    }

    /// Starts the control plane and enrols the gateway, but does not start it.
    pub(crate) fn enrolled(options: &Options<'_>) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-").tempdir().unwrap();
        let sockets = Sockets::open(&PortChoice::default()).unwrap();
        let prepared = prepare(Layout::new(dir.path()), binaries(), sockets).unwrap();
        for (key, value) in options.control_toml {
            control_plane::set_value(&prepared.layout, key, value).unwrap();
        }
        gateway::write_config(&prepared, prepared.sockets.https(), options.gateway_toml).unwrap();
        let api = Api::new(&prepared);
        let mut rig = Self { prepared, api, control: None, gateway: None, expected_errors: options.expected_errors, _dir: dir };
        rig.start_control();
        gateway::enrol(&rig.prepared).unwrap();
        rig
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.prepared.layout
    }

    pub(crate) fn gateway_id(&self) -> String {
        gateway::identity(self.layout()).unwrap()
    }

    /// Starts the control plane and waits until it answers.
    pub(crate) fn start_control(&mut self) {
        self.spawn_control();
        let address = self.prepared.sockets.https();
        wait_for("the control plane", SOON, || control_plane::answers(address).then_some(()).ok_or_else(|| self.control_log()));
    }

    pub(crate) fn spawn_control(&mut self) {
        self.control = Some(spawn(control_plane::serve(&self.prepared.binaries, self.layout()).unwrap()));
    }

    /// Starts the gateway and waits until its tunnel is up.
    pub(crate) fn start_gateway(&mut self) {
        self.spawn_gateway();
        self.wait_for_status("the tunnel", |status| status.tunnel.state == TunnelState::Up);
    }

    pub(crate) fn spawn_gateway(&mut self) {
        self.gateway = Some(spawn(gateway::run(&self.prepared).unwrap()));
    }

    /// Has the gateway reach the control plane at `server` from its next start on.
    pub(crate) fn redirect_gateway(&self, server: SocketAddr, gateway_toml: &str) {
        gateway::write_config(&self.prepared, server, gateway_toml).unwrap();
    }

    /// Edits the gateway's configuration for its next start: `lines` go to the beginning of `[section]`.
    pub(crate) fn configure(&self, section: &str, lines: &str) {
        let (path, header) = (self.layout().gateway_config(), format!("[{section}]\n"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&header), "{text}");
        std::fs::write(&path, text.replace(&header, &format!("{header}{lines}\n"))).unwrap();
    }

    /// Sets a key of the control plane's configuration for its next start.
    pub(crate) fn configure_control(&self, key: &str, value: &str) {
        control_plane::set_value(self.layout(), key, value).unwrap();
    }

    pub(crate) fn kill_gateway(&mut self) {
        kill_at_once(&mut self.gateway);
    }

    pub(crate) fn kill_control(&mut self) {
        kill_at_once(&mut self.control);
    }

    /// Asks the gateway to stop and returns how it ended and how long that took.
    pub(crate) fn stop_gateway(&mut self) -> (ExitStatus, Duration) {
        stop(&mut self.gateway)
    }

    pub(crate) fn stop_control(&mut self) -> (ExitStatus, Duration) {
        stop(&mut self.control)
    }

    pub(crate) fn gateway_pid(&self) -> Pid {
        pid(self.gateway.as_ref().unwrap())
    }

    /// The gateway's own report; its ledger must balance whenever one looks.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let status = gateway::status(&self.prepared.binaries, self.layout()).map_err(|error| format!("{error:#}"))?;
        assert_balanced("totals", &status.ledger.totals);
        for (protocol, account) in &status.ledger.by_protocol {
            assert_balanced(protocol, account);
        }
        for source in &status.ledger.top_sources {
            assert_balanced(&source.source, &source.account);
        }
        Ok(status)
    }

    pub(crate) fn wait_for_status(&self, what: &str, is_it: impl Fn(&Status) -> bool) -> Status {
        self.wait_for_status_within(what, SOON, is_it)
    }

    pub(crate) fn wait_for_status_within(&self, what: &str, deadline: Duration, is_it: impl Fn(&Status) -> bool) -> Status {
        wait_for(what, deadline, || {
            let status = self.status()?;
            if is_it(&status) { Ok(status) } else { Err(format!("{status:#?}\n{}", self.gateway_log())) }
        })
    }

    /// Waits until everything that was received is dealt with and acknowledged by the control plane.
    pub(crate) fn wait_until_delivered(&self) -> Status {
        self.wait_for_status("everything to be delivered", |status| {
            status.ledger.totals.in_flight == 0 && status.spool.lanes.get("alerts").is_none_or(|lane| lane.records == 0)
        })
    }

    /// Count of one drop reason over all protocols.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.status().unwrap().ledger.totals.dropped.get(reason).copied().unwrap_or(0)
    }

    /// Runs one of the control plane's commands and returns what it printed.
    pub(crate) fn control_command(&self, args: &[&str]) -> anyhow::Result<String> {
        let printed = control_plane::command_line(&self.prepared.binaries, self.layout(), args)?;
        Ok(String::from_utf8(printed).unwrap())
    }

    pub(crate) fn gateway_log(&self) -> String {
        tail(&self.layout().log("gateway"))
    }

    pub(crate) fn control_log(&self) -> String {
        tail(&self.layout().log("control-plane"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        kill_at_once(&mut self.gateway);
        kill_at_once(&mut self.control);
        if std::thread::panicking() {
            eprintln!("gateway's log:\n{}\ncontrol plane's log:\n{}", self.gateway_log(), self.control_log());
            return;
        }
        for name in ["gateway", "control-plane"] {
            let log = std::fs::read_to_string(self.layout().log(name)).unwrap_or_default();
            let unexpected = |line: &&str| line.contains("ERROR") && !self.expected_errors.iter().any(|known| line.contains(known));
            let errors: Vec<&str> = log.lines().filter(unexpected).collect();
            assert!(errors.is_empty(), "the {name} logged errors: {errors:#?}");
            let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked at")).collect();
            assert!(panics.is_empty(), "the {name} panicked: {panics:#?}");
        }
    }
}

fn assert_balanced(what: &str, account: &Account) {
    let dropped: u64 = account.dropped.values().sum();
    assert_eq!(account.received, account.accepted + account.in_flight + dropped, "ledger of {what}: {account:?}");
}

fn spawn(mut command: Command) -> Child {
    command.spawn().unwrap()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn kill_at_once(slot: &mut Option<Child>) {
    if let Some(mut child) = slot.take() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn stop(slot: &mut Option<Child>) -> (ExitStatus, Duration) {
    let (mut child, start) = (slot.take().unwrap(), Instant::now());
    kill(pid(&child), Signal::SIGTERM).unwrap();
    let status = wait_for("a program to stop", Duration::from_secs(15), || match child.try_wait().unwrap() {
        Some(status) => Ok(status),
        None => Err("it still runs".to_owned()),
    });
    (status, start.elapsed())
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(60)).map(|line| format!("{line}\n")).collect()
}
