//! The spool on real files, with a disk that counts, stalls or fails its fsyncs.

mod damage;
mod hooked;

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;

use self::hooked::Hooked;
use super::segment::scan::{Tail, scan};
use super::segment::{HEADER_BYTES, Kind, SegmentId};
use super::*;

const LANE: Lane = Lane::Alerts;

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions { dir: dir.to_owned(), segment_bytes: 4096, max_bytes: 1024 * 1024, machine_key: Zeroizing::new([7; 32]) }
}

fn open(dir: &Path, epoch: u64) -> (Spool, Recovered, SpoolWriter) {
    Spool::open(options(dir), Epoch(epoch), Timestamp::from_secs(1000)).unwrap()
}

fn open_hooked(dir: &Path, sync: impl FnMut() -> io::Result<()> + Send + 'static) -> (Spool<Hooked>, Recovered, SpoolWriter) {
    let SpoolOptions { dir, segment_bytes, max_bytes, machine_key } = options(dir);
    let storage = Hooked::new(Disk::take(&dir).unwrap(), sync);
    let core = CoreOptions { segment_bytes, max_bytes, machine_key, random };
    Spool::open_on(storage, core, Start { epoch: Epoch(1), now: Timestamp::default() }).unwrap()
}

fn record(text: &str) -> Commit {
    Commit {
        records: vec![Record::plain(LANE, Bytes::copy_from_slice(text.as_bytes()))],
        at: Timestamp::from_secs(2000),
        ..Commit::default()
    }
}

fn checkpoint(text: &str) -> Commit {
    Commit { checkpoint: Some(text.as_bytes().to_vec()), at: Timestamp::from_secs(2000), ..Commit::default() }
}

async fn durably<S: Storage>(spool: &Spool<S>, commit: Commit) {
    let number = spool.commit(commit).await.unwrap();
    spool.durable().wait_for(|durable| *durable >= number).await.unwrap();
}

/// Ends the thread as a kill does: without a last commit.
async fn abandon(spool: Spool, writer: SpoolWriter) {
    drop(spool);
    writer.finished().await.unwrap();
}

fn texts(batch: Option<OutBatch>) -> (u64, u64, Vec<String>) {
    let batch = batch.expect("there is a batch");
    (batch.epoch.0, batch.first.0, batch.records.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect())
}

fn replayed(recovered: &Recovered) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    recovered
        .later
        .iter()
        .map(|item| match item {
            Replayed::Delta(bytes) => format!("Δ{}", text(bytes)),
            Replayed::Record { bytes, .. } => text(bytes),
        })
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Changes a byte in the body of the `nth` record of `kind` in a segment.
fn flip(path: &Path, kind: Kind, nth: usize) {
    let mut bytes = fs::read(path).unwrap();
    let id = SegmentId::from_file_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let found = scan(id, &bytes, Tail::Open);
    let at = found.records.iter().filter(|found| found.header.label.kind == kind).nth(nth).unwrap().at;
    bytes[at + HEADER_BYTES] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_killed_spool_gives_back_the_checkpoint_and_what_came_after_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, recovered, writer) = open(dir.path(), 1);
    assert!(recovered.checkpoint.is_none() && recovered.later.is_empty() && recovered.unclean_since.is_none());
    assert!(spool.wants_checkpoint());
    durably(&spool, checkpoint("state 1")).await;
    assert!(!spool.wants_checkpoint());
    durably(&spool, Commit { delta: b"counts".to_vec(), ..record("a") }).await;
    durably(&spool, record("b")).await;
    abandon(spool, writer).await;

    let (_spool, recovered, _writer) = open(dir.path(), 2);
    assert_eq!(recovered.checkpoint.as_deref(), Some(b"state 1".as_slice()));
    assert_eq!(replayed(&recovered), ["a", "Δcounts", "b"]);
    assert_eq!(recovered.unclean_since, Some(Timestamp::from_secs(2000)));
    assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (0, false));
}

#[tokio::test]
async fn a_stop_in_good_order_is_told_from_a_kill_even_before_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, checkpoint("s")).await;
    spool.close(record("last")).await.unwrap();
    writer.finished().await.unwrap();
    let (spool, recovered, writer) = open(dir.path(), 2);
    assert_eq!(recovered.unclean_since, None);
    assert_eq!(replayed(&recovered), ["last"]);
    abandon(spool, writer).await;
    let (_spool, recovered, _writer) = open(dir.path(), 3);
    assert_eq!(recovered.unclean_since, Some(Timestamp::from_secs(1000)));
}

