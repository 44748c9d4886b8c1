//! `postern-gateway replay`: rules tried on captures and files, without a daemon, an identity or a network.
//!
//! SNMPv3 is not decoded: its keys are in the gateway's vault, and never in a document. With `--against`, what differs from another
//! document; else every alert.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_engine::rule::RuleIndex;
use postern_engine::syslog::{self, Context};
use postern_protocol::dictionary::Dictionary;
use postern_protocol::replay::{Difference, Replayed, RuleFigures, Seen};
use postern_protocol::revision::document::Document;
use postern_protocol::revision::{self, Problem};

use super::decode::Decoder;
use super::input::{self, InputError, Item, Reading};
use super::{Run, Side, Sides, compare};
use crate::site::{Settings, Site};

/// What is to be replayed.
pub struct Request {
    /// The document whose rules are tried.
    pub rules: PathBuf,
    /// The document that they are compared with.
    pub against: Option<PathBuf>,
    /// Captures and files, in the order of their time.
    pub inputs: Vec<PathBuf>,
    /// How they are read.
    pub reading: Reading,
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A document is not good.
    #[error("{} has {} problem(s):{}", path.display(), problems.len(), Problems(problems))]
    Document {
        /// Which.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// An input cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A document cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

struct Problems<'a>(&'a [Problem]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| match problem.line {
            0 => write!(f, "\n  {}: {}", problem.path, problem.reason),
            line => write!(f, "\n  line {line}, {}: {}", problem.path, problem.reason),
        })
    }
}

/// Replays.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(request: &Request) -> Result<Replayed, ReplayError> {
    let (document, candidate) = rules(&request.rules)?;
    let effective = request.against.as_deref().map(rules).transpose()?;
    let names = Arc::new(Dictionary::default());
    let side = |rules| Side::new(rules, Arc::clone(&names));
    let mut run = Run::new(Sides { effective: effective.map(|(_, rules)| side(rules)), candidate: side(candidate) });
    // A document names secrets and has none: communities and users are not asked for.
    let (site, _) = Site::compile(Arc::new(Settings::from(&document)), &|_| None, None);
    let site = Arc::new(site);
    let mut decoder = Decoder::new(Arc::clone(&site), None);
    let peer = request.reading.peer;
    let stamp = |line: &[u8], received| syslog::decode(line, &Context { received, zone: site.zone(peer) }).ok()?.timestamp;
    for path in &request.inputs {
        input::read(path, &request.reading, &stamp, &mut |item| match item {
            Item::Entry(entry) => match decoder.decode(&entry) {
                Ok(events) => run.take(&events),
                Err(_) => run.undecodable(),
            },
            Item::Undecodable => run.undecodable(),
        })?;
    }
    Ok(compare(&run.end(), usize::MAX))
}

fn rules(path: &Path) -> Result<(Document, RuleIndex), ReplayError> {
    let text = std::fs::read(path).map_err(|cause| ReplayError::Read { path: path.to_owned(), cause })?;
    let faulty = |problems| ReplayError::Document { path: path.to_owned(), problems };
    let document = revision::parse(&text).map_err(faulty)?;
    let rules = RuleIndex::compile(&document).map_err(faulty)?;
    Ok((document, rules))
}

/// A result for people.
pub struct Lines<'a>(pub &'a Replayed);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed { from, until, events, undecodable, effective, candidate, differences, further, .. } = self.0;
        writeln!(f, "{events} events from {} to {}, {undecodable} could not be decoded", moment(*from), moment(*until))?;
        writeln!(
            f,
            "raised {}, counted again {}, cleared {}, suppressed {}, held back {}, matched by no rule {}",
            candidate.raised, candidate.updated, candidate.cleared, candidate.suppressed, candidate.held, candidate.unmatched
        )?;
        writeln!(f, "alerts that a person would have seen: {} ({} against)", candidate.shown, effective.shown)?;
        for difference in differences {
            write!(f, "{}", Change(difference))?;
        }
        if *further > 0 {
            writeln!(f, "and {further} more")?;
        }
        candidate.rules.iter().try_for_each(|rule| write!(f, "{}", Rule(rule)))
    }
}

struct Change<'a>(&'a Difference);

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { resource, kind, qualifier, effective, candidate } = self.0;
        let key = format!("{} {} {}", shown(resource), shown(kind), shown(qualifier));
        effective.iter().try_for_each(|seen| writeln!(f, "- {key}  {}", Fate(seen)))?;
        candidate.iter().try_for_each(|seen| writeln!(f, "+ {key}  {}", Fate(seen)))
    }
}

struct Fate<'a>(&'a Seen);

impl fmt::Display for Fate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { state, severity, count, raised, rule, shown } = self.0;
        let quiet = if *shown { "" } else { ", folded or kept quiet" };
        write!(f, "{} {}, {count} reports, raised {raised} times, rule {rule}{quiet}", severity.name(), state.name())
    }
}

struct Rule<'a>(&'a RuleFigures);

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleFigures { id, matched, raised, updated, cleared, suppressed, held, observes, .. } = self.0;
        let would = if *observes { " (observes: would have)" } else { "" };
        writeln!(
            f,
            "rule {id}{would}: matched {matched}, raised {raised}, counted again {updated}, cleared {cleared}, suppressed {suppressed}, held back {held}"
        )
    }
}

/// Keys are made of what was received.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn moment(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(|_| nanos.to_string(), |at| format!("{at:.0}"))
}
