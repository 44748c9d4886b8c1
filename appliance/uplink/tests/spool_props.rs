//! What the spool promises, against a reference model: on bytes, and on real files over many kills.

// A test file may stop at the first surprise.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::segment::scan::{Tail, scan};
use postern_uplink::spool::segment::{End, Kind, Label, SegmentId, append};
use postern_uplink::spool::{Commit, CommitNumber, Record, Recovered, Replayed, Spool, SpoolOptions, SpoolWriter};
use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

const ID: SegmentId = SegmentId::new(7, Epoch(0xfeed_beef_0bad_cafe));

/// What was written: place, kind, sequence, payload.
type Written = Vec<(usize, Kind, u64, Vec<u8>)>;

/// Encodes groups of commits of records as the writer does; returns the bytes, what is in them, and where each commit ends.
fn encode(groups: &[Vec<Vec<Vec<u8>>>]) -> (Vec<u8>, Written, Vec<usize>) {
    let (mut out, mut written, mut ends) = (Vec::new(), Written::new(), Vec::new());
    let (mut sequence, mut number) = (0, 0);
    let mut push = |out: &mut Vec<u8>, kind, sequence, payload: &[u8]| {
        written.push((out.len(), kind, sequence, payload.to_vec()));
        append((ID, 0), out, Label::plain(kind, sequence), payload);
    };
    for group in groups {
        let durable = u32::try_from(out.len()).unwrap();
        for commit in group {
            for record in commit {
                sequence += 1;
                push(&mut out, Kind::Record(Lane::Alerts), sequence, record);
            }
            number += 1;
            push(&mut out, Kind::End, number, &End { at: Timestamp::default(), durable, clean: false }.encode());
            ends.push(out.len());
        }
    }
    (out, written, ends)
}

fn groups() -> impl Strategy<Value = Vec<Vec<Vec<Vec<u8>>>>> {
    vec(vec(vec(vec(any::<u8>(), 0..60), 0..4), 1..4), 1..6)
}

proptest! {
    #[test]
    fn a_truncated_segment_gives_exactly_the_longest_prefix_of_whole_commits(groups in groups()) {
        let (bytes, written, ends) = encode(&groups);
        for cut in 0..=bytes.len() {
            let found = scan(ID, &bytes[..cut], Tail::Open);
            let keep = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
            prop_assert_eq!(found.keep, keep);
            prop_assert_eq!(found.damaged, 0);
            let expected = written.iter().filter(|(at, ..)| *at < keep).count();
            prop_assert_eq!(found.records.len(), expected);
        }
    }

    #[test]
    fn flipped_bytes_never_yield_a_record_that_was_not_written(
        groups in groups(),
        flips in vec((any::<prop::sample::Index>(), 1_u8..), 0..12),
        durable in any::<bool>(),
    ) {
        let (mut bytes, written, _) = encode(&groups);
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        let found = scan(ID, &bytes, if durable { Tail::Durable } else { Tail::Open });
        for record in found.records {
            let same = (record.at, record.header.label.kind, record.header.label.sequence, record.body.to_vec());
            prop_assert!(written.contains(&same));
        }
    }

    #[test]
    fn damage_to_durable_bytes_costs_only_the_records_it_touches(groups in groups(), at in any::<prop::sample::Index>(), with in 1_u8..) {
        let (mut bytes, written, _) = encode(&groups);
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let found = scan(ID, &bytes, Tail::Durable);
        prop_assert_eq!(found.records.len(), written.len() - 1);
        prop_assert_eq!(found.damaged, 1);
    }

    #[test]
    fn a_power_cut_that_writes_some_blocks_of_the_last_group_and_not_others_leaves_a_prefix(
        groups in groups(),
        written_blocks in vec(any::<bool>(), 64),
        cut in any::<prop::sample::Index>(),
    ) {
        const BLOCK: usize = 48;
        let (mut bytes, written, ends) = encode(&groups);
        let (durable_bytes, _, durable_ends) = encode(&groups[..groups.len() - 1]);
        let durable = durable_bytes.len();
        for (block, is_written) in bytes[durable..].chunks_mut(BLOCK).zip(written_blocks) {
            if !is_written {
                block.fill(0);
            }
        }
        bytes.truncate(durable + cut.index(bytes.len() - durable + 1));
        let found = scan(ID, &bytes, Tail::Open);
        prop_assert_eq!(found.damaged, 0);
        prop_assert!(found.keep == 0 || ends.contains(&found.keep));
        prop_assert!(found.keep >= durable_ends.last().copied().unwrap_or(0));
        let records: Vec<_> = found.records.iter().map(|record| (record.at, record.header.label.kind, record.header.label.sequence, record.body.to_vec())).collect();
        prop_assert_eq!(&records[..], &written[..records.len()]);
        prop_assert_eq!(records.len(), written.iter().filter(|(at, ..)| *at < found.keep).count());
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(scan(ID, &bytes, Tail::Open).keep, 0);
    }
}

