//! What is to be said on the control stream, each thing in its newest state.
//!
//! Nobody acknowledges these messages on the wire, so what must arrive is said again in every session: the states of revisions,
//! that open alerts were sent again, what became of a trust bundle, and the wish for a certificate until its answer has come.
//! Pure; owned by `mail`, over all sessions.

use std::collections::VecDeque;

use postern_protocol::message::{
    AuditEntries, CertificateRequest, LedgerMinute, LedgerMinutes, ReplayReply, Resent, RevisionStatus, TrustStatus, Up, up,
};

use super::Outgoing;

/// Revisions whose state is remembered; the oldest is forgotten.
const MAX_REVISIONS: usize = 4;

/// Minutes of the ledger that may wait; the daemon says the last day's again when a session begins.
const MAX_MINUTES: usize = 8_192;

/// Minutes of the ledger in one message.
const MINUTES_AT_ONCE: usize = 256;

/// Pieces of the audit log that may wait; the daemon sends again what is not countersigned.
const MAX_AUDIT: usize = 8;

/// Answers to replays that may wait.
const MAX_REPLAYS: usize = 4;

/// Reports of rules' counters that may wait.
const MAX_RULE_REPORTS: usize = 16;

/// Something to say in every session.
#[derive(Debug)]
struct Standing<T> {
    message: Option<T>,
    is_said: bool,
}

impl<T> Default for Standing<T> {
    fn default() -> Self {
        Self { message: None, is_said: false }
    }
}

impl<T: Clone> Standing<T> {
    fn put(&mut self, message: T) {
        *self = Self { message: Some(message), is_said: false };
    }

    fn take(&mut self) -> Option<T> {
        let said_before = std::mem::replace(&mut self.is_said, true);
        self.message.clone().filter(|_| !said_before)
    }
}

/// What waits to be said.
#[derive(Debug, Default)]
pub struct Outbox {
    revisions: VecDeque<RevisionStatus>,
    /// How many of `revisions` this session has said.
    said: usize,
    certificate: Standing<CertificateRequest>,
    trust: Standing<TrustStatus>,
    resent: Standing<Resent>,
    audit: VecDeque<AuditEntries>,
    minutes: VecDeque<LedgerMinute>,
    replays: VecDeque<ReplayReply>,
    rules: VecDeque<Vec<u8>>,
    status: Option<Vec<u8>>,
}

impl Outbox {
    /// Says that a session begins, in which nothing was said yet.
    pub fn begin_session(&mut self) {
        self.said = 0;
        (self.certificate.is_said, self.trust.is_said, self.resent.is_said) = (false, false, false);
        // The welcome says from which entry on the log is wanted.
        self.audit.clear();
    }

    /// Says that the answer to the wish for a certificate has come.
    pub fn certified(&mut self) {
        self.certificate = Standing::default();
    }

    /// Takes a message in, in place of the one that it outdates.
    pub fn put(&mut self, message: Outgoing) {
        match message {
            Outgoing::Audit(entries) => {
                self.audit.push_back(entries);
                let too_many = self.audit.len().saturating_sub(MAX_AUDIT);
                self.audit.drain(..too_many);
            }
            Outgoing::CertificateRequest(request) => self.certificate.put(request),
            Outgoing::Minutes(LedgerMinutes { minutes }) => {
                self.minutes.extend(minutes);
                let too_many = self.minutes.len().saturating_sub(MAX_MINUTES);
                self.minutes.drain(..too_many);
            }
            Outgoing::ReplayReply(reply) => {
                self.replays.push_back(reply);
                let too_many = self.replays.len().saturating_sub(MAX_REPLAYS);
                self.replays.drain(..too_many);
            }
            Outgoing::Rules(report) => {
                self.rules.push_back(report);
                let too_many = self.rules.len().saturating_sub(MAX_RULE_REPORTS);
                self.rules.drain(..too_many);
            }
            Outgoing::Resent(resent) => self.resent.put(resent),
            Outgoing::RevisionStatus(status) => {
                let outdated = self.revisions.iter().position(|earlier| earlier.number == status.number);
                let outdated = outdated.or((self.revisions.len() >= MAX_REVISIONS).then_some(0));
                if let Some(index) = outdated {
                    self.revisions.remove(index);
                    self.said -= usize::from(index < self.said);
                }
                self.revisions.push_back(status);
            }
            Outgoing::Status(status) => self.status = Some(status),
            Outgoing::TrustStatus(status) => self.trust.put(status),
        }
    }

