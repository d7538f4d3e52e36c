//! How long an endpoint has been taking for its answers.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long without new answers, what was known counts for little more than a third.
const DECAY: Duration = Duration::from_secs(10);

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moving average of the time to the header that follows a rise at once and a fall slowly (peak EWMA, from Finagle):
/// an endpoint that becomes slow is left alone after one answer, and is believed to be well again bit by bit. What is
/// not heard of for a while is believed to be quick, so that somebody looks.
///
/// Seconds as the bits of an `f32` and the time of the last change in milliseconds since the process began, in one
/// word, so that both change together. Of two that tell of the same moment one may be lost.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Latency(AtomicU64);

impl Latency {
    pub(in crate::upstream) fn observe(&self, now: Instant, took: Duration) {
        let now = millis(now);
        let took = took.as_secs_f32().max(f32::MIN_POSITIVE);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let (known, since) = unpack(word);
                let left = decay(now.wrapping_sub(since));
                let decayed = known * left;
                match took >= decayed {
                    true => Some(pack(took, now)),
                    // In the same millisecond nothing is forgotten: it counts from the change before.
                    false if left == 1.0 => None,
                    false => Some(pack(decayed + took * (1.0 - left), now)),
                }
            });
    }

    /// In seconds; `None` where nothing is known.
    pub(in crate::upstream) fn at(&self, now: Now) -> Option<f32> {
        let (known, since) = unpack(self.0.load(Ordering::Relaxed));
        (known > 0.0).then(|| known * decay(now.0.wrapping_sub(since)))
    }

    /// Knows what another one does.
    pub(in crate::upstream) fn take_after(&self, other: &Latency) {
        let word = other.0.load(Ordering::Relaxed);
        self.0.store(word, Ordering::Relaxed);
    }
}

/// A moment, as it is kept here.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Now(u32);

impl Now {
    pub(in crate::upstream) fn of(now: Instant) -> Now {
        Now(millis(now))
    }
}

/// It wraps after seven weeks: an endpoint that was silent for all of them counts as one that was just heard of.
fn millis(now: Instant) -> u32 {
    now.saturating_duration_since(*BEGAN).as_millis() as u32
}

/// How much of what was known counts after so long. What lies in the future by the clock of another thread is now.
fn decay(millis: u32) -> f32 {
    let passed = i32::try_from(millis).map_or(0.0, |millis| millis as f32);
    (-passed / DECAY.as_millis() as f32).exp()
}

fn pack(seconds: f32, millis: u32) -> u64 {
    u64::from(seconds.to_bits()) << 32 | u64::from(millis)
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f32) -> Instant {
        *BEGAN + Duration::from_secs_f32(seconds)
    }

    #[track_caller]
    fn check(latency: &Latency, now: f32, expected: f32) {
        let known = latency.at(Now::of(at(now))).unwrap();
        let off = (known - expected).abs();
        assert!(off <= expected * 0.01, "{known} instead of {expected}");
    }

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.at(Now::of(at(0.0))), None);
        latency.observe(at(1.0), Duration::from_millis(10));
        check(&latency, 1.0, 0.010);
        latency.observe(at(1.1), Duration::from_millis(200));
        check(&latency, 1.1, 0.200);
        let one = (-0.1f32).exp();
        latency.observe(at(2.1), Duration::from_millis(10));
        check(&latency, 2.1, 0.2 * one + 0.01 * (1.0 - one));
        check(
            &latency,
            12.1,
            (0.2 * one + 0.01 * (1.0 - one)) * (-1f32).exp(),
        );
    }

    #[test]
    fn many_answers_in_a_moment_are_forgotten_no_slower() {
        let latency = Latency::default();
        latency.observe(at(0.0), Duration::from_millis(100));
        // Ten thousand a second, for ten times the decay.
        (1..1_000_000)
            .for_each(|n| latency.observe(at(n as f32 / 10_000.0), Duration::from_millis(1)));
        check(&latency, 100.0, 0.001);
    }

    #[test]
    fn a_clock_that_is_behind_changes_nothing() {
        let latency = Latency::default();
        latency.observe(at(5.0), Duration::from_millis(100));
        check(&latency, 4.0, 0.100);
    }
}
