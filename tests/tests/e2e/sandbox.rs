//! That all these tests speak to a gateway that has locked itself in.

use postern_protocol::status::Enforcement;

use crate::harness::rig::{Options, Rig};

#[test]
fn the_gateway_under_test_is_confined_and_says_so() {
    let rig = Rig::start_with(&Options { gateway_toml: "[sandbox]\nrequire = true\n", ..Options::default() });
    let status = rig.wait_for_status("a report", |status| status.sandbox.is_some());
    let sandbox = status.sandbox.unwrap();
    assert_eq!(sandbox.seccomp, Enforcement::FullyEnforced);
    assert!(!matches!(sandbox.landlock, Enforcement::NotEnforced { .. }), "{sandbox:?}");
    let log = std::fs::read_to_string(rig.layout().log("gateway")).unwrap();
    assert!(log.contains("the sandbox is "), "{log}");
    let program = rig.prepared.binaries.gateway.to_str().unwrap();
    let table = postern_tests::tools::run(program, &["status", "--config", rig.layout().gateway_config().to_str().unwrap()]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("system calls fully enforced"), "{table}");
}
