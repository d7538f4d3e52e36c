//! How often a name may be guessed for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;

/// Counts failures by name in little memory that never grows: names share a slot where their hashes do, which nobody
/// outside can find out, and which costs them no more than that they share their failures.
///
/// Each slot is a bucket that empties steadily (GCRA): it holds the time at which it will be empty.
pub(super) struct Attempts {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    /// Milliseconds that one failure takes to be forgotten.
    each: u64,
}

const SLOTS: usize = 4096;
const MINUTE: u64 = 60_000;

impl Attempts {
    /// So many failures in a row, and so many more in each minute after that.
    pub(super) fn new(per_minute: u16) -> Attempts {
        Attempts {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            start: Instant::now(),
            each: MINUTE / u64::from(per_minute.max(1)),
        }
    }

    /// Counts a failure before it is known to be one, so that guesses at the same time are counted, too. `Err` says when
    /// to come back.
    pub(super) fn charge(&self, name: &str) -> Result<(), Duration> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.charge_at(name, now)
    }

    fn charge_at(&self, name: &str, now: u64) -> Result<(), Duration> {
        let charged = self
            .slot(name)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty| {
                let empty = empty.max(now) + self.each;
                (empty - now <= MINUTE).then_some(empty)
            });
        match charged {
            Ok(_) => Ok(()),
            Err(empty) => Err(Duration::from_millis(
                (empty + self.each).saturating_sub(now + MINUTE),
            )),
        }
    }

    /// It was no failure.
    pub(super) fn refund(&self, name: &str) {
        let back = |empty: u64| Some(empty.saturating_sub(self.each));
        // With an answer for every value it cannot fail.
        let _ = self
            .slot(name)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    fn slot(&self, name: &str) -> &AtomicU64 {
        let at = self.hasher.hash_one(name) as usize % SLOTS;
        self.slots.get(at).unwrap_or(&NOWHERE)
    }
}

/// For an index that cannot be.
static NOWHERE: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_bounded_and_forgotten() {
        let attempts = Attempts::new(10);
        let check = |now: u64, expected: Result<(), u64>| {
            let charged = attempts.charge_at("ann", now);
            assert_eq!(charged, expected.map_err(Duration::from_millis), "{now}");
        };
        for _ in 0..10 {
            check(1000, Ok(()));
        }
        check(1000, Err(6000));
        check(6999, Err(1));
        check(7000, Ok(()));
        check(7000, Err(6000));
        attempts.refund("ann");
        check(7000, Ok(()));
        // All are forgotten after a minute, and no credit is saved up.
        for _ in 0..10 {
            check(1_000_000, Ok(()));
        }
        check(1_000_000, Err(6000));
    }

    #[test]
    fn names_do_not_pay_for_each_other() {
        let attempts = Attempts::new(1);
        assert!(attempts.charge_at("ann", 0).is_ok() && attempts.charge_at("ann", 0).is_err());
        let free = (0..100).filter(|number| attempts.charge_at(&number.to_string(), 0).is_ok());
        // Some share a slot with each other.
        assert!(free.count() > 90);
    }
}
