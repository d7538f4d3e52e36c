//! How much of something a client may do.

use std::time::{Duration, Instant};

/// A budget that comes back with time. Most of what is taken of it costs an addition: the clock is read only where
/// more has been taken than there was at the start.
///
/// Because of that it is exact only from one look at the clock to the next: a client that was quiet for long may
/// take twice as much at once.
#[derive(Debug)]
pub struct Allowance {
    burst: u32,
    per_second: u32,
    taken: u32,
    since: Instant,
}

impl Allowance {
    /// `burst` at once, and `per_second` of it comes back each second.
    pub fn new(burst: u32, per_second: u32) -> Allowance {
        Allowance {
            burst,
            per_second,
            taken: 0,
            since: Instant::now(),
        }
    }

    /// Takes one. False where there is none left.
    pub fn take(&mut self) -> bool {
        self.take_at(Instant::now)
    }

    /// Gives back what was taken for a good reason.
    pub fn give_back(&mut self, count: u32) {
        self.taken = self.taken.saturating_sub(count);
    }

    fn take_at(&mut self, now: impl FnOnce() -> Instant) -> bool {
        self.taken = self.taken.saturating_add(1);
        if self.taken <= self.burst {
            return true;
        }
        let now = now();
        let came_back = came_back(self.per_second, now - self.since);
        if came_back == 0 {
            self.taken = self.burst;
            return false;
        }
        self.since = now;
        self.give_back(came_back);
        true
    }
}

fn came_back(per_second: u32, elapsed: Duration) -> u32 {
    let count = u128::from(per_second) * elapsed.as_millis() / 1000;
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let mut allowance = Allowance::new(10, 2);
        let start = allowance.since;
        let mut take = |millis: u64, count: u32, expected: u32| {
            let now = start + Duration::from_millis(millis);
            let taken = (0..count).filter(|_| allowance.take_at(|| now)).count();
            assert_eq!(taken as u32, expected, "after {millis} ms");
        };
        take(0, 12, 10);
        take(499, 1, 0);
        take(500, 2, 1);
        take(1500, 3, 2);
        // Never more than at the start, and the one at which the clock was read.
        take(60_000, 20, 11);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut allowance = Allowance::new(3, 1);
        let now = allowance.since;
        for _ in 0..1000 {
            assert!(allowance.take_at(|| now) && allowance.take_at(|| now));
            allowance.give_back(2);
        }
        allowance.give_back(u32::MAX);
        assert_eq!(allowance.taken, 0);
    }
}
