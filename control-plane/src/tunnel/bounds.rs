//! Bounds what a status report says of the intake before it is stored and shown. Pure.

use postern_protocol::status::Status;
use postern_protocol::status::intake::Intake;

/// Most entries of each list.
const MAX_WAITING: usize = 512;
const MAX_UNKNOWN: usize = 512;
const MAX_CANARY: usize = 16;
const MAX_AGENTS: usize = 256;
const MAX_SECRETS: usize = 1024;
const MAX_WARNINGS: usize = 32;
const MAX_FINDINGS: usize = 64;

/// Most characters of a name, and of a sentence.
const MAX_NAME: usize = 128;
const MAX_SENTENCE: usize = 400;

/// Most characters of an OID: 128 numbers of ten digits, with dots.
const MAX_OID: usize = 1408;

/// Cuts what a whole report says of the gateway's life, and its intake.
pub(super) fn bound_status(status: &mut Status) {
    bound(&mut status.intake);
    let Status { tunnel, spool, doctor, identity, audit, .. } = status;
    for text in [&mut tunnel.address, &mut tunnel.proxy, &mut tunnel.last_error].into_iter().flatten() {
        cut(text, MAX_SENTENCE);
    }
    spool.damaged_files.truncate(MAX_WARNINGS);
    spool.damaged_files.iter_mut().for_each(|file| cut(file, MAX_NAME));
    if let Some(doctor) = doctor {
        doctor.findings.truncate(MAX_FINDINGS);
        for one in &mut doctor.findings {
            cut(&mut one.id, MAX_NAME);
            [&mut one.what, &mut one.evidence, &mut one.advice].into_iter().for_each(|text| cut(text, MAX_SENTENCE));
        }
    }
    if let Some(identity) = identity {
        cut(&mut identity.certificate, MAX_NAME);
        identity.server_pins.truncate(MAX_WARNINGS);
        identity.server_pins.iter_mut().for_each(|pin| cut(pin, MAX_NAME));
        identity.renewal_error.iter_mut().for_each(|error| cut(error, MAX_SENTENCE));
    }
    if let Some(audit) = audit {
        cut(&mut audit.digest, MAX_NAME);
        audit.damage.iter_mut().for_each(|damage| cut(damage, MAX_SENTENCE));
    }
}

/// Cuts every list and text.
fn bound(intake: &mut Intake) {
    if let Some(engine) = &mut intake.snmp_engine {
        cut(&mut engine.engine_id, MAX_NAME);
    }
    intake.waiting_room.truncate(MAX_WAITING);
    for one in &mut intake.waiting_room {
        for text in [&mut one.reason, &mut one.source, &mut one.engine_id, &mut one.user, &mut one.level] {
            cut(text, MAX_NAME);
        }
        cut(&mut one.advice, MAX_SENTENCE);
    }
    // What is no OID has no place among them.
    intake
        .unknown_oids
        .retain(|one| !one.oid.is_empty() && one.oid.len() <= MAX_OID && one.oid.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    intake.unknown_oids.truncate(MAX_UNKNOWN);
    intake.unknown_oids.iter_mut().for_each(|one| cut(&mut one.source, MAX_NAME));
    intake.canary.truncate(MAX_CANARY);
    for one in &mut intake.canary {
        cut(&mut one.path, MAX_NAME);
        cut(&mut one.broken, MAX_SENTENCE);
    }
    intake.agents.truncate(MAX_AGENTS);
    intake.agents.iter_mut().for_each(|one| cut(&mut one.agent, MAX_NAME));
    intake.secrets.truncate(MAX_SECRETS);
    for one in &mut intake.secrets {
        cut(&mut one.name, MAX_NAME);
        cut(&mut one.problem, MAX_SENTENCE);
    }
    intake.warnings.truncate(MAX_WARNINGS);
    intake.warnings.iter_mut().for_each(|one| cut(one, MAX_SENTENCE));
    if let Some(digest) = &mut intake.dictionary {
        cut(digest, MAX_NAME);
    }
}

fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::status::intake::UnknownOid;

    #[test]
    fn lists_and_texts_are_cut() {
        let unknown = |oid: &str| UnknownOid { oid: oid.into(), count: 1, first_seen: 0, last_seen: 0, source: "ü".repeat(500) };
        let mut intake = Intake { warnings: vec!["x".repeat(5000); 500], unknown_oids: vec![unknown("1.3.6"); 900], ..Intake::default() };
        intake.unknown_oids.insert(0, unknown("<script>"));
        bound(&mut intake);
        assert_eq!((intake.warnings.len(), intake.warnings[0].len()), (MAX_WARNINGS, MAX_SENTENCE));
        assert_eq!((intake.unknown_oids.len(), intake.unknown_oids[0].oid.as_str()), (MAX_UNKNOWN, "1.3.6"));
        assert_eq!(intake.unknown_oids[0].source.chars().count(), MAX_NAME);
    }
}
