//! The room is bounded, forgets, and says what to do.

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn refused(n: u32) -> Refused<'static> {
    Refused {
        reason: DropReason::UnknownUser,
        source: IpAddr::from(n.to_be_bytes()),
        authority: Authority::Senders,
        engine_id: &[0x80, 0, 0, 9, 1],
        user: b"monitor",
        level: SecurityLevel::AuthPriv,
        clocks: None,
    }
}

#[test]
fn refusals_of_one_kind_are_one_entry() {
    let room = WaitingRoom::default();
    room.refuse(&refused(1), at(10));
    room.refuse(&refused(1), at(20));
    room.refuse(&Refused { reason: DropReason::WrongDigest, ..refused(1) }, at(15));
    let report = room.report(at(30));
    assert_eq!(report.len(), 2);
    let first = report.first().unwrap();
    assert_eq!((first.reason.as_str(), first.count, first.source.as_str()), ("unknown_user", 2, "0.0.0.1"));
    assert_eq!((first.engine_id.as_str(), first.user.as_str(), first.level.as_str()), ("8000000901", "monitor", "auth_priv"));
    assert_eq!((first.first_seen, first.last_seen), (at(10).as_nanos(), at(20).as_nanos()));
    assert!(first.advice.contains("no user \"monitor\"") && first.advice.contains("8000000901"), "{}", first.advice);
}

#[test]
fn a_flood_of_names_is_summed_and_leaves_those_that_come_back() {
    let room = WaitingRoom::default();
    room.refuse(&refused(0), at(0));
    room.refuse(&refused(0), at(1));
    for n in 1..10_000 {
        room.refuse(&refused(n), at(2));
    }
    let report = room.report(at(3));
    assert_eq!(report.len(), MAX_ENTRIES + 1);
    assert!(report.iter().any(|entry| entry.source == "0.0.0.0" && entry.count == 2));
    assert_eq!(report.iter().map(|entry| entry.count).sum::<u64>(), 10_001, "nothing is lost from the sum");
    assert!(report.iter().any(|entry| entry.source == OTHERS && entry.count == 9_744));
}

#[test]
fn entries_are_forgotten_after_a_week_and_when_their_sender_is_taken_in() {
    let room = WaitingRoom::default();
    room.refuse(&refused(1), at(0));
    room.refuse(&refused(2), at(100));
    assert_eq!(room.report(at(KEEP_SECS + 1)).len(), 1);
    let other = refused(2);
    room.admit(other.source, other.engine_id, b"somebody else");
    assert_eq!(room.report(at(101)).len(), 1);
    room.admit(other.source, other.engine_id, other.user);
    assert!(room.report(at(101)).is_empty());
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let before = WaitingRoom::default();
    for n in 0..300 {
        before.refuse(&refused(n), at(5));
    }
    let kept = before.take_changed().unwrap();
    assert_eq!(before.take_changed(), None, "nothing new");
    let after = WaitingRoom::default();
    after.restore(kept);
    assert_eq!(after.report(at(6)), before.report(at(6)));
}

#[test]
fn names_from_the_wire_are_readable_and_short() {
    assert_eq!(readable(b"\x00\xffa\n"), "\\x00\\xffa\\n");
    let room = WaitingRoom::default();
    room.refuse(&Refused { user: &[b'x'; 500], engine_id: &[1; 500], ..refused(1) }, at(0));
    let report = room.report(at(0));
    assert_eq!((report.first().unwrap().user.len(), report.first().unwrap().engine_id.len()), (32, 64));
}

#[test]
fn the_user_of_an_inform_is_not_bound_to_our_own_engine() {
    let told = advice(&Refused { authority: Authority::Ours, ..refused(1) });
    assert!(told.contains("network of 0.0.0.1") && !told.contains("8000000901"), "{told}");
}

#[test]
fn a_clock_that_went_back_is_told_with_its_numbers() {
    let clocks = |sent_boots, known_boots| Clocks { sent_boots, sent_time: 10, known_boots, known_time: 1_000 };
    let told = |sent, known| advice(&Refused { reason: DropReason::NotInTimeWindow, clocks: Some(clocks(sent, known)), ..refused(1) });
    assert!(told(3, 7).contains("snmpEngineBoots 3 where 7 was known"), "{}", told(3, 7));
    assert!(told(7, 7).contains("990 s behind"), "{}", told(7, 7));
    assert!(told(i32::MAX.cast_unsigned(), 7).contains("used up"));
}