    /// Returns the next message to send.
    pub fn take(&mut self) -> Option<Up> {
        let kind = if let Some(status) = self.revisions.get(self.said) {
            self.said = self.said.saturating_add(1);
            up::Kind::RevisionStatus(status.clone())
        } else if let Some(request) = self.certificate.take() {
            up::Kind::CertificateRequest(request)
        } else if let Some(status) = self.trust.take() {
            up::Kind::TrustStatus(status)
        } else if let Some(resent) = self.resent.take() {
            up::Kind::Resent(resent)
        } else if let Some(entries) = self.audit.pop_front() {
            up::Kind::Audit(entries)
        } else if let Some(reply) = self.replays.pop_front() {
            up::Kind::ReplayReply(reply)
        } else if let Some(report) = self.rules.pop_front() {
            up::Kind::Rules(report)
        } else if !self.minutes.is_empty() {
            let minutes = self.minutes.drain(..self.minutes.len().min(MINUTES_AT_ONCE)).collect();
            up::Kind::Minutes(LedgerMinutes { minutes })
        } else {
            up::Kind::Status(self.status.take()?)
        };
        Some(Up { kind: Some(kind) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outbox: &mut Outbox) -> Vec<up::Kind> {
        std::iter::from_fn(|| outbox.take()).filter_map(|up| up.kind).collect()
    }

    #[test]
    fn the_outbox_keeps_the_newest_of_each_and_says_revision_states_in_every_session() {
        let revision = |number, state| RevisionStatus { number, state, problems: Vec::new() };
        let revised = |number, state| up::Kind::RevisionStatus(revision(number, state));
        let mut outbox = Outbox::default();
        outbox.put(Outgoing::Status(b"old".to_vec()));
        outbox.put(Outgoing::Status(b"new".to_vec()));
        for (number, state) in [(1, 1), (2, 1), (1, 2)] {
            outbox.put(Outgoing::RevisionStatus(revision(number, state)));
        }
        assert_eq!(said(&mut outbox), [revised(2, 1), revised(1, 2), up::Kind::Status(b"new".to_vec())]);
        outbox.put(Outgoing::RevisionStatus(revision(2, 2)));
        assert_eq!(said(&mut outbox), [revised(2, 2)]);
        outbox.begin_session();
        assert_eq!(said(&mut outbox), [revised(1, 2), revised(2, 2)]);
        for number in 3..=6 {
            outbox.put(Outgoing::RevisionStatus(revision(number, 2)));
        }
        assert_eq!(said(&mut outbox), [revised(3, 2), revised(4, 2), revised(5, 2), revised(6, 2)]);
    }

    #[test]
    fn what_must_arrive_is_said_again_in_every_session_until_it_is_settled() {
        let resent = |sequence| Resent { epoch: 1, sequence, since_revision: 1, nonce: 0 };
        let mut outbox = Outbox::default();
        outbox.put(Outgoing::Resent(resent(5)));
        outbox.put(Outgoing::Resent(resent(9)));
        outbox.put(Outgoing::CertificateRequest(CertificateRequest::default()));
        outbox.put(Outgoing::Audit(AuditEntries::default()));
        let (wish, news) = (up::Kind::CertificateRequest(CertificateRequest::default()), up::Kind::Resent(resent(9)));
        assert_eq!(said(&mut outbox), [wish.clone(), news.clone(), up::Kind::Audit(AuditEntries::default())]);
        assert_eq!(said(&mut outbox), []);
        outbox.begin_session();
        assert_eq!(said(&mut outbox), [wish, news.clone()]);
        outbox.certified();
        outbox.put(Outgoing::Audit(AuditEntries::default()));
        outbox.begin_session();
        assert_eq!(said(&mut outbox), [news], "the audit log is asked for anew");
    }
}
