//! The generic cell rate algorithm: a rate with a burst, in one word a key.
//!
//! ITU-T I.371 annex A, virtual scheduling: the word is the theoretical arrival time, the moment at which the key has
//! its whole burst again. What is taken moves it on by its cost; it may lie ahead of now by the burst and no further. So
//! in any interval a key gets at most rate × length + burst.

use std::num::NonZero;
use std::time::Duration;

use super::{Factor, RuleStanding};

/// So much a time, evenly, and a burst on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds between two of an even flow, rounded up: never more than the rate.
    interval: u64,
    burst: u64,
}

impl Gcra {
    pub(super) const WORDS: usize = 1;

    /// `count` in each `period`, of which `burst` may come at once.
    pub fn new(count: NonZero<u64>, period: Duration, burst: NonZero<u64>) -> Gcra {
        let nanos = period.as_nanos().div_ceil(u128::from(count.get()));
        Gcra {
            interval: u64::try_from(nanos).unwrap_or(u64::MAX).max(1),
            burst: burst.get(),
        }
    }

    pub(super) fn times(&self, factor: Factor) -> Gcra {
        Gcra {
            interval: factor.part_of(self.interval),
            burst: factor.of(self.burst),
        }
    }

    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Nanoseconds between two of an even flow.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// How long a burst takes to come back.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.time_of(self.burst))
    }

    fn time_of(&self, cost: u64) -> u64 {
        self.interval.saturating_mul(cost)
    }

    pub(super) fn weigh(&self, words: &[u64], cost: u64, now: u64) -> RuleStanding {
        let ahead = ahead(words, now);
        let tolerance = self.time_of(self.burst);
        let with_cost = ahead.saturating_add(self.time_of(cost));
        let wait = with_cost.saturating_sub(tolerance);
        let ahead = if wait == 0 { with_cost } else { ahead };
        RuleStanding {
            quota: self.burst,
            remaining: tolerance.saturating_sub(ahead) / self.interval,
            next: Duration::from_nanos(
                ahead
                    .saturating_add(self.interval)
                    .saturating_sub(tolerance),
            ),
            reset: Duration::from_nanos(ahead),
            wait: (cost <= self.burst || wait == 0).then(|| Duration::from_nanos(wait)),
        }
    }

    /// What is charged beyond the burst is a debt, of at most as much again: who is told a price afterwards is not
    /// locked out for longer than two bursts take to come back.
    pub(super) fn charge(&self, words: &mut [u64], cost: u64, now: u64) {
        let ahead = ahead(words, now);
        let most = self.time_of(self.burst).saturating_mul(2).max(ahead);
        let ahead = ahead.saturating_add(self.time_of(cost)).min(most);
        words[0] = now.saturating_add(ahead);
    }

    pub(super) fn fresh_in(&self, words: &[u64], now: u64) -> u64 {
        ahead(words, now)
    }
}

/// How far the theoretical arrival time lies ahead.
fn ahead(words: &[u64], now: u64) -> u64 {
    words[0].saturating_sub(now)
}
