//! SSH: off, unless someone switches it on for a time.

use postern_appliance::verb::{Reply, SshStatus};

use crate::site::{Site, access, done, refused};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin";
const ON: &str = r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#;
const OFF: &str = r#"{"verb":"ssh","state":{"ssh":"off"}}"#;

fn with_key(site: &mut Site) {
    site.start();
    assert_eq!(site.ask(&format!(r#"{{"verb":"apply","settings":{{"ssh_key":"{KEY}"}}}}"#)), done());
}

#[test]
fn without_a_key_ssh_stays_off() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    refused(&site.ask(ON), "no SSH key is set");
    assert!(!site.has("var/lib/postern-system/ssh") && !site.has("active/postern-ssh.service"));
}

#[test]
fn ssh_is_on_for_a_time_with_keys_that_stay() {
    let Some(mut site) = Site::new() else { return };
    with_key(&mut site);
    assert_eq!(site.ask(ON), done());
    assert!(site.has("active/postern-ssh.service"));
    assert_eq!(site.read("var/lib/postern-system/ssh/authorized_keys").trim(), KEY);
    assert_eq!(access(&site.at("var/lib/postern-system/ssh/ssh_host_ed25519_key")), (0o600, 0, 0));
    assert!(site.read("loaded.nft").contains("tcp dport 22 accept"));
    let host_key = site.read("var/lib/postern-system/ssh/ssh_host_ed25519_key.pub");
    let SshStatus::On { minutes_left: 5, fingerprints } = site.status().ssh else { panic!() };
    let file = site.at("var/lib/postern-system/ssh/ssh_host_ed25519_key.pub");
    let shown = std::process::Command::new("ssh-keygen").arg("-lf").arg(file).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&fingerprints[0]), "{shown} {fingerprints:?}");
    assert_eq!(site.ask(OFF), done());
    assert!(!site.has("active/postern-ssh.service") && !site.read("loaded.nft").contains("dport 22"));
    assert_eq!(site.status().ssh, SshStatus::Off {});
    assert_eq!(site.ask(ON), done());
    assert_eq!(site.read("var/lib/postern-system/ssh/ssh_host_ed25519_key.pub"), host_key);
}

#[test]
fn ssh_goes_off_by_itself_also_when_the_broker_was_not_there() {
    let Some(mut site) = Site::new() else { return };
    with_key(&mut site);
    assert_eq!(site.ask(ON), done());
    site.stop();
    site.write("run/postern/ssh.json", r#"{"until_s":1}"#);
    site.start();
    site.wait_for("SSH to go off", || !site.has("active/postern-ssh.service") && !site.has("run/postern/ssh.json"));
    assert!(site.audit().iter().any(|line| line["event"] == "ssh_expired"));
    // Nobody but the broker switches it on.
    site.stop();
    site.write("active/postern-ssh.service", "");
    site.start();
    assert!(!site.has("active/postern-ssh.service"));
}

#[test]
fn another_key_takes_effect_at_once_and_none_ends_ssh() {
    let Some(mut site) = Site::new() else { return };
    with_key(&mut site);
    assert_eq!(site.ask(ON), done());
    let other = KEY.replace("admin", "other");
    assert_eq!(site.ask(&format!(r#"{{"verb":"apply","settings":{{"ssh_key":"{other}"}}}}"#)), done());
    assert_eq!(site.read("var/lib/postern-system/ssh/authorized_keys").trim(), other);
    assert_eq!(site.ask(r#"{"verb":"apply","settings":{}}"#), done());
    assert!(!site.has("active/postern-ssh.service"));
}

#[test]
fn a_host_key_that_was_cut_short_is_made_anew() {
    let Some(mut site) = Site::new() else { return };
    with_key(&mut site);
    std::fs::create_dir(site.at("var/lib/postern-system/ssh")).unwrap();
    site.write("var/lib/postern-system/ssh/.new_host_key", "half");
    site.write("var/lib/postern-system/ssh/ssh_host_ed25519_key.pub", "half");
    assert_eq!(site.ask(ON), done());
    assert!(matches!(site.status().ssh, SshStatus::On { fingerprints, .. } if fingerprints.len() == 1));
}

#[test]
fn when_sshd_does_not_start_the_answer_says_so() {
    let Some(mut site) = Site::new() else { return };
    with_key(&mut site);
    site.write("broken", "start postern-ssh.service\n");
    assert!(matches!(site.ask(ON), Reply::Failed { reason } if reason.contains("Job for postern-ssh.service failed.")));
    assert_eq!(site.status().ssh, SshStatus::Off {});
}
