//! The `snmp` and `sources` sections: what is refused, with its place and what to do.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use postern_protocol::revision::{Problem, parse};

fn problems(sections: &str) -> Vec<Problem> {
    let text = format!(r#"{{"format": 1, "rules": [], {sections}}}"#);
    parse(text.as_bytes()).expect_err("the document is refused")
}

/// Holds that the sections have a fault with this path and reason.
#[track_caller]
fn assert_fault(sections: &str, path: &str, reason: &str) {
    let found = problems(sections);
    let is_it = |problem: &Problem| problem.path == path && problem.line == 1 && problem.reason.contains(reason);
    assert!(found.iter().any(is_it), "no fault `{path}` with {reason:?} in {found:#?}");
}

fn user(fields: &str) -> String {
    format!(r#""snmp": {{"users": [{{"name": "ops", {fields}}}]}}"#)
}

const SHA: &str = r#""auth": {"algorithm": "sha-256", "secret": "a"}"#;
const ANYWHERE: &str = r#""sources": ["10.0.0.0/8"]"#;

#[test]
fn a_good_section_is_taken() {
    let user = user(&format!(r#"{SHA}, "priv": {{"algorithm": "aes-256", "secret": "p", "key_extension": "reeder"}}, {ANYWHERE}"#));
    let text =
        format!(r#"{{"format": 1, "rules": [], {user}, "sources": [{{"networks": ["10.1.0.0/16"], "time_zone": "Europe/Berlin"}}]}}"#);
    let document = parse(text.as_bytes()).expect("it is good");
    assert_eq!((document.snmp.map(|snmp| snmp.users.len()), document.sources.len()), (Some(1), 1));
}

#[test]
fn a_user_is_bound_to_something_and_has_the_keys_of_its_level() {
    assert_fault(&user(SHA), "snmp.users[0]", "which engines or which sources");
    assert_fault(&user(&format!(r#"{SHA}, "engines": ["80001f"]"#)), "snmp.users[0].engines[0]", "5 to 32 bytes");
    assert_fault(&user(&format!(r#"{ANYWHERE}, "priv": {{"algorithm": "aes-128", "secret": "p"}}"#)), "snmp.users[0].priv", "needs auth");
    assert_fault(&user(&format!(r#"{SHA}, {ANYWHERE}, "minimum_level": "auth_priv""#)), "snmp.users[0].minimum_level", "no keys");
    assert_fault(&user(&format!(r#"{ANYWHERE}, "auth": {{"algorithm": "sha-256", "secret": "A b"}}"#)), "snmp.users[0].auth.secret", "a-z");
}

#[test]
fn weak_algorithms_are_off_and_any_can_be_forbidden() {
    let md5 = r#""auth": {"algorithm": "md5", "secret": "a"}"#;
    assert_fault(&user(&format!("{md5}, {ANYWHERE}")), "snmp.users[0].auth.algorithm", "weak and off");
    let des = format!(r#"{SHA}, "priv": {{"algorithm": "3des", "secret": "p"}}, {ANYWHERE}"#);
    assert_fault(&user(&des), "snmp.users[0].priv.algorithm", "weak and off");
    let with = |policy: &str, fields: &str| format!(r#""snmp": {{{policy}, "users": [{{"name": "ops", {fields}}}]}}"#);
    let allowed = with(r#""allow_weak": ["md5"]"#, &format!("{md5}, {ANYWHERE}"));
    assert!(parse(format!(r#"{{"format": 1, "rules": [], {allowed}}}"#).as_bytes()).is_ok());
    assert_fault(&with(r#""forbid_auth": ["sha-256"]"#, &format!("{SHA}, {ANYWHERE}")), "snmp.users[0].auth.algorithm", "forbid_auth");
    let aes = format!(r#"{SHA}, "priv": {{"algorithm": "aes-128", "secret": "p"}}, {ANYWHERE}"#);
    assert_fault(&with(r#""forbid_priv": ["aes-128"]"#, &aes), "snmp.users[0].priv.algorithm", "forbid_priv");
}

#[test]
fn networks_zones_and_resets_are_checked() {
    assert_fault(r#""snmp": {"communities": [{"sources": ["10.0.0.0"], "secrets": []}]}"#, "snmp.communities[0].secrets", "at least one");
    assert_fault(r#""snmp": {"trusted_relays": ["here"]}"#, "snmp.trusted_relays[0]", "not a network");
    let twice = r#"{"engine": "80007ed90501", "serial": 1}, {"engine": "80007ED90501", "serial": 2}"#;
    assert_fault(&format!(r#""snmp": {{"engine_resets": [{twice}]}}"#), "snmp.engine_resets[1].engine", "has a reset already");
    assert_fault(r#""sources": [{"networks": ["10.0.0.0/8"], "time_zone": "Europe/Nowhere"}]"#, "sources[0].time_zone", "");
    assert_fault(r#""snmp": {"userz": []}"#, "snmp.userz", "unknown field");
}
