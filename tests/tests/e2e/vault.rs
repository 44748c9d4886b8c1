//! Secrets from a person's hand to the gateway's vault: sealed by a real browser and by the command line, used by a real sender, and
//! nowhere in clear on the way.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::relay::Relay;
use crate::harness::rig::Rig;
use crate::interop_snmpv3::with_snmp;
use crate::revisions::apply;
use crate::wall::{files, holding, through_relay};
use postern_tests::api::Force;
use postern_tests::tools::{LINK_DOWN, run, run_with_input, succeeded};

/// Sealed by the browser; with letters beyond ASCII, because both sides must spell it alike.
const AUTH: &str = "MARKauthqz7vk3wd9tp2xr-ö";

/// Sealed by the command line.
const PRIVACY: &str = "MARKprivqz7vk3wd9tp2xr";

fn page(rig: &Rig) -> String {
    format!("{}/gateways/{}/secrets", rig.api.console(), rig.gateway_id())
}

fn api(rig: &Rig, rest: &str) -> String {
    format!("/api/v1/gateways/{}/{rest}", rig.gateway_id())
}

/// Seals in the page, as a person does.
fn seal_in_browser(rig: &Rig, browser: &Browser, name: &str, version: u32) {
    browser.wait_until("the form", "document.body.classList.contains('js') && !!document.querySelector('#secrets').dataset.spki");
    browser.fill("#name", name);
    browser.fill("#secret", AUTH);
    browser.run("const box = document.querySelector('#compared'); if (!box.checked) box.click();");
    browser.click("#seal button.primary");
    let row = format!("tr[data-name=\"{name}\"][data-version=\"{version}\"][data-state=\"in use\"]");
    browser.wait_until("the vault to have it", &format!("!!document.querySelector('{row}')"));
    rig.wait_for_status("the vault", |status| {
        status.intake.secrets.iter().any(|held| held.name == name && held.version == version && held.problem.is_empty())
    });
}

/// Seals on a machine without the data folder, and gives that to the API; returns the sealed bytes.
fn seal_by_hand(rig: &Rig, name: &str) -> Vec<u8> {
    let key = rig.api.get(&api(rig, "sealing-key")).ok().json();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key").display().to_string();
    std::fs::write(&file, key["spki"].as_str().unwrap()).unwrap();
    let (program, gateway) = (rig.prepared.binaries.control.display().to_string(), rig.gateway_id());
    let seal = |fingerprint: &str| {
        let to = ["--tenant", &rig.prepared.first.tenant, "--gateway", &gateway, "--name", name];
        let how = ["--spki", &file, "--fingerprint", fingerprint, "--print", "--json"];
        run_with_input(&program, &[&["secret", "seal"][..], &to, &how].concat(), format!("{PRIVACY}\n").as_bytes())
    };
    assert!(!seal(&"0".repeat(64)).status.success(), "another key than the one that was compared");
    let sealed = seal(key["sha256"].as_str().unwrap());
    succeeded(&sealed);
    let body = String::from_utf8(sealed.stdout).unwrap();
    rig.api.ask("PUT", &api(rig, &format!("secrets/{name}")), Some(&body), &[]).unwrap().ok();
    BASE64.decode(serde_json::from_str::<Value>(&body).unwrap()["sealed"].as_str().unwrap().as_bytes()).unwrap()
}