/// One step of the life of a spool.
#[derive(Clone, Debug)]
enum Act {
    Acknowledge(u8),
    Close,
    Commit { records: Vec<(bool, u8)>, checkpoint: bool },
    Kill,
    KillAndTear(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (vec((any::<bool>(), any::<u8>()), 0..5), prop::bool::weighted(0.2)).prop_map(|(records, checkpoint)| Act::Commit { records, checkpoint }),
        2 => any::<u8>().prop_map(Act::Acknowledge),
        1 => Just(Act::Kill),
        1 => (1_u16..400).prop_map(Act::KillAndTear),
        1 => Just(Act::Close),
    ]
}

/// What the spool ought to hold.
#[derive(Default)]
struct Model {
    /// Each commit of the newest segment file may be torn off; older ones are safe.
    commits: Vec<ModelCommit>,
    acknowledged: BTreeMap<(Lane, u64), u64>,
}

struct ModelCommit {
    epoch: u64,
    checkpoint: Option<Vec<u8>>,
    clean: bool,
    records: Vec<(Lane, u64, Bytes)>,
}

impl Model {
    fn expected_state(&self) -> (Option<Vec<u8>>, Vec<Bytes>) {
        let from = self.commits.iter().rposition(|commit| commit.checkpoint.is_some());
        let later = self.commits.get(from.unwrap_or(0)..).unwrap_or_default();
        let records = later.iter().flat_map(|commit| commit.records.iter().map(|(_, _, bytes)| bytes.clone())).collect();
        (from.and_then(|from| self.commits[from].checkpoint.clone()), records)
    }

    fn waiting(&self, lane: Lane) -> Vec<(u64, u64, Bytes)> {
        let records = self.commits.iter().flat_map(|commit| commit.records.iter().map(move |record| (commit.epoch, record)));
        records
            .filter(|(epoch, (of, sequence, _))| *of == lane && *sequence > self.acknowledged.get(&(lane, *epoch)).copied().unwrap_or(0))
            .map(|(epoch, (_, sequence, bytes))| (epoch, *sequence, bytes.clone()))
            .collect()
    }
}

fn waiting(spool: &Spool, lane: Lane) -> Vec<(u64, u64, Bytes)> {
    let (mut after, mut all) = (None, Vec::new());
    while let Some(batch) = spool.next_batch(lane, after).unwrap() {
        for (step, record) in batch.records.iter().enumerate() {
            all.push((batch.epoch.0, batch.first.0 + step as u64, record.clone()));
        }
        after = all.last().map(|(epoch, sequence, _)| (Epoch(*epoch), Sequence(*sequence)));
    }
    all
}

fn open(dir: &Path, epoch: u64) -> (Spool, Recovered, SpoolWriter) {
    let options = SpoolOptions { dir: dir.to_owned(), segment_bytes: 600, max_bytes: 1 << 30, machine_key: Zeroizing::new([7; 32]) };
    Spool::open(options, Epoch(epoch), Timestamp::from_secs(1)).unwrap()
}

/// Cuts `bytes` off the newest segment; returns how many whole commits that took.
fn tear(dir: &Path, bytes: u16) -> usize {
    let newest =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()).max().unwrap();
    let id = SegmentId::from_file_name(newest.file_name().unwrap().to_str().unwrap()).unwrap();
    let before = std::fs::read(&newest).unwrap();
    let commits = |bytes: &[u8]| scan(id, bytes, Tail::Open).records.iter().filter(|found| found.header.label.kind == Kind::End).count();
    // Behind the data may be room taken in advance.
    let length = scan(id, &before, Tail::Open).keep.saturating_sub(usize::from(bytes));
    std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(length as u64).unwrap();
    commits(&before) - commits(&before[..length])
}

