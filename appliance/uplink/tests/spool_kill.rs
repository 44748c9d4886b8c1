//! A real process that commits as fast as it can, killed with SIGKILL again and again on one spool.

// A test file may stop at the first surprise.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::{Commit, Record, Spool, SpoolOptions};
use zeroize::Zeroizing;

const SPOOL: &str = "POSTERN_TEST_SPOOL";
const EPOCH: &str = "POSTERN_TEST_EPOCH";

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions { dir: dir.to_owned(), segment_bytes: 20_000, max_bytes: 1 << 30, machine_key: Zeroizing::new([7; 32]) }
}

fn content(epoch: u64, sequence: u64) -> Bytes {
    Bytes::from(format!("{epoch}/{sequence}/").repeat(1 + usize::try_from(sequence % 40).unwrap()))
}

/// The victim: commits one record after the other and prints the number of each that is durable. Does nothing in a normal run.
#[test]
fn victim() {
    let (Ok(dir), Ok(epoch)) = (std::env::var(SPOOL), std::env::var(EPOCH)) else { return };
    let epoch = epoch.parse().unwrap();
    let (spool, _, _writer) = Spool::open(options(Path::new(&dir)), Epoch(epoch), Timestamp::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let mut durable = spool.durable();
        let committing = async {
            for sequence in 1.. {
                let checkpoint = spool.wants_checkpoint().then(|| vec![1; 500]);
                let commit =
                    Commit { records: vec![Record::plain(Lane::Alerts, content(epoch, sequence))], checkpoint, ..Commit::default() };
                spool.commit(commit).await.unwrap();
            }
        };
        let telling = async {
            while durable.changed().await.is_ok() {
                let number = durable.borrow_and_update().0;
                writeln!(std::io::stderr(), "durable {number}").unwrap();
            }
        };
        tokio::join!(committing, telling)
    });
}

#[test]
fn what_was_called_durable_is_there_after_any_number_of_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for (epoch, lines) in [(11, 1), (5, 40), (8, 3), (2, 150), (9, 17)] {
        let mut victim = Command::new(std::env::current_exe().unwrap());
        victim.args(["victim", "--exact", "--nocapture"]).env(SPOOL, dir.path()).env(EPOCH, format!("{epoch}"));
        let mut victim = victim.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(victim.stderr.take().unwrap()).lines().map(Result::unwrap);
        let numbers = said.filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok().filter(|number| *number > 0));
        let last = numbers.take(lines).last().unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        told.push((epoch, last));
    }

    let (spool, recovered, _writer) = Spool::open(options(dir.path()), Epoch(1), Timestamp::default()).unwrap();
    assert_eq!(recovered.damaged_records, 0);
    let (mut after, mut heads) = (None, Vec::<(u64, u64)>::new());
    while let Some(batch) = spool.next_batch(Lane::Alerts, after).unwrap() {
        let epoch = batch.epoch.0;
        if heads.last().is_none_or(|(last, _)| *last != epoch) {
            heads.push((epoch, 0));
        }
        let head = &mut heads.last_mut().unwrap().1;
        assert_eq!(batch.first.0, *head + 1, "no gap");
        for record in &batch.records {
            *head += 1;
            assert_eq!(*record, content(epoch, *head));
        }
        after = Some((batch.epoch, Sequence(*head)));
    }
    assert_eq!(heads.len(), told.len());
    for ((epoch, head), (told_epoch, durable)) in heads.into_iter().zip(told) {
        assert_eq!(epoch, told_epoch, "in the order of the runs");
        assert!(head >= durable, "epoch {epoch}: {durable} was called durable, {head} is there");
    }
}
