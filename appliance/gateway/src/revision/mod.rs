//! Revisions: verified, parsed whole, checked against the veto, kept, and put in force on trial; or refused with every problem.
//!
//! The order is: signature, newest slot, parse and compile, effective slot with its trial, swap in the pipeline; then the confirmed
//! slot, or back to it. A crash between two steps is mended at the next start (see `trial`) or by the cloud, which sends a revision
//! again that is newest and not in force. `control` drives all this.

mod store;
pub mod trial;
pub(crate) mod veto;
pub(crate) mod way_out;

use std::path::Path;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use postern_engine::rule::RuleIndex;
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::document::{DEFAULT_CONFIRM_WITHIN_S, Document};
use postern_protocol::revision::link::Uplink;
use postern_protocol::revision::{self, Problem};
use postern_protocol::status::{self, Provisional};

use tokio::sync::watch;

use self::store::{Slot, Store, Stored};
use self::trial::{Facts, Input, Kept, Moment, Output, Reason, Trial, Verdict};
use self::veto::Veto;
use crate::identity::trusted::Trusted;

pub use self::store::StoreError;

/// Whether stored and pushed revisions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Normal,
    /// The last confirmed one stays in force, whatever comes: for a gateway that a revision has made unusable.
    Safe,
}

/// Why there are no rules to start with.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The built-in rules do not compile: a fault of the program.
    #[error("the built-in rules are not valid: {}", .0.first().map_or("", |problem| problem.reason.as_str()))]
    BuiltIn(Vec<Problem>),
    /// The directory cannot be used.
    #[error("revisions cannot be kept")]
    Store(#[from] StoreError),
}

/// Who may sign, and for whom.
#[derive(Clone)]
pub(crate) struct Signers {
    /// This gateway.
    pub(crate) gateway: GatewayId,
    /// Their keys are the signing keys of it.
    pub(crate) trusted: watch::Receiver<Trusted>,
}

impl Signers {
    /// Names those of an identity that does not change meanwhile.
    pub(crate) fn fixed(gateway: GatewayId, signing_keys: Vec<[u8; 32]>) -> Self {
        // The value outlives its sender.
        Self { gateway, trusted: watch::channel(Trusted { signing_keys, addresses: Vec::new() }).1 }
    }

    fn verify(&self, signed: &SignedRevision) -> bool {
        let input = revision::signing_input(&self.gateway, RevisionNumber(signed.number), &signed.document);
        self.signed(&input, &signed.signature)
    }

    /// Tells whether one of the keys signed `input`.
    pub(crate) fn signed(&self, input: &[u8], signature: &[u8]) -> bool {
        self.trusted.borrow().signing_keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(input, signature).is_ok())
    }
}

/// The revisions of this gateway.
pub(crate) struct Revisions {
    store: Store,
    signers: Signers,
    veto: Veto,
    mode: Mode,
    newest: Option<Stored>,
    /// `None` for the built-in rules, as with the next one.
    effective: Option<SignedRevision>,
    confirmed: Option<SignedRevision>,
    desired: Option<u64>,
    failed: Option<status::FailedRevision>,
    trial: Trial,
}

/// A revision that is good: what it says, and its rules compiled.
pub(crate) struct Compiled {
    /// What it says.
    pub(crate) document: Document,
    /// Its rules.
    pub(crate) rules: RuleIndex,
}

impl Compiled {
    /// Returns how long it has to be confirmed, seconds.
    pub(crate) fn confirm_within_s(&self) -> u32 {
        self.document.confirm_within_s.unwrap_or(DEFAULT_CONFIRM_WITHIN_S)
    }
}

/// A revision that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenBack {
    /// It.
    pub(crate) from: u64,
    /// The one in force again; 0 for the built-in rules.
    pub(crate) to: u64,
    /// Why.
    pub(crate) reason: Reason,
}

/// With what revisions are opened.
pub(crate) struct Opening {
    /// Who may sign.
    pub(crate) signers: Signers,
    /// What the site forbids.
    pub(crate) veto: Veto,
    /// Whether they are used.
    pub(crate) mode: Mode,
    /// The present moment.
    pub(crate) now: Moment,
}

/// What to start with.
pub(crate) struct Start {
    /// What is in force.
    pub(crate) compiled: Compiled,
    /// What the start took back.
    pub(crate) taken_back: Option<TakenBack>,
}

/// Why a revision is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not good, or cannot be kept.
    Faulty(Vec<Problem>),
    /// This site forbids what it says.
    Vetoed(Vec<Problem>),
}

