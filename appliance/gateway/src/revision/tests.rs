//! Revisions over restarts: kept, refused, vetoed, on trial, damaged.

use super::*;
use crate::identity::trusted::Trusted;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_protocol::id::GatewayId;
use postern_protocol::revision;
use postern_protocol::timestamp::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

const GOOD: &str = r#"{"format":1,"rules":[{"id":"r","match":{"syslog":{}},"then":{"suppress":{}}}]}"#;

const NOW: Moment = Moment { wall: Timestamp::from_secs(1_000_000), since_boot: Duration::from_secs(500) };
const LATER: Moment = Moment { wall: Timestamp::from_secs(1_000_301), since_boot: Duration::from_secs(801) };

struct Site {
    dir: tempfile::TempDir,
    key: Ed25519KeyPair,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), key: Ed25519KeyPair::generate().unwrap() }
    }

    fn open(&self, veto: &[&str], mode: Mode) -> (Revisions, Compiled) {
        let keys = vec![self.key.public_key().as_ref().try_into().unwrap()];
        let signers = Signers::fixed(GatewayId::new("gw").unwrap(), keys);
        let veto = Veto::new(veto.iter().map(|text| text.parse().unwrap()).collect());
        let (revisions, start) = Revisions::open(self.dir.path(), Opening { signers, veto, mode, now: NOW }).unwrap();
        (revisions, start.compiled)
    }

    fn sign(&self, gateway: &str, number: u64, document: &str) -> SignedRevision {
        let input = revision::signing_input(&GatewayId::new(gateway).unwrap(), RevisionNumber(number), document.as_bytes());
        SignedRevision { number, document: document.as_bytes().to_vec(), signature: self.key.sign(&input).as_ref().to_vec() }
    }
}

/// Puts a revision in force, on trial.
fn try_out(revisions: &mut Revisions, signed: SignedRevision) -> Result<(), Vec<Problem>> {
    match revisions.begin(&signed).unwrap() {
        Step::InForce(_) => Ok(()),
        Step::Refused(refusal) => Err(refusal.problems().to_vec()),
        Step::TakenBack(problems) => Err(problems),
        Step::Compile => match compile(&revisions.veto(), &signed) {
            Ok(compiled) => {
                let number = signed.number;
                let kept = revisions.put_in_force(signed, compiled.confirm_within_s(), NOW).unwrap();
                revisions.handle(Input::Swapped { number, kept, way: trial::Way::Same }, NOW);
                Ok(())
            }
            Err(refusal) => {
                revisions.refused(signed.number, refusal.problems().to_vec()).unwrap();
                Err(refusal.problems().to_vec())
            }
        },
    }
}

/// Puts a revision in force, and confirms it.
fn apply(revisions: &mut Revisions, signed: SignedRevision) -> Result<(), Vec<Problem>> {
    let number = signed.number;
    try_out(revisions, signed)?;
    revisions.keep_confirmed().unwrap();
    revisions.handle(Input::ConfirmKept { number }, NOW);
    Ok(())
}

#[test]
fn a_good_revision_survives_a_restart() {
    let site = Site::new();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    assert_eq!(revisions.numbers(), (0, 0));
    apply(&mut revisions, site.sign("gw", 2, GOOD)).unwrap();
    let (revisions, compiled) = site.open(&[], Mode::Normal);
    assert_eq!((revisions.numbers(), compiled.rules.len(), compiled.document.rules.len()), ((2, 2), 1, 1));
}

#[test]
fn a_bad_revision_leaves_the_one_before_in_force_and_stays_visible() {
    let site = Site::new();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    apply(&mut revisions, site.sign("gw", 1, GOOD)).unwrap();
    let problems = apply(&mut revisions, site.sign("gw", 2, "{\"format\":1,\n\"rulez\":[]}")).unwrap_err();
    assert!(!problems.is_empty());
    for report in [revisions.report(), site.open(&[], Mode::Normal).0.report()] {
        assert_eq!((report.effective, report.desired), (Some(RevisionNumber(1)), Some(RevisionNumber(2))));
        assert_eq!(report.failed.unwrap().problems, problems);
    }
}

