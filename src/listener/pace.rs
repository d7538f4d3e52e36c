//! A minimum rate, told as an allowance of time.

use std::time::Duration;

use crate::text::ByteSize;

/// How long somebody may still keep the gateway waiting: waiting uses it up, and every byte earns some of it back.
///
/// It begins full and never holds more than its window, so that whoever was quick for an hour cannot be slow for
/// the next: over any longer time than the window, the rate is the least that there can be.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Bytes per second; at 0 any byte will do.
    rate: u64,
    window: Duration,
    left: Duration,
}

impl Pace {
    pub fn new(rate: ByteSize, window: Duration) -> Pace {
        Pace {
            rate: rate.as_u64(),
            window,
            left: window,
        }
    }

    /// How long the wait that begins now may be.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// After a wait, so many bytes have moved.
    pub fn moved(&mut self, waited: Duration, bytes: u64) {
        let earned = match (bytes, self.rate) {
            (0, _) => Duration::ZERO,
            (_, 0) => self.window,
            (bytes, rate) => Duration::from_micros(bytes.saturating_mul(1_000_000) / rate),
        };
        let left = self.left.saturating_sub(waited).saturating_add(earned);
        self.left = left.min(self.window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_pace_is_never_cut() {
        let check = |rate: u64, waits: &[(u64, u64)], expected: u64| {
            let window = Duration::from_secs(15);
            let mut pace = Pace::new(ByteSize::from_bytes(rate), window);
            for &(seconds, bytes) in waits {
                pace.moved(Duration::from_secs(seconds), bytes);
            }
            assert_eq!(pace.left().as_secs(), expected, "{rate} {waits:?}");
        };
        check(240, &[], 15);
        check(240, &[(10, 2400); 100], 15);
        check(240, &[(14, 1), (1, 0)], 0);
        check(240, &[(10, 1200)], 10);
        check(240, &[(10, 1200), (10, 1200)], 5);
        check(240, &[(10, 1200), (10, 1200), (10, 1200), (10, 1200)], 5);
        // Being quick is not saved up.
        check(240, &[(0, 1 << 40), (15, 240)], 1);
        check(240, &[(100, 480)], 2);
        // Without a rate every byte is as good as the other.
        check(0, &[(14, 1); 100], 15);
        check(0, &[(14, 0)], 1);
        check(u64::MAX, &[(1, u64::MAX)], 14);
    }
}
