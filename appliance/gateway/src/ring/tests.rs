//! The ring on a real disk: what comes back, damage, disks that are set back, bounds.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use postern_protocol::timestamp::Timestamp;
use zeroize::Zeroizing;

use super::entry::{Entry, Way};
use super::reader::Found;
use super::writer::Disk;
use super::{Bounds, Options, Reader, Tap, Writer, files};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const EVER: (Timestamp, Timestamp) = (Timestamp::from_nanos(i64::MIN), Timestamp::from_nanos(i64::MAX));
const HOUR: i64 = 3600;

fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), bounds: Bounds::default(), key: Zeroizing::new([7; 32]) }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Entries of one second each, with these texts.
fn entries(from: i64, texts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for (second, text) in (from..).zip(texts) {
        Entry::new(at(second), Way::SyslogUdp, PEER, text).encode(&mut out);
    }
    out
}

/// Text that cannot be packed, so that sizes can be told.
fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut out).unwrap();
    out
}

fn reader(options: &Options) -> Reader {
    let (_, _, reader) = Writer::open(options.clone()).unwrap();
    reader.unwrap()
}

fn read(options: &Options, span: (Timestamp, Timestamp)) -> (Vec<Vec<u8>>, Found) {
    let mut texts = Vec::new();
    let found = reader(options).read(span, |entry| {
        texts.push(entry.bytes.to_vec());
        ControlFlow::Continue(())
    });
    (texts, found.unwrap())
}

fn bytes_on_disk(dir: &Path) -> u64 {
    files::list(dir).unwrap().iter().map(|(_, path)| path.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn what_was_received_comes_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    for run in [b"first".as_slice(), b"second"] {
        let (tap, writer, reader) = Writer::open(options.clone()).unwrap();
        let (written, reader) = (std::thread::spawn(|| writer.unwrap().run()), reader.unwrap());
        let mut batch = tap.batch();
        batch.add(&Entry {
            tls_name: Some("CN=sw-1"),
            port: 9,
            ..Entry::new(Timestamp::from(SystemTime::now()), Way::SyslogTls, PEER, run)
        });
        tap.put(&mut batch);
        reader.flush().await;
        let mut seen = Vec::new();
        reader
            .read(EVER, |entry| {
                seen.push((entry.bytes.to_vec(), entry.tls_name.map(str::to_owned), entry.peer, entry.port));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen.last().unwrap(), &(run.to_vec(), Some("CN=sw-1".to_owned()), PEER, 9), "at once, while it goes on");
        drop(tap);
        written.join().unwrap();
        let state = reader.state();
        assert_eq!((state.bytes, state.missed, state.problem), (bytes_on_disk(dir.path()), 0, None));
    }
    assert_eq!(read(&options, EVER).0, [b"first".to_vec(), b"second".to_vec()]);
    let (_, path) = files::list(dir.path()).unwrap().remove(0);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_disk_shows_nothing_of_what_was_received_and_another_machine_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Disk::open(options.clone()).unwrap().write(&entries(100, &[b"a marked text", b"a marked text"]), at(101));
    let (_, path) = files::list(dir.path()).unwrap().remove(0);
    let stored = std::fs::read(path).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"marked"));
    let other = Options { key: Zeroizing::new([8; 32]), ..options };
    assert_eq!(read(&other, EVER), (Vec::new(), Found { damaged: 1 }));
}

#[test]
fn a_span_of_time_is_read_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Disk::open(options.clone()).unwrap().write(&entries(100, &[b"100", b"101", b"102", b"103"]), at(104));
    assert_eq!(read(&options, (at(101), at(102))).0, [b"101".to_vec(), b"102".to_vec()]);
    let mut first = Vec::new();
    reader(&options)
        .read(EVER, |entry| {
            first.extend_from_slice(entry.bytes);
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(first, b"100");
}

#[test]
fn any_damaged_byte_costs_its_block_alone_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let mut disk = Disk::open(options.clone()).unwrap();
    let texts = [b"one".as_slice(), b"two", b"three"];
    let mut ends = Vec::new();
    for (second, text) in (100..).zip(texts) {
        disk.write(&entries(second, &[text]), at(second));
        ends.push(bytes_on_disk(dir.path()));
    }
    let (_, path) = files::list(dir.path()).unwrap().remove(0);
    let whole = std::fs::read(&path).unwrap();
    for place in usize::try_from(ends[0]).unwrap()..usize::try_from(ends[1]).unwrap() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(read(&options, EVER), (vec![b"one".to_vec(), b"three".to_vec()], Found { damaged: 1 }), "byte {place}");
    }
    for length in usize::try_from(ends[1]).unwrap()..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(read(&options, EVER), (vec![b"one".to_vec(), b"two".to_vec()], Found { damaged: 0 }), "cut at {length}");
    }
}

#[test]
fn a_block_opens_in_its_own_place_and_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    for text in [b"one".as_slice(), b"two"] {
        Disk::open(options.clone()).unwrap().write(&entries(100, &[text]), at(100));
    }
    let paths: Vec<_> = files::list(dir.path()).unwrap().into_iter().map(|(_, path)| path).collect();
    let (first, second) = (std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    let header = super::block::FILE_HEADER_BYTES;
    std::fs::write(&paths[0], [&first[..header], &second[header..]].concat()).unwrap();
    assert_eq!(read(&options, EVER), (vec![b"two".to_vec()], Found { damaged: 1 }));
    std::fs::write(&paths[0], [&first[..], &first[header..]].concat()).unwrap();
    assert_eq!(read(&options, EVER), (vec![b"one".to_vec(), b"two".to_vec()], Found { damaged: 1 }), "nor twice");
}

