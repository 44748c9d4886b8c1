//! Configuration that cannot cut a gateway off: commit-confirm with the real programs, the veto, staged roll-outs, files and the way
//! back. What the gateway says and what the control plane shows must be the same in the end.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::rig::{Options, Rig};
use crate::revisions::{apply, number, one_rule};
use postern_tests::api::Force;
use postern_tests::deadline::{SOON, wait_for};

const OWN_TRAP: &str = "1.3.6.1.4.1.55555.0.1";

/// A revision that is good but for its way out, which leads nowhere.
fn cut_off(kind: &str) -> String {
    let mut document: Value = serde_json::from_str(&one_rule(OWN_TRAP, kind)).unwrap();
    document["uplink"] = json!({"addresses": ["127.0.0.1:9"]});
    document["confirm_within_s"] = json!(10);
    document.to_string()
}

fn revision(rig: &Rig, gateway: &str, number: u64) -> Value {
    let page = rig.api.get(&format!("/api/v1/gateways/{gateway}/revisions")).ok().json();
    page["items"].as_array().unwrap().iter().find(|item| item["number"] == number).cloned().unwrap_or_default()
}

fn wait_for_state(rig: &Rig, number: u64, state: &str) -> Value {
    wait_for(state, Duration::from_secs(40), || {
        let found = revision(rig, &rig.gateway_id(), number);
        if found["state"] == state { Ok(found) } else { Err(found.to_string()) }
    })
}

#[test]
fn a_revision_that_cuts_the_gateway_off_reverts_by_itself_and_both_sides_say_so() {
    let rig = Rig::start();
    let good = apply(&rig, &one_rule(OWN_TRAP, "good"), Force::Checked);
    wait_for_state(&rig, good, "applied");
    let bad = number(&rig.api.put_configuration(&rig.gateway_id(), &cut_off("bad"), Force::Checked).ok().json());
    let status = rig.wait_for_status("the trial", |status| status.revision.provisional.is_some());
    assert_eq!(status.revision.confirmed.map(|number| number.0), Some(good));
    assert_eq!(status.revision.provisional.map(|provisional| provisional.number.0), Some(bad));

    let reverted = wait_for_state(&rig, bad, "reverted");
    let reason = reverted["problems"][0]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("not reached within 10 s"), "{reverted:#}");
    let status = rig.wait_for_status("the confirmed one", |status| status.revision.effective.is_some_and(|number| number.0 == good));
    assert_eq!(status.revision.failed.map(|failed| failed.number.0), Some(bad));
    let view = rig.api.get(&format!("/api/v1/gateways/{}", rig.gateway_id())).ok().json();
    assert_eq!((&view["revision"]["drift"], &view["revision"]["effective"]), (&json!("reverted"), &json!(good)), "{view:#}");
    let audit = gateway_command(&rig, &["audit", "--json"]);
    assert!(audit.contains("revision-reverted"), "{audit}");
    // It stays taken back, and a good one is the way on.
    apply(&rig, &one_rule(OWN_TRAP, "better"), Force::Checked);
}

#[test]
fn a_trial_that_ends_while_the_gateway_is_down_is_taken_back_and_told() {
    let mut rig = Rig::start();
    let good = apply(&rig, &one_rule(OWN_TRAP, "good"), Force::Checked);
    wait_for_state(&rig, good, "applied");
    let bad = number(&rig.api.put_configuration(&rig.gateway_id(), &cut_off("bad"), Force::Checked).ok().json());
    rig.wait_for_status("the trial", |status| status.revision.provisional.is_some());
    rig.kill_gateway();
    // The trial ends on the wall clock while nothing runs.
    std::thread::sleep(Duration::from_secs(11));
    rig.start_gateway();
    wait_for_state(&rig, bad, "reverted");
    let status = rig.wait_for_status("the confirmed one", |status| status.revision.effective.is_some_and(|number| number.0 == good));
    assert!(status.revision.provisional.is_none());
}

