//! Waits that grow, so that those who failed together do not come again together.

use std::time::Duration;

use rand::Rng;

use super::BackoffConfig;

/// Exponential backoff with full jitter: of "Exponential Backoff And Jitter" (Brooker, 2015) the form that makes those who
/// compete do the least work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn of(config: &BackoffConfig) -> Backoff {
        Backoff {
            base: config.base.as_std(),
            max: config.max.as_std(),
        }
    }

    /// Any time from none to `base` doubled before each retry but the first, or to `max`.
    pub(super) fn draw(self, number: u32) -> Duration {
        rand::rng().random_range(Duration::ZERO..=self.longest(number))
    }

    fn longest(self, number: u32) -> Duration {
        let factor = 1u32
            .checked_shl(number.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(25),
        max: Duration::from_millis(250),
    };

    #[test]
    fn each_bound_is_twice_the_one_before_up_to_the_greatest() {
        let bounds = [25, 50, 100, 200, 250, 250];
        for (number, millis) in (1..).zip(bounds) {
            assert_eq!(BACKOFF.longest(number), Duration::from_millis(millis));
        }
        assert_eq!(BACKOFF.longest(u32::MAX), BACKOFF.max);
    }

    #[test]
    fn waits_are_spread_over_all_of_their_bound() {
        for number in 1..=6 {
            let longest = BACKOFF.longest(number);
            let draws: Vec<Duration> = (0..1000).map(|_| BACKOFF.draw(number)).collect();
            assert!(draws.iter().all(|draw| *draw <= longest));
            // Each fails by chance once in 10^45 runs.
            for tenth in 0..10 {
                let (from, to) = (longest * tenth / 10, longest * (tenth + 1) / 10);
                let some = draws.iter().any(|draw| (from..=to).contains(draw));
                assert!(some, "none from {from:?} to {to:?} before retry {number}");
            }
        }
    }
}