#[tokio::test]
async fn a_closed_spool_refuses_commits() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    let other = spool.clone();
    spool.close(Commit::default()).await.unwrap();
    writer.finished().await.unwrap();
    assert!(matches!(other.commit(record("late")).await, Err(SpoolError::Closed)));
    assert!(other.durable().changed().await.is_ok() && other.durable().has_changed().is_err());
}

#[tokio::test]
async fn two_processes_cannot_open_one_spool() {
    let dir = tempfile::tempdir().unwrap();
    let (_spool, _, _writer) = open(dir.path(), 1);
    assert!(matches!(Spool::open(options(dir.path()), Epoch(2), Timestamp::default()), Err(SpoolError::Locked { .. })));
}

#[tokio::test]
async fn commits_that_queue_while_the_disk_is_busy_share_one_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let (arrived_tx, arrived) = std_mpsc::channel();
    let (go, go_rx) = std_mpsc::channel::<()>();
    let sync = {
        let syncs = Arc::clone(&syncs);
        move || {
            if syncs.fetch_add(1, Ordering::SeqCst) > 0 {
                let _test_is_over = arrived_tx.send(());
                let _test_is_over = go_rx.recv();
            }
            Ok(())
        }
    };
    let (spool, _, _writer) = open_hooked(dir.path(), sync);
    let first = spool.commit(record("0")).await.unwrap();
    arrived.recv().unwrap();
    let mut last = first;
    for n in 1..=40 {
        last = spool.commit(record(&n.to_string())).await.unwrap();
    }
    assert_eq!(*spool.durable().borrow(), CommitNumber(0), "nothing is durable before its fsync");
    assert!(spool.next_batch(LANE, None).unwrap().is_none(), "nothing is sent before it is durable");
    go.send(()).unwrap();
    arrived.recv().unwrap();
    assert_eq!(*spool.durable().borrow(), first);
    go.send(()).unwrap();
    spool.durable().wait_for(|durable| *durable == last).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 3, "one for the opening, one for the first commit, one for forty");
}

#[tokio::test]
async fn a_failed_fsync_ends_the_spool_and_nothing_is_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut syncs = 0;
    let sync = move || {
        syncs += 1;
        if syncs == 3 { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    };
    let (spool, _, writer) = open_hooked(dir.path(), sync);
    durably(&spool, record("good")).await;
    let number = spool.commit(record("lost")).await.unwrap();
    assert!(spool.durable().wait_for(|durable| *durable >= number).await.is_err());
    assert!(matches!(writer.finished().await, Err(SpoolError::File { .. })));
    assert!(matches!(spool.commit(record("more")).await, Err(SpoolError::Closed)));
}

#[tokio::test]
async fn batches_follow_one_another_without_a_gap_and_acknowledged_ones_do_not_return() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    for text in ["a", "b", "c"] {
        durably(&spool, record(text)).await;
    }
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (1, 1, vec!["a".into(), "b".into(), "c".into()]));
    assert_eq!(texts(spool.next_batch(LANE, Some((Epoch(1), Sequence(2)))).unwrap()), (1, 3, vec!["c".into()]));
    assert!(spool.next_batch(LANE, Some((Epoch(1), Sequence(3)))).unwrap().is_none());
    assert!(spool.next_batch(Lane::Logs, None).unwrap().is_none());
    spool.acknowledge(LANE, Epoch(1), Sequence(1));
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()).1, 2);
    abandon(spool, writer).await;
}

#[tokio::test]
async fn old_epochs_are_delivered_first_and_can_be_acknowledged_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    for (epoch, text) in [(9, "first"), (4, "second"), (6, "third")] {
        let (spool, _, writer) = open(dir.path(), epoch);
        durably(&spool, record(text)).await;
        abandon(spool, writer).await;
    }
    let (spool, _, _writer) = open(dir.path(), 1);
    durably(&spool, record("fourth")).await;
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (9, 1, vec!["first".into()]));
    assert_eq!(texts(spool.next_batch(LANE, Some((Epoch(9), Sequence(1)))).unwrap()), (4, 1, vec!["second".into()]));
    spool.acknowledge(LANE, Epoch(9), Sequence(1));
    spool.acknowledge(LANE, Epoch(4), Sequence(1));
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (6, 1, vec!["third".into()]));
    assert_eq!(texts(spool.next_batch(LANE, Some((Epoch(6), Sequence(1)))).unwrap()), (1, 1, vec!["fourth".into()]));
    assert_eq!(spool.heads().first().map(|head| (head.lane, head.epoch, head.sequence)), Some((1, 1, 1)));
}

