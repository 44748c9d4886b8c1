//! The log against damage of every kind, other writers, and its own bounds.

use std::fs;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_protocol::audit::receipt_input;
use postern_protocol::id::GatewayId;

use super::verify::Fault;
use super::*;
use crate::revision::signers::Signers;

struct Site {
    folder: tempfile::TempDir,
    key: Ed25519KeyPair,
}

impl Site {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key: Ed25519KeyPair::generate().unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn log(&self) -> Log {
        Log::open(&self.dir(), Limits::default()).unwrap()
    }

    fn signers(&self) -> Signers {
        let key = self.key.public_key().as_ref().try_into().unwrap();
        Signers::fixed(GatewayId::new("gw").unwrap(), vec![key])
    }

    fn receipt(&self, number: u64) -> AuditReceipt {
        let entry = self.log().read(number, 1, usize::MAX).unwrap().remove(0);
        assert_eq!(entry.number, number);
        let mut receipt = AuditReceipt { number, digest: entry.digest, at: 7, signature: Vec::new() };
        receipt.signature = self.key.sign(&receipt_input(&self.signers().gateway, &receipt)).as_ref().to_vec();
        receipt
    }

    fn faults(&self) -> Vec<Fault> {
        verify::verify(&self.dir(), Some(&self.signers())).unwrap().faults
    }

    /// The only file, by lines.
    fn edit(&self, change: impl FnOnce(&mut Vec<String>)) {
        let file = log::files(&self.dir()).unwrap().remove(0).path;
        let mut lines: Vec<String> = fs::read_to_string(&file).unwrap().lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        fs::write(&file, lines.concat()).unwrap();
    }
}

fn text(number: u64) -> Vec<u8> {
    Entry::text(Timestamp::from_secs(1), Actor::Daemon, Action::RevisionApplied { number }).unwrap()
}

/// Five entries, countersigned up to the fourth.
fn filled() -> Site {
    let site = Site::new();
    let mut log = site.log();
    log.append(&[text(1), text(2), text(3)]).unwrap();
    log.append(&[text(4), text(5)]).unwrap();
    receipt::keep(&site.dir(), &site.receipt(4)).unwrap();
    assert_eq!(site.faults(), []);
    site
}

#[test]
fn a_changed_line_is_found_where_it_is() {
    let site = filled();
    site.edit(|lines| lines[2] = lines[2].replace("\"number\":2,\"what", "\"number\":9,\"what"));
    assert_eq!(site.faults().len(), 1);
    assert!(matches!(&site.faults()[0], Fault::Broken { line: 3, number: 2, .. }), "{:?}", site.faults());
}

#[test]
fn a_removed_line_is_found() {
    let site = filled();
    site.edit(|lines| drop(lines.remove(2)));
    assert!(matches!(&site.faults()[..], [Fault::Broken { line: 3, number: 3, .. }]), "{:?}", site.faults());
}

#[test]
fn a_line_that_was_written_anew_with_all_that_follow_is_found_by_the_countersignature() {
    let site = filled();
    site.edit(|lines| {
        let mut place = line::Place::ORIGIN;
        for (line, number) in lines.iter_mut().skip(1).zip([1, 2, 8, 4, 5]) {
            place = place.after(&text(number));
            let mut anew = Vec::new();
            line::push_entry(&mut anew, &place, &text(number));
            *line = String::from_utf8(anew).unwrap();
        }
    });
    assert_eq!(site.faults(), [Fault::Another { number: 4 }]);
}

#[test]
fn an_end_that_was_cut_off_is_found_by_the_countersignature() {
    let site = filled();
    site.edit(|lines| lines.truncate(3));
    assert_eq!(site.faults(), [Fault::Truncated { last: 2, countersigned: 4 }]);
}

#[test]
fn a_log_that_is_gone_is_found_while_its_receipt_is_there() {
    let site = filled();
    let file = log::files(&site.dir()).unwrap().remove(0).path;
    fs::remove_file(file).unwrap();
    assert_eq!(site.faults(), [Fault::Truncated { last: 0, countersigned: 4 }]);
}

#[test]
fn a_receipt_that_the_control_plane_did_not_sign_is_found() {
    let site = filled();
    let forged = AuditReceipt { number: 2, ..site.receipt(4) };
    receipt::keep(&site.dir(), &forged).unwrap();
    assert_eq!(site.faults(), [Fault::Receipt]);
}

#[test]
fn garbage_is_found_and_the_log_goes_on_behind_it() {
    let site = filled();
    site.edit(|lines| lines[5] = "not an entry\n".to_owned());
    let mut log = site.log();
    log.append(&[text(6)]).unwrap();
    assert_eq!(log.last().number, 5, "behind the last entry that can be read");
    let file = log::files(&site.dir()).unwrap()[0].path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(site.faults(), [Fault::Unreadable { file, line: 6 }]);
}

