//! Runs seeds: one by one, or many on all cores, and tells what a failing one did last and how to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crate::control_plane::Order;
use crate::disk::Honesty;
use crate::random::Random;
use crate::world::{Setup, Tally, World};

/// How the simulated world betrays the programs beyond what they must endure: to show that the invariants can fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Betrayal {
    pub(crate) honesty: Honesty,
    pub(crate) order: Order,
}

/// What became of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    seed: u64,
    pub(crate) failure: Option<String>,
    pub(crate) digest: u64,
    tally: Tally,
    steps: Vec<String>,
}

impl Outcome {
    /// Prints a failure: the seed, the last steps, and how to replay it.
    pub(crate) fn print_last(&self) {
        println!("\nseed {:#x} fails; its last steps:", self.seed);
        self.print_all();
        println!("replay: SIM_SEED={:#x} cargo nextest run -p postern-tests --test simulation fresh_seeds --no-capture", self.seed);
    }

    /// Prints the steps that were kept, and the end.
    pub(crate) fn print_all(&self) {
        self.steps.iter().for_each(|step| println!("{step}"));
        println!("{:?}", self.tally);
        println!("{}", self.failure.as_deref().unwrap_or("all is well"));
    }
}

/// Draws a seed that nobody has tried before.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let process = u64::from(std::process::id());
    // Seeds that follow one another are tried: 20 bits are free for them.
    Random::new(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap() ^ (process << 48)).number() & !0xf_ffff
}

/// Runs one seed. A panic of the programs is a failure as well.
pub(crate) fn run_seed(seed: u64, betrayal: Betrayal, tenant: &[u8]) -> Outcome {
    let keep_all = std::env::var_os("SIM_SEED").is_some();
    let setup = Setup { seed, honesty: betrayal.honesty, order: betrayal.order, keep_all, tenant };
    let mut world = World::new(setup);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = match ended {
        Ok(Ok(_)) => None,
        Ok(Err(violation)) => Some(violation.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    };
    Outcome { seed, failure, digest: world.trace.digest(), tally: world.tally, steps: world.trace.last() }
}

/// Runs `count` seeds from `first` on all cores; returns those that failed, and a summary.
pub(crate) fn run_seeds((first, count): (u64, u64), betrayal: Betrayal, tenant: &[u8]) -> (Vec<Outcome>, String) {
    let (next, failures, sum) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Tally::default()));
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let outcome = run_seed(first + index, betrayal, tenant);
            sum.lock().unwrap().add(&outcome.tally);
            if outcome.failure.is_some() {
                failures.lock().unwrap().push(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_unstable_by_key(|outcome| outcome.seed);
    let tally = sum.into_inner().unwrap();
    let summary = format!(
        "simulation: seeds {first:#x} to {:#x} ({count}) in {:.1} s on {cores} cores, {} failed: {} steps, {} faults, {} starts, \
         {} records durable, {} stored, {:.1} days of virtual time",
        first + count - 1,
        began.elapsed().as_secs_f64(),
        failures.len(),
        tally.steps,
        tally.faults,
        tally.starts,
        tally.durable,
        tally.stored,
        tally.virtual_time.as_secs_f64() / 86_400.0,
    );
    (failures, summary)
}
