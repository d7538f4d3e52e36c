//! What has happened lately, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A window slides by a tenth of its length.
const BUCKETS: usize = 10;
/// Counts of a bucket have 14 bits each, and the tick that they are of has the other 22.
const BITS: u32 = 14;
const MOST: u64 = (1 << BITS) - 1;
const TICKS: u64 = 1 << (64 - 3 * BITS);

/// Counts over a time that slides: a ring of buckets, of which each is one word. So a count and the bucket that it
/// belongs to change together, whoever else counts at the time, and what has been counted is never lost nor counted
/// twice.
///
/// A bucket that is full is halved, which keeps the shares. A bucket is told from one of the same place that is
/// 2^22 buckets older, and not from one that is exactly that old.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    width: u64,
    buckets: [AtomicU64; BUCKETS],
}

/// What a window has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub total: u64,
    pub failed: u64,
    pub slow: u64,
}

impl Window {
    /// One that is as long as that, and at least ten milliseconds.
    pub(super) fn new(length: Duration, now: Instant) -> Window {
        let width = (length.as_nanos() / BUCKETS as u128).clamp(1_000_000, u128::from(u64::MAX));
        Window {
            began: now,
            width: width as u64,
            buckets: Default::default(),
        }
    }

    /// Adds these counts, of which each is 0 or 1.
    pub(super) fn add(&self, now: Instant, counts: Counts) {
        let tick = self.tick(now);
        let added = |bucket: u64| {
            let (of, known) = unpack(bucket);
            // Somebody has come first who is later than this: what is over is not counted any more.
            if is_later(of, tick) {
                return None;
            }
            let mut sum = match of == tick % TICKS {
                true => known,
                false => Counts::default(),
            };
            if sum.total >= MOST {
                sum = Counts {
                    total: sum.total / 2,
                    failed: sum.failed / 2,
                    slow: sum.slow / 2,
                };
            }
            sum.total += counts.total;
            // What was counted as well before can be told to have failed later, when its bucket is over.
            sum.failed = (sum.failed + counts.failed).min(MOST);
            sum.slow = (sum.slow + counts.slow).min(MOST);
            Some(pack(tick, sum))
        };
        let _ = self
            .bucket(tick)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    /// What has happened in the window that ends now.
    pub(super) fn sum(&self, now: Instant) -> Counts {
        let tick = self.tick(now);
        let mut sum = Counts::default();
        for back in 0..BUCKETS as u64 {
            let Some(tick) = tick.checked_sub(back) else {
                break;
            };
            let (of, counts) = unpack(self.bucket(tick).load(Ordering::Relaxed));
            if of == tick % TICKS {
                sum.total += counts.total;
                sum.failed += counts.failed;
                sum.slow += counts.slow;
            }
        }
        sum.failed = sum.failed.min(sum.total);
        sum
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// Counted from one, so that an empty bucket is of no tick.
    fn tick(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_nanos();
        1 + (passed / u128::from(self.width)) as u64
    }

    fn bucket(&self, tick: u64) -> &AtomicU64 {
        &self.buckets[(tick % BUCKETS as u64) as usize]
    }
}

/// Whether a bucket is of a tick after this one, and not of one long before.
fn is_later(of: u64, tick: u64) -> bool {
    let ahead = of.wrapping_sub(tick) % TICKS;
    of != 0 && ahead != 0 && ahead < TICKS / 2
}

fn pack(tick: u64, counts: Counts) -> u64 {
    (tick % TICKS) << (3 * BITS) | counts.total << (2 * BITS) | counts.failed << BITS | counts.slow
}

fn unpack(bucket: u64) -> (u64, Counts) {
    let counts = Counts {
        total: bucket >> (2 * BITS) & MOST,
        failed: bucket >> BITS & MOST,
        slow: bucket & MOST,
    };
    (bucket >> (3 * BITS), counts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WELL: Counts = Counts {
        total: 1,
        failed: 0,
        slow: 0,
    };
    const FAILED: Counts = Counts {
        total: 1,
        failed: 1,
        slow: 0,
    };

    #[test]
    fn what_is_over_is_forgotten() {
        let now = Instant::now();
        let window = Window::new(10 * SECOND, now);
        window.add(now, FAILED);
        window.add(now + 5 * SECOND, WELL);
        let check = |after: u64, total: u64, failed: u64| {
            let sum = window.sum(now + Duration::from_millis(after));
            assert_eq!((sum.total, sum.failed), (total, failed), "after {after} ms");
        };
        check(5_000, 2, 1);
        check(9_999, 2, 1);
        check(10_000, 1, 0);
        check(14_999, 1, 0);
        check(15_000, 0, 0);
        check(3_600_000, 0, 0);
        window.add(now + 16 * SECOND, FAILED);
        check(16_000, 1, 1);
        window.clear();
        check(16_000, 0, 0);
    }

    #[test]
    fn full_buckets_keep_their_shares() {
        let now = Instant::now();
        let window = Window::new(10 * SECOND, now);
        for turn in 0..100_000 {
            window.add(now, if turn % 4 == 0 { FAILED } else { WELL });
        }
        let sum = window.sum(now);
        assert!(sum.total > MOST / 2 && sum.total <= MOST, "{sum:?}");
        let share = sum.failed as f64 / sum.total as f64;
        assert!((0.249..0.251).contains(&share), "{share}");
    }

    #[test]
    fn what_is_told_late_goes_nowhere_else() {
        let now = Instant::now();
        let window = Window::new(10 * SECOND, now);
        window.add(now + 10 * SECOND, WELL);
        window.add(now, FAILED);
        let sum = window.sum(now + 10 * SECOND);
        assert_eq!((sum.total, sum.failed), (1, 0));
    }

    #[test]
    fn nothing_is_lost_among_threads() {
        let now = Instant::now();
        let window = Arc::new(Window::new(10 * SECOND, now));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| window.add(now, FAILED)));
            }
        });
        let sum = window.sum(now);
        assert_eq!((sum.total, sum.failed), (8000, 8000));
    }

    proptest! {
        /// Told in the order of time, a window has what a list of everything would say, but for the oldest bucket.
        #[test]
        fn a_window_is_the_end_of_a_list(
            steps in proptest::collection::vec((0u64..3000, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let begin = Instant::now();
            let window = Window::new(10 * SECOND, begin);
            let mut list = Vec::new();
            let mut millis = 0;
            for (step, failed, slow) in steps {
                millis += step;
                let counts = Counts { total: 1, failed: failed.into(), slow: slow.into() };
                window.add(begin + Duration::from_millis(millis), counts);
                list.push((millis, counts));
                let first = (millis / 1000).saturating_sub(9) * 1000;
                let mut expected = Counts::default();
                for (_, counts) in list.iter().filter(|(at, _)| *at >= first) {
                    expected.total += counts.total;
                    expected.failed += counts.failed;
                    expected.slow += counts.slow;
                }
                prop_assert_eq!(window.sum(begin + Duration::from_millis(millis)), expected);
            }
        }
    }
}
