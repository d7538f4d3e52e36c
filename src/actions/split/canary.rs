//! `guard`: what a branch must not do, or it gets no more requests.
//!
//! What the branch does is counted over a sliding window of ten parts. Where too large a share of its requests fails or
//! is slow, its weight is 0 from then on, until an operator resets it, the route is defined otherwise or the gateway is
//! started anew. Each gateway judges by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::observability::CanaryMetrics;
use crate::text::{self, Fingerprint, Ratio, Span, Subject};

/// Takes a branch out of the split where it does worse than this: `guard = { error_ratio = "5%" }`. A request counts once,
/// for what the branch makes of it in the end: tries that `retry` sends again do not, and a `fallback` does not cover it up.
///
/// The other branches get its requests, by their weights; where none of them has one any more, by those before their ramps.
/// Where all are taken out, the route's `fallback` answers (`"unavailable"`), or a 503: leave one without a guard.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// The share of requests that fail from which on the branch is taken out: those that are answered with a status from
    /// 500 on, by gRPC with UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS, or not at all. Default: none.
    pub error_ratio: Option<Ratio>,
    /// From the end of the request to the header of the response: what takes longer is slow. Default: nothing is.
    pub latency: Option<text::Duration>,
    /// The share of requests that are slow from which on the branch is taken out; `"5%"` guards the 95th percentile.
    /// Default `"5%"`.
    pub slow_ratio: Option<Ratio>,
    /// How many requests there must be in the window before it is judged. 1 to 65535. Default 20.
    pub min_requests: Option<text::Bounded<1, 65535>>,
    /// What it is judged by: the time up to now. Default `"30s"`.
    pub window: Option<text::Duration>,
}

const PARTS: u64 = 10;
const USUAL_WINDOW: Duration = Duration::from_secs(30);
const USUAL_SLOW: Ratio = Ratio::percent(5).expect("5 is a percentage");

/// A guarded branch. It outlives reloads for as long as its route is defined as it is.
#[derive(Debug)]
pub struct Canary {
    pub route: Box<str>,
    pub upstream: Box<str>,
    /// Of the route.
    written: Fingerprint,
    rules: Rules,
    is_rolled_back: AtomicBool,
    window: Mutex<Window>,
    metrics: CanaryMetrics,
}

#[derive(Clone, Debug)]
struct Rules {
    errors: Option<Ratio>,
    slow: Option<(Duration, Ratio)>,
    least: u64,
    part: Duration,
}

/// What was seen in a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub requests: u64,
    pub errors: u64,
    pub slow: u64,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    parts: [Seen; PARTS as usize],
    /// The number of the part that is counted in, from the beginning.
    current: u64,
    /// What it was judged by when it was rolled back.
    verdict: Option<Seen>,
}

impl GuardConfig {
    pub(super) fn check(&self, span: Span, subject: &mut Subject<'_>) {
        if self.error_ratio.is_none() && self.latency.is_none() {
            let problem = subject.error(span, "guards against nothing");
            problem.help("write error_ratio = \"5%\", latency = \"1s\", or both");
        }
    }
}

impl Canary {
    /// The one of `before` where its route says what it said.
    pub(super) fn build(
        (route, upstream): (&str, &str),
        config: &GuardConfig,
        written: Fingerprint,
        metrics: CanaryMetrics,
        before: Option<&Arc<Canary>>,
    ) -> Arc<Canary> {
        if let Some(before) = before.filter(|it| it.written == written) {
            return before.clone();
        }
        let window = config
            .window
            .as_ref()
            .map_or(USUAL_WINDOW, |it| it.as_std());
        let latency = config.latency.as_ref().map(|it| it.as_std());
        Arc::new(Canary {
            route: route.into(),
            upstream: upstream.into(),
            written,
            rules: Rules {
                errors: config.error_ratio,
                slow: latency.map(|it| (it, config.slow_ratio.unwrap_or(USUAL_SLOW))),
                least: config.min_requests.map_or(20, |it| it.get().into()),
                part: (window / PARTS as u32).max(Duration::from_millis(1)),
            },
            is_rolled_back: AtomicBool::new(false),
            window: Mutex::new(Window::new(Instant::now())),
            metrics,
        })
    }

    /// For people: what rolls it back.
    pub(super) fn describe(&self) -> String {
        let rules = &self.rules;
        let errors = rules.errors.map(|ratio| format!("{ratio} of errors"));
        let slow = rules.slow.as_ref();
        let slow = slow.map(|(limit, ratio)| format!("{ratio} slower than {limit:?}"));
        let bounds: Vec<String> = errors.into_iter().chain(slow).collect();
        format!(
            "rolled back at {}, of {} requests or more in {:?}",
            bounds.join(" or "),
            rules.least,
            rules.part * PARTS as u32
        )
    }

    pub fn is_rolled_back(&self) -> bool {
        self.is_rolled_back.load(Ordering::Relaxed)
    }

