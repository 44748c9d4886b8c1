//! The meaning of the `packs` section: packs that this program has, and changes that leave good rules.
//!
//! Rules that are left as the pack has them are not checked again: a test holds that every pack is good as it is.

use std::collections::BTreeMap;

use super::rule::{self, Surroundings};
use super::{MAX_PATTERNS, MAX_RULES, Problems};
use crate::revision::document::Rule;
use crate::revision::locate::Place;
use crate::revision::pack::{self, PackUse};

/// Most packs of a document.
const MAX_PACKS: usize = 64;

/// Most rules whose expression is held against every line.
const MAX_HUNGRY: usize = 64;

/// The rules of packs, as the document wants them: by the index of the pack.
pub(super) type Expanded = Vec<Vec<Rule>>;

/// Takes the packs' rules in; what is wrong with a pack or a change is noted.
pub(super) fn expand(packs: &[PackUse], place: &Place<'_>, problems: &mut Problems<'_>) -> Expanded {
    if packs.len() > MAX_PACKS {
        problems.add(place, format!("{} packs are more than {MAX_PACKS}", packs.len()));
        return Expanded::new();
    }
    let mut seen = BTreeMap::new();
    let mut expanded = Expanded::new();
    for (index, wanted) in packs.iter().enumerate() {
        let place = place.index(index);
        if let Some(first) = seen.insert(wanted.id.as_str(), index) {
            problems.add(&place.key("id"), format!("packs[{first}] is {} already: keep one", wanted.id));
            expanded.push(Vec::new());
            continue;
        }
        let mut faults = Vec::new();
        expanded.push(pack::expanded(wanted, &mut faults));
        for fault in &faults {
            let members: Vec<_> = fault.members.iter().map(String::as_str).collect();
            descend(&members, &place, &mut |place| problems.add(place, &fault.reason));
        }
    }
    expanded
}

/// Calls `found` with the place that `members` lead to from `place`.
fn descend(members: &[&str], place: &Place<'_>, found: &mut impl FnMut(&Place<'_>)) {
    match members.split_first() {
        None => found(place),
        Some((member, rest)) => descend(rest, &place.key(member), found),
    }
}

/// Checks that all rules together are within the bounds, before any expression is compiled; says whether they are.
pub(super) fn bounded(own: &[Option<Rule>], packs: &Expanded, problems: &mut Problems<'_>) -> bool {
    let all = || own.iter().flatten().chain(packs.iter().flatten());
    let place = Place::Root.key("rules");
    let rules = own.len().saturating_add(packs.iter().map(Vec::len).fold(0, usize::saturating_add));
    if rules > MAX_RULES {
        problems.add(&place, format!("{rules} rules, those of packs included, are more than {MAX_RULES}"));
        return false;
    }
    let patterns = all().map(rule::patterns).fold(0, usize::saturating_add);
    if patterns > MAX_PATTERNS {
        problems.add(&place, format!("{patterns} regular expressions, those of packs included, are more than {MAX_PATTERNS}"));
        return false;
    }
    true
}

/// Checks that not too many expressions are held against every line.
pub(super) fn frugal(own: &[Option<Rule>], packs: &Expanded, problems: &mut Problems<'_>) {
    let hungry = |rule: &&Rule| rule::is_hungry(rule);
    let of_packs = packs.iter().flatten().filter(hungry).count();
    let place = Place::Root.key("rules");
    let mine = own.iter().enumerate().filter(|(_, rule)| rule.as_ref().is_some_and(rule::is_hungry));
    for (index, _) in mine.skip(MAX_HUNGRY.saturating_sub(of_packs)) {
        let reason = format!(
            "more than {MAX_HUNGRY} rules have a regular expression without any fixed text of 3 bytes, so that each is held against \
             every line: add such a text to this one, or programs or hosts"
        );
        problems.add(&place.index(index), reason);
    }
}

/// Checks the rules that the document changes.
pub(super) fn check(packs: &[PackUse], expanded: &Expanded, around: &Surroundings<'_>, problems: &mut Problems<'_>) {
    let outer = Place::Root.key("packs");
    for (index, (wanted, rules)) in packs.iter().zip(expanded).enumerate() {
        let place = outer.index(index);
        let overrides = place.key("overrides");
        for changed in rules.iter().filter(|rule| wanted.overrides.contains_key(rule.id.as_str())) {
            rule::check(changed, around, &overrides.key(changed.id.as_str()), problems);
        }
    }
}
