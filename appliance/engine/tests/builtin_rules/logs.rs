//! What the built-in rules make of real log lines.

use super::*;

#[test]
fn log_lines_find_their_rule() {
    for (program, severity, message, kind, resource) in [
        ("sshd", 6, "Failed password for root from 203.0.113.9 port 4242 ssh2", "ssh-authentication-failure", "db1"),
        (
            "sshd-session",
            6,
            "Failed publickey for bob from 2001:db8::9 port 4242 ssh2: RSA SHA256:abc",
            "ssh-authentication-failure",
            "db1",
        ),
        ("sshd", 6, "Invalid user admin from 203.0.113.9 port 4242", "ssh-authentication-failure", "db1"),
        ("sshd", 6, "Invalid user  from 203.0.113.9", "ssh-authentication-failure", "db1"),
        (
            "sshd",
            5,
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root",
            "ssh-authentication-failure",
            "db1",
        ),
        (
            "sshd",
            6,
            "error: maximum authentication attempts exceeded for root from 203.0.113.9 port 1 ssh2 [preauth]",
            "ssh-authentication-failure",
            "db1",
        ),
        ("sudo", 5, "pam_unix(sudo:auth): authentication failure; logname=bob uid=1000", "authentication-failure", "db1"),
        (
            "kernel",
            2,
            "EXT4-fs error (device sda1): ext4_lookup:1611: inode #2: comm ls: deleted inode referenced",
            "file-system-error",
            "db1/fs/sda1",
        ),
        ("kernel", 2, "EXT4-fs (dm-0): Remounting filesystem read-only", "file-system-error", "db1/fs/dm-0"),
        ("kernel", 1, "XFS (sdb1): Metadata corruption detected at xfs_agi_verify+0x0/0x0", "file-system-error", "db1/fs/sdb1"),
        ("kernel", 3, "XFS (sdb1): metadata I/O error in \"xfs_trans_read_buf_map\" at daddr 0x1", "file-system-error", "db1/fs/sdb1"),
        ("kernel", 3, "BTRFS error (device sdc): bdev /dev/sdc errs: wr 0, rd 1", "file-system-error", "db1/fs/sdc"),
        ("kernel", 3, "I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x80700", "disk-error", "db1/disk/sda"),
        ("kernel", 3, "blk_update_request: critical medium error, dev nvme0n1, sector 1", "disk-error", "db1/disk/nvme0n1"),
        ("kernel", 3, "Buffer I/O error on dev sda1, logical block 0, async page read", "disk-error", "db1/disk/sda1"),
        ("smartd", 4, "Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!", "disk-smart", "db1/disk//dev/sda"),
        ("smartd", 2, "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors", "disk-smart", "db1/disk//dev/sda"),
        ("kernel", 1, "md/raid1:md0: Disk failure on sdb1, disabling device.", "raid-degraded", "db1/raid/md0"),
        ("mdadm", 1, "DegradedArray event detected on md device /dev/md/md0", "raid-degraded", "db1/raid/md0"),
        ("postgres", 3, "PANIC: could not write to file \"x\": No space left on device", "no-space-left", "db1"),
        ("kernel", 3, "Out of memory: Killed process 1234 (java) total-vm:1kB", "out-of-memory", "db1"),
        ("kernel", 6, "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,task=java,pid=1234,uid=0", "out-of-memory", "db1"),
        ("kernel", 4, "java invoked oom-killer: gfp_mask=0x0", "out-of-memory", "db1"),
        ("kernel", 0, "Kernel panic - not syncing: Fatal exception", "kernel-panic", "db1"),
        ("kernel", 3, "mce: [Hardware Error]: Machine check events logged", "hardware-error", "db1"),
        ("nginx", 3, "anything else", "syslog-error", "db1"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, severity, message), Verdict::Raised, "{message}");
        let [r, k, _] = rig.key();
        assert_eq!((k.as_str(), r.as_str()), (kind, resource), "{message}");
    }
}

#[test]
fn a_rebuilt_raid_ends_its_degradation() {
    let mut rig = Rig::new();
    rig.syslog("mdadm", 1, "Fail event detected on md device /dev/md0, component device /dev/sdb1");
    assert_eq!(rig.syslog("mdadm", 6, "RebuildFinished event detected on md device /dev/md0"), Verdict::Cleared);
}

#[test]
fn ordinary_lines_raise_nothing() {
    let mut rig = Rig::new();
    for (program, severity, message) in [
        ("sshd", 6, "Accepted publickey for bob from 10.0.0.1 port 22 ssh2"),
        ("kernel", 6, "EXT4-fs (sda1): mounted filesystem with ordered data mode"),
        ("nginx", 4, "a warning"),
    ] {
        assert_eq!(rig.syslog(program, severity, message), Verdict::Unmatched, "{message}");
    }
}