#[test]
fn a_torn_end_was_never_told_done_and_is_cut() {
    let site = filled();
    let file = log::files(&site.dir()).unwrap().remove(0).path;
    let whole = fs::read(&file).unwrap();
    for torn in [&b"{\"number\":6,\"dig"[..], b"{"] {
        fs::write(&file, [whole.as_slice(), torn].concat()).unwrap();
        assert_eq!((site.log().last().number, site.faults()), (5, vec![]));
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn a_file_that_was_only_begun_is_begun_again() {
    let site = filled();
    fs::write(site.dir().join("00000000000000000006.jsonl"), b"{\"contin").unwrap();
    let mut log = site.log();
    log.append(&[text(6)]).unwrap();
    assert_eq!((log.last().number, site.faults()), (6, vec![]));
}

#[test]
fn two_processes_write_one_chain() {
    let site = filled();
    let (mut daemon, mut command_line) = (site.log(), site.log());
    command_line.append(&[text(6)]).unwrap();
    daemon.append(&[text(7)]).unwrap();
    command_line.append(&[text(8)]).unwrap();
    daemon.refresh().unwrap();
    assert_eq!((daemon.last().number, site.faults()), (8, vec![]));
}

#[test]
fn the_chain_goes_on_over_files_and_the_oldest_countersigned_file_goes_first() {
    let site = Site::new();
    let limits = Limits { file: 1000, countersigned: 3000, any: 6000 };
    let mut log = Log::open(&site.dir(), limits).unwrap();
    let append = |log: &mut Log, numbers: std::ops::RangeInclusive<u64>| numbers.for_each(|number| log.append(&[text(number)]).unwrap());
    append(&mut log, 1..=30);
    let files = log::files(&site.dir()).unwrap();
    assert!(files.len() > 3, "{files:?}");
    assert_eq!(log.trim(0).unwrap(), None, "nothing is countersigned");
    let up_to = files[1].first - 1;
    receipt::keep(&site.dir(), &site.receipt(up_to)).unwrap();
    assert_eq!(log.trim(up_to).unwrap(), Some(Trimmed { up_to, countersigned: true }));
    assert_eq!(log.trim(up_to).unwrap(), None);
    assert_eq!(site.faults(), []);
    fs::remove_file(&files[1].path).unwrap();
    assert_eq!(site.faults(), [Fault::Headless { up_to: files[2].first - 1 }], "nobody has what a person removed");
    append(&mut log, 31..=70);
    assert!(matches!(log.trim(up_to).unwrap(), Some(Trimmed { countersigned: false, .. })), "far too much");
}

#[test]
fn a_file_missing_in_the_middle_is_found() {
    let site = Site::new();
    let mut log = Log::open(&site.dir(), Limits { file: 500, ..Limits::default() }).unwrap();
    (1..20).for_each(|number| log.append(&[text(number)]).unwrap());
    let files = log::files(&site.dir()).unwrap();
    fs::remove_file(&files[1].path).unwrap();
    assert!(matches!(&site.faults()[..], [Fault::Broken { line: 1, number, .. }] if *number == files[2].first), "{:?}", site.faults());
}

#[tokio::test]
async fn what_is_noted_is_on_the_disk_once_it_is_kept() {
    let site = Site::new();
    let audit = Audit::open(&site.dir()).unwrap();
    let many: Vec<Noted> = (0..100).map(|number| audit.note(Action::RevisionApplied { number })).collect();
    for noted in many {
        noted.kept().await.unwrap();
    }
    let entries = site.log().read(1, usize::MAX, usize::MAX).unwrap();
    assert_eq!((entries.len(), site.faults()), (100, vec![]));
    assert_eq!(audit.state().borrow().number, 100);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_the_entry_comes_later() {
    let site = Site::new();
    let audit = Audit::open(&site.dir()).unwrap();
    audit.note(Action::SafeMode).kept().await.unwrap();
    // The superuser writes whatever the mode: a directory in the place of the next file stops anybody.
    let file = log::files(&site.dir()).unwrap().remove(0).path;
    let aside = site.folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(audit.note(Action::Stopped).kept().await, Err(AuditError::Late(_))));
    assert!(audit.state().borrow().damage.is_some());
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    let mut state = audit.state();
    state.wait_for(|state| state.number == 2 && state.damage.is_none()).await.unwrap();
    assert_eq!(site.faults(), []);
}

#[tokio::test]
async fn a_countersignature_of_another_log_is_damage() {
    let site = filled();
    let audit = Audit::open(&site.dir()).unwrap();
    audit.countersign(site.receipt(5)).await.unwrap();
    assert_eq!(audit.state().borrow().countersigned, 5);
    audit.countersign(AuditReceipt { digest: vec![9; 32], ..site.receipt(3) }).await.unwrap();
    let mut state = audit.state();
    state.wait_for(|state| state.damage.as_ref().is_some_and(|damage| damage.contains("entry 3"))).await.unwrap();
}

#[tokio::test]
async fn a_damaged_log_says_so_in_itself_at_the_next_start() {
    let site = filled();
    site.edit(|lines| lines.truncate(3));
    let audit = Audit::open(&site.dir()).unwrap();
    assert!(audit.state().borrow().damage.as_ref().unwrap().contains("cut off"));
    let last = site.log().read(3, 9, usize::MAX).unwrap();
    assert!(String::from_utf8_lossy(&last[0].text).contains("audit-damaged"), "{last:?}");
}