#[tokio::test]
async fn acknowledgements_survive_a_kill_once_a_commit_followed_them() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, record("a")).await;
    durably(&spool, record("b")).await;
    spool.acknowledge(LANE, Epoch(1), Sequence(1));
    durably(&spool, record("c")).await;
    abandon(spool, writer).await;
    let (spool, _, _writer) = open(dir.path(), 2);
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (1, 2, vec!["b".into(), "c".into()]));
    assert_eq!(spool.fill().lanes["alerts"].records, 2);
}

#[tokio::test]
async fn full_segments_ask_for_a_checkpoint_and_are_removed_once_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, _writer) = open(dir.path(), 1);
    let mut sequence = 0;
    for round in 0..6 {
        assert!(spool.wants_checkpoint());
        spool.commit(checkpoint(&format!("state {round}"))).await.unwrap();
        assert!(!spool.wants_checkpoint(), "one that is queued is enough");
        while !spool.wants_checkpoint() {
            durably(&spool, record(&"x".repeat(200))).await;
            sequence += 1;
        }
    }
    assert_eq!(segments(dir.path()).len(), 6);
    spool.acknowledge(LANE, Epoch(1), Sequence(sequence));
    durably(&spool, Commit::default()).await;
    assert_eq!(segments(dir.path()).len(), 2, "the last two checkpoints stay");
    assert_eq!(spool.fill().lanes["alerts"].records, 0);
}

#[tokio::test]
async fn a_checkpoint_far_larger_than_a_segment_is_not_written_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, _writer) = open(dir.path(), 1);
    let mut state = vec![0; 100_000];
    random(&mut state).unwrap();
    durably(&spool, Commit { checkpoint: Some(state), ..Commit::default() }).await;
    for _ in 0..100 {
        durably(&spool, record(&"y".repeat(500))).await;
        assert!(!spool.wants_checkpoint());
    }
}

#[tokio::test]
async fn a_full_spool_gives_up_the_oldest_samples_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let small = SpoolOptions { max_bytes: 40_000, ..options(dir.path()) };
    let (spool, _, writer) = Spool::open(small.clone(), Epoch(1), Timestamp::default()).unwrap();
    let mut written = 0_u64;
    for _ in 0..400 {
        let records = vec![Record::plain(Lane::Samples, Bytes::from(vec![7; 300]))];
        durably(&spool, Commit { records, checkpoint: spool.wants_checkpoint().then(|| b"state".to_vec()), ..Commit::default() }).await;
        written += 1;
    }
    let fill = spool.fill();
    let samples = fill.lanes["samples"];
    assert!(fill.bytes_on_disk <= 40_000, "{fill:?}");
    assert!(samples.evicted > 0 && samples.records > 20, "{fill:?}");
    assert_eq!(spool.evictions(), 0, "no alert's state is lost");
    assert_eq!(samples.records + samples.evicted, written);
    assert_eq!(fill.evicted_by_reason.values().sum::<u64>(), samples.evicted);
    let batch = spool.next_batch(Lane::Samples, None).unwrap().unwrap();
    assert_eq!(batch.first.0, samples.evicted + 1, "the oldest are gone");
    abandon(spool, writer).await;

    let (spool, recovered, _writer) = Spool::open(small, Epoch(2), Timestamp::default()).unwrap();
    assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (0, false));
    // What the start itself writes may cost some more.
    let after = spool.fill().lanes["samples"];
    assert!(after.evicted >= samples.evicted, "the count survives: {after:?}");
    assert_eq!(after.records + after.evicted, written);
}

