//! The table of what the packs know.

use std::fmt::Write as _;

use postern_protocol::revision::document::{Action, Matcher, Raise, Rule, SeverityChoice};
use postern_protocol::revision::pack::{self, Pack};

use crate::folder;

fn table() -> String {
    let mut out = String::from(
        "# What the rule packs know\n\nWritten by `UPDATE_GOLDEN=1 cargo test -p postern-engine --test packs`. `→` is the alert's kind, `✓` the end of one. How to take a \
         pack, and how to change a rule of it, stands in `RULES.md`.\n",
    );
    for (id, version) in pack::known() {
        let text = std::fs::read_to_string(folder().join(format!("{id}.json"))).expect("a pack");
        let pack: Pack = serde_json::from_str(&text).expect("a pack");
        assert_eq!((pack.id.as_str(), pack.version), (id, version));
        writeln!(out, "\n## {id} {version}: {}\n\n| rule | for | makes | severity |\n|---|---|---|---|", pack.title).expect("a text");
        for rule in &pack.rules {
            writeln!(out, "{}", row(rule)).expect("a text");
        }
    }
    out
}

fn row(rule: &Rule) -> String {
    let matched = match &rule.matcher {
        Matcher::Push(_) => "push".to_owned(),
        Matcher::Syslog(matcher) if matcher.programs.is_empty() => "syslog".to_owned(),
        Matcher::Syslog(matcher) => format!("syslog of {}", matcher.programs.join(", ")),
        Matcher::Trap(matcher) => {
            let oid = matcher.oid.as_ref().or(matcher.prefix.as_ref());
            format!("trap {}", oid.map_or("", String::as_str))
        }
    };
    let (makes, severity) = match &rule.then {
        Action::Clear(key) => (format!("✓ {}", key.kind), String::new()),
        Action::Raise(raise) => (format!("→ {}", raise.kind), severity(raise)),
        Action::Suppress {} => ("nothing".to_owned(), String::new()),
    };
    let until = if rule.clear_on.is_empty() { "" } else { " ✓" };
    let description = rule.description.replace('|', "\\|");
    format!("| {} | {description} ({matched}) | {makes}{until} | {severity} |", rule.id)
}

fn severity(raise: &Raise) -> String {
    match &raise.severity {
        SeverityChoice::Fixed(severity) => severity.name().to_owned(),
        SeverityChoice::Map(map) => {
            let mut names: Vec<_> = map.map.values().chain([&map.default]).map(|severity| severity.name()).collect();
            names.sort_unstable();
            names.dedup();
            format!("{} (by {})", names.join(", "), map.by)
        }
    }
}

#[test]
fn the_published_table_is_that_of_the_packs() {
    let (path, table) = (folder().join("COVERAGE.md"), table());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).expect("COVERAGE.md");
    }
    assert!(std::fs::read_to_string(&path).expect("COVERAGE.md") == table, "run with UPDATE_GOLDEN=1 and look at the difference");
}