#[test]
fn a_way_out_that_works_is_confirmed_over_a_new_session() {
    let rig = Rig::start();
    let mut document: Value = serde_json::from_str(&one_rule(OWN_TRAP, "moved")).unwrap();
    let address = format!("localhost:{}", rig.prepared.sockets.https().port());
    document["uplink"] = json!({"addresses": [address, "127.0.0.1:9"], "proxy": {"direct": {}}});
    let moved = number(&rig.api.put_configuration(&rig.gateway_id(), &document.to_string(), Force::Checked).ok().json());
    wait_for_state(&rig, moved, "applied");
    let status = rig.wait_for_status("the confirm", |status| status.revision.confirmed.is_some_and(|number| number.0 == moved));
    assert!(status.tunnel.address.is_some_and(|address| address.ends_with(&rig.prepared.sockets.https().port().to_string())));
}

#[test]
fn a_veto_is_refused_and_audited() {
    let rig = Rig::start_with(&Options { gateway_toml: "\n[veto]\nforbidden_fields = [\"message\"]\n", ..Options::default() });
    let reply = rig.api.put_configuration(&rig.gateway_id(), &crate::interop_syslog::show_all(), Force::Checked).ok();
    let refused = number(&reply.json());
    let found = wait_for_state(&rig, refused, "failed");
    assert!(found["problems"].to_string().contains("the site's own file forbids"), "{found:#}");
    wait_for("the audit", SOON, || {
        let audit = gateway_command(&rig, &["audit", "--json"]);
        if audit.contains("revision-vetoed") { Ok(()) } else { Err(audit) }
    });
}

#[test]
fn a_configuration_goes_to_a_file_and_back_and_an_earlier_one_returns() {
    let rig = Rig::start();
    let gateway = rig.gateway_id();
    let first = apply(&rig, &one_rule(OWN_TRAP, "first"), Force::Checked);
    let folder = rig.layout().root().join("files");
    rig.control_command(&["revision", "export", "--tenant", &rig.prepared.first.tenant, "--all", folder.to_str().unwrap()]).unwrap();
    let file = folder.join(&gateway).join("configuration.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, rig.api.get(&format!("/api/v1/gateways/{gateway}/configuration/export")).ok().body);

    let import = |text: &str| rig.api.post(&format!("/api/v1/gateways/{gateway}/configuration/import"), text).ok().json();
    assert_eq!(import(&text), json!({"number": first, "changed": false}));
    // The command line puts it beside the running server, which notices.
    std::fs::write(&file, text.replace("first", "second")).unwrap();
    let printed = rig.control_command(&["revision", "import", "--gateway", &gateway, "--file", file.to_str().unwrap(), "--json"]).unwrap();
    let second = serde_json::from_str::<Value>(&printed).unwrap()[0]["number"].as_u64().unwrap();
    wait_for_state(&rig, second, "applied");

    let returned = rig.api.post(&format!("/api/v1/gateways/{gateway}/revisions/{first}/return"), "").ok().json();
    let returned = number(&returned);
    let found = wait_for_state(&rig, returned, "applied");
    assert_eq!(found["remark"], format!("return to revision {first}"));
    let changes = rig.api.get(&format!("/api/v1/gateways/{gateway}/revisions/{returned}/changes")).ok().json();
    let lines = changes["hunks"][0]["lines"].as_array().unwrap();
    let of = |side: &str| lines.iter().filter(|line| line["side"] == side).map(|line| line["text"].as_str().unwrap()).collect::<String>();
    assert!(of("added").contains("first") && of("removed").contains("second"), "{changes:#}");
}

/// A gateway beside the rig's own; killed when dropped.
struct Another {
    child: Child,
    id: String,
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn another(rig: &Rig, name: &str, more: &str) -> Another {
    let dir = rig.layout().root().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let (config, token): (PathBuf, PathBuf) = (dir.join("gateway.toml"), dir.join("token"));
    let server = format!("https://{}", rig.prepared.sockets.https());
    let data = dir.join("data");
    let text = format!("data_dir = {data:?}\n[server]\nurl = \"{server}\"\n[receivers.syslog]\nlisten = \"127.0.0.1:0\"\n{more}");
    std::fs::write(&config, text).unwrap();
    let made = rig.api.post("/api/v1/enrolment-tokens", &json!({"gateway_name": name}).to_string()).ok().json();
    std::fs::write(&token, made["token"].as_str().unwrap_or_else(|| panic!("{made:#}"))).unwrap();
    let run = |args: &[&str]| Command::new(&rig.prepared.binaries.gateway).args(args).arg("--config").arg(&config).output().unwrap();
    let enrolled = run(&["enrol", "--server", &server, "--token-file", token.to_str().unwrap()]);
    assert!(enrolled.status.success(), "{enrolled:?}");
    let facts: Value = serde_json::from_slice(&std::fs::read(data.join("identity/gateway.json")).unwrap()).unwrap();
    let id = facts["gateway"].as_str().unwrap().to_owned();
    let child = Command::new(&rig.prepared.binaries.gateway).arg("run").arg("--config").arg(&config).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the tunnel", SOON, || {
        let view = rig.api.get(&format!("/api/v1/gateways/{id}")).ok().json();
        if view["connected"] == true { Ok(()) } else { Err(view.to_string()) }
    });
    Another { child, id }
}