#[test]
fn what_is_signed_for_another_gateway_or_number_is_refused() {
    let site = Site::new();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    assert!(apply(&mut revisions, site.sign("other", 1, GOOD)).is_err());
    let renumbered = SignedRevision { number: 9, ..site.sign("gw", 1, GOOD) };
    assert!(apply(&mut revisions, renumbered).is_err());
    assert_eq!(revisions.numbers(), (0, 0), "a forged number does not count as taken in");
}

#[test]
fn a_signing_key_that_is_trusted_meanwhile_signs_the_next_revision() {
    let (old, new) = (Site::new(), Site::new());
    let (mut revisions, _) = old.open(&[], Mode::Normal);
    let signing_keys = vec![new.key.public_key().as_ref().try_into().unwrap()];
    let (trusted, view) = watch::channel(revisions.signers.trusted.borrow().clone());
    revisions.signers.trusted = view;
    assert!(apply(&mut revisions, new.sign("gw", 1, GOOD)).is_err());
    trusted.send_replace(Trusted { signing_keys, ..Trusted::default() });
    apply(&mut revisions, new.sign("gw", 1, GOOD)).unwrap();
    assert!(apply(&mut revisions, old.sign("gw", 2, GOOD)).is_err(), "the key that it takes the place of signs nothing any more");
}

#[test]
fn an_older_revision_is_not_applied() {
    let site = Site::new();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    apply(&mut revisions, site.sign("gw", 5, GOOD)).unwrap();
    assert!(apply(&mut revisions, site.sign("gw", 4, GOOD)).is_err());
    assert!(apply(&mut revisions, site.sign("gw", 5, GOOD)).is_ok());
    assert_eq!(revisions.numbers(), (5, 5));
}

#[test]
fn a_damaged_file_does_not_let_an_older_revision_in() {
    let site = Site::new();
    apply(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 5, GOOD)).unwrap();
    std::fs::write(site.dir.path().join("newest.json"), "").unwrap();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    assert_eq!(revisions.numbers(), (5, 5));
    assert!(apply(&mut revisions, site.sign("gw", 4, GOOD)).is_err());
}

#[test]
fn the_veto_beats_a_signed_revision_also_one_that_was_in_force() {
    let site = Site::new();
    let document = r#"{"format":1,"rules":[{"id":"r","match":{"syslog":{}},"release":{"message":{"max_bytes":9}},
        "then":{"raise":{"resource":"a","kind":"k","severity":"minor","summary":"{message}"}}}]}"#;
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    apply(&mut revisions, site.sign("gw", 1, document)).unwrap();
    let (mut revisions, _) = site.open(&["message"], Mode::Normal);
    assert_eq!(revisions.numbers().0, 0);
    let problems = apply(&mut revisions, site.sign("gw", 2, document)).unwrap_err();
    assert_eq!(problems[0].path, "rules[0].release.message");
}

#[test]
fn safe_mode_keeps_the_confirmed_revision_and_forgets_nothing() {
    let site = Site::new();
    apply(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 1, GOOD)).unwrap();
    try_out(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 2, GOOD)).unwrap();
    let (mut revisions, compiled) = site.open(&[], Mode::Safe);
    assert_eq!((revisions.numbers(), compiled.rules.len()), ((1, 2), 1));
    for number in [2, 3] {
        assert!(try_out(&mut revisions, site.sign("gw", number, GOOD)).is_err());
        revisions.refused(number, whole("safe")).unwrap();
    }
    let (revisions, _) = site.open(&[], Mode::Normal);
    assert_eq!((revisions.numbers(), revisions.trial().provisional().map(|(number, _)| number)), ((2, 2), Some(2)));
    let empty = Site::new();
    assert_eq!(empty.open(&[], Mode::Safe).0.numbers(), (0, 0), "the built-in rules when nothing was ever confirmed");
}

