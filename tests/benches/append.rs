//! `make bench`: appending to the spool beside SQLite (WAL, FULL) and redb, on the same disk in the same run.
//!
//! A commit is a batch of records that is durable on return. The stores take turns in short slices, each begins in turn, so that what
//! else the machine does falls on all of them; what is compared is the median over the slices, and a slice that something else fell
//! on moves no median. The quartiles say how far they spread. Ends with an error when the spool is not ahead in records a second and
//! in p99, in each size of batch.

// A bench is a test with figures: whatever goes wrong ends it.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::{Commit, Record, Spool, SpoolOptions, SpoolWriter, Worth};
use redb::{Database, TableDefinition};
use rusqlite::Connection;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// Bytes of a record: an alert's.
const RECORD_BYTES: usize = 400;

/// Sizes of a commit, in records.
const BATCHES: [usize; 4] = [1, 16, 128, 1024];

/// Commits in a slice: as few as have a p99 that is not their worst. And slices of each store.
const COMMITS: usize = 150;
const SLICES: usize = 30;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// A store that makes a batch durable.
trait Store {
    fn commit(&mut self, batch: &[Bytes]);
}

struct OurSpool {
    runtime: Runtime,
    spool: Spool,
    _writer: SpoolWriter,
    key: u64,
}

impl OurSpool {
    fn open(dir: &Path) -> Self {
        let (segment_bytes, max_bytes) = (16 << 20, 4 << 30);
        let options = SpoolOptions { dir: dir.join("spool"), segment_bytes, max_bytes, machine_key: Zeroizing::new([7; 32]) };
        let (spool, _, writer) = Spool::open(options, Epoch(1), Timestamp::from_secs(1)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { runtime, spool, _writer: writer, key: 0 }
    }
}

impl Store for OurSpool {
    fn commit(&mut self, batch: &[Bytes]) {
        let records = batch.iter().map(|bytes| {
            self.key = self.key % 10_000 + 1;
            Record { lane: Lane::Alerts, bytes: bytes.clone(), key: self.key, worth: Worth::Open }
        });
        let mut commit = Commit { records: records.collect(), ..Commit::default() };
        commit.checkpoint = self.spool.wants_checkpoint().then(|| vec![7; 1000]);
        self.runtime.block_on(async {
            let number = self.spool.commit(commit).await.unwrap();
            self.spool.durable().wait_for(|durable| *durable >= number).await.unwrap();
        });
    }
}

struct Sqlite(Connection);

impl Sqlite {
    fn open(dir: &Path) -> Self {
        let connection = Connection::open(dir.join("sqlite.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection.execute_batch("CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL)").unwrap();
        Self(connection)
    }
}

impl Store for Sqlite {
    fn commit(&mut self, batch: &[Bytes]) {
        let transaction = self.0.transaction().unwrap();
        {
            let mut insert = transaction.prepare_cached("INSERT INTO record (body) VALUES (?1)").unwrap();
            for bytes in batch {
                insert.execute([&bytes[..]]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

struct Redb {
    database: Database,
    next: u64,
}

impl Redb {
    fn open(dir: &Path) -> Self {
        Self { database: Database::create(dir.join("redb.db")).unwrap(), next: 0 }
    }
}

impl Store for Redb {
    fn commit(&mut self, batch: &[Bytes]) {
        // Its default: durable on return.
        let transaction = self.database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for bytes in batch {
                self.next += 1;
                table.insert(self.next, &bytes[..]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

/// What a store did with one size of batch, slice by slice.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    p99_us: Vec<f64>,
}

impl Figures {
    fn note(&mut self, batch: usize, mut waits: Vec<Duration>) {
        let total: Duration = waits.iter().sum();
        self.per_second.push((waits.len() * batch) as f64 / total.as_secs_f64());
        waits.sort_unstable();
        self.p99_us.push(waits[waits.len() * 99 / 100].as_secs_f64() * 1e6);
    }
}

/// The first quartile, the median and the third quartile.
fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

fn median(values: &[f64]) -> f64 {
    quartiles(values)[1]
}

fn slice(store: &mut dyn Store, batch: usize, noise: &Bytes) -> Vec<Duration> {
    let record = |number: usize| {
        let from = number * 97 % (noise.len() - RECORD_BYTES);
        noise.slice(from..from + RECORD_BYTES)
    };
    let commit = |n: usize| {
        let records: Vec<_> = (0..batch).map(|step| record(n * batch + step)).collect();
        let start = Instant::now();
        store.commit(&records);
        start.elapsed()
    };
    (0..COMMITS).map(commit).collect()
}

fn main() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut stores: [(&str, Box<dyn Store>); 3] = [
        ("spool", Box::new(OurSpool::open(dir.path()))),
        ("SQLite WAL FULL", Box::new(Sqlite::open(dir.path()))),
        ("redb", Box::new(Redb::open(dir.path()))),
    ];
    // Random bytes: nobody gains by compressing them.
    let mut noise = vec![0; 1 << 20];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    let noise = Bytes::from(noise);
    println!("median over {SLICES} slices of {COMMITS} commits (first and third quartile)");
    println!("{:>6} {:<16} {:>32} {:>26}", "batch", "store", "records/s", "p99 in µs");
    let mut behind = Vec::new();
    for batch in BATCHES {
        let mut figures: [Figures; 3] = Default::default();
        for round in 0..SLICES {
            for turn in 0..stores.len() {
                let at = (turn + round) % stores.len();
                let waits = slice(stores[at].1.as_mut(), batch, &noise);
                figures[at].note(batch, waits);
            }
        }
        for ((name, _), figures) in stores.iter().zip(&figures) {
            let spread = |[low, middle, high]: [f64; 3]| format!("{middle:.0} ({low:.0} to {high:.0})");
            println!("{batch:>6} {name:<16} {:>32} {:>26}", spread(quartiles(&figures.per_second)), spread(quartiles(&figures.p99_us)));
        }
        let ours = &figures[0];
        for ((name, _), other) in stores.iter().zip(&figures).skip(1) {
            if median(&ours.per_second) <= median(&other.per_second) {
                behind.push(format!("records a second of {name} in batches of {batch}"));
            }
            if median(&ours.p99_us) >= median(&other.p99_us) {
                behind.push(format!("p99 of {name} in batches of {batch}"));
            }
        }
    }
    assert!(behind.is_empty(), "the spool is not ahead of: {}", behind.join(", "));
}
