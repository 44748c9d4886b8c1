//! Revisions: verified, parsed whole, checked against the veto, kept, and put in force; or refused with every problem.
//!
//! The order is: signature, newest slot, parse and compile, effective slot, swap in the pipeline. A crash between two steps is
//! mended by the cloud, which sends a revision again that is newest and not in force.

mod store;
pub mod trial;
pub(crate) mod veto;

use std::path::Path;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use postern_engine::rule::RuleIndex;
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::document::Document;
use postern_protocol::revision::{self, Problem};
use postern_protocol::status;

use self::store::{Slot, Store, Stored};
use self::veto::Veto;

pub use self::store::StoreError;

/// Whether stored and pushed revisions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Normal,
    /// The built-in rules stay in force, whatever comes: for a gateway that a revision has made unusable.
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
    /// Ed25519 public keys.
    pub(crate) keys: Vec<[u8; 32]>,
}

impl Signers {
    fn verify(&self, signed: &SignedRevision) -> bool {
        let input = revision::signing_input(&self.gateway, RevisionNumber(signed.number), &signed.document);
        self.signed(&input, &signed.signature)
    }

    /// Tells whether one of the keys signed `input`.
    pub(crate) fn signed(&self, input: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(input, signature).is_ok())
    }
}

/// The revisions of this gateway.
#[derive(Clone)]
pub(crate) struct Revisions {
    store: Store,
    signers: Signers,
    veto: Veto,
    mode: Mode,
    effective: Option<u64>,
    newest: Option<Stored>,
    desired: Option<u64>,
    failed: Option<status::FailedRevision>,
}

/// A revision that is good: what it says, and its rules compiled.
pub(crate) struct Compiled {
    /// What it says.
    pub(crate) document: Document,
    /// Its rules.
    pub(crate) rules: RuleIndex,
}

/// What is to be done with a pushed revision.
pub(crate) enum Step {
    /// It is in force already.
    AlreadyApplied,
    /// It is refused.
    Refused(Vec<Problem>),
    /// It is authentic and new: compile it with [`Revisions::compile`].
    Compile,
}

impl Revisions {
    /// Opens what is kept in `dir`, and returns what to start with: those of the effective revision when it is still good,
    /// else the built-in ones.
    ///
    /// # Errors
    /// [`RevisionError`].
    pub(crate) fn open(dir: &Path, signers: Signers, veto: Veto, mode: Mode) -> Result<(Self, Compiled), RevisionError> {
        let store = Store::open(dir)?;
        let newest = store.read(Slot::Newest);
        let failed = newest.as_ref().filter(|newest| !newest.problems.is_empty());
        let failed = failed.map(|newest| failure(newest.signed.number, newest.problems.clone()));
        let desired = newest.as_ref().map(|newest| newest.signed.number);
        let mut revisions = Self { store, signers, veto, mode, effective: None, newest, desired, failed };
        if mode == Mode::Normal
            && let Some(stored) = revisions.store.read(Slot::Effective)
        {
            let number = stored.signed.number;
            match revisions.check(&stored.signed) {
                Ok(compiled) => {
                    revisions.effective = Some(number);
                    return Ok((revisions, compiled));
                }
                Err(problems) => {
                    let reason = problems.first().map_or("", |problem| problem.reason.as_str());
                    tracing::error!(revision = number, reason, "the stored revision is not usable: the built-in rules are in force");
                    revisions.failed = Some(failure(number, problems));
                }
            }
        }
        let compiled = revisions.built_in()?;
        Ok((revisions, compiled))
    }

    /// Looks at a pushed revision; keeps its number when it is authentic and new, so that numbers are never rewound.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be kept.
    pub(crate) fn begin(&mut self, signed: &SignedRevision) -> Result<Step, StoreError> {
        let newest = self.newest();
        let refuse = |reason: String| Ok(Step::Refused(vec![Problem { path: String::new(), line: 0, column: 0, reason }]));
        if !self.signers.verify(signed) {
            let reason = "the signature does not fit this gateway, number and document".to_owned();
            return refuse(reason);
        }
        if signed.number < newest {
            return refuse(format!("revision {newest} was taken in already; an older one is not applied"));
        }
        self.desired = Some(signed.number);
        if self.mode == Mode::Safe {
            return refuse("the gateway runs in safe mode with its built-in rules; start it without --safe".to_owned());
        }
        if self.effective == Some(signed.number) {
            return Ok(Step::AlreadyApplied);
        }
        let stored = Stored { signed: signed.clone(), problems: Vec::new() };
        self.store.write(Slot::Newest, &stored)?;
        self.newest = Some(stored);
        Ok(Step::Compile)
    }