fn wait_for_rollout(rig: &Rig, id: &str, state: &str) -> Value {
    wait_for(state, Duration::from_secs(40), || {
        let rollout = rig.api.get(&format!("/api/v1/rollouts/{id}")).ok().json();
        if rollout["state"] == state { Ok(rollout) } else { Err(rollout.to_string()) }
    })
}

fn member<'a>(rollout: &'a Value, gateway: &str) -> &'a Value {
    rollout["gateways"].as_array().unwrap().iter().find(|member| member["gateway"] == gateway).unwrap()
}

#[test]
fn a_roll_out_over_three_gateways_stops_at_the_first_failure() {
    let mut rig = Rig::start();
    let vetoed = another(&rig, "vetoed", "[veto]\nforbidden_fields = [\"msgid\"]\n");
    let last = another(&rig, "last", "");
    let own = rig.gateway_id();
    for gateway in [&own, &vetoed.id, &last.id] {
        rig.api.ask("PUT", &format!("/api/v1/gateways/{gateway}/tags"), Some(r#"{"tags":["branch"]}"#), &[]).unwrap().ok();
    }
    let rule = |kind: &str, field: &str| {
        json!({"id": "rolled", "match": {"syslog": {"programs": [kind]}}, "release": {field: {"max_bytes": 64}},
            "then": {"raise": {"resource": "x", "kind": kind, "severity": "minor", "summary": format!("{{{field}}}")}}})
    };
    let begin = |rule: Value| {
        let wish = json!({"tag": "branch", "change": {"rules": {"set": [rule]}}, "stages": [1, 2, "all"]});
        rig.api.post("/api/v1/rollouts", &wish.to_string()).ok().json()["id"].as_str().unwrap().to_owned()
    };
    // What the veto forbids fails on one of the three, in whatever stage that is; those after it are left alone.
    let stopped = wait_for_rollout(&rig, &begin(rule("first", "msgid")), "stopped");
    let failed = member(&stopped, &vetoed.id);
    assert_eq!(failed["state"], "failed", "{stopped:#}");
    let stage = failed["stage"].as_u64().unwrap();
    for one in stopped["gateways"].as_array().unwrap() {
        let expected = match one["stage"].as_u64().unwrap() {
            earlier if earlier < stage => "done",
            later if later > stage => "waiting",
            _ => "failed",
        };
        assert_eq!(one["state"], expected, "{stopped:#}");
    }
    assert!(stopped["reason"].as_str().unwrap().contains(&vetoed.id), "{stopped:#}");

    // A good one reaches everybody, also when the control plane dies in between.
    let id = begin(rule("second", "host"));
    rig.kill_control();
    rig.start_control();
    let done = wait_for_rollout(&rig, &id, "done");
    for gateway in [&own, &vetoed.id, &last.id] {
        assert_eq!(member(&done, gateway)["state"], "done", "{done:#}");
        let text = rig.api.get(&format!("/api/v1/gateways/{gateway}/configuration")).ok().body;
        assert_eq!(text.matches("\"rolled\"").count(), 1, "{text}");
    }
}

fn gateway_command(rig: &Rig, args: &[&str]) -> String {
    let output =
        Command::new(&rig.prepared.binaries.gateway).args(args).arg("--config").arg(rig.layout().gateway_config()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
