//! What changed between two texts, line by line. Pure.
//!
//! What both begin and end with is taken off; the rest is compared by the longest common subsequence, which takes the product of
//! both lengths in time and memory: beyond [`MAX_CELLS`] the whole rest is shown as replaced.

use serde::Serialize;

/// Most cells of the comparison's table: two texts of 2,000 lines that differ everywhere.
const MAX_CELLS: usize = 4_000_000;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// What a line is in the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Only in the new text.
    Added,
    /// In both.
    Both,
    /// Only in the old text.
    Removed,
}

/// One line of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is.
    pub side: Side,
    /// Its number in the old text, from 1.
    pub old: Option<usize>,
    /// Its number in the new text, from 1.
    pub new: Option<usize>,
    /// The line without its end.
    pub text: String,
}

/// Lines that belong together: changes, and a few lines around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hunk {
    /// In order.
    pub lines: Vec<Line>,
}

/// Returns what changed from `old` to `new`; empty when nothing did.
pub fn diff(old: &str, new: &str) -> Vec<Hunk> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let old_middle = old_rest.get(..old_rest.len().saturating_sub(tail)).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len().saturating_sub(tail)).unwrap_or_default();
    let mut lines = Lines { at: (0, 0), out: Vec::new() };
    old.iter().take(head).for_each(|text| lines.push(Side::Both, text));
    middle(old_middle, new_middle, &mut lines);
    old_rest.iter().skip(old_middle.len()).for_each(|text| lines.push(Side::Both, text));
    hunks(lines.out)
}

/// Counts the lines of both texts while they are put down.
struct Lines {
    at: (usize, usize),
    out: Vec<Line>,
}

impl Lines {
    fn push(&mut self, side: Side, text: &str) {
        let (old, new) = &mut self.at;
        *old = old.saturating_add(usize::from(side != Side::Added));
        *new = new.saturating_add(usize::from(side != Side::Removed));
        let line =
            Line { side, old: (side != Side::Added).then_some(*old), new: (side != Side::Removed).then_some(*new), text: text.to_owned() };
        self.out.push(line);
    }
}

fn middle(old: &[&str], new: &[&str], lines: &mut Lines) {
    let width = new.len().saturating_add(1);
    let cells = width.saturating_mul(old.len().saturating_add(1));
    if cells > MAX_CELLS {
        old.iter().for_each(|text| lines.push(Side::Removed, text));
        new.iter().for_each(|text| lines.push(Side::Added, text));
        return;
    }
    // lengths[i * width + j] is the longest common subsequence of old[i..] and new[j..].
    let mut lengths = vec![0_u32; cells];
    let cell = |i: usize, j: usize| i.saturating_mul(width).saturating_add(j);
    let length = |lengths: &[u32], i: usize, j: usize| lengths.get(cell(i, j)).copied().unwrap_or(0);
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let longest = if one == other {
                length(&lengths, i.saturating_add(1), j.saturating_add(1)).saturating_add(1)
            } else {
                length(&lengths, i.saturating_add(1), j).max(length(&lengths, i, j.saturating_add(1)))
            };
            if let Some(place) = lengths.get_mut(cell(i, j)) {
                *place = longest;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(other)) if one == other => {
                lines.push(Side::Both, one);
                (i, j) = (i.saturating_add(1), j.saturating_add(1));
            }
            (Some(one), other)
                if other.is_none() || length(&lengths, i.saturating_add(1), j) >= length(&lengths, i, j.saturating_add(1)) =>
            {
                lines.push(Side::Removed, one);
                i = i.saturating_add(1);
            }
            (_, Some(other)) => {
                lines.push(Side::Added, other);
                j = j.saturating_add(1);
            }
            (_, None) => return,
        }
    }
}

/// Leaves out what is far from every change.
fn hunks(lines: Vec<Line>) -> Vec<Hunk> {
    let changed: Vec<usize> = lines.iter().enumerate().filter(|(_, line)| line.side != Side::Both).map(|(at, _)| at).collect();
    let mut hunks: Vec<Hunk> = Vec::new();
    let (mut next, mut end) = (0, 0);
    for (at, line) in lines.into_iter().enumerate() {
        while changed.get(next).is_some_and(|change| change.saturating_add(CONTEXT) < at) {
            next = next.saturating_add(1);
        }
        if changed.get(next).is_some_and(|change| at.saturating_add(CONTEXT) >= *change) {
            match hunks.last_mut().filter(|_| end == at) {
                Some(hunk) => hunk.lines.push(line),
                None => hunks.push(Hunk { lines: vec![line] }),
            }
            end = at.saturating_add(1);
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        let line = |line: &Line| match line.side {
            Side::Added => format!("+{}", line.text),
            Side::Both => format!(" {}", line.text),
            Side::Removed => format!("-{}", line.text),
        };
        diff(old, new).iter().map(|hunk| hunk.lines.iter().map(line).collect::<Vec<_>>().join("|")).collect()
    }

    #[test]
    fn changes_come_with_a_few_lines_around() {
        let old: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[4] = "five".to_owned();
        new.remove(17);
        let found = shown(&old.join("\n"), &new.join("\n"));
        assert_eq!(found, [" 2| 3| 4|-5|+five| 6| 7| 8", " 15| 16| 17|-18| 19| 20"]);
        assert!(shown("a\nb", "a\nb\n").is_empty());
        assert_eq!(shown("", "a"), ["+a"]);
    }

    #[test]
    fn what_is_too_much_to_compare_is_shown_as_replaced() {
        let text = |from: usize| (from..from + 3_000).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let lines = diff(&text(0), &text(10_000)).remove(0).lines;
        assert_eq!(lines.iter().filter(|line| line.side == Side::Removed).count(), 3_000);
    }

    proptest! {
        #[test]
        fn each_side_of_a_diff_is_its_text(old in "[ab\n]{0,24}", new in "[ab\n]{0,24}") {
            // Without context the whole of both would not be there: texts this short are.
            let lines: Vec<Line> = diff(&old, &new).into_iter().flat_map(|hunk| hunk.lines).collect();
            for line in &lines {
                if let Some(number) = line.old {
                    prop_assert_eq!(old.lines().nth(number - 1), Some(line.text.as_str()));
                }
                if let Some(number) = line.new {
                    prop_assert_eq!(new.lines().nth(number - 1), Some(line.text.as_str()));
                }
            }
            let count = |side| lines.iter().filter(|line| line.side == side).count();
            prop_assert_eq!(old.lines().count() + count(Side::Added), new.lines().count() + count(Side::Removed));
            prop_assert_eq!(lines.is_empty(), old.lines().eq(new.lines()));
        }
    }
}
