//! Endpoints that are new or back get less at first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Weak};
use std::time::{Duration, Instant};

use crate::upstream::{Upstream, alive};

/// What an endpoint gets at first, in percent of its weight; Envoy's `min_weight_percent`.
const LEAST: u32 = 10;
/// Steps from there to all of it.
const STEPS: u32 = 20;
const SHORTEST_STEP: Duration = Duration::from_millis(20);

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Since when an endpoint has been available.
#[derive(Debug)]
pub(in crate::upstream) struct Warmth {
    /// Microseconds since the process began, and one; 0 for longer than anybody asks for.
    since: AtomicU64,
    was_available: AtomicBool,
}

impl Warmth {
    /// Of an endpoint that has been there for ever.
    pub(in crate::upstream) fn warm() -> Warmth {
        Warmth {
            since: AtomicU64::new(0),
            was_available: AtomicBool::new(true),
        }
    }

    pub(in crate::upstream) fn begin(&self, now: Instant) {
        let since = now.saturating_duration_since(*BEGAN).as_micros() as u64;
        self.since.store(since + 1, Ordering::Relaxed);
    }

    /// It is available or not, from now on. One that is back begins anew.
    pub(in crate::upstream) fn note(&self, is_available: bool, now: Instant) {
        let was_available = self.was_available.swap(is_available, Ordering::Relaxed);
        if is_available && !was_available {
            self.begin(now);
        }
    }

    pub(in crate::upstream) fn take_after(&self, other: &Warmth) {
        let since = other.since.load(Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        let was_available = other.was_available.load(Ordering::Relaxed);
        self.was_available.store(was_available, Ordering::Relaxed);
    }

    /// How much of its weight counts: from a tenth to all, in proportion to the time.
    pub(in crate::upstream) fn percent(&self, window: Option<Duration>, now: Instant) -> u32 {
        let (Some(window), since @ 1..) = (window, self.since.load(Ordering::Relaxed)) else {
            return 100;
        };
        let began = *BEGAN + Duration::from_micros(since - 1);
        let passed = now.saturating_duration_since(began).as_secs_f64();
        let part = passed / window.as_secs_f64().max(f64::MIN_POSITIVE);
        ((part * 100.0) as u32).clamp(LEAST, 100)
    }
}

/// Makes the weights of endpoints grow, until the upstream is dropped. It sleeps while all are warm.
pub(in crate::upstream) async fn watch(upstream: Weak<Upstream>, window: Duration) {
    let step = (window / STEPS).max(SHORTEST_STEP);
    loop {
        let Some(woken) = alive(&upstream).map(|upstream| upstream.has_news.clone()) else {
            return;
        };
        woken.notified().await;
        let is_warming = |it: &Weak<Upstream>| alive(it).is_some_and(|it| it.is_warming(window));
        let mut has_more = is_warming(&upstream);
        while has_more {
            tokio::time::sleep(step).await;
            // Asked before, so that the last set is built when all are warm.
            has_more = is_warming(&upstream);
            let Some(upstream) = alive(&upstream) else {
                return;
            };
            upstream.refresh();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_grow_from_a_tenth() {
        let window = Some(Duration::from_secs(10));
        let begin = *BEGAN + Duration::from_secs(5);
        let warmth = Warmth::warm();
        let check = |seconds: f64, expected: u32| {
            let now = begin + Duration::from_secs_f64(seconds);
            assert_eq!(warmth.percent(window, now), expected, "{seconds}");
        };
        check(0.0, 100);
        warmth.note(true, begin);
        check(0.0, 100);
        warmth.note(false, begin);
        warmth.note(true, begin);
        check(0.0, 10);
        check(0.5, 10);
        check(5.0, 50);
        check(9.99, 99);
        check(10.0, 100);
        check(3600.0, 100);
        assert_eq!(warmth.percent(None, begin), 100);
    }
}
