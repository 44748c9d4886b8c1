//! The console in a real browser: what a person does with an alert.

use crate::harness::browser::Browser;
use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use postern_tests::tools::{LINK_DOWN, link_trap};

#[test]
fn a_person_signs_in_works_on_an_alert_and_signs_out() {
    let rig = Rig::start();
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 5);
    let id = rig.api.wait_for_alert("the alert", |alert| is_link(alert, 5))["id"].as_str().unwrap().to_owned();
    let browser = Browser::start();
    browser.sign_in(&rig);
    browser.open_alerts(&rig);
    let row = format!("document.querySelector('tr.alert[data-id=\"{id}\"]')");
    browser.wait_until("the row", &format!("{row}?.dataset.state === 'open'"));
    browser.click(&format!("tr.alert[data-id=\"{id}\"] .summary a"));
    browser.wait_until("the detail page", &format!("location.pathname === '/alerts/{id}'"));
    browser.screenshot("alert");
    for part in ["127.0.0.1", "community", "udp"] {
        browser.wait_until("the evidence", &format!("document.body.innerText.toLowerCase().includes({part:?})"));
    }

    browser.click("button[name=action][value=acknowledge]");
    rig.api.wait_for_alert("the acknowledgement", |alert| alert["id"] == id && !alert["acknowledged"].is_null());
    browser.wait_until("it to show", "!!document.querySelector('button[name=action][value=unacknowledge]')");
    let note = "called the carrier <b>twice</b>";
    browser.fill("textarea[name=text]", note);
    browser.run("document.querySelector('textarea[name=text]').form.requestSubmit();");
    browser.wait_until("the note, as text", &format!("document.body.innerText.includes({note:?})"));
    browser.click("button[name=action][value=close]");
    rig.api.wait_for_alert("the close", |alert| alert["id"] == id && alert["state"] == "closed");
    browser.wait_until("it to show", "/closed/i.test(document.querySelector('#alert-state')?.innerText ?? '')");
    rig.wait_for_status("the gateway to hear of it", |status| status.open_alerts == 0);

    browser.open(&format!("{}/gateways", rig.api.console()));
    browser.wait_until("the gateway", &format!("document.body.innerText.includes({:?})", rig.gateway_id()));
    browser.screenshot("gateways");
    browser.open(&format!("{}/gateways/{}", rig.api.console(), rig.gateway_id()));
    browser.wait_until("the ledger", "/accepted/i.test(document.body.innerText)");
    browser.screenshot("gateway");
    let cookies = browser.eval("document.cookie");
    assert_eq!(cookies, "", "no script can read the session");
}

#[test]
fn search_and_filters_narrow_the_list_and_new_rows_respect_them() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    for if_index in [41, 42] {
        link_trap(to, LINK_DOWN, if_index);
        rig.api.wait_for_alert("the alert", |alert| is_link(alert, if_index));
    }
    let browser = Browser::start();
    browser.sign_in(&rig);
    browser.open(&format!("{}/alerts?state=open&q=%2Fif%2F41", rig.api.console()));
    browser.wait_until("one row", "document.querySelectorAll('tr.alert').length === 1");
    browser.wait_until("the live list", "document.querySelector('#live')?.dataset.live === 'up'");
    link_trap(to, LINK_DOWN, 43);
    link_trap(to, LINK_DOWN, 41);
    browser.wait_until("the count", "document.querySelector('tr.alert .count')?.innerText.trim() === '2'");
    assert_eq!(browser.eval("document.querySelectorAll('tr.alert').length"), 1, "a row that the filter excludes does not appear");
    browser.open(&format!("{}/alerts?state=open&severity=critical", rig.api.console()));
    browser.wait_until("no row", "document.querySelectorAll('tr.alert').length === 0");
    browser.screenshot("alerts-empty");
}

#[test]
fn the_list_comes_back_to_life_after_the_control_plane_was_away() {
    let mut rig = Rig::start();
    let browser = Browser::start();
    browser.sign_in(&rig);
    browser.open_alerts(&rig);
    rig.kill_control();
    browser.wait_until("the list to say that it is stale", "document.querySelector('#live')?.dataset.live === 'down'");
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 51);
    rig.start_control();
    browser.wait_until("what came meanwhile", "document.body.innerText.includes('/if/51')");
}

#[test]
fn pages_are_guarded() {
    let rig = Rig::start();
    let bare = |method: &str, path: &str, body: Option<&str>, more: &[&str]| rig.api.bare(method, path, body, more).unwrap();
    for path in ["/", "/alerts", "/gateways", "/events", &format!("/gateways/{}/configuration", rig.gateway_id())] {
        let reply = bare("GET", path, None, &[]);
        assert!([302, 303, 307, 401].contains(&reply.status), "{path}: {reply:?}");
    }
    let page = bare("GET", "/sign-in", None, &[]).ok();
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") || policy.contains("default-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.header("strict-transport-security").is_some() && page.header("x-content-type-options") == Some("nosniff"), "{page:?}");
}

#[test]
fn five_failed_sign_ins_lock_the_account_and_the_cookie_is_a_host_cookie() {
    let rig = Rig::start();
    let first = &rig.prepared.first;
    let sign_in = |password: &str| {
        let form = format!("user={}&password={password}", first.admin_user);
        let origin = format!("Origin: {}", rig.api.console());
        let more = ["-H", "Content-Type: application/x-www-form-urlencoded", "-H", &origin, "-H", "Sec-Fetch-Site: same-origin"];
        rig.api.bare("POST", "/sign-in", Some(&form), &more).unwrap()
    };
    let good = sign_in(&first.admin_password);
    let cookie = good.header("set-cookie").unwrap_or_else(|| panic!("{good:?}"));
    for part in ["__Host-postern=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{part} is missing: {cookie}");
    }
    for _ in 0..5 {
        let reply = sign_in("wrong");
        assert!(reply.header("set-cookie").is_none(), "{reply:?}");
    }
    let locked = sign_in(&first.admin_password);
    assert!(locked.header("set-cookie").is_none(), "even with the right password: {locked:?}");
    rig.control_command(&["user", "unlock", &first.admin_user]).unwrap();
    assert!(sign_in(&first.admin_password).header("set-cookie").is_some(), "an admin can unlock it");

    // Another site cannot sign a person in, nor send a form in their name.
    let form = format!("user={}&password={}", first.admin_user, first.admin_password);
    let args =
        ["-H", "Content-Type: application/x-www-form-urlencoded", "-H", "Origin: https://evil.example", "-H", "Sec-Fetch-Site: cross-site"];
    let reply = rig.api.bare("POST", "/sign-in", Some(&form), &args).unwrap();
    assert!(reply.header("set-cookie").is_none() && reply.status >= 400, "{reply:?}");
}