    /// Parses and compiles an authentic revision; takes processor time.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn compile(&self, signed: &SignedRevision) -> Result<Compiled, Vec<Problem>> {
        let document = revision::parse(&signed.document)?;
        let forbidden = self.veto.problems(&document);
        if !forbidden.is_empty() {
            return Err(forbidden);
        }
        Ok(Compiled { rules: RuleIndex::compile(&document)?, document })
    }

    /// Keeps a revision as the one in force.
    ///
    /// # Errors
    /// [`StoreError`]; the one before stays in force.
    pub(crate) fn applied(&mut self, signed: SignedRevision) -> Result<(), StoreError> {
        let number = signed.number;
        self.store.write(Slot::Effective, &Stored { signed, problems: Vec::new() })?;
        self.effective = Some(number);
        self.failed = None;
        Ok(())
    }

    /// Returns the newest revision when it was refused: it may be good once a secret that it names is there.
    pub(crate) fn refused_newest(&self) -> Option<SignedRevision> {
        let refused = |newest: &&Stored| !newest.problems.is_empty() && self.mode == Mode::Normal;
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

    /// Returns the report of this moment.
    pub(crate) fn report(&self) -> status::Revisions {
        status::Revisions {
            desired: self.desired.map(RevisionNumber),
            effective: self.effective.map(RevisionNumber),
            failed: self.failed.clone(),
            provisional: None,
            confirmed: None,
        }
    }

    /// Returns the number in force (0 for the built-in rules) and the newest that was taken in.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.effective.unwrap_or(0), self.newest())
    }

    /// Returns the newest number that was taken in: also that of the revision in force, should the newest slot's file be damaged.
    fn newest(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.signed.number).max(self.effective.unwrap_or(0))
    }

    fn check(&self, signed: &SignedRevision) -> Result<Compiled, Vec<Problem>> {
        if !self.signers.verify(signed) {
            let reason = "the stored signature does not fit".to_owned();
            return Err(vec![Problem { path: String::new(), line: 0, column: 0, reason }]);
        }
        self.compile(signed)
    }

    fn built_in(&self) -> Result<Compiled, RevisionError> {
        let mut document = revision::parse(revision::BUILT_IN.as_bytes()).map_err(RevisionError::BuiltIn)?;
        let stripped = self.veto.strip(&mut document);
        if stripped > 0 {
            tracing::warn!(rules = stripped, "built-in rules are left out because they release what the site forbids");
        }
        Ok(Compiled { rules: RuleIndex::compile(&document).map_err(RevisionError::BuiltIn)?, document })
    }
}

const fn failure(number: u64, problems: Vec<Problem>) -> status::FailedRevision {
    status::FailedRevision { number: RevisionNumber(number), problems }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    const GOOD: &str = r#"{"format":1,"rules":[{"id":"r","match":{"syslog":{}},"then":{"suppress":{}}}]}"#;

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
            let signers = Signers { gateway: GatewayId::new("gw").unwrap(), keys };
            let veto = Veto::new(veto.iter().map(|text| text.parse().unwrap()).collect());
            Revisions::open(self.dir.path(), signers, veto, mode).unwrap()
        }

        fn sign(&self, gateway: &str, number: u64, document: &str) -> SignedRevision {
            let input = revision::signing_input(&GatewayId::new(gateway).unwrap(), RevisionNumber(number), document.as_bytes());
            SignedRevision { number, document: document.as_bytes().to_vec(), signature: self.key.sign(&input).as_ref().to_vec() }
        }
    }

    fn apply(revisions: &mut Revisions, signed: SignedRevision) -> Result<(), Vec<Problem>> {
        match revisions.begin(&signed).unwrap() {
            Step::AlreadyApplied => Ok(()),
            Step::Refused(problems) => Err(problems),
            Step::Compile => match revisions.compile(&signed) {
                Ok(_) => {
                    revisions.applied(signed).unwrap();
                    Ok(())
                }
                Err(problems) => {
                    revisions.refused(signed.number, problems.clone()).unwrap();
                    Err(problems)
                }
            },
        }
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
    fn safe_mode_keeps_the_built_in_rules_and_forgets_nothing() {
        let site = Site::new();
        apply(&mut site.open(&[], Mode::Normal).0, site.sign("gw", 1, GOOD)).unwrap();
        let (mut revisions, _) = site.open(&[], Mode::Safe);
        assert!(apply(&mut revisions, site.sign("gw", 1, GOOD)).is_err());
        revisions.refused(1, vec![Problem { path: String::new(), line: 0, column: 0, reason: "safe".into() }]).unwrap();
        assert_eq!(site.open(&[], Mode::Normal).0.numbers(), (1, 1));
    }
}