#[test]
fn a_revision_on_trial_is_one_after_a_restart_and_is_taken_back_when_its_time_is_over() {
    let site = Site::new();
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    apply(&mut revisions, site.sign("gw", 1, GOOD)).unwrap();
    try_out(&mut revisions, site.sign("gw", 2, GOOD)).unwrap();
    let (restarted, _) = site.open(&[], Mode::Normal);
    let report = restarted.report();
    assert_eq!(report.provisional.map(|provisional| provisional.number), Some(RevisionNumber(2)));
    assert_eq!((report.effective, report.confirmed), (Some(RevisionNumber(2)), Some(RevisionNumber(1))));
    let signers = restarted.signers.clone();
    let opening = Opening { signers, veto: Veto::default(), mode: Mode::Normal, now: LATER };
    let (late, start) = Revisions::open(site.dir.path(), opening).unwrap();
    assert_eq!(start.taken_back, Some(TakenBack { from: 2, to: 1, reason: Reason::WhileDown { within_s: 300 } }));
    for mut revisions in [late, site.open(&[], Mode::Normal).0] {
        let report = revisions.report();
        assert_eq!((report.effective, report.provisional, report.desired), (Some(RevisionNumber(1)), None, Some(RevisionNumber(2))));
        assert!(report.failed.unwrap().problems[0].reason.contains("300 s"));
        assert_eq!(revisions.refused_newest(), None, "not even when a secret comes");
        assert!(matches!(revisions.begin(&site.sign("gw", 2, GOOD)).unwrap(), Step::TakenBack(_)));
    }
}

#[test]
fn without_a_confirmed_revision_the_built_in_rules_come_back() {
    let site = Site::new();
    let (mut revisions, built_in) = site.open(&[], Mode::Normal);
    try_out(&mut revisions, site.sign("gw", 1, GOOD)).unwrap();
    revisions.handle(Input::Tick, LATER);
    revisions.take_back(1, Reason::NotConfirmed { within_s: 300 }).unwrap();
    let (revisions, compiled) = site.open(&[], Mode::Normal);
    assert_eq!((revisions.numbers(), compiled.rules.len()), ((0, 1), built_in.rules.len()));
}

#[test]
fn what_the_site_forbids_meanwhile_gives_way_to_the_confirmed_revision() {
    let site = Site::new();
    let releasing = r#"{"format":1,"rules":[{"id":"r","match":{"syslog":{}},"release":{"message":{"max_bytes":9}},
        "then":{"raise":{"resource":"a","kind":"k","severity":"minor","summary":"{message}"}}}]}"#;
    let (mut revisions, _) = site.open(&[], Mode::Normal);
    apply(&mut revisions, site.sign("gw", 1, GOOD)).unwrap();
    try_out(&mut revisions, site.sign("gw", 2, releasing)).unwrap();
    let (revisions, _) = site.open(&["message"], Mode::Normal);
    assert_eq!((revisions.numbers(), revisions.trial().provisional()), ((1, 2), None));
}

#[test]
fn what_an_older_program_left_in_force_counts_as_confirmed() {
    let site = Site::new();
    apply(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 1, GOOD)).unwrap();
    std::fs::remove_file(site.dir.path().join("confirmed.json")).unwrap();
    let (revisions, _) = site.open(&[], Mode::Normal);
    assert_eq!((revisions.report().confirmed, revisions.trial().provisional()), (Some(RevisionNumber(1)), None));
    assert_eq!(site.open(&[], Mode::Safe).0.numbers(), (1, 1));
}

#[test]
fn a_damaged_file_of_the_revision_in_force_leaves_the_confirmed_one() {
    let site = Site::new();
    apply(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 1, GOOD)).unwrap();
    std::fs::write(site.dir.path().join("effective.json"), "{").unwrap();
    assert_eq!(site.open(&[], Mode::Normal).0.numbers(), (1, 1));
}