fn trap(rig: &Rig, if_index: &str) {
    let to = rig.prepared.sockets.snmp_trap().to_string();
    let user = ["-v", "3", "-l", "authPriv", "-u", "ops", "-a", "SHA-256", "-A", AUTH, "-x", "AES", "-X", PRIVACY];
    let what = [to.as_str(), "", LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.1", "i", if_index];
    succeeded(&run("snmptrap", &[&user[..], &what].concat()));
}

/// Where a secret stands in clear.
fn in_clear(rig: &Rig, relay: &Relay) -> Vec<(String, &'static str)> {
    let logs = ["gateway", "control-plane"].map(|name| (name.to_owned(), std::fs::read(rig.layout().log(name)).unwrap()));
    let places = [relay.everything(), files(&rig.layout().control_dir()), files(&rig.layout().gateway_dir()), logs.to_vec()].concat();
    places.iter().flat_map(|(place, bytes)| holding(bytes, &[AUTH, PRIVACY]).into_iter().map(|mark| (place.clone(), mark))).collect()
}

#[test]
fn what_is_sealed_in_a_browser_or_by_hand_opens_on_the_gateway_and_is_nowhere_in_clear() {
    let (mut rig, relay) = through_relay();
    let browser = Browser::start();
    browser.sign_in(&rig);
    browser.open(&page(&rig));
    let status = rig.status().unwrap();
    let shown = browser.eval("document.querySelector('#fingerprint').innerText.replaceAll(' ', '').trim()");
    assert_eq!(shown.as_str(), status.intake.sealing_key.as_deref(), "the console and the gateway show the same fingerprint");
    seal_in_browser(&rig, &browser, "auth", 1);
    assert_eq!(browser.eval("document.querySelector('#secret').value"), "", "what was typed is gone");
    assert_eq!(browser.eval("document.documentElement.outerHTML.includes('MARKauth')"), false);
    browser.screenshot("secrets");
    seal_in_browser(&rig, &browser, "auth", 2);
    let sealed = seal_by_hand(&rig, "priv");
    rig.wait_for_status("both secrets", |status| status.intake.secrets.len() == 2);

    let user = json!({"name": "ops", "sources": ["127.0.0.0/8"],
        "auth": {"algorithm": "sha-256", "secret": "auth"}, "priv": {"algorithm": "aes-128", "secret": "priv"}});
    apply(&rig, &with_snmp(&json!({"users": [user]})), Force::Checked);
    trap(&rig, "1");
    let opened = |alert: &Value| alert["evidence"]["authenticity"] == "usm_priv";
    rig.api.wait_for_alert("a trap that proves both passphrases", opened);
    rig.kill_gateway();
    rig.start_gateway();
    let secrets = rig.status().unwrap().intake.secrets;
    assert!(secrets.len() == 2 && secrets.iter().all(|held| held.problem.is_empty()), "kept over a crash: {secrets:?}");
    trap(&rig, "2");
    rig.api.wait_for_alert("the same after the crash", |alert| {
        opened(alert) && alert["count"] == 2 || alert["resource"].to_string().contains("/if/2")
    });

    let tunnel = relay.everything();
    assert!(tunnel.iter().any(|(_, bytes)| bytes.windows(sealed.len()).any(|window| window == sealed)), "the sealed one went this way");
    assert_eq!(in_clear(&rig, &relay), []);

    browser.open(&page(&rig));
    browser.wait_until("the list", "!!document.querySelector('tr[data-name=auth] details.confirm')");
    browser.click("tr[data-name=auth] details.confirm summary");
    browser.screenshot("secrets-delete");
    browser.click("tr[data-name=auth] details.confirm button.danger");
    rig.wait_for_status("the vault to forget it", |status| status.intake.secrets.iter().all(|held| held.name != "auth"));
    browser.wait_until("it to be gone", "!document.querySelector('tr[data-name=auth]')");
}

#[test]
fn a_secret_that_was_sealed_for_another_name_is_listed_with_its_reason_and_spoils_no_other() {
    let rig = Rig::start();
    let sealed = seal_by_hand(&rig, "good");
    let key = rig.api.get(&api(&rig, "sealing-key")).ok().json();
    let moved = json!({"version": 1, "sealed": BASE64.encode(&sealed), "sealed_to": key["sha256"]}).to_string();
    rig.api.ask("PUT", &api(&rig, "secrets/moved"), Some(&moved), &[]).unwrap().ok();
    let status = rig.wait_for_status("both", |status| status.intake.secrets.len() == 2);
    let problem = |name: &str| status.intake.secrets.iter().find(|held| held.name == name).unwrap().problem.clone();
    assert_eq!(problem("good"), "");
    assert!(problem("moved").contains("another gateway, name or version"), "{}", problem("moved"));
    let listed = postern_tests::deadline::wait_for("the console's list", postern_tests::deadline::SOON, || {
        let items = rig.api.get(&api(&rig, "secrets")).ok().json()["items"].clone();
        if items[1]["state"] == "problem" { Ok(items) } else { Err(items.to_string()) }
    });
    assert_eq!((&listed[0]["state"], &listed[0]["name"]), (&json!("in_use"), &json!("good")));
}
