//! A token bucket for each source: how many datagrams a second one sender may have decoded.
//!
//! Bounded: beyond [`MAX_SOURCES`] senders at once, further ones share a bucket. The caller passes the time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

const MAX_SOURCES: usize = 16_384;

/// Buckets by source; each holds one second's worth.
pub(crate) struct RateLimit {
    per_second: f64,
    buckets: HashMap<IpAddr, Bucket>,
    others: Bucket,
    swept: Duration,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn filled(&self, per_second: f64, now: Duration) -> f64 {
        let gained = now.saturating_sub(self.at).as_secs_f64() * per_second;
        (self.tokens + gained).min(per_second)
    }

    fn take(&mut self, per_second: f64, now: Duration) -> bool {
        let tokens = self.filled(per_second, now);
        self.at = now;
        self.tokens = if tokens < 1.0 { tokens } else { tokens - 1.0 };
        tokens >= 1.0
    }
}

impl RateLimit {
    /// Makes the limit; `None` stands for no limit, written as 0 per second.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        let per_second = f64::from(per_second);
        (per_second > 0.0).then(|| Self {
            per_second,
            buckets: HashMap::new(),
            others: Bucket { tokens: per_second, at: Duration::ZERO },
            swept: Duration::ZERO,
        })
    }

    /// Tells whether a datagram of `source` may pass at `now`, a time since any fixed point.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Duration) -> bool {
        let per_second = self.per_second;
        if let Some(bucket) = self.buckets.get_mut(&source) {
            return bucket.take(per_second, now);
        }
        // A sweep costs one pass over the table, so at most one a second.
        if self.buckets.len() >= MAX_SOURCES && now.saturating_sub(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.buckets.retain(|_, bucket| bucket.filled(per_second, now) < per_second);
        }
        if self.buckets.len() >= MAX_SOURCES {
            return self.others.take(per_second, now);
        }
        self.buckets.entry(source).or_insert(Bucket { tokens: per_second, at: now }).take(per_second, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admitted(limit: &mut RateLimit, source: IpAddr, now: Duration, tries: usize) -> usize {
        (0..tries).filter(|_| limit.admit(source, now)).count()
    }

    #[test]
    fn a_source_gets_its_rate_and_another_is_untouched() {
        let mut limit = RateLimit::new(10).unwrap();
        assert_eq!(admitted(&mut limit, A, Duration::ZERO, 100), 10);
        assert_eq!(admitted(&mut limit, B, Duration::ZERO, 1), 1);
        assert_eq!(admitted(&mut limit, A, Duration::from_millis(500), 100), 5);
        assert_eq!(admitted(&mut limit, A, Duration::from_secs(60), 100), 10);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut limit = RateLimit::new(1).unwrap();
        for n in 0..u32::try_from(MAX_SOURCES).unwrap() + 100 {
            limit.admit(IpAddr::from(n.to_be_bytes()), Duration::ZERO);
        }
        assert_eq!(limit.buckets.len(), MAX_SOURCES);
        assert!(limit.admit(B, Duration::from_secs(5)), "swept");
        assert_eq!(limit.buckets.len(), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(RateLimit::new(0).is_none());
    }
}
