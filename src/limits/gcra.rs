//! The generic cell rate algorithm: a rate with a burst, in one word a key.
//!
//! ITU-T I.371 annex A, virtual scheduling: the word is the theoretical arrival time, the moment at which the key has
//! its whole burst again. What is taken moves it on by its cost; it may lie ahead of now by the burst and no further. So
//! in any interval a key gets at most rate × length + burst.

use std::num::NonZero;
use std::time::Duration;

use super::{Factor, RuleStanding};

/// The largest debt that a price can make which is told afterwards.
const MOST_BURSTS: u64 = 2;

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

    /// The word of a key that was counted at another rate, of which one took `from` nanoseconds, with as much taken of
    /// this one: what was taken stays taken, up to the largest debt, and comes back at the rate that is now.
    pub(super) fn carried(word: u64, from: u64, (interval, burst): (u64, u64), now: u64) -> u64 {
        let ahead = u128::from(word.saturating_sub(now));
        let ahead = ahead
            .saturating_mul(interval.into())
            .div_ceil(u128::from(from.max(1)));
        let most = interval.saturating_mul(burst).saturating_mul(MOST_BURSTS);
        match u64::try_from(ahead).unwrap_or(u64::MAX).min(most) {
            0 => 0,
            ahead => now.saturating_add(ahead),
        }
    }

    /// How far the theoretical arrival time lies ahead.
    fn ahead(words: &[u64], now: u64) -> u64 {
        words[0].saturating_sub(now)
    }

    fn time_of(&self, cost: u64) -> u64 {
        self.interval.saturating_mul(cost)
    }

    pub(super) fn weigh(&self, words: &[u64], cost: u64, now: u64) -> RuleStanding {
        let ahead = Gcra::ahead(words, now);
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

    /// Counts what was admitted, here or elsewhere.
    pub(super) fn add(&self, words: &mut [u64], cost: u64, now: u64) {
        Gcra::add_worth(words, self.worth(cost), now);
    }

    /// What is charged beyond the burst is a debt, of at most as much again: who is told a price afterwards is not
    /// locked out for longer than two bursts take to come back. Gives how much of `cost` was charged.
    pub(super) fn charge(&self, words: &mut [u64], cost: u64, now: u64) -> u64 {
        let most = self.time_of(self.burst).saturating_mul(MOST_BURSTS);
        let room = most.saturating_sub(Gcra::ahead(words, now)) / self.interval;
        let charged = cost.min(room);
        self.add(words, charged, now);
        charged
    }

    /// How long so much takes to come back, in nanoseconds.
    pub(super) fn worth(&self, cost: u64) -> u64 {
        self.time_of(cost)
    }

    /// As [`Gcra::add`], of what takes so long to come back.
    pub(super) fn add_worth(words: &mut [u64], worth: u64, now: u64) {
        words[0] = words[0].max(now).saturating_add(worth);
    }

    /// How long what was taken takes to come back.
    pub(super) fn owed(words: &[u64], now: u64) -> u64 {
        Gcra::ahead(words, now)
    }

    pub(super) fn fresh_in(words: &[u64], now: u64) -> u64 {
        Gcra::ahead(words, now)
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
    fn a_word_of_another_rate_locks_nobody_out() {
        let (slow, fast) = (gcra(1, 3600, 10), gcra(1000, 1, 2000));
        let (now, mut words) = (1 << 40, [0]);
        slow.add(&mut words, 10, now);
        let carried = |to: Gcra| {
            let word = Gcra::carried(words[0], slow.interval(), (to.interval(), to.burst()), now);
            to.weigh(&[word], 0, now)
        };
        assert_eq!(carried(fast).remaining, 1990);
        // Of a smaller burst it is a debt of at most as much again.
        let hours = |count: u64| Duration::from_secs(count * 3600);
        assert_eq!(carried(gcra(1, 3600, 7)).next, hours(4));
        assert_eq!(carried(gcra(1, 3600, 3)).next, hours(4));
        assert_eq!(Gcra::carried(now - 1, 5, (7, 1), now), 0);
    }

    #[test]
    fn a_price_makes_a_debt_of_a_burst_and_what_was_admitted_any() {
        let (gcra, now, mut words) = (gcra(1, 1, 10), 1 << 40, [0]);
        assert_eq!(gcra.charge(&mut words, 15, now), 15);
        assert_eq!(gcra.charge(&mut words, u64::MAX, now), 5);
        assert_eq!(gcra.charge(&mut words, 1, now), 0);
        assert_eq!(Gcra::owed(&words, now), gcra.worth(20));
        gcra.add(&mut words, 100, now);
        let standing = gcra.weigh(&words, 1, now);
        assert_eq!(standing.wait, Some(Duration::from_secs(111)));
        assert_eq!(gcra.charge(&mut words, 1, now), 0);
        let later = now + 119_500_000_000;
        assert_eq!(Gcra::owed(&words, now), gcra.worth(120));
        assert_eq!(Gcra::owed(&words, later), gcra.worth(1) / 2);
    }
}