#[tokio::test]
async fn a_damaged_record_is_lost_alone_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, checkpoint("state")).await;
    for text in ["one", "two", "three", "four"] {
        durably(&spool, record(text)).await;
    }
    abandon(spool, writer).await;
    flip(&segments(dir.path())[0], Kind::Record(LANE), 1);
    let (spool, recovered, _writer) = open(dir.path(), 2);
    assert_eq!(replayed(&recovered), ["one", "three", "four"]);
    assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (1, true));
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (1, 1, vec!["one".into()]));
    assert_eq!(texts(spool.next_batch(LANE, Some((Epoch(1), Sequence(1)))).unwrap()), (1, 3, vec!["three".into(), "four".into()]));
}

#[tokio::test]
async fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, checkpoint("older state")).await;
    durably(&spool, record("a")).await;
    durably(&spool, Commit { checkpoint: Some(b"newer state".to_vec()), ..record("b") }).await;
    durably(&spool, record("c")).await;
    spool.acknowledge(LANE, Epoch(1), Sequence(3));
    durably(&spool, Commit::default()).await;
    abandon(spool, writer).await;
    flip(&segments(dir.path())[1], Kind::Checkpoint, 0);
    let (_spool, recovered, _writer) = open(dir.path(), 2);
    assert_eq!(recovered.checkpoint.as_deref(), Some(b"older state".as_slice()));
    assert_eq!(replayed(&recovered), ["a", "b", "c"]);
}

#[tokio::test]
async fn records_that_rot_while_it_runs_are_left_out_and_the_segment_can_still_be_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, _writer) = open(dir.path(), 1);
    durably(&spool, record("fine")).await;
    durably(&spool, record("rots")).await;
    flip(&segments(dir.path())[0], Kind::Record(LANE), 1);
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (1, 1, vec!["fine".into()]));
    assert!(spool.next_batch(LANE, Some((Epoch(1), Sequence(1)))).unwrap().is_none());
    assert_eq!(spool.damaged_records(), 1);
    spool.acknowledge(LANE, Epoch(1), Sequence(1));
    assert_eq!(spool.fill().lanes["alerts"].records, 0);
}

#[tokio::test]
async fn a_resend_is_owed_over_starts_until_the_control_plane_has_heard_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut epoch = 1;
    let mut lives = |settles: &'static [bool]| {
        let dir = dir.path().to_owned();
        let from = epoch;
        epoch += settles.len() as u64;
        async move {
            let mut told = Vec::new();
            for (settles, epoch) in settles.iter().zip(from..) {
                let (spool, recovered, writer) = open(&dir, epoch);
                told.push(recovered.resend_open_alerts);
                if *settles {
                    spool.settle_resend()
                } else {
                    spool.owe_resend()
                }
                // The whole state is committed: that the control plane knows of it is another matter.
                durably(&spool, checkpoint("state")).await;
                abandon(spool, writer).await;
            }
            told
        }
    };
    assert_eq!(lives(&[false, false, true]).await, [false, true, true]);
    assert_eq!(lives(&[true]).await, [false]);
}

#[tokio::test]
async fn what_rots_before_its_segment_is_rewritten_is_counted_and_healed() {
    for rots in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let small = SpoolOptions { max_bytes: 40_000, ..options(dir.path()) };
        let (spool, _, _writer) = Spool::open(small, Epoch(1), Timestamp::default()).unwrap();
        // The first and the last of the lane in its segment: no sequence around it betrays the loss.
        durably(&spool, Commit { checkpoint: Some(b"state".to_vec()), ..record("one") }).await;
        durably(&spool, record("two")).await;
        flip(&segments(dir.path())[0], Kind::Record(LANE), rots);
        while spool.fill().lanes["samples"].evicted < 50 {
            let records = vec![Record::plain(Lane::Samples, Bytes::from(vec![7; 300]))];
            durably(&spool, Commit { records, checkpoint: spool.wants_checkpoint().then(|| b"state".to_vec()), ..Commit::default() }).await;
        }
        assert_eq!((spool.damaged_records(), spool.evictions()), (1, 1), "record {rots}");
        let left = ["two", "one"][rots];
        assert_eq!(texts(spool.next_batch(LANE, None).unwrap()).2, [left]);
        assert_eq!(spool.damaged_records(), 1, "once");
    }
}

#[tokio::test]
async fn a_segment_without_a_whole_commit_is_dropped_and_its_number_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, record("kept")).await;
    abandon(spool, writer).await;
    let stub = dir.path().join(SegmentId::new(2, Epoch(1)).file_name());
    fs::write(&stub, [1, 2, 3]).unwrap();
    let (_spool, recovered, _writer) = open(dir.path(), 2);
    assert_eq!(replayed(&recovered), ["kept"]);
    assert!(!stub.exists());
    assert!(segments(dir.path()).last().unwrap().ends_with(SegmentId::new(3, Epoch(2)).file_name()));
}

