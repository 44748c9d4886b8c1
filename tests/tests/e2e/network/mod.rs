//! Bad networks, made of namespaces: the tunnel recovers, or `doctor` names the cause.
//!
//! Making a namespace takes root, as an appliance's builder has it; without it these tests say so and stop.

mod middlemen;
mod namespace;
mod wire;

use std::time::Duration;

use postern_protocol::status::TunnelState;

use crate::harness::rig::{Options, Rig};
use namespace::{CLOUD, Wire};

/// Time for the tunnel to come up over a bad wire: several attempts, each with a hand-shake of some round trips.
const PATIENCE: Duration = Duration::from_secs(90);

/// A gateway on one side of the wire and its control plane on the other. Fields drop in order: programs before the wire.
struct Sites {
    rig: Rig,
    wire: Wire,
}

impl Sites {
    /// Makes both sides and enrols the gateway, which is not started yet; its configuration names the control plane's far address.
    fn new(mtu: u16, gateway_toml: &str) -> Self {
        let wire = Wire::new(mtu);
        let rig = wire.cloud.run(|| {
            let options = Options { gateway_toml, expected_errors: &["the tunnel", "tunnel"], ..Options::default() };
            let mut rig = Rig::enrolled(&options);
            let port = rig.prepared.sockets.https().port();
            // Reachable from the other side, too.
            rig.kill_control();
            rig.configure_control("listen", &format!("\"0.0.0.0:{port}\""));
            rig.start_control();
            rig.configure("server", &format!("addresses = [\"{CLOUD}:{port}\"]"));
            rig
        });
        Self { rig, wire }
    }

    fn start_gateway(&mut self) {
        let Self { rig, wire } = self;
        wire.site.run(|| rig.spawn_gateway());
    }

    fn wait_for_tunnel(&self, state: TunnelState) -> postern_protocol::status::Status {
        self.rig.wait_for_status_within("the tunnel", PATIENCE, |status| status.tunnel.state == state)
    }
}