async fn check_run(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut epoch = 1000;
    let (mut spool, _, mut writer) = open(dir.path(), epoch);
    let opening = |epoch| ModelCommit { epoch, checkpoint: None, clean: false, records: Vec::new() };
    model.commits.push(opening(epoch));
    let mut sequences: BTreeMap<Lane, u64> = BTreeMap::new();
    let mut counter = 0_u32;
    let mut is_betrayed = false;
    for act in acts {
        let (clean, torn) = match act {
            Act::Commit { records, checkpoint } => {
                let mut commit = Commit { delta: vec![1, 2, 3], ..Commit::default() };
                let mut made = opening(epoch);
                counter += 1;
                if checkpoint {
                    commit.checkpoint = Some(counter.to_be_bytes().to_vec());
                    made.checkpoint = commit.checkpoint.clone();
                }
                for (is_log, length) in records {
                    let lane = if is_log { Lane::Logs } else { Lane::Alerts };
                    counter += 1;
                    let bytes = Bytes::from([counter.to_be_bytes().to_vec(), vec![0; usize::from(length)]].concat());
                    let sequence = sequences.entry(lane).or_default();
                    *sequence += 1;
                    made.records.push((lane, *sequence, bytes.clone()));
                    commit.records.push(Record::plain(lane, bytes));
                }
                let number: CommitNumber = spool.commit(commit).await.unwrap();
                spool.durable().wait_for(|durable| *durable >= number).await.unwrap();
                model.commits.push(made);
                continue;
            }
            Act::Acknowledge(some) => {
                for lane in [Lane::Alerts, Lane::Logs] {
                    let all = model.waiting(lane);
                    let Some((epoch, sequence, _)) = all.get(usize::from(some) % all.len().max(1)) else { continue };
                    // Everything before it, in whichever epoch, as the tunnel would have it.
                    for (epoch, sequence, _) in
                        all.iter().take_while(|(e, s, _)| (e, s) != (epoch, sequence)).chain([&all[usize::from(some) % all.len()]])
                    {
                        spool.acknowledge(lane, Epoch(*epoch), Sequence(*sequence));
                        model.acknowledged.insert((lane, *epoch), *sequence);
                    }
                }
                continue;
            }
            Act::Close => (true, None),
            Act::Kill => (false, None),
            Act::KillAndTear(bytes) => (false, Some(bytes)),
        };
        // Acknowledgements are remembered from the next commit on; a tear may take that commit back.
        if clean {
            spool.close(Commit::default()).await.unwrap();
            model.commits.push(ModelCommit { clean, ..opening(epoch) });
        } else {
            drop(spool);
        }
        writer.finished().await.unwrap();
        if let Some(bytes) = torn {
            let lost = tear(dir.path(), bytes);
            model.commits.truncate(model.commits.len() - lost);
            is_betrayed |= lost > 0;
        }
        epoch += 1;
        let recovered;
        (spool, recovered, writer) = open(dir.path(), epoch);
        let (checkpoint, records) = model.expected_state();
        prop_assert_eq!(&recovered.checkpoint, &checkpoint);
        let replayed: Vec<_> = recovered
            .later
            .iter()
            .filter_map(|item| if let Replayed::Record { bytes, .. } = item { Some(bytes.clone()) } else { None })
            .collect();
        prop_assert_eq!(replayed, records);
        prop_assert_eq!(recovered.unclean_since.is_none(), model.commits.last().is_none_or(|commit| commit.clean));
        // A tear that took whole commits is a disk that lied about its syncs: with the word on an acknowledgement gone, what was
        // removed upon it counts as lost.
        let excused = if is_betrayed { model.acknowledged.values().sum() } else { 0 };
        prop_assert!(recovered.damaged_records <= excused, "{} damaged", recovered.damaged_records);
        model.commits.push(opening(epoch));
        sequences.clear();
        // What the spool forgot of the acknowledgements the control plane says again.
        for ((lane, epoch), sequence) in &model.acknowledged {
            spool.acknowledge(*lane, Epoch(*epoch), Sequence(*sequence));
        }
        for lane in [Lane::Alerts, Lane::Logs] {
            prop_assert_eq!(waiting(&spool, lane), model.waiting(lane));
        }
    }
    for lane in [Lane::Alerts, Lane::Logs] {
        prop_assert_eq!(waiting(&spool, lane), model.waiting(lane));
        prop_assert_eq!(spool.fill().lanes[lane.name()].records, model.waiting(lane).len() as u64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_life_of_commits_acknowledgements_kills_and_tears_loses_and_invents_nothing(acts in vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check_run(acts))?;
    }
}