impl Refusal {
    /// Refuses it as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self::Faulty(whole(reason))
    }

    /// Refuses it because it cannot be kept.
    pub(crate) fn not_kept(error: &StoreError) -> Self {
        Self::whole(format!("the gateway cannot keep the revision: {}", crate::chain(error)))
    }

    /// Returns what is wrong.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Self::Faulty(problems) | Self::Vetoed(problems) => problems,
        }
    }
}

fn whole(reason: impl Into<String>) -> Vec<Problem> {
    vec![Problem { path: String::new(), line: 0, column: 0, reason: reason.into() }]
}

/// What is to be done with a pushed revision.
pub(crate) enum Step {
    /// It is authentic and new: compile it with [`compile`].
    Compile,
    /// It is in force already: tell so.
    InForce(Output),
    /// It is refused.
    Refused(Refusal),
    /// It was on trial and was taken back, for these reasons: tell so.
    TakenBack(Vec<Problem>),
}

impl Revisions {
    /// Opens what is kept in `dir`, and returns what to start with: the effective revision when it is still good and its trial
    /// goes on, else the confirmed one, else the built-in rules.
    ///
    /// # Errors
    /// [`RevisionError`].
    pub(crate) fn open(dir: &Path, opening: Opening) -> Result<(Self, Start), RevisionError> {
        let Opening { signers, veto, mode, now } = opening;
        let store = Store::open(dir)?;
        let newest = store.read(Slot::Newest);
        let failed = newest.as_ref().filter(|newest| !newest.problems.is_empty());
        let failed = failed.map(|newest| failure(newest.signed.number, newest.problems.clone()));
        let (effective, confirmed) = (store.read(Slot::Effective), store.read(Slot::Confirmed));
        let kept = effective.as_ref().and_then(|effective| effective.trial).filter(|_| mode == Mode::Normal);
        // Without a trial, what is in force was confirmed: the confirmed slot is written first, and older programs had none.
        let settled = effective.as_ref().filter(|effective| effective.trial.is_none()).cloned();
        let confirmed = settled.or(confirmed).map(|stored| stored.signed);
        let effective = effective.map(|stored| stored.signed).filter(|_| mode == Mode::Normal).or_else(|| confirmed.clone());
        let number = |signed: &Option<SignedRevision>| signed.as_ref().map_or(0, |signed| signed.number);
        let facts = Facts {
            newest: newest.as_ref().map_or(0, |newest| newest.signed.number),
            taken_back: newest.as_ref().is_some_and(|newest| newest.taken_back),
            effective: number(&effective),
            confirmed: number(&confirmed),
            kept,
        };
        let (trial, outputs) = Trial::restore(facts, now);
        let desired = newest.as_ref().map(|newest| newest.signed.number);
        let mut revisions = Self { store, signers, veto, mode, newest, effective, confirmed, desired, failed, trial };
        let mut taken_back = revisions.at_start(outputs, now);
        loop {
            let Some(signed) = &revisions.effective else {
                let compiled = built_in(&revisions.veto)?;
                return Ok((revisions, Start { compiled, taken_back }));
            };
            match revisions.check(signed) {
                Ok(compiled) => return Ok((revisions, Start { compiled, taken_back })),
                Err(refusal) => {
                    let (number, problems) = (signed.number, refusal.problems().to_vec());
                    let reason = problems.first().map_or("", |problem| problem.reason.as_str());
                    tracing::error!(revision = number, reason, "the stored revision is not usable: what was in force before it is again");
                    let outputs = revisions.trial.handle(Input::Unusable, now);
                    match revisions.at_start(outputs, now) {
                        Some(another) => taken_back = Some(another),
                        None => revisions.effective = None,
                    }
                    revisions.failed = Some(failure(number, problems));
                }
            }
        }
    }

    /// Does what a start wants done; what cannot be kept is told, and done again at the next start.
    fn at_start(&mut self, outputs: Vec<Output>, now: Moment) -> Option<TakenBack> {
        let mut taken_back = None;
        for output in outputs {
            let kept = match output {
                Output::Confirm { number } => {
                    let kept = self.keep_confirmed();
                    if kept.is_ok() {
                        // What it tells, the greeting tells too.
                        let _told = self.trial.handle(Input::ConfirmKept { number }, now);
                    }
                    kept
                }
                Output::Keep(kept) => self.keep_trial(kept),
                Output::Revert { from, to, reason } => {
                    taken_back = Some(TakenBack { from, to, reason });
                    self.take_back(from, reason)
                }
                Output::Redial | Output::TellApplied { .. } | Output::TellProvisional { .. } | Output::TellReverted { .. } => Ok(()),
            };
            if let Err(error) = kept {
                tracing::error!(error = %crate::chain(&error), "how a revision's trial stands cannot be kept");
            }
        }
        taken_back
    }

