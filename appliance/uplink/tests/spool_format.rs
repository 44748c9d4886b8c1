//! What lies on the disk: the same bytes as ever, spools of earlier versions, other keys, and damage.
//!
//! `UPDATE_GOLDEN=1` writes the golden files anew: only when the format is meant to change.

// A test file may stop at the first surprise.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::core::{Core, CoreOptions, Start};
use postern_uplink::spool::disk::Disk;
use postern_uplink::spool::segment::scan::{Step, Tail, Walk, scan};
use postern_uplink::spool::segment::{Kind, SegmentId};
use postern_uplink::spool::{Commit, Record, Recovered, Replayed, SpoolError, Worth};
use zeroize::Zeroizing;

const ALERTS: Lane = Lane::Alerts;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Keys that are the same in every run; never used outside of tests.
fn fixed(bytes: &mut [u8]) -> Result<(), SpoolError> {
    (1_u8..).zip(bytes).for_each(|(n, byte)| *byte = n);
    Ok(())
}

fn open_with(dir: &Path, epoch: u64, key: u8) -> (Core<Disk>, Recovered) {
    let (segment_bytes, max_bytes) = (4096, 64 * 1024);
    let options = CoreOptions { segment_bytes, max_bytes, machine_key: Zeroizing::new([key; 32]), random: fixed };
    Core::open(Disk::take(dir).unwrap(), options, Start { epoch: Epoch(epoch), now: Timestamp::from_secs(1000) }).unwrap()
}

fn open(dir: &Path, epoch: u64) -> (Core<Disk>, Recovered) {
    open_with(dir, epoch, 7)
}

fn alert(text: &str, key: u64, worth: Worth) -> Record {
    Record { lane: ALERTS, bytes: Bytes::copy_from_slice(text.as_bytes()), key, worth }
}

fn commit(records: Vec<Record>) -> Commit {
    Commit { records, at: Timestamp::from_secs(2000), ..Commit::default() }
}

fn texts(core: &Core<Disk>, lane: Lane, after: Option<(u64, u64)>) -> (u64, u64, Vec<String>) {
    let after = after.map(|(epoch, sequence)| (Epoch(epoch), Sequence(sequence)));
    let batch = core.reader().next_batch(lane, after).unwrap().unwrap();
    (batch.epoch.0, batch.first.0, batch.records.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect())
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "v1" || extension == "v2")).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in segments(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn id_of(path: &Path) -> SegmentId {
    SegmentId::from_file_name(path.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// Changes a byte in the body of the `nth` record of a kind.
fn damage(path: &Path, kind: Kind, nth: usize) {
    let mut bytes = fs::read(path).unwrap();
    let found = scan(id_of(path), &bytes, Tail::Open).records.iter().filter(|found| found.header.label.kind == kind).nth(nth).unwrap().at;
    bytes[found + 50] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A short life: two segments, two checkpoints, records of two lanes.
fn live(dir: &Path) {
    let (mut core, _) = open(dir, 0xe1);
    let write = |core: &mut Core<Disk>, commit| core.write(vec![commit], Duration::ZERO).unwrap();
    write(&mut core, Commit { checkpoint: Some(b"state 1".to_vec()), ..commit(vec![alert("raised", 0xaa, Worth::Open)]) });
    write(&mut core, Commit { delta: b"delta".to_vec(), ..commit(vec![Record::plain(Lane::Samples, Bytes::from_static(b"sample"))]) });
    core.reader().acknowledge(ALERTS, Epoch(0xe1), Sequence(1));
    let both = vec![alert("cleared", 0xaa, Worth::Ended), alert("raised", 0xbb, Worth::Open)];
    write(&mut core, Commit { checkpoint: Some(b"state 2".to_vec()), ..commit(both) });
    core.close(commit(vec![alert("last", 0xcc, Worth::Open)]), Duration::ZERO).unwrap();
}

#[test]
fn the_bytes_on_the_disk_are_those_of_the_golden_files() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path());
    let kept = golden("spool-v2");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&kept).unwrap();
        copy(dir.path(), &kept);
    }
    let names = |dir: &Path| segments(dir).iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(dir.path()), names(&kept));
    for (made, kept) in segments(dir.path()).iter().zip(segments(&kept)) {
        assert_eq!(fs::read(made).unwrap(), fs::read(&kept).unwrap(), "{}", kept.display());
    }
}

#[test]
fn the_golden_files_are_read_as_what_was_written() {
    // Before standings told the heads, and since.
    for files in ["spool-v2-without-heads", "spool-v2"] {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(files), dir.path());
        let (core, recovered) = open(dir.path(), 2);
        assert_eq!(recovered.checkpoint.as_deref(), Some(b"state 2".as_slice()));
        assert_eq!((recovered.unclean_since, recovered.damaged_records), (None, 0));
        assert_eq!(texts(&core, ALERTS, None), (0xe1, 2, vec!["cleared".into(), "raised".into(), "last".into()]));
        assert_eq!(texts(&core, Lane::Samples, None), (0xe1, 1, vec!["sample".into()]));
    }
}

#[test]
fn nothing_that_was_committed_can_be_read_in_the_files() {
    for file in segments(&golden("spool-v2")) {
        let bytes = fs::read(&file).unwrap();
        for text in ["raised", "cleared", "last", "sample", "state", "delta"] {
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text} in {}", file.display());
        }
    }
}

