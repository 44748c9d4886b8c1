//! A site that lets nothing out but its HTTP proxy: the appliance enrols and reports through it, and tries no other way.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postern_tests::deadline::{SOON, wait_for};
use postern_tests::launcher::control_plane::answers;
use postern_tests::tools::{LINK_DOWN, link_inform, printed};

use crate::harness::artefacts::Artefacts;
use crate::harness::machine::{Chassis, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, NEIGHBOUR, Site, Wire, leased_address};
use crate::harness::{BOOT, REACTION};
use crate::smoke::life::is_link;

const PORT: u16 = 8888;

/// tinyproxy on the neighbour's address, which allows CONNECT to 443 and nothing else.
struct Proxy(Child);

impl Proxy {
    fn start(dir: &Path) -> Self {
        let config = dir.join("tinyproxy.conf");
        let text = format!(
            "Port {PORT}\nListen {NEIGHBOUR}\nTimeout 600\nMaxClients 20\nAllow 10.99.0.0/24\nConnectPort 443\nDefaultErrorFile \"/dev/null\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "tinyproxy", "-d", "-c"]).arg(&config);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::new(NEIGHBOUR.into(), PORT);
        wait_for("tinyproxy", SOON, || if answers(address) { Ok(()) } else { Err("it does not listen".to_owned()) });
        Self(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn the_appliance_enrols_and_reports_through_the_sites_proxy() {
    let (image, dir) = (Artefacts::shipped(), tempfile::tempdir().unwrap());
    let ova = image.unpack(dir.path());
    let chassis = Chassis::new(&ova.disk(), &image.firmware_variables());
    let (site, _proxy) = (Site::start(), Proxy::start(dir.path()));
    let wire = Wire::watch(&chassis.dir().join("wire.pcap"));
    let proxy = format!("http://{NEIGHBOUR}:{PORT}");
    let properties = [("hostname", "proxied"), ("control_plane", CONTROL_PLANE), ("proxy", &proxy), ("token", &site.token("proxied"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), ..Plugged::default() });
    wait_for("the gateway to enrol", BOOT, || if site.gateways() == ["proxied"] { Ok(()) } else { Err(machine.console.tail()) });
    let traps = SocketAddr::new(wait_for("an address", REACTION, leased_address), 162);
    wait_for("an inform to be answered", REACTION, || {
        let informed = link_inform(traps, LINK_DOWN, 1, &["-r", "0", "-t", "2"]);
        if informed.status.success() { Ok(()) } else { Err(printed(&informed)) }
    });
    site.api.wait_for_alert_within("the link", REACTION, |alert| is_link(alert, 1));
    let direct = wire.packets("ether src 52:54:00:99:00:50 and dst host 10.99.0.1 and tcp dst port 443");
    assert!(direct.is_empty(), "{direct:#?}");
}