    /// Looks at a pushed revision; keeps its number when it is authentic and new, so that numbers are never rewound.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be kept.
    pub(crate) fn begin(&mut self, signed: &SignedRevision) -> Result<Step, StoreError> {
        let refuse = |reason: String| Ok(Step::Refused(Refusal::whole(reason)));
        if !self.signers.verify(signed) {
            return refuse("the signature does not fit this gateway, number and document".to_owned());
        }
        if self.mode == Mode::Safe && signed.number > self.trial.newest() {
            self.desired = Some(signed.number);
            return refuse("the gateway runs in safe mode with its last confirmed revision; start it without --safe".to_owned());
        }
        match self.trial.pushed(signed.number) {
            Verdict::Apply if self.mode == Mode::Safe => {
                refuse("the gateway runs in safe mode with its last confirmed revision; start it without --safe".to_owned())
            }
            Verdict::Apply => {
                self.desired = Some(signed.number);
                let stored = Stored::new(signed.clone());
                self.store.write(Slot::Newest, &stored)?;
                self.newest = Some(stored);
                Ok(Step::Compile)
            }
            Verdict::InForce(how) => {
                self.desired = Some(signed.number);
                Ok(Step::InForce(how))
            }
            Verdict::Older { newest } => refuse(format!("revision {newest} was taken in already; an older one is not applied")),
            Verdict::TakenBack => {
                let problems = self.newest.as_ref().map(|newest| newest.problems.clone()).unwrap_or_default();
                Ok(Step::TakenBack(problems))
            }
        }
    }

    /// Keeps a revision as the one in force, on trial; returns the trial to be told with [`Input::Swapped`].
    ///
    /// # Errors
    /// [`StoreError`]; the one before stays in force.
    pub(crate) fn put_in_force(&mut self, signed: SignedRevision, within_s: u32, now: Moment) -> Result<Kept, StoreError> {
        let kept = Trial::plan(within_s, now);
        self.store.write(Slot::Effective, &Stored { trial: Some(kept), ..Stored::new(signed.clone()) })?;
        self.effective = Some(signed);
        self.failed = None;
        Ok(kept)
    }

