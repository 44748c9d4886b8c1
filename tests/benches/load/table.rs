//! What was measured, beside what is to be reached.

use std::fmt::{self, Display, Formatter};

/// The rows in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    what: String,
    unit: &'static str,
    ours: f64,
    peer: Option<(&'static str, f64)>,
    goal: Goal,
}

/// When a row is good.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Ours is at most so many times the peer's.
    AtMost(f64),
    /// Ours is at least so many times the peer's.
    AtLeast(f64),
    /// Ours is at most this.
    Below(f64),
}

impl Table {
    /// Notes a figure, and prints it at once.
    pub(crate) fn add(&mut self, what: &str, unit: &'static str, ours: f64, peer: Option<(&'static str, f64)>, goal: Goal) {
        let row = Row { what: what.to_owned(), unit, ours, peer, goal };
        println!("{row}");
        self.0.push(row);
    }
}

impl Row {
    fn reached(&self) -> Option<bool> {
        match (self.goal, self.peer) {
            (Goal::Below(limit), _) => Some(self.ours <= limit),
            (Goal::AtMost(ratio), Some((_, peer))) => Some(self.ours <= ratio * peer),
            (Goal::AtLeast(ratio), Some((_, peer))) => Some(self.ours >= ratio * peer),
            (Goal::AtMost(_) | Goal::AtLeast(_), None) => None,
        }
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34} {:>10.2} {:<12}", self.what, self.ours, self.unit)?;
        match self.peer {
            Some((name, peer)) => write!(f, " {name:>10} {peer:>10.2}  ratio {:>7.3}", self.ours / peer)?,
            None => write!(f, " {:>10} {:>10}  {:>13}", "-", "-", "")?,
        }
        match self.goal {
            Goal::AtMost(ratio) => write!(f, "  goal ≤ {ratio:.3}")?,
            Goal::AtLeast(ratio) => write!(f, "  goal ≥ {ratio:.3}")?,
            Goal::Below(limit) => write!(f, "  goal ≤ {limit} {}", self.unit)?,
        }
        match self.reached() {
            Some(true) => write!(f, "  reached"),
            Some(false) => write!(f, "  MISSED"),
            None => write!(f, "  not compared"),
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            writeln!(f, "{row}")?;
        }
        let missed = self.0.iter().filter(|row| row.reached() == Some(false)).count();
        write!(f, "{} figures, {missed} missed", self.0.len())
    }
}