#[test]
fn a_spool_of_version_1_is_drained_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("spool-v1"), dir.path());
    let old = segments(dir.path()).remove(0);
    let before = fs::read(&old).unwrap();
    let (mut core, recovered) = open(dir.path(), 2);
    assert_eq!(recovered.checkpoint.as_deref(), Some(b"state of version 1".as_slice()));
    let alerts = recovered.later.iter().filter(|item| matches!(item, Replayed::Record { lane: ALERTS, .. })).count();
    assert_eq!((alerts, recovered.damaged_records), (2, 0));
    let reader = core.reader();
    assert_eq!(reader.fill(Duration::ZERO).lanes["samples"].evicted, 9, "what it counted is counted on");
    assert_eq!(texts(&core, ALERTS, None), (0x64, 2, vec!["second alert".into()]), "the first was acknowledged");
    assert_eq!(fs::read(&old).unwrap(), before);
    for lane in [ALERTS, Lane::Samples] {
        reader.acknowledge(lane, Epoch(0x64), Sequence(9));
    }
    for n in 0..2_u8 {
        core.write(vec![Commit { checkpoint: Some(vec![n]), ..Commit::default() }], Duration::ZERO).unwrap();
    }
    core.trim().unwrap();
    assert!(segments(dir.path()).iter().all(|path| path.extension().unwrap() == "v2"));
}

#[test]
fn a_segment_under_another_machine_key_is_counted_kept_and_sent_once_the_key_is_back() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path());
    let before = segments(dir.path());
    let (mut core, recovered) = open_with(dir.path(), 2, 8);
    assert_eq!((recovered.checkpoint, recovered.damaged_records), (None, 0));
    assert_eq!(core.reader().fill(Duration::ZERO).locked_records, 5);
    assert!(core.reader().next_batch(ALERTS, None).unwrap().is_none());
    for n in 0..100_u8 {
        let records = vec![Record::plain(Lane::Samples, Bytes::from(vec![n; 900]))];
        core.write(vec![Commit { checkpoint: Some(vec![n]), ..commit(records) }], Duration::ZERO).unwrap();
    }
    assert!(before.iter().all(|path| path.exists()), "however short the room is");
    drop(core);
    let (core, _) = open(dir.path(), 3);
    assert_eq!(texts(&core, ALERTS, None), (0xe1, 2, vec!["cleared".into(), "raised".into(), "last".into()]));
}

#[test]
fn damage_to_a_key_record_costs_nothing_while_another_copy_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path());
    damage(&segments(dir.path())[0], Kind::Key, 0);
    let (core, recovered) = open(dir.path(), 2);
    assert_eq!(recovered.damaged_records, 1, "the key record itself");
    assert_eq!(texts(&core, ALERTS, None).2, ["cleared", "raised", "last"]);
    assert_eq!(texts(&core, Lane::Samples, None).2, ["sample"]);
}

#[test]
fn a_damaged_middle_segment_loses_its_damaged_records_only_and_is_kept_for_inspection() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path());
    let middle = segments(dir.path())[1].clone();
    damage(&middle, Kind::Record(ALERTS), 0);
    let damaged = fs::read(&middle).unwrap();
    drop(open(dir.path(), 2));
    let (core, recovered) = open(dir.path(), 3);
    assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (1, true));
    assert_eq!(texts(&core, ALERTS, None), (0xe1, 3, vec!["raised".into(), "last".into()]));
    let name = middle.file_name().unwrap().to_str().unwrap();
    assert_eq!(core.reader().fill(Duration::ZERO).damaged_files, [format!("damaged/{name}")]);
    assert_eq!(fs::read(dir.path().join("damaged").join(name)).unwrap(), damaged);
}

/// The sizing that the module doc states, with the bytes that records really have on the disk.
#[test]
fn seven_days_of_alerts_and_a_day_of_samples_fit_the_default_quota_at_the_stated_rates() {
    const QUOTA: u64 = 4 << 30;
    let dir = tempfile::tempdir().unwrap();
    let (mut core, _) = open(dir.path(), 1);
    let mut noise = vec![0; 2000];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    let records = vec![Record::plain(ALERTS, Bytes::copy_from_slice(&noise[..500])), Record::plain(Lane::Samples, Bytes::from(noise))];
    core.write(vec![commit(records)], Duration::ZERO).unwrap();
    let file = segments(dir.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    let size = |lane| {
        Walk::new(id_of(&file), 0, &bytes)
            .find_map(|step| match step {
                Step::Record(found) if found.header.label.kind == Kind::Record(lane) => Some(found.header.record_bytes() as u64),
                _ => None,
            })
            .unwrap()
    };
    let alerts = 7 * 86_400 * 4 * size(ALERTS);
    let samples = 86_400 * 20_000 / 2000 * size(Lane::Samples);
    assert!(samples < QUOTA / 2, "a day of samples fits its lane's share: {samples}");
    // What is left is for local state, which goes first, and for the reserve.
    assert!(alerts + samples < QUOTA - QUOTA / 8, "{alerts} + {samples}");
    println!("alerts {} MB, samples {} MB of {} MB", alerts >> 20, samples >> 20, QUOTA >> 20);
}