    /// Tells the trial what happened; returns what is to be done.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) -> Vec<Output> {
        self.trial.handle(input, now)
    }

    /// Returns the trial.
    pub(crate) const fn trial(&self) -> &Trial {
        &self.trial
    }

    /// Keeps the revision in force as the confirmed one.
    ///
    /// # Errors
    /// [`StoreError`]; it stays on trial.
    pub(crate) fn keep_confirmed(&mut self) -> Result<(), StoreError> {
        let Some(signed) = self.effective.clone() else { return Ok(()) };
        let stored = Stored::new(signed.clone());
        self.store.write(Slot::Confirmed, &stored)?;
        self.confirmed = Some(signed);
        if let Err(error) = self.store.write(Slot::Effective, &stored) {
            // The confirmed slot is what counts: the next start finishes this.
            tracing::warn!(error = %crate::chain(&error), "the end of a trial cannot be kept with the revision in force");
        }
        Ok(())
    }

    /// Keeps how the trial of the revision in force stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn keep_trial(&mut self, kept: Kept) -> Result<(), StoreError> {
        let Some(signed) = self.effective.clone() else { return Ok(()) };
        self.store.write(Slot::Effective, &Stored { trial: Some(kept), ..Stored::new(signed) })
    }

    /// Makes the confirmed revision the one in force, for good: `from` is never tried again.
    ///
    /// # Errors
    /// [`StoreError`]; the confirmed one is in force all the same, and the next start takes `from` back again.
    pub(crate) fn take_back(&mut self, from: u64, reason: Reason) -> Result<(), StoreError> {
        let problems = whole(reason.to_string());
        self.failed = Some(failure(from, problems.clone()));
        self.effective.clone_from(&self.confirmed);
        let mut kept = Ok(());
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.signed.number == from) {
            (newest.problems, newest.taken_back) = (problems, true);
            kept = self.store.write(Slot::Newest, newest);
        }
        match &self.effective {
            Some(signed) => kept.and(self.store.write(Slot::Effective, &Stored::new(signed.clone()))),
            None => kept.and(self.store.clear(Slot::Effective)),
        }
    }

    /// Returns the newest revision when it was refused: it may be good once a secret that it names is there.
    pub(crate) fn refused_newest(&self) -> Option<SignedRevision> {
        let refused = |newest: &&Stored| !newest.problems.is_empty() && !newest.taken_back && self.mode == Mode::Normal;
        self.newest.as_ref().filter(refused).map(|newest| newest.signed.clone())
    }

    /// Notes that a revision was refused; keeps that when it is the newest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn refused(&mut self, number: u64, problems: Vec<Problem>) -> Result<(), StoreError> {
        self.failed = Some(failure(number, problems.clone()));
        match &mut self.newest {
            Some(newest) if newest.signed.number == number && self.mode == Mode::Normal => {
                newest.problems = problems;
                self.store.write(Slot::Newest, newest)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns why the newest revision was refused or taken back.
    pub(crate) fn problems_of_newest(&self) -> &[Problem] {
        self.newest.as_ref().map_or(&[], |newest| &newest.problems)
    }

    /// Returns the report of this moment.
    pub(crate) fn report(&self) -> status::Revisions {
        let number = |number: u64| (number > 0).then_some(RevisionNumber(number));
        status::Revisions {
            desired: self.desired.map(RevisionNumber),
            effective: number(self.trial.effective()),
            failed: self.failed.clone(),
            provisional: self.trial.provisional().map(|(number, kept)| Provisional { number: RevisionNumber(number), until: kept.until }),
            confirmed: number(self.trial.confirmed()),
        }
    }

    /// Returns the number in force (0 for the built-in rules) and the newest that was taken in.
    pub(crate) const fn numbers(&self) -> (u64, u64) {
        (self.trial.effective(), self.trial.newest())
    }

    /// Returns what compiles revisions elsewhere.
    pub(crate) fn veto(&self) -> Veto {
        self.veto.clone()
    }

    /// Returns what puts the revision in force into force again: it, or `None` for the built-in rules.
    pub(crate) fn effective(&self) -> Option<&SignedRevision> {
        self.effective.as_ref()
    }

    /// Leaves what is in force for the built-in rules: it cannot be used any more.
    pub(crate) fn fall_to_built_in(&mut self, problems: Vec<Problem>, now: Moment) {
        self.failed = Some(failure(self.trial.effective(), problems));
        let _nothing_on_trial = self.trial.handle(Input::Unusable, now);
        self.effective = None;
    }

    fn check(&self, signed: &SignedRevision) -> Result<Compiled, Refusal> {
        if !self.signers.verify(signed) {
            return Err(Refusal::whole("the stored signature does not fit"));
        }
        compile(&self.veto, signed)
    }
}

/// Parses and compiles an authentic revision; takes processor time.
///
/// # Errors
/// Every problem.
pub(crate) fn compile(veto: &Veto, signed: &SignedRevision) -> Result<Compiled, Refusal> {
    let document = revision::parse(&signed.document).map_err(Refusal::Faulty)?;
    let forbidden = veto.problems(&document);
    if !forbidden.is_empty() {
        return Err(Refusal::Vetoed(forbidden));
    }
    Ok(Compiled { rules: RuleIndex::compile(&document).map_err(Refusal::Faulty)?, document })
}

/// Compiles the built-in rules, but for those that the site forbids.
///
/// # Errors
/// [`RevisionError::BuiltIn`].
pub(crate) fn built_in(veto: &Veto) -> Result<Compiled, RevisionError> {
    let mut document = revision::parse(revision::BUILT_IN.as_bytes()).map_err(RevisionError::BuiltIn)?;
    let stripped = veto.strip(&mut document);
    if stripped > 0 {
        tracing::warn!(rules = stripped, "built-in rules are left out because they release what the site forbids");
    }
    Ok(Compiled { rules: RuleIndex::compile(&document).map_err(RevisionError::BuiltIn)?, document })
}

const fn failure(number: u64, problems: Vec<Problem>) -> status::FailedRevision {
    status::FailedRevision { number: RevisionNumber(number), problems }
}

/// Reads what the stored revision in force says of the way out, for who looks on: nothing is checked and nothing changed.
pub(crate) fn uplink_in_force(dir: &Path) -> Option<Uplink> {
    if !dir.is_dir() {
        return None;
    }
    let stored = Store::open(dir).ok()?.read(Slot::Effective)?;
    serde_json::from_slice::<Document>(&stored.signed.document).ok()?.uplink
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use postern_protocol::timestamp::Timestamp;
    use std::time::Duration;

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
}
