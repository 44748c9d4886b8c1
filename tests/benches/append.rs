//! `make bench`: appending to the spool beside SQLite (WAL, FULL) and redb, on the same disk in the same run.
//!
//! A commit is a batch of records that is durable on return. The stores take turns, a short round each, so that what else the disk
//! does falls on all of them. Ends with an error when the spool is not ahead in records a second and in p99, in each size of batch.

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

/// Records in a commit, and commits in a round.
const BATCHES: [(usize, usize); 4] = [(1, 400), (16, 200), (128, 80), (1024, 20)];
const ROUNDS: usize = 10;

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

/// What a store did with one size of batch.
#[derive(Default)]
struct Figures {
    waits: Vec<Duration>,
    records: usize,
}

impl Figures {
    fn per_second(&self) -> f64 {
        self.records as f64 / self.waits.iter().sum::<Duration>().as_secs_f64()
    }

    fn p99(&self) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits[waits.len() * 99 / 100]
    }
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
    println!("{:>6} {:<16} {:>12} {:>10}", "batch", "store", "records/s", "p99 in µs");
    let mut behind = Vec::new();
    for (batch, commits) in BATCHES {
        let mut figures: [Figures; 3] = Default::default();
        for round in 0..ROUNDS {
            // Each begins once in turn.
            for turn in 0..stores.len() {
                let at = (turn + round) % stores.len();
                for n in 0..commits {
                    let record = |step: usize| {
                        let from = (n * batch + step) * 97 % (noise.len() - RECORD_BYTES);
                        noise.slice(from..from + RECORD_BYTES)
                    };
                    let records: Vec<_> = (0..batch).map(record).collect();
                    let start = Instant::now();
                    stores[at].1.commit(&records);
                    figures[at].waits.push(start.elapsed());
                    figures[at].records += batch;
                }
            }
        }
        for ((name, _), figures) in stores.iter().zip(&figures) {
            println!("{batch:>6} {name:<16} {:>12.0} {:>10}", figures.per_second(), figures.p99().as_micros());
        }
        for ((name, _), other) in stores.iter().zip(&figures).skip(1) {
            let ours = &figures[0];
            if ours.per_second() <= other.per_second() || ours.p99() >= other.p99() {
                behind.push(format!("batches of {batch} against {name}"));
            }
        }
    }
    assert!(behind.is_empty(), "the spool is not ahead: {}", behind.join(", "));
}
