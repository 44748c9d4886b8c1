//! A report for people: one line a finding.

use std::fmt::{self, Display, Formatter};

use postern_protocol::status::doctor::{Finding, Grade, Report};

/// Writes a report with mark, what, evidence and what to do, one line each.
pub struct Lines<'a>(pub &'a Report);

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for Finding { id, grade, what, evidence, advice } in &self.0.findings {
            let mark = match grade {
                Grade::Fault => '✗',
                Grade::Warning => '!',
                Grade::Good => '✓',
            };
            write!(f, "{mark} {id}: {}", one_line(what))?;
            if !evidence.is_empty() {
                write!(f, " · seen: {}", one_line(evidence))?;
            }
            if !advice.is_empty() {
                write!(f, " · do: {}", one_line(advice))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Evidence may come from outside: it stays on its line, and moves no cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_whatever_was_seen() {
        let finding = |grade, advice: &str| Finding {
            id: "refused".to_owned(),
            grade,
            what: "h:443 refuses".to_owned(),
            evidence: "a\nb\u{1b}[2J".to_owned(),
            advice: advice.to_owned(),
        };
        let report = Report { at: 0, findings: vec![finding(Grade::Fault, "check it"), finding(Grade::Good, "")] };
        let expected = "✗ refused: h:443 refuses · seen: a b [2J · do: check it\n✓ refused: h:443 refuses · seen: a b [2J\n";
        assert_eq!(Lines(&report).to_string(), expected);
    }
}
