//! Damage that leaves no trace of what it took: the account of sequences finds it, once, and over starts.

use super::*;

/// Changes a byte in the headers of the records of `lane` with these sequences: nothing tells any more what they were.
fn behead(path: &Path, lane: Lane, sequences: &[u64]) {
    let mut bytes = fs::read(path).unwrap();
    let id = SegmentId::from_file_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let places: Vec<_> = scan(id, &bytes, Tail::Durable)
        .records
        .iter()
        .filter(|found| found.header.label.kind == Kind::Record(lane) && sequences.contains(&found.header.label.sequence))
        .map(|found| found.at)
        .collect();
    assert_eq!(places.len(), sequences.len());
    places.iter().for_each(|at| bytes[at + 30] ^= 1);
    fs::write(path, bytes).unwrap();
}

fn group(texts: &[&str]) -> Commit {
    let records = texts.iter().map(|text| Record::plain(LANE, Bytes::copy_from_slice(text.as_bytes()))).collect();
    Commit { records, at: Timestamp::from_secs(2000), ..Commit::default() }
}

/// Lives once with records 1 to 5 in one commit, and a second time with none; returns the first one's segment.
async fn two_lives(dir: &Path) -> PathBuf {
    let (spool, _, writer) = open(dir, 1);
    durably(&spool, group(&["1", "2", "3", "4", "5"])).await;
    abandon(spool, writer).await;
    let (spool, _, writer) = open(dir, 2);
    abandon(spool, writer).await;
    segments(dir)[0].clone()
}

fn read_all(spool: &Spool) -> Vec<String> {
    let (mut read, mut after) = (Vec::new(), None);
    while let Some(batch) = spool.next_batch(LANE, after).unwrap() {
        after = Some((batch.epoch, Sequence(batch.first.0 + batch.records.len() as u64 - 1)));
        read.extend(texts(Some(batch)).2);
    }
    read
}

#[tokio::test]
async fn neighbours_without_a_header_are_counted_one_by_one_wherever_they_lie_and_once_a_start() {
    for (lost, left) in [(vec![1, 2], "345"), (vec![2, 3], "145"), (vec![4, 5], "123"), (vec![1, 2, 3, 4, 5], ""), (vec![1, 3, 4, 5], "2")]
    {
        let dir = tempfile::tempdir().unwrap();
        let first = two_lives(dir.path()).await;
        behead(&first, LANE, &lost);
        for epoch in 3..6 {
            let (spool, recovered, writer) = open(dir.path(), epoch);
            assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (lost.len() as u64, true), "{lost:?}");
            assert_eq!(read_all(&spool).concat(), left);
            assert_eq!(spool.damaged_records(), lost.len() as u64, "what recovery counted the reader does not");
            abandon(spool, writer).await;
        }
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_not_missed_at_an_edge() {
    let dir = tempfile::tempdir().unwrap();
    let first = two_lives(dir.path()).await;
    let (spool, _, writer) = open(dir.path(), 3);
    spool.acknowledge(LANE, Epoch(1), Sequence(4));
    durably(&spool, record("6")).await;
    abandon(spool, writer).await;
    behead(&first, LANE, &[1, 2, 5]);
    let (_spool, recovered, _writer) = open(dir.path(), 4);
    // Neighbours are one place, and 5 is another.
    assert_eq!(recovered.damaged_records, 2);
}

#[tokio::test]
async fn the_edges_of_a_rewritten_segment_are_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let small = || SpoolOptions { max_bytes: 40_000, ..options(dir.path()) };
    let (spool, _, writer) = Spool::open(small(), Epoch(1), Timestamp::default()).unwrap();
    durably(&spool, Commit { checkpoint: Some(b"state".to_vec()), ..group(&["1", "2", "3"]) }).await;
    while spool.fill().lanes["samples"].evicted < 50 {
        let records = vec![Record::plain(Lane::Samples, Bytes::from(vec![7; 300]))];
        durably(&spool, Commit { records, checkpoint: spool.wants_checkpoint().then(|| b"state".to_vec()), ..Commit::default() }).await;
    }
    let evicted = spool.fill().lanes["samples"].evicted;
    abandon(spool, writer).await;
    let rewritten = segments(dir.path())[0].clone();
    assert!(!rewritten.to_str().unwrap().ends_with("-00000000.v2"), "{}", rewritten.display());
    let (spool, recovered, writer) = Spool::open(small(), Epoch(2), Timestamp::default()).unwrap();
    assert_eq!(recovered.damaged_records, 0, "what was given up is gone with its marks, not lost");
    assert!(spool.fill().lanes["samples"].evicted >= evicted);
    abandon(spool, writer).await;

    behead(&segments(dir.path())[0], LANE, &[1, 2, 3]);
    let (spool, recovered, _writer) = Spool::open(small(), Epoch(3), Timestamp::default()).unwrap();
    assert_eq!((recovered.damaged_records, recovered.resend_open_alerts), (3, true));
    assert!(read_all(&spool).is_empty());
    assert_eq!(spool.damaged_records(), 3);
}
