//! A control plane and an enrolled gateway as `make run` starts them: rules, ledger, spool and tunnel on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use postern_protocol::status::{Status, TunnelState};
use postern_tests::api::{Api, Force};
use postern_tests::launcher::layout::Layout;
use postern_tests::launcher::ports::{PortChoice, Sockets};
use postern_tests::launcher::program::Binaries;
use postern_tests::launcher::{Prepared, control_plane, gateway, prepare};

use crate::process::{Process, wait_until};

/// The running pair.
pub(crate) struct Postern {
    pub(crate) gateway: Process,
    pub(crate) control: Process,
    pub(crate) prepared: Prepared,
    pub(crate) api: Api,
}

impl Postern {
    /// Starts both in `dir`; `more` is appended to the gateway's configuration inside `[proxy]`.
    pub(crate) fn start(dir: &Path, more: &str) -> Self {
        let sockets = Sockets::open(&PortChoice::default()).unwrap();
        let demo = Path::new(env!("CARGO_BIN_EXE_postern-demo"));
        let binaries = Binaries::in_dir(demo.parent().unwrap()).unwrap();
        let prepared = prepare(Layout::new(dir), binaries, sockets).unwrap();
        gateway::write_config(&prepared, prepared.sockets.https(), more).unwrap();
        let mut serve = control_plane::serve(&prepared.binaries, &prepared.layout).unwrap();
        let control = Process::start(&mut serve, &dir.join("control.out"));
        wait_until("the control plane", || control_plane::answers(prepared.sockets.https()));
        gateway::enrol(&prepared).unwrap();
        let api = Api::new(&prepared);
        let gateway = Process::start(&mut gateway::run(&prepared).unwrap(), &dir.join("gateway.out"));
        let postern = Self { gateway, control, prepared, api };
        wait_until("the tunnel", || {
            gateway::status(&postern.prepared.binaries, &postern.prepared.layout).is_ok_and(|status| status.tunnel.state == TunnelState::Up)
        });
        postern
    }

    pub(crate) fn status(&self) -> Status {
        gateway::status(&self.prepared.binaries, &self.prepared.layout).unwrap()
    }

    pub(crate) fn trap(&self) -> SocketAddr {
        self.prepared.sockets.snmp_trap()
    }

    pub(crate) fn syslog(&self) -> SocketAddr {
        self.prepared.sockets.syslog()
    }

    pub(crate) fn syslog_tls(&self) -> SocketAddr {
        self.prepared.sockets.syslog_tls()
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.prepared.sockets.proxy()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.prepared.layout.ca()
    }

    /// Puts a configuration through the API.
    pub(crate) fn configure(&self, document: &str) {
        let id = gateway::identity(&self.prepared.layout).unwrap();
        self.api.put_configuration(&id, document, Force::Checked).ok();
    }

    /// Lets postern-control do something with a secret on standard input.
    pub(crate) fn seal(&self, name: &str, secret: &str) {
        let id = gateway::identity(&self.prepared.layout).unwrap();
        let config = self.prepared.layout.control_config();
        let arguments = ["secret", "seal", "--tenant", &self.prepared.first.tenant, "--gateway", &id, "--name", name, "--config"];
        let program = self.prepared.binaries.control.display().to_string();
        let output =
            postern_tests::tools::run_with_input(&program, &[&arguments[..], &[&config.display().to_string()]].concat(), secret.as_bytes());
        postern_tests::tools::succeeded(&output);
    }
}