#[test]
fn a_user_name_cannot_forge_the_address_of_a_failed_sign_in() {
    let mut rig = Rig::new();
    rig.syslog("sshd", 6, "Failed password for invalid user x from 198.51.100.1 port 22 ssh2 from 203.0.113.9 port 4242 ssh2");
    assert_eq!(rig.alert().labels, BTreeMap::from([("address".to_owned(), "203.0.113.9".to_owned())]));
}

#[test]
fn severities_of_syslog_follow_rfc_5674() {
    for (severity, expected) in [(0, Severity::Critical), (1, Severity::Critical), (2, Severity::Major), (3, Severity::Minor)] {
        let mut rig = Rig::new();
        rig.syslog("nginx", severity, "x");
        assert_eq!(rig.alert().severity, expected);
    }
}

#[test]
fn every_way_in_which_sshd_reports_a_failed_sign_in_is_found() {
    for (program, message, address) in [
        ("sshd", "message repeated 5 times: [ Failed password for root from 203.0.113.9 port 4242 ssh2]", Some("203.0.113.9")),
        ("sshd(pam_unix)", "authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=203.0.113.9 ", Some("203.0.113.9")),
        (
            "sshd",
            "PAM 5 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root",
            Some("203.0.113.9"),
        ),
        ("sshd", "error: PAM: Authentication failure for root from 203.0.113.9", Some("203.0.113.9")),
        ("sshd", "error: PAM: User not known to the underlying module for illegal user bob from a.example.com", Some("a.example.com")),
        ("sshd-session", "User bob from 203.0.113.9 not allowed because not listed in AllowUsers", Some("203.0.113.9")),
        ("sshd", "Disconnecting: Too many authentication failures for root [preauth]", None),
        ("sshd", "Disconnecting authenticating user root 203.0.113.9 port 22: Too many authentication failures [preauth]", None),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, 6, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "ssh-authentication-failure", ""], "{message}");
        assert_eq!(rig.alert().labels.get("address").map(String::as_str), address, "{message}");
    }
}

#[test]
fn a_user_name_cannot_forge_the_address_of_a_pam_failure() {
    let mut rig = Rig::new();
    rig.syslog("sshd", 5, "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=x rhost=198.51.100.1");
    assert_eq!(rig.alert().labels, BTreeMap::from([("address".to_owned(), "203.0.113.9".to_owned())]));
}

#[test]
fn failed_sign_ins_of_other_programs_are_found_in_their_words() {
    for (program, message) in [
        ("klogind", "Authentication failed from 203.0.113.9 (203.0.113.9): Permission denied in replay cache code"),
        ("su", "FAILED SU (to root) bob on pts/0"),
        ("login", "FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication failure"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, 5, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "authentication-failure", program], "{message}");
    }
}

#[test]
fn a_kill_for_memory_is_found_whatever_the_process_is_called() {
    for (program, severity, message) in [
        ("kernel", 3, "[12.5] Out of memory: Killed process 1234 ((sd-pam)) total-vm:1kB"),
        ("kernel", 3, "[12.5] Memory cgroup out of memory: Killed process 1234 (a(b)) total-vm:1kB"),
        ("systemd", 5, "x.service: A process of this unit has been killed by the OOM killer."),
        ("systemd", 4, "x.service: Failed with result 'oom-kill'."),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, severity, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "out-of-memory", ""], "{message}");
    }
    let command = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/grep oom-kill /var/log/syslog";
    assert_eq!(Rig::new().syslog("sudo", 5, command), Verdict::Unmatched);
}

#[test]
fn an_xfs_that_shut_down_is_found() {
    for message in [
        "XFS (sdb1): Filesystem has been shut down due to log error (0x2).",
        "XFS (sdb1): Log I/O Error Detected. Shutting down filesystem",
        "XFS (sdb1): xfs_do_force_shutdown(0x2) called from line 1",
        "XFS (sdb1): xfs_log_force: error -5 returned.",
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog("kernel", 4, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1/fs/sdb1", "file-system-error", ""], "{message}");
    }
    for message in ["XFS (sdb1): Ending clean mount", "XFS (sdb1): Unmounting Filesystem", "XFS (sdb1): Mounting V5 Filesystem"] {
        assert_eq!(Rig::new().syslog("kernel", 5, message), Verdict::Unmatched, "{message}");
    }
}
