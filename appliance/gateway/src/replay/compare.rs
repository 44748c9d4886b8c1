//! What differs between two sides of a replay, within what an answer may hold.

use postern_protocol::alert::AlertKey;
use postern_protocol::replay::{Difference, MAX_RESULT_BYTES, ReplayState, Replayed, Seen};

use super::{Outcome, Side};

/// Makes the answer of a run of two sides, what is in force and the candidate, or of the candidate alone. Differences of substance come
/// first, and no more than `most`.
pub(crate) fn compare(outcome: &Outcome, most: usize) -> Replayed {
    let (effective, candidate) = (outcome.sides.effective.as_ref(), &outcome.sides.candidate);
    let mut differences: Vec<Difference> = Vec::new();
    for (key, seen) in effective.into_iter().flat_map(Side::alerts) {
        let other = candidate.alert(key);
        if other != Some(seen) {
            differences.push(difference(key, Some(seen), other));
        }
    }
    let added = candidate.alerts().filter(|(key, _)| effective.is_none_or(|effective| effective.alert(key).is_none()));
    differences.extend(added.map(|(key, seen)| difference(key, None, Some(seen))));
    let order =
        |difference: &Difference| (rank(difference), difference.resource.clone(), difference.kind.clone(), difference.qualifier.clone());
    differences.sort_by_cached_key(order);
    let further = differences.len().saturating_sub(most) as u64;
    differences.truncate(most);
    let (from, until) = outcome.span.unwrap_or_default();
    Replayed {
        state: ReplayState::Done,
        reason: String::new(),
        problems: Vec::new(),
        from,
        until,
        events: outcome.events,
        undecodable: outcome.undecodable,
        effective: effective.map(Side::figures).unwrap_or_default(),
        candidate: candidate.figures(),
        differences,
        further: further.saturating_add(effective.map_or(0, Side::further)).saturating_add(candidate.further()),
    }
}

/// Writes an answer in at most [`MAX_RESULT_BYTES`]: the last differences, then the rules that matched least, are left out.
pub(crate) fn encode(mut replayed: Replayed) -> Result<Vec<u8>, serde_json::Error> {
    loop {
        let encoded = serde_json::to_vec(&replayed)?;
        let Replayed { differences, further, effective, candidate, problems, .. } = &mut replayed;
        let rules = effective.rules.len().max(candidate.rules.len());
        if encoded.len() <= MAX_RESULT_BYTES || (differences.is_empty() && rules == 0 && problems.is_empty()) {
            return Ok(encoded);
        }
        if differences.len() > rules {
            let kept = differences.len() / 2;
            *further = further.saturating_add(differences.len().saturating_sub(kept) as u64);
            differences.truncate(kept);
        } else if rules > 0 {
            effective.rules.truncate(rules / 2);
            candidate.rules.truncate(rules / 2);
        } else {
            let kept = problems.len() / 2;
            problems.truncate(kept);
        }
    }
}

fn difference(key: &AlertKey, effective: Option<&Seen>, candidate: Option<&Seen>) -> Difference {
    let AlertKey { resource, kind, qualifier } = key.clone();
    Difference { resource, kind, qualifier, effective: effective.cloned(), candidate: candidate.cloned() }
}

/// There or not; shown, open or graver on one side only; reported or raised at other times.
fn rank(difference: &Difference) -> u8 {
    match (&difference.effective, &difference.candidate) {
        (Some(one), Some(other)) if (one.shown, one.state, one.severity) == (other.shown, other.state, other.severity) => 2,
        (Some(_), Some(_)) => 1,
        (None, _) | (_, None) => 0,
    }
}
