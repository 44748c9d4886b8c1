//! The two figures that people feel: from a trap to the browser, from a saved rule to the gateway. Printed, and bounded by a second.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::browser::Browser;
use crate::harness::rig::Rig;
use crate::revisions::{INVALID, one_rule};
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{LINK_DOWN, LINK_UP, link_trap, logger, trap};

const SECOND: Duration = Duration::from_secs(1);

/// Has the page note when a text first shows, on the clock that this test reads too.
fn watch_for(browser: &Browser, text: &str) {
    browser.run(&format!(
        "window.seenAt = null; window.watcher?.disconnect(); \
         const look = () => {{ if (window.seenAt === null && document.body.innerText.includes({text:?})) window.seenAt = Date.now(); }}; \
         window.watcher = new MutationObserver(look); \
         window.watcher.observe(document.body, {{subtree: true, childList: true, characterData: true, attributes: true}}); look();"
    ));
}

fn now_ms() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn seen_after(browser: &Browser, what: &str, sent_ms: u64) -> u64 {
    let seen = wait_for(what, SOON, || match browser.eval("window.seenAt") {
        Value::Null => Err(browser.eval("document.body.innerText").to_string()),
        at => Ok(at.as_u64().unwrap()),
    });
    seen.saturating_sub(sent_ms)
}

fn report(what: &str, mut taken: Vec<u64>) {
    println!("{what}: {taken:?} ms");
    taken.sort_unstable();
    let median = taken[taken.len() / 2];
    println!("{what}: median {median} ms, fastest {} ms, slowest {} ms of {}", taken[0], taken[taken.len() - 1], taken.len());
    assert!(u128::from(median) < SECOND.as_millis(), "{what}: {taken:?}");
}

#[test]
fn a_trap_and_a_line_are_in_the_browser_within_a_second() {
    let rig = Rig::start();
    crate::revisions::without_noise_control(&rig);
    let browser = Browser::start();
    browser.sign_in(&rig);
    browser.open_alerts(&rig);
    let to = rig.prepared.sockets.snmp_trap();
    let one_trap = |if_index: u32| {
        watch_for(&browser, &format!("/if/{if_index}"));
        let sent = now_ms();
        link_trap(to, LINK_DOWN, if_index);
        seen_after(&browser, "the trap's alert", sent)
    };
    // The list paces itself while much is going on, so there are two figures: for a trap out of the blue and for one of many.
    let quiet = |if_index| {
        let start = Instant::now();
        wait_for("quiet", SOON, || if start.elapsed() > Duration::from_millis(700) { Ok(()) } else { Err(String::new()) });
        one_trap(if_index)
    };
    report("snmptrap to browser, each after a quiet moment", (301..=320).map(quiet).collect());
    report("snmptrap to browser, one on the heels of the other", (321..=340).map(one_trap).collect());
    browser.screenshot("alerts");

    let mut lines = Vec::new();
    for number in 1..=5 {
        let program = format!("prog{number}x");
        watch_for(&browser, &program);
        let sent = now_ms();
        logger(rig.prepared.sockets.syslog(), &["--udp", "--priority", "daemon.err", "--tag", &program, "failed"]);
        lines.push(seen_after(&browser, "the line's alert", sent));
    }
    report("logger to browser", lines);

    // A recovery shows as well.
    let id = rig.api.wait_for_alert("an alert", |alert| crate::interop_snmp::is_link(alert, 301))["id"].as_str().unwrap().to_owned();
    let start = Instant::now();
    link_trap(to, LINK_UP, 301);
    browser.wait_until("the recovery", &format!("document.querySelector('tr.alert[data-id=\"{id}\"]')?.dataset.state === 'cleared'"));
    println!("linkUp to browser: {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < SECOND * 2);
}

const OWN_TRAP: &str = "1.3.6.1.4.1.55555.0.1";

/// Puts a text into the editor, as pasting does.
fn edit(browser: &Browser, document: &str) {
    browser.run(&format!(
        "const area = document.querySelector('#document'); area.value = {}; area.dispatchEvent(new Event('input', {{bubbles: true}}));",
        serde_json::to_string(document).unwrap()
    ));
}

#[test]
fn a_rule_saved_in_the_console_is_effective_within_a_second_and_a_bad_one_is_refused_on_both_sides() {
    let rig = Rig::start();
    let browser = Browser::start();
    browser.sign_in(&rig);
    let page = format!("{}/gateways/{}/configuration", rig.api.console(), rig.gateway_id());
    let mut taken = Vec::new();
    let mut newest = rig.wait_for_status("the first revision", |status| status.revision.effective.is_some()).revision.effective.unwrap();
    for round in 0..5 {
        browser.open(&page);
        edit(&browser, &one_rule(OWN_TRAP, &format!("kind-{round}")));
        let start = Instant::now();
        browser.click("#save");
        let before = newest;
        newest = rig
            .wait_for_status("the new revision", |status| status.revision.effective.is_some_and(|number| number > before))
            .revision
            .effective
            .unwrap();
        taken.push(u64::try_from(start.elapsed().as_millis()).unwrap());
        trap(rig.prepared.sockets.snmp_trap(), OWN_TRAP, &[]);
        rig.api.wait_for_alert("the new rule at work", |alert| alert["kind"] == format!("kind-{round}"));
    }
    report("rule saved in the console to effective on the gateway", taken);
    browser.wait_until("the console to say so", "document.querySelector('#revision-state')?.dataset.state === 'applied'");
    browser.screenshot("configuration");

    // Refused in the console, at the line.
    browser.open(&page);
    edit(&browser, INVALID);
    browser.click("#save");
    browser.wait_until("the problem", "document.querySelector('#problems li[data-line=\"5\"]') !== null");
    browser.screenshot("configuration-problem");
    assert_eq!(rig.status().unwrap().revision.effective, Some(newest));

    // Forced past it: refused by the gateway, which keeps the old one and says where.
    browser.run("document.querySelector('#force').checked = true;");
    browser.click("#save");
    let status = rig.wait_for_status("the gateway's refusal", |status| status.revision.failed.is_some());
    assert_eq!(status.revision.effective, Some(newest), "the old one stays");
    let failed = status.revision.failed.unwrap();
    assert_eq!((failed.problems[0].path.as_str(), failed.problems[0].line), ("rules[0].release.peer.max_bytes", 5));
    browser.open(&page);
    browser.wait_until("the console to show the refusal", "document.body.innerText.includes('rules[0].release.peer.max_bytes')");
    browser.screenshot("configuration-failed");
}
