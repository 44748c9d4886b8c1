//! The command line as a person uses it.

use std::process::{Command, Output};

use crate::site::Site;

fn gateway(arguments: &[&str], site: &Site) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
    command.args(arguments).arg("--config").arg(site.config_file()).output().unwrap()
}

#[test]
fn check_accepts_a_good_file_and_tells_every_fault_of_a_bad_one() {
    let site = Site::new("");
    let good = gateway(&["check"], &site);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    std::fs::write(site.config_file(), "data_dir = \"d\"\n[server]\nurl = \"http://h\"\n[proxy]\nlisten = \"x\"\n").unwrap();
    let bad = gateway(&["check"], &site);
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && told.contains("server.url") && told.contains("proxy.listen"), "{told}");
}

#[test]
fn a_gateway_that_is_enrolled_is_not_enrolled_again() {
    let site = Site::new("");
    let again = gateway(&["enrol", "--server", "https://127.0.0.1:9", "--token-file", "/dev/null"], &site);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && told.contains("is enrolled"), "{told}");
    let elsewhere = gateway(&["enrol", "--server", "https://example.com", "--token-file", "/dev/null"], &site);
    let told = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(!elsewhere.status.success() && told.contains("make them the same"), "{told}");
}

#[test]
fn status_says_when_no_daemon_runs() {
    let site = Site::new("");
    let asked = gateway(&["status", "--json"], &site);
    let told = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(!asked.status.success() && told.contains("is it running?"), "{told}");
}
