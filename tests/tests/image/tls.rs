//! What testssl.sh, which tries far more than the short scan of `smoke`, says about the TLS of 6514 and 3128.

use std::path::Path;

use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run};
use serde_json::Value;

use crate::harness::BOOT;
use crate::harness::artefacts::Artefacts;
use crate::harness::checks::Checks;
use crate::harness::machine::{Chassis, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, Site, leased_address};

/// What is so by design: the certificates are the site's own, from its control plane's authority, for machines that know it, and no
/// browser is served a page. `engine_problem` is the scanner's own.
const BY_DESIGN: [&str; 11] = [
    "cert_chain_of_trust",
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "cert_revocation",
    "cert_trust",
    "cert_subjectAltName",
    "DNS_CAArecord",
    "HSTS",
    "engine_problem",
    "overall_grade",
    "security_headers",
];

#[test]
#[ignore = "needs an image: make ci-image"]
fn testssl_finds_nothing_weak() {
    let (image, dir) = (Artefacts::shipped(), tempfile::tempdir().unwrap());
    let ova = image.unpack(dir.path());
    let chassis = Chassis::new(&ova.disk(), &image.firmware_variables());
    let site = Site::start();
    let properties = [("hostname", "tls"), ("control_plane", CONTROL_PLANE), ("token", &site.token("tls"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), ..Plugged::default() });
    wait_for("the gateway to enrol", BOOT, || if site.gateways() == ["tls"] { Ok(()) } else { Err(machine.console.tail()) });
    machine.console.wait_for("open: proxy", BOOT);
    let address = leased_address().unwrap();
    let mut checks = Checks::default();
    for port in [6514, 3128] {
        checks.run(&format!("port {port}"), || scan(dir.path(), &format!("{address}:{port}")));
    }
    checks.finish();
}

fn scan(dir: &Path, target: &str) {
    let report = dir.join(format!("{target}.json"));
    let options = ["--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none", "--jsonfile"];
    let output = run("timeout", &[&["900", "testssl"], &options[..], &[report.to_str().unwrap(), target]].concat());
    let text = std::fs::read(&report).unwrap_or_else(|error| panic!("{error}: {}", printed(&output)));
    let findings: Vec<Value> = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", printed(&output)));
    assert!(findings.iter().any(|finding| finding["id"] == "TLS1_3"), "it looked: {findings:#?}");
    let bad = |finding: &&Value| {
        let severity = finding["severity"].as_str().unwrap_or_default();
        let id = finding["id"].as_str().unwrap_or_default();
        !["OK", "INFO", "DEBUG", "LOW"].contains(&severity) && !BY_DESIGN.iter().any(|known| id.starts_with(known))
    };
    let bad: Vec<&Value> = findings.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