#[tokio::test]
async fn a_torn_tail_is_cut_so_that_the_next_start_finds_none() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, writer) = open(dir.path(), 1);
    durably(&spool, record("kept")).await;
    durably(&spool, record("torn")).await;
    abandon(spool, writer).await;
    let newest = segments(dir.path()).pop().unwrap();
    let id = SegmentId::from_file_name(newest.file_name().unwrap().to_str().unwrap()).unwrap();
    let length = scan(id, &fs::read(&newest).unwrap(), Tail::Open).keep as u64;
    OpenOptions::new().write(true).open(&newest).unwrap().set_len(length - 5).unwrap();
    let (spool, recovered, writer) = open(dir.path(), 2);
    assert_eq!((replayed(&recovered), recovered.damaged_records), (vec!["kept".to_owned()], 0));
    abandon(spool, writer).await;
    let (_spool, recovered, _writer) = open(dir.path(), 3);
    assert_eq!((replayed(&recovered), recovered.damaged_records), (vec!["kept".to_owned()], 0));
}

#[tokio::test]
async fn a_renewed_epoch_counts_from_one_behind_what_the_old_one_still_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, _writer) = open(dir.path(), 1);
    durably(&spool, record("old")).await;
    let fresh = spool.renew_epoch().await.unwrap();
    durably(&spool, record("new")).await;
    assert_eq!(texts(spool.next_batch(LANE, None).unwrap()), (1, 1, vec!["old".into()]));
    assert_eq!(texts(spool.next_batch(LANE, Some((Epoch(1), Sequence(1)))).unwrap()), (fresh.0, 1, vec!["new".into()]));
    assert_eq!(spool.heads().first().map(|head| (head.epoch, head.sequence)), Some((fresh.0, 1)));
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_it_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _, _writer) = open(dir.path(), 1);
    let long = Commit { records: vec![Record::plain(LANE, Bytes::from(vec![0; MAX_BATCH_BYTES + 1]))], ..Commit::default() };
    assert!(matches!(spool.commit(long).await, Err(SpoolError::TooLong { what: "record", .. })));
    let longest = Commit { records: vec![Record::plain(LANE, Bytes::from(vec![7; MAX_BATCH_BYTES]))], ..Commit::default() };
    durably(&spool, longest).await;
    assert_eq!(spool.next_batch(LANE, None).unwrap().unwrap().records[0].len(), MAX_BATCH_BYTES);
}

#[tokio::test]
async fn batches_keep_their_limits_over_many_records_and_other_kinds_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let big = SpoolOptions { segment_bytes: 64 << 20, max_bytes: 512 << 20, ..options(dir.path()) };
    let (spool, _, _writer) = Spool::open(big, Epoch(1), Timestamp::default()).unwrap();
    let total = 9000_u64;
    for chunk in 0..9 {
        let records = (0..1000)
            .map(|n| Record::plain(if n % 2 == 0 { LANE } else { Lane::Samples }, Bytes::from((chunk * 1000 + n).to_string().repeat(60))))
            .collect();
        durably(&spool, Commit { records, delta: vec![1; 300_000], ..Commit::default() }).await;
    }
    for lane in [LANE, Lane::Samples] {
        let (mut after, mut seen) = (None, 0);
        while let Some(batch) = spool.next_batch(lane, after).unwrap() {
            assert_eq!(batch.first.0, seen + 1);
            assert!(batch.records.len() <= message_limit() && batch.records.iter().map(Bytes::len).sum::<usize>() <= MAX_BATCH_BYTES);
            seen += batch.records.len() as u64;
            after = Some((batch.epoch, Sequence(seen)));
        }
        assert_eq!(seen, total / 2);
    }
}

fn message_limit() -> usize {
    postern_protocol::message::MAX_BATCH_RECORDS
}

#[tokio::test]
async fn only_the_owner_can_read_what_waits() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let (spool, _, writer) = open(&path, 1);
    durably(&spool, record("a")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| mode(&entry.unwrap().path())).collect();
    assert_eq!(files, [0o600; 3], "the lock, the reserve and a segment");
    abandon(spool, writer).await;
}