#[test]
fn a_disk_that_is_set_back_never_seals_twice_with_one_key_and_nonce() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Disk::open(options.clone()).unwrap().write(&entries(100, &[b"before"]), at(100));
    let mut later = Vec::new();
    for _ in 0..2 {
        Disk::open(options.clone()).unwrap().write(&entries(200, &[b"after"]), at(200));
        let (number, path) = files::list(dir.path()).unwrap().pop().unwrap();
        assert_eq!(number, 2, "the same file again");
        assert_eq!(read(&options, EVER).0, [b"before".to_vec(), b"after".to_vec()]);
        later.push(std::fs::read(&path).unwrap());
        std::fs::remove_file(path).unwrap();
    }
    let content = super::block::FILE_HEADER_BYTES + super::block::HEADER_BYTES;
    assert_eq!(later[0].len(), later[1].len());
    assert!(later[0][..16] != later[1][..16] || later[0][8..24] != later[1][8..24], "another id");
    assert_ne!(later[0][content..], later[1][content..], "the same text under another key");
}

#[test]
fn the_bytes_are_bounded_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { bytes: 4 * 1024 * 1024, ..Bounds::default() };
    let options = Options { bounds, ..options(dir.path()) };
    let mut disk = Disk::open(options.clone()).unwrap();
    for second in 0..200 {
        disk.write(&entries(second, &[&noise(50_000)]), at(second));
        assert!(bytes_on_disk(dir.path()) <= bounds.bytes);
    }
    let mut kept = Vec::new();
    reader(&options)
        .read(EVER, |entry| {
            kept.push(entry.received.as_secs());
            ControlFlow::Continue(())
        })
        .unwrap();
    let oldest = 200 - i64::try_from(kept.len()).unwrap();
    assert_eq!(kept, (oldest..200).collect::<Vec<_>>(), "the newest, without a gap");
    assert!(kept.len() > 60, "{} of 80 that fit", kept.len());
}

#[test]
fn what_is_older_than_the_ring_keeps_goes_also_when_nothing_comes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { bounds: Bounds { keep: Duration::from_secs(3600), ..Bounds::default() }, ..options(dir.path()) };
    let mut disk = Disk::open(options.clone()).unwrap();
    disk.write(&entries(0, &[b"old"]), at(0));
    disk.write(&entries(HOUR / 2, &[b"new"]), at(HOUR / 2));
    disk.write(&[], at(HOUR + 1));
    assert_eq!(read(&options, EVER).0, [b"new".to_vec()]);
    disk.write(&[], at(2 * HOUR));
    assert_eq!(read(&options, EVER).0, Vec::<Vec<u8>>::new());
    disk.write(&entries(2 * HOUR, &[b"after"]), at(2 * HOUR));
    assert_eq!(read(&options, EVER).0, [b"after".to_vec()], "it goes on in another file");
    disk.write(&[], at(-10 * HOUR));
    assert_eq!(bytes_on_disk(dir.path()), 0, "and what a wrong clock put into the future goes, too");
}

#[test]
fn entries_that_find_no_room_are_counted_and_nothing_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (tap, writer, reader) = Writer::open(options.clone()).unwrap();
    let (mut batch, text) = (tap.batch(), noise(60_000));
    // The writer does not run yet.
    for second in 0..100 {
        batch.add(&Entry::new(at(second), Way::SyslogUdp, PEER, &text));
        tap.put(&mut batch);
    }
    drop((batch, tap));
    let started = SystemTime::now();
    writer.unwrap().run();
    assert!(started.elapsed().unwrap() < Duration::from_secs(60), "it ends without the receivers");
    let missed = reader.unwrap().state().missed;
    assert!((20..40).contains(&missed), "{missed}");
}

#[test]
fn a_disk_that_refuses_is_told_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (tap, writer, reader) = Writer::open(options.clone()).unwrap();
    // In place of the next file stands a directory.
    std::fs::create_dir(files::path(dir.path(), 1)).unwrap();
    let mut batch = tap.batch();
    batch.add(&Entry::new(at(1), Way::SyslogUdp, PEER, b"text"));
    tap.put(&mut batch);
    drop((batch, tap));
    writer.unwrap().run();
    let state = reader.unwrap().state();
    assert_eq!((state.missed, state.problem.is_some()), (1, true), "{state:?}");
}

#[test]
fn without_bytes_nothing_is_kept_and_what_was_there_goes() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Disk::open(options.clone()).unwrap().write(&entries(100, &[b"text"]), at(100));
    let (tap, writer, reader) = Writer::open(Options { bounds: Bounds { bytes: 0, ..options.bounds }, ..options }).unwrap();
    let mut batch = tap.batch();
    batch.add(&Entry::new(at(1), Way::SyslogUdp, PEER, b"text"));
    tap.put(&mut batch);
    Tap::default().put(&mut batch);
    assert!(writer.is_none() && reader.is_none());
    assert_eq!(bytes_on_disk(dir.path()), 0);
}
