//! The store's clock, as far as a gateway knows it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::super::Now;
use crate::observability::unix_time;

/// How far the store's Unix time is ahead of this process's clock, in nanoseconds. Until the store has said it, its time
/// is taken to be that of this machine.
#[derive(Debug)]
pub(super) struct Clock(AtomicI64);

impl Clock {
    pub(super) fn new() -> Clock {
        let now = Instant::now();
        let unix = u64::try_from(unix_time(now).as_nanos()).unwrap_or(u64::MAX);
        Clock(AtomicI64::new(ahead(unix, Now::at(now).nanos)))
    }

    /// The store's time at a moment of this process's clock.
    pub(super) fn at(&self, now: Now) -> Now {
        Clock::at_by(now, self.ahead())
    }

    /// How far the store's time is taken to be ahead.
    pub(super) fn ahead(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The store's time where it was taken to be so far ahead.
    pub(super) fn at_by(now: Now, ahead: i64) -> Now {
        let nanos = now.nanos.saturating_add_signed(ahead);
        Now {
            nanos,
            unix: nanos / 1_000_000_000,
        }
    }

    /// The store has said `told` between two moments of this process's clock. What is known already stays where it can be
    /// true: time does not jump to and fro with every answer that takes a little longer.
    pub(super) fn set(&self, told: Now, asked: Now, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (first, last) = (
            self.at(asked).nanos,
            self.at(asked).nanos.saturating_add(took),
        );
        if (first..=last).contains(&told.nanos) {
            return;
        }
        let middle = asked.nanos.saturating_add(took / 2);
        self.0.store(ahead(told.nanos, middle), Ordering::Relaxed);
    }
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    let ahead = i128::from(theirs) - i128::from(ours);
    i64::try_from(ahead).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn now(nanos: u64, unix: u64) -> Now {
        Now { nanos, unix }
    }

    #[test]
    fn it_begins_as_the_clock_of_the_machine() {
        let since_1970 = || {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
            since.expect("after 1970").as_nanos() as u64
        };
        // In no part of a second is it behind by more than a test takes.
        for _ in 0..6 {
            let before = since_1970();
            let told = Clock::new().at(Now::read()).nanos;
            assert!(told + SECOND / 20 > before && told < since_1970() + SECOND / 20);
            std::thread::sleep(Duration::from_millis(170));
        }
    }

    #[test]
    fn it_follows_the_store_and_does_not_tremble() {
        let clock = Clock(AtomicI64::new(995 * SECOND as i64));
        assert_eq!(clock.at(now(6 * SECOND, 0)).nanos, 1001 * SECOND);
        // The store is ten seconds ahead; the answer took two.
        let took = Duration::from_secs(2);
        clock.set(now(1012 * SECOND, 1012), now(6 * SECOND, 1001), took);
        assert_eq!(clock.at(now(7 * SECOND, 0)), now(1012 * SECOND, 1012));
        // What can be as it is known stays so.
        clock.set(now(1014 * SECOND, 1014), now(8 * SECOND, 1003), took);
        assert_eq!(clock.at(now(7 * SECOND, 0)).nanos, 1012 * SECOND);
        // It goes back as well.
        clock.set(
            now(900 * SECOND, 900),
            now(8 * SECOND, 1003),
            Duration::ZERO,
        );
        assert_eq!(clock.at(now(9 * SECOND, 0)).nanos, 901 * SECOND);
    }
}
