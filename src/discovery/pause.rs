//! How long to wait before a source that has failed is begun again.

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep_until};

/// Before the first try, on average three quarters of it.
const FIRST: Duration = Duration::from_millis(200);
/// No pause is longer: a registry that is back is noticed within it.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that double from one failure to the next, each shortened at random by up to a half, so that many gateways
/// do not come back to a registry all at once.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { next: FIRST }
    }
}

impl Pauses {
    /// How long to wait now, after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// Things are well again.
    pub(super) fn reset(&mut self) {
        *self = Pauses::default();
    }
}

/// Waits until then; without an end where there is no such time.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew() {
        let mut pauses = Pauses::default();
        for round in 0..40u32 {
            let whole = (FIRST * 2u32.pow(round.min(8))).min(LONGEST);
            let pause = pauses.next();
            assert!(whole / 2 <= pause && pause <= whole, "{round}: {pause:?}");
        }
        pauses.reset();
        assert!(pauses.next() <= FIRST);
    }
}
