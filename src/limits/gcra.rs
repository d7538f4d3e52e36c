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
    /// Nanoseconds that a burst takes to come back, without what is rounded in `interval`.
    window: u64,
}

impl Gcra {
    pub(super) const WORDS: usize = 1;

    /// `count` in each `period`, of which `burst` may come at once.
    pub fn new(count: NonZero<u64>, period: Duration, burst: NonZero<u64>) -> Gcra {
        let count = u128::from(count.get());
        let period = period.as_nanos();
        let window = period.saturating_mul(burst.get().into()).div_ceil(count);
        Gcra {
            interval: u64::try_from(period.div_ceil(count))
                .unwrap_or(u64::MAX)
                .max(1),
            burst: burst.get(),
            window: u64::try_from(window).unwrap_or(u64::MAX).max(1),
        }
    }

    pub(super) fn times(&self, factor: Factor) -> Gcra {
        let (interval, burst) = (factor.part_of(self.interval), factor.of(self.burst));
        Gcra {
            interval,
            burst,
            window: interval.saturating_mul(burst),
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
        Duration::from_nanos(self.window)
    }

    /// A time of a standing as clients are told it: without what is rounded in the interval, which of many is a second
    /// that nobody waits for.
    pub(super) fn told(&self, time: Duration) -> Duration {
        let rounded = u128::from(self.time_of(self.burst)).max(1);
        let nanos = time.as_nanos().saturating_mul(self.window.into()) / rounded;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The word of a key that was counted at another rate, with as much taken of it: what was taken stays taken, and
    /// comes back at the rate that is now.
    pub(super) fn carried(word: u64, from: u64, to: u64, now: u64) -> u64 {
        let ahead = u128::from(word.saturating_sub(now));
        let ahead = ahead
            .saturating_mul(to.into())
            .div_ceil(u128::from(from.max(1)));
        match u64::try_from(ahead).unwrap_or(u64::MAX) {
            0 => 0,
            ahead => now.saturating_add(ahead),
        }
    }

    /// How far the theoretical arrival time lies ahead. More than the largest debt it never is, unless it is of a rate
    /// that has changed since.
    fn ahead(&self, words: &[u64], now: u64) -> u64 {
        let ahead = words[0].saturating_sub(now);
        match self.burst {
            // By an override for a while: what was taken is known afterwards.
            0 => ahead,
            _ => ahead.min(self.time_of(self.burst).saturating_mul(2)),
        }
    }

    fn time_of(&self, cost: u64) -> u64 {
        self.interval.saturating_mul(cost)
    }

    pub(super) fn weigh(&self, words: &[u64], cost: u64, now: u64) -> RuleStanding {
        let ahead = self.ahead(words, now);
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
        let ahead = self.ahead(words, now);
        let most = self.time_of(self.burst).saturating_mul(2).max(ahead);
        let ahead = ahead.saturating_add(self.time_of(cost)).min(most);
        words[0] = now.saturating_add(ahead);
    }

    pub(super) fn fresh_in(&self, words: &[u64], now: u64) -> u64 {
        self.ahead(words, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gcra(count: u64, period: u64, burst: u64) -> Gcra {
        let number = |number| NonZero::new(number).expect("above zero");
        Gcra::new(number(count), Duration::from_secs(period), number(burst))
    }

    #[test]
    fn times_are_told_without_what_is_rounded() {
        let check = |count, period, burst, window, taken, reset| {
            let (gcra, mut words) = (gcra(count, period, burst), [0]);
            gcra.charge(&mut words, taken, 1 << 40);
            let standing = gcra.weigh(&words, 0, 1 << 40);
            assert_eq!(gcra.window(), Duration::from_secs(window));
            assert_eq!(gcra.told(standing.reset), Duration::from_secs(reset));
        };
        check(30, 1, 30, 1, 30, 1);
        check(30, 1, 60, 2, 30, 1);
        check(7, 60, 7, 60, 7, 60);
        check(7, 60, 14, 120, 7, 60);
        check(60, 60, 3, 3, 2, 2);
    }

    #[test]
    fn a_word_of_a_slower_rate_locks_nobody_out() {
        let (slow, fast) = (gcra(1, 3600, 10), gcra(1000, 1, 2000));
        let (now, mut words) = (1 << 40, [0]);
        slow.charge(&mut words, 10, now);
        let standing = fast.weigh(&words, 1, now);
        assert_eq!(standing.wait, Some(Duration::from_millis(2001)));
        let word = Gcra::carried(words[0], slow.interval(), fast.interval(), now);
        assert_eq!(fast.weigh(&[word], 0, now).remaining, 1990);
        assert_eq!(Gcra::carried(now - 1, 5, 7, now), 0);
    }
}
