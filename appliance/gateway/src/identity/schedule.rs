//! When certificates are renewed, and by which way. Pure.

use std::time::Duration;

use postern_protocol::timestamp::Timestamp;

/// For how long the tunnel has to be down before a renewal that is due goes by the other way.
pub(super) const TUNNEL_PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_millis(500);

/// How a renewal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By `POST /enrol/v1/renew`.
    Direct,
    /// By a message over the tunnel.
    Tunnel,
}

/// What is known when it is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// By the control plane's clock as far as that is known.
    pub(super) now: Timestamp,
    /// The certificate's first moment.
    pub(super) not_before: Timestamp,
    /// Its last.
    pub(super) not_after: Timestamp,
    /// Whether the authority that issues now issued it.
    pub(super) is_of_issuing_authority: bool,
    /// For how long there has been no session; `None` while there is one.
    pub(super) down_for: Option<Duration>,
}

/// Returns when a certificate is renewed: at two thirds of its life.
pub(super) fn due(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    not_before.saturating_add(not_after.saturating_since(not_before) / 3 * 2)
}

/// Returns how to renew now, or how long to wait before the next look.
pub(super) fn decide(facts: Facts) -> Result<Way, Duration> {
    let due = due(facts.not_before, facts.not_after);
    if facts.now < due && facts.is_of_issuing_authority {
        return Err(due.saturating_since(facts.now).clamp(SHORTEST, LONGEST));
    }
    match facts.down_for {
        None => Ok(Way::Tunnel),
        Some(_) if facts.now >= facts.not_after => Ok(Way::Direct),
        Some(down_for) if down_for >= TUNNEL_PATIENCE => Ok(Way::Direct),
        // The end of the certificate may come first.
        Some(down_for) => {
            let left = TUNNEL_PATIENCE.saturating_sub(down_for).min(facts.not_after.saturating_since(facts.now));
            Err(left.clamp(SHORTEST, LONGEST))
        }
    }
}

/// Returns the wait after `failures` failed renewals in a row of a certificate with this life: short for short lives, never above ten
/// minutes.
pub(super) fn retry_in(failures: u32, life: Duration) -> Duration {
    let longest = (life / 10).clamp(Duration::from_secs(1), LONGEST);
    Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn facts(now: i64) -> Facts {
        Facts { now: at(now), not_before: at(0), not_after: at(300), is_of_issuing_authority: true, down_for: None }
    }

    #[test]
    fn a_certificate_is_renewed_over_the_tunnel_at_two_thirds_of_its_life() {
        assert_eq!(decide(facts(199)), Err(Duration::from_secs(1)));
        assert_eq!(decide(facts(200)), Ok(Way::Tunnel));
        assert_eq!(decide(Facts { is_of_issuing_authority: false, ..facts(1) }), Ok(Way::Tunnel), "its authority is replaced");
    }

    #[test]
    fn without_a_tunnel_it_goes_the_other_way_when_it_has_ended_or_the_tunnel_stays_away() {
        let down = |now, secs| decide(Facts { down_for: Some(Duration::from_secs(secs)), ..facts(now) });
        assert_eq!(down(100, 1_000), Err(Duration::from_secs(100)), "not due");
        assert_eq!(down(200, 20), Err(Duration::from_secs(40)));
        assert_eq!(down(290, 20), Err(Duration::from_secs(10)), "its end comes first");
        assert_eq!(down(200, 60), Ok(Way::Direct));
        assert_eq!(down(300, 0), Ok(Way::Direct));
    }

    #[test]
    fn failures_are_tried_again_soon_and_then_seldom() {
        let day = Duration::from_secs(86_400);
        assert_eq!([1, 2, 3].map(|failures| retry_in(failures, day).as_secs()), [1, 2, 4]);
        assert_eq!(retry_in(50, day), LONGEST);
        assert_eq!(retry_in(50, Duration::from_secs(20)), Duration::from_secs(2));
    }
}