    /// A request to the branch has come to this. `time` is how long the answer took, where that is known.
    pub fn observe(&self, now: Instant, is_error: bool, time: Option<Duration>) {
        let is_slow = match (&self.rules.slow, time) {
            (Some((limit, _)), Some(time)) => time > *limit,
            _ => false,
        };
        let mut window = self.lock();
        let seen = window.count(now, self.rules.part, is_error, is_slow);
        // What was on its way when it was rolled back is no reason to say so again.
        if window.verdict.is_some() || !self.rules.are_broken(seen) {
            return;
        }
        window.verdict = Some(seen);
        // Under the lock, as a reset is: whichever comes last has all of its say.
        self.is_rolled_back.store(true, Ordering::Relaxed);
        self.metrics.rolled_back();
        drop(window);
        let Canary {
            route, upstream, ..
        } = self;
        let Seen {
            requests,
            errors,
            slow,
        } = seen;
        log::error!(
            "route {route}: the branch {upstream} is rolled back: of {requests} requests {errors} failed and {slow} were slow; \
             northgate canaries reset {route} {upstream} takes it up again"
        );
    }

    /// It is served: the metrics have it from now on.
    pub fn show(&self) {
        self.metrics.show(self.is_rolled_back());
    }

    /// It is served no more, and no other in its place.
    pub fn hide(&self) {
        self.metrics.forget();
    }

    /// What it is judged by now, or what it was rolled back for.
    pub fn seen(&self, now: Instant) -> Seen {
        let mut window = self.lock();
        window.advance(now, self.rules.part);
        window.verdict.unwrap_or_else(|| window.sum())
    }

    /// Takes the branch up again, with nothing held against it.
    pub fn reset(&self) {
        let mut window = self.lock();
        *window = Window::new(Instant::now());
        self.is_rolled_back.store(false, Ordering::Relaxed);
        self.metrics.show(false);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn are_broken(&self, seen: Seen) -> bool {
        let is_reached = |ratio: Ratio, part| ratio.is_reached(part, seen.requests);
        let has_failed = self.errors.is_some_and(|it| is_reached(it, seen.errors));
        let is_slow = self.slow.is_some_and(|(_, it)| is_reached(it, seen.slow));
        seen.requests >= self.least && (has_failed || is_slow)
    }
}

impl Window {
    fn new(began: Instant) -> Window {
        Window {
            began,
            parts: [Seen::default(); PARTS as usize],
            current: 0,
            verdict: None,
        }
    }

    fn count(&mut self, now: Instant, part: Duration, is_error: bool, is_slow: bool) -> Seen {
        self.advance(now, part);
        let current = (self.current % PARTS) as usize;
        if let Some(seen) = self.parts.get_mut(current) {
            seen.requests += 1;
            seen.errors += u64::from(is_error);
            seen.slow += u64::from(is_slow);
        }
        self.sum()
    }

    /// Empties the parts whose time has passed.
    fn advance(&mut self, now: Instant, part: Duration) {
        let passed = now.saturating_duration_since(self.began);
        let number = u64::try_from(passed.as_nanos() / part.as_nanos().max(1)).unwrap_or(u64::MAX);
        let gone = number.saturating_sub(self.current).min(PARTS);
        for index in 1..=gone {
            let place = ((self.current + index) % PARTS) as usize;
            if let Some(seen) = self.parts.get_mut(place) {
                *seen = Seen::default();
            }
        }
        self.current = self.current.max(number);
    }

    fn sum(&self) -> Seen {
        let add = |sum: Seen, part: &Seen| Seen {
            requests: sum.requests + part.requests,
            errors: sum.errors + part.errors,
            slow: sum.slow + part.slow,
        };
        self.parts.iter().fold(Seen::default(), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::Metrics;

    fn canary(guard: &str) -> Arc<Canary> {
        let config: GuardConfig = toml::from_str(guard).unwrap();
        let metrics = Metrics::new().canary("r", "v2");
        Canary::build(
            ("r", "v2"),
            &config,
            Fingerprint::of_all([].into_iter()),
            metrics,
            None,
        )
    }

    #[test]
    fn errors_roll_back_and_only_enough_of_them() {
        let canary = canary("error_ratio = \"50%\"\nmin_requests = 4");
        let now = Instant::now();
        for is_error in [true, true, true] {
            canary.observe(now, is_error, None);
            assert!(!canary.is_rolled_back(), "too few to say");
        }
        for _ in 0..4 {
            canary.observe(now, false, None);
        }
        // At the first of these it was 3 of 4.
        assert!(canary.is_rolled_back());
        assert_eq!(canary.seen(now).errors, 3);
        assert_eq!(canary.seen(now).requests, 4);
        canary.reset();
        assert!(!canary.is_rolled_back());
        assert_eq!(canary.seen(now).requests, 0);
    }

    #[test]
    fn slow_answers_roll_back() {
        let canary = canary("latency = \"100ms\"\nslow_ratio = \"10%\"\nmin_requests = 10");
        let now = Instant::now();
        for _ in 0..19 {
            canary.observe(now, false, Some(Duration::from_millis(100)));
        }
        canary.observe(now, false, Some(Duration::from_millis(101)));
        assert!(!canary.is_rolled_back());
        for _ in 0..2 {
            canary.observe(now, false, Some(Duration::from_secs(1)));
        }
        assert!(canary.is_rolled_back());
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let canary = canary("error_ratio = \"50%\"\nmin_requests = 4\nwindow = \"10s\"");
        let now = Instant::now();
        for second in [0, 1, 2] {
            canary.observe(now + Duration::from_secs(second), true, None);
        }
        let later = now + Duration::from_secs(11);
        assert_eq!(canary.seen(later).requests, 1, "the two oldest are gone");
        canary.observe(later, true, None);
        assert!(!canary.is_rolled_back());
        assert_eq!(canary.seen(now + Duration::from_secs(1000)).requests, 0);
    }
}
