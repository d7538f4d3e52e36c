//! How fast bytes of a key may flow: who is too fast waits.

use std::num::{NonZero, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::table::Table;
use super::{Edition, Key, Now};
use crate::observability::LimitMetrics;

const SECOND: u64 = 1_000_000_000;
/// How much time's worth may be ahead of a part: a minute, or what one body alone can have on its way, where that takes
/// longer.
const LONGEST: u64 = 60 * SECOND;
const OWN: u64 = 128 * 1024;
/// How many parts flow in a second: who waits for one waits for no longer than that, if no other of the key flows.
const PARTS: u64 = 4;
/// Smaller ones would be more work than they are worth, and larger ones do not come.
const SMALLEST_PART: u64 = 1024;
const LARGEST_PART: u64 = 64 * 1024;

/// So many bytes a second for each key, evenly, and a burst of a second on top.
#[derive(Debug)]
pub struct Flow {
    rate: NonZero<u64>,
    /// How long the rate takes for the burst, in nanoseconds.
    burst: u64,
    /// How much may be ahead, in nanoseconds.
    longest: u64,
    /// When what has been let through will have been paid for, by key.
    table: Table,
    /// The number of the edition that has come to it last.
    edition: AtomicU64,
}

impl Flow {
    /// For at most `keys` keys; beyond that, the one is forgotten of a few that has waited the least, and has its burst
    /// again. That is what comes in a second.
    pub(super) fn new(rate: NonZero<u64>, keys: usize, metrics: Arc<LimitMetrics>) -> Flow {
        Flow {
            rate,
            burst: SECOND,
            longest: LONGEST.max(time_of(OWN, rate)),
            table: Table::new(1, keys, metrics),
            edition: AtomicU64::new(0),
        }
    }

    /// A configuration has it from now on.
    pub(super) fn begin(&self, edition: Edition) {
        self.edition.store(edition.number(), Ordering::Relaxed);
    }

    /// The larger, the later a configuration has come to it.
    pub(super) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Relaxed)
    }

    /// Of how many keys anything is known.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// The most that should flow at a time; `None` where more does not come.
    pub fn part(&self) -> Option<NonZeroU32> {
        let part = (self.rate.get() / PARTS).max(SMALLEST_PART);
        let part = u32::try_from(part)
            .ok()
            .filter(|part| u64::from(*part) < LARGEST_PART);
        part.and_then(NonZeroU32::new)
    }

    /// How long these bytes have to wait: for no more than a minute (or the time that 128 KiB take, where that is longer) and
    /// the time that they take themselves. They count from now on.
    pub fn pass(&self, key: Key, bytes: u64, now: Instant) -> Result<Duration, Congested> {
        let now = Now::at(now).nanos;
        let ahead = |words: &[u64]| words.first().map_or(0, |until| until.saturating_sub(now));
        self.table.with(key, ahead, |words| {
            let before = ahead(words);
            let most = self.burst + self.longest;
            if before > most {
                let again = Duration::from_nanos(before - most);
                return Err(Congested { again });
            }
            let ahead = before.saturating_add(time_of(bytes, self.rate));
            if let Some(until) = words.first_mut() {
                *until = now.saturating_add(ahead);
            }
            Ok(Duration::from_nanos(ahead.saturating_sub(self.burst)))
        })
    }
}

/// So many bodies of the key flow at a time that one more part would wait for too long behind them. It does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Congested {
    /// When one more part would be taken, if no other comes before it.
    pub again: Duration,
}

fn time_of(bytes: u64, rate: NonZero<u64>) -> u64 {
    let nanos = u128::from(bytes) * u128::from(SECOND) / u128::from(rate.get());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observability::Metrics;

    fn flow(rate: u64) -> Flow {
        let metrics = Arc::new(Metrics::new().limit("test"));
        Flow::new(NonZero::new(rate).unwrap(), 1000, metrics)
    }

    fn key(text: &str) -> Key {
        let mut key = Key::hasher();
        key.part(text.as_bytes());
        key.finish()
    }

    #[test]
    fn who_is_too_fast_waits_and_others_do_not() {
        let flow = flow(1000);
        let now = Instant::now();
        let pass = |name: &str, bytes: u64, after: u64| {
            let at = now + Duration::from_millis(after);
            flow.pass(key(name), bytes, at).unwrap().as_millis()
        };
        assert_eq!(pass("a", 1000, 0), 0, "the burst");
        assert_eq!(pass("a", 100, 0), 100);
        assert_eq!(pass("a", 100, 0), 200);
        assert_eq!(pass("b", 100, 0), 0);
        assert_eq!(pass("a", 100, 100), 200);
        assert_eq!(pass("a", 0, 1300), 0);
        assert_eq!(pass("a", 1000, 10_000), 0, "the burst again");
    }

    #[test]
    fn nobody_waits_for_more_than_a_minute_behind_others() {
        let flow = flow(10_000);
        let now = Instant::now();
        let pass = |bytes: u64, after: u64| {
            let waits = flow.pass(key("a"), bytes, now + Duration::from_secs(after));
            // The clock is the machine's, of which a moment passes between two parts.
            let seconds = |it: Congested| it.again.as_secs_f64().round();
            waits.map(|it| it.as_secs()).map_err(seconds)
        };
        assert_eq!(pass(10_000, 0), Ok(0), "the burst");
        assert_eq!(pass(6_000_000, 0), Ok(600), "of its own part");
        assert_eq!(pass(1, 0), Err(540.0));
        assert_eq!(pass(1, 539), Err(1.0));
        // And what was refused does not count.
        assert_eq!(pass(10_000, 541), Ok(60));
        assert_eq!(pass(0, 602), Ok(0));
    }

    #[test]
    fn whoever_is_alone_has_its_turn_however_slow_it_is() {
        let flow = flow(1024);
        let now = Instant::now();
        for _ in 0..7 {
            assert!(flow.pass(key("a"), 16 * 1024, now).is_ok());
        }
    }

    #[test]
    fn parts_are_a_quarter_of_a_second() {
        let part = |rate: u64| flow(rate).part().map(NonZeroU32::get);
        assert_eq!(part(1024), Some(1024));
        assert_eq!(part(64 * 1024), Some(16 * 1024));
        assert_eq!(part(256 * 1024), None);
        assert_eq!(part(u64::MAX), None);
    }

    proptest! {
        /// Who waits as it is told gets no more in any time than the rate and the burst allow.
        #[test]
        fn no_more_flows_than_the_rate_allows(
            parts in proptest::collection::vec((1..70_000u64, 0..50u64), 1..100),
            rate in 1..10_000_000u64,
        ) {
            let flow = flow(rate);
            let begin = Instant::now();
            let (mut now, mut sent) = (begin, 0u64);
            for (bytes, pause) in parts {
                now += Duration::from_millis(pause);
                now += flow.pass(key("a"), bytes, now).expect("nobody else flows");
                sent += bytes;
                let seconds = (now - begin).as_secs_f64();
                let most = (seconds + 1.0) * rate as f64;
                prop_assert!(sent as f64 <= most * 1.000_001 + 1.0, "{sent} of {most}");
            }
        }
    }
}
