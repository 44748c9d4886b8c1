//! What a change does to a document, line by line: what both begin and end with is left out but for a few lines. Pure.

/// Lines of context before and after.
const CONTEXT: usize = 4;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is new.
    Added,
    /// It stays.
    Kept,
    /// It goes.
    Removed,
}

/// A line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What became of it.
    pub(super) fate: Fate,
    /// Its text.
    pub(super) text: String,
}

impl Line {
    /// `+`, `−` or nothing, so that colour is not all that tells.
    pub(super) fn mark(&self) -> &'static str {
        match self.fate {
            Fate::Added => "+",
            Fate::Kept => " ",
            Fate::Removed => "−",
        }
    }

    /// The class of its row.
    pub(super) fn class(&self) -> &'static str {
        match self.fate {
            Fate::Added => "added",
            Fate::Kept => "kept",
            Fate::Removed => "removed",
        }
    }
}

/// Compares two documents that differ in one place.
pub(super) fn lines(before: &str, after: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()).saturating_sub(head);
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], from: usize, to: usize, fate| -> Vec<Line> {
        lines.get(from..to).unwrap_or_default().iter().map(|text| Line { fate, text: (*text).to_owned() }).collect()
    };
    let (old_end, new_end) = (old.len().saturating_sub(tail), new.len().saturating_sub(tail));
    let mut all = part(&new, head.saturating_sub(CONTEXT), head, Fate::Kept);
    all.extend(part(&old, head, old_end, Fate::Removed));
    all.extend(part(&new, head, new_end, Fate::Added));
    all.extend(part(&new, new_end, new_end.saturating_add(CONTEXT).min(new.len()), Fate::Kept));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_and_its_surroundings_are_shown() {
        let before = (0..20).map(|n| format!("{n}\n")).collect::<String>();
        let after = before.replace("10\n", "ten\nand a half\n");
        let shown: Vec<_> = lines(&before, &after).iter().map(|line| format!("{}{}", line.mark(), line.text)).collect();
        assert_eq!(shown, [" 6", " 7", " 8", " 9", "−10", "+ten", "+and a half", " 11", " 12", " 13", " 14"]);
        assert!(lines(&before, &before).iter().all(|line| line.fate == Fate::Kept));
        assert_eq!(lines("", "a").len(), 1);
    }
}
