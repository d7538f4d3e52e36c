//! How fast bytes of a key may flow: who is too fast waits, and nothing is refused.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::Table;
use super::{Key, Now};
use crate::observability::LimitMetrics;

const SECOND: u64 = 1_000_000_000;

/// So many bytes a second for each key, evenly, and a burst of a second on top.
#[derive(Debug)]
pub struct Flow {
    rate: NonZero<u64>,
    /// How long the rate takes for the burst, in nanoseconds.
    burst: u64,
    /// When what has been let through will have been paid for, by key.
    table: Table,
}

impl Flow {
    /// For at most `keys` keys; beyond that, the one is forgotten of a few that has waited the least, and has its burst
    /// again. That is what comes in a second.
    pub(super) fn new(rate: NonZero<u64>, keys: usize, metrics: Arc<LimitMetrics>) -> Flow {
        Flow {
            rate,
            burst: SECOND,
            table: Table::new(1, keys, metrics),
        }
    }

    /// How long these bytes have to wait. They count from now on.
    pub fn pass(&self, key: Key, bytes: u64, now: Instant) -> Duration {
        let now = Now::at(now).nanos;
        let ahead = |words: &[u64]| words.first().map_or(0, |until| until.saturating_sub(now));
        self.table.with(key, ahead, |words| {
            let ahead = ahead(words).saturating_add(time_of(bytes, self.rate));
            if let Some(until) = words.first_mut() {
                *until = now.saturating_add(ahead);
            }
            Duration::from_nanos(ahead.saturating_sub(self.burst))
        })
    }
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
            flow.pass(key(name), bytes, at).as_millis()
        };
        assert_eq!(pass("a", 1000, 0), 0, "the burst");
        assert_eq!(pass("a", 100, 0), 100);
        assert_eq!(pass("a", 100, 0), 200);
        assert_eq!(pass("b", 100, 0), 0);
        assert_eq!(pass("a", 100, 100), 200);
        assert_eq!(pass("a", 0, 1300), 0);
        assert_eq!(pass("a", 1000, 10_000), 0, "the burst again");
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
                now += flow.pass(key("a"), bytes, now);
                sent += bytes;
                let seconds = (now - begin).as_secs_f64();
                let most = (seconds + 1.0) * rate as f64;
                prop_assert!(sent as f64 <= most * 1.000_001 + 1.0, "{sent} of {most}");
            }
        }
    }
}
