//! How many requests an upstream can serve at a time, learned from how long it takes to answer.
//!
//! ```toml
//! [upstreams.orders]
//! endpoints = ["10.0.0.5:8002"]
//! adaptive_concurrency = { min = 4, max = 500 }
//! queue = { size = 100, timeout = "500ms" }
//! ```
//!
//! As long as answers come about as fast as they do without a queue, more may be in flight; when they become slower,
//! fewer. By Little's law what is in flight beyond that does not get more done but waits at the upstream, where nobody
//! can choose who is served first.
//!
//! # Why this one
//! It is the gradient of Netflix's concurrency-limits (`Gradient2`), with another reference. AIMD needs to be told which
//! time is too long, which nobody keeps up to date; Envoy's gradient learns it, but lets nearly no request through for
//! as long as that takes, every minute. Gradient2 compares with the long-term average, and needs neither; but where an
//! upstream is overloaded for long, that average is one of overload, and the limit creeps up. Here the reference rises
//! only where the time is the upstream's own and not that of a queue that the limit lets it have: while the limit does
//! not bind, at its `min`, and where half of the limit has made nothing faster. It falls at once.
//!
//! Twice a second, or when there are ten answers, the median time to the first byte `t` is set against the reference
//! `r`, of which 1.5 times is tolerated: with `g = max(½, min(1, 1.5 r / t))`, the limit becomes `g × limit + √limit`;
//! half of the way where that is less, and without the root where `g` is ½. It does not grow where less than half of it
//! is used. Where more than one in ten of the answers is a 503 or does not come in time, it shrinks by a tenth at least.
//! Other answers from 400 on are neither: how long it takes to fail, or to say that there is no such thing, tells nothing
//! of how long it takes to serve.
//!
//! What is learned belongs to the upstream's name: it outlives reloads, also those that change the upstream, and requests
//! of the configuration before go on teaching it. It is forgotten where `adaptive_concurrency` or the upstream is taken out,
//! with the last of those requests.
//!
//! A client that leaves, is slow or has little time teaches nothing. But a 503 of the upstream counts whoever has brought it
//! about: where single callers can make an upstream answer 503, they can make its limit smaller for all, down to `min`. Have
//! such an upstream answer 429 where it means one caller, limit callers before it, and choose `min` by what all need.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Spanned, Subject};

/// How far the limit may go. It is of no use for an upstream most of whose responses are streams without an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AdaptiveConcurrencyConfig")]
pub struct Config {
    /// The limit is never less. Default 4.
    pub min: Option<Spanned<NonZeroU32>>,
    /// The limit is never more. Default: `max_in_flight`, or 1000.
    pub max: Option<Spanned<NonZeroU32>>,
    /// The limit as long as nothing is learned yet. Default 20, where that is between the two.
    pub initial: Option<Spanned<NonZeroU32>>,
}

const USUAL_MIN: u32 = 4;
const USUAL_MAX: u32 = 1000;
const USUAL_INITIAL: u32 = 20;

/// How long answers are gathered before the limit is set anew, and how many there must be.
const WINDOW: Duration = Duration::from_millis(500);
const FEWEST: u32 = 10;
/// How many times as long as without a queue an answer may take.
const TOLERANCE: f64 = 1.5;
/// The share of the difference by which the reference follows what is slower, and what is faster.
const RISE: f64 = 0.05;
const FALL: f64 = 0.5;
/// The most that the limit shrinks by, before half of it is taken back.
const STEEPEST: f64 = 0.5;

/// Between what the limit is, and where it begins.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    min: u32,
    max: u32,
    initial: u32,
}

/// The limit of one upstream, and what it is learned from. An answer costs a few atomic operations.
#[derive(Debug)]
pub struct Gradient {
    made: Instant,
    /// Answers of this window by the time that they took; see [`bucket`].
    times: Box<[AtomicU32]>,
    answers: AtomicU32,
    /// Those that say that there were too many.
    overloads: AtomicU32,
    /// The most that were in flight.
    peak: AtomicU32,
    /// When the window ends, in microseconds after `made`.
    end: AtomicU64,
    learned: Mutex<Learned>,
}

#[derive(Clone, Copy, Debug)]
struct Learned {
    min: f64,
    max: f64,
    limit: f64,
    /// The median time in seconds without a queue; 0 where nothing is known yet.
    reference: f64,
    /// The limit and the median that a smaller limit is compared with.
    slowest: (f64, f64),
}

impl Bounds {
    #[cfg(test)]
    pub(super) fn new(min: u32, max: u32, initial: u32) -> Bounds {
        Bounds { min, max, initial }
    }

    /// `None` after diagnostics. `most` is the upstream's `max_in_flight`.
    pub fn build(
        config: &Config,
        most: Option<NonZeroU32>,
        subject: &mut Subject<'_>,
    ) -> Option<Bounds> {
        let errors = subject.error_count();
        let number = |said: &Option<Spanned<NonZeroU32>>| said.as_ref().map(|it| it.value.get());
        let max = number(&config.max).or(most.map(NonZeroU32::get));
        let max = max.unwrap_or(USUAL_MAX);
        if let (Some(said), Some(most)) = (&config.max, most)
            && said.value > most
        {
            let what = format!("must be at most max_in_flight = {most}, got {}", said.value);
            subject.key("max").error(said.span, what);
        }
        let min = number(&config.min).unwrap_or(USUAL_MIN.min(max));
        if let Some(said) = config.min.as_ref().filter(|_| min > max) {
            let what = format!("must be at most max = {max}, got {min}");
            subject.key("min").error(said.span, what);
        }
        if let Some(said) = &config.initial
            && !(min..=max).contains(&said.value.get())
        {
            let what = format!("must be from {min} to {max}, got {}", said.value);
            subject.key("initial").error(said.span, what);
        }
        (subject.error_count() == errors).then(|| Bounds {
            min,
            max,
            initial: number(&config.initial).unwrap_or(USUAL_INITIAL.clamp(min, max)),
        })
    }
}

impl Gradient {
    /// One that has learned nothing.
    pub fn new(bounds: Bounds) -> Gradient {
        Gradient {
            made: Instant::now(),
            times: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            answers: AtomicU32::new(0),
            overloads: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            end: AtomicU64::new(micros(WINDOW)),
            learned: Mutex::new(Learned {
                min: f64::from(bounds.min),
                max: f64::from(bounds.max),
                limit: f64::from(bounds.initial),
                reference: 0.0,
                slowest: (0.0, 0.0),
            }),
        }
    }

    /// What was learned until now.
    pub fn limit(&self) -> u32 {
        self.learned().limit as u32
    }

    /// Between what the limit is from now on. What it is then.
    pub fn bound(&self, bounds: Bounds) -> u32 {
        let mut learned = self.learned();
        learned.min = f64::from(bounds.min);
        learned.max = f64::from(bounds.max);
        learned.limit = learned.limit.clamp(learned.min, learned.max);
        learned.limit as u32
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer has begun after `time`, while so many were in flight. The new limit, where it is time for one.
    pub fn answered(&self, now: Instant, time: Duration, in_flight: u32) -> Option<u32> {
        if let Some(times) = self.times.get(bucket(time)) {
            times.fetch_add(1, Ordering::Relaxed);
        }
        self.seen(now, in_flight)
    }

    /// The upstream has said that it has too much to do, or nothing in time.
    pub fn overloaded(&self, now: Instant, in_flight: u32) -> Option<u32> {
        self.overloads.fetch_add(1, Ordering::Relaxed);
        self.seen(now, in_flight)
    }

    fn seen(&self, now: Instant, in_flight: u32) -> Option<u32> {
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let now = micros(now.saturating_duration_since(self.made));
        if answers < FEWEST || now < self.end.load(Ordering::Relaxed) {
            return None;
        }
        // Whoever comes second has nothing to do.
        let mut learned = self.learned.try_lock().ok()?;
        if now < self.end.load(Ordering::Relaxed) {
            return None;
        }
        self.end.store(now + micros(WINDOW), Ordering::Relaxed);
        *learned = self.learn(*learned);
        Some(learned.limit as u32)
    }

    /// Ends the window. Answers that come meanwhile may count for either.
    fn learn(&self, before: Learned) -> Learned {
        let mut learned = before;
        let limit = before.limit;
        let take = |count: &AtomicU32| count.swap(0, Ordering::Relaxed);
        let times: Vec<u32> = self.times.iter().map(take).collect();
        let answers = take(&self.answers).max(1);
        let is_overloaded = take(&self.overloads) * 10 > answers;
        let peak = f64::from(take(&self.peak));
        let median = median(&times);
        let mut gradient = 1.0;
        if let Some(median) = median {
            let is_least = limit.floor() <= learned.min;
            learned.refer(median, peak >= limit.floor(), is_least);
            gradient = (TOLERANCE * learned.reference / median).clamp(STEEPEST, 1.0);
        }
        if is_overloaded {
            gradient = gradient.min(0.8);
        }
        // With headroom, four would be the least that it could come down to.
        let headroom = match is_overloaded || gradient == STEEPEST {
            true => 0.0,
            false => limit.sqrt(),
        };
        let target = limit * gradient + headroom;
        let next = match target < limit {
            true => f64::midpoint(limit, target),
            false if peak * 2.0 >= limit => target,
            false => limit,
        };
        learned.limit = next.clamp(learned.min, learned.max);
        learned
    }
}

impl Learned {
    /// Takes in the median time of a window in which the limit did or did not bind, and was or was not the least.
    fn refer(&mut self, median: f64, binds: bool, is_least: bool) {
        let (limit, slowest) = self.slowest;
        let begins = !binds || self.limit > limit || median > slowest;
        let is_half = self.limit * 2.0 <= limit;
        // A queue that is half as long takes half as long.
        let is_no_queue = is_half && !begins && median > slowest * 0.75;
        if begins || is_half {
            self.slowest = (self.limit, median);
        }
        self.reference = match self.reference {
            0.0 => median,
            known if median < known => known + (median - known) * FALL,
            _ if is_no_queue => median,
            known if !binds || is_least => known + (median - known) * RISE,
            known => known,
        };
    }
}

/// Four for each doubling, from 64 µs to more than a minute.
const BUCKETS: usize = 84;
const SMALLEST_BITS: u32 = 6;

/// Where answers of this time are counted: by its highest bit and the two below it.
fn bucket(time: Duration) -> usize {
    let micros = micros(time).max(1 << SMALLEST_BITS);
    let highest = micros.ilog2();
    let next = (micros >> (highest - 2)) & 3;
    let bucket = (highest - SMALLEST_BITS) * 4 + next as u32;
    (bucket as usize).min(BUCKETS - 1)
}

/// The middle of a bucket, in seconds.
fn middle(bucket: usize) -> f64 {
    let doubling = (1u64 << (bucket / 4 + SMALLEST_BITS as usize)) as f64;
    let quarter = (bucket % 4) as f64 + 0.5;
    doubling * (1.0 + quarter / 4.0) / 1e6
}

fn median(times: &[u32]) -> Option<f64> {
    let all: u32 = times.iter().sum();
    let mut left = all.div_ceil(2);
    let mut counts = times.iter().enumerate();
    let (bucket, _) = counts.find(|(_, count)| {
        left = left.saturating_sub(**count);
        left == 0
    })?;
    (all > 0).then(|| middle(bucket))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream that serves so many at a time, each for so long, and lets the others wait. As many requests are in
    /// flight as are wanted and the limit allows.
    struct Upstream {
        capacity: f64,
        time: Duration,
    }

    impl Upstream {
        /// The limit after so many windows.
        fn run(&self, gradient: &Gradient, now: &mut Instant, wanted: u32, windows: usize) -> u32 {
            for _ in 0..windows {
                let in_flight = wanted.min(gradient.limit());
                let time = self
                    .time
                    .mul_f64((f64::from(in_flight) / self.capacity).max(1.0));
                for _ in 0..50 {
                    *now += WINDOW / 50;
                    gradient.answered(*now, time, in_flight);
                }
            }
            gradient.limit()
        }
    }

    fn gradient(min: u32, max: u32, initial: u32) -> Gradient {
        Gradient::new(Bounds::new(min, max, initial))
    }

    fn upstream(capacity: f64, millis: u64) -> Upstream {
        Upstream {
            capacity,
            time: Duration::from_millis(millis),
        }
    }

    #[test]
    fn the_limit_finds_what_the_upstream_can_do_and_stays_there() {
        for (capacity, initial) in [(40.0, 20), (40.0, 900), (200.0, 20), (8.0, 4)] {
            let (gradient, mut now) = (gradient(4, 1000, initial), Instant::now());
            let upstream = upstream(capacity, 20);
            // It has been seen with little to do.
            upstream.run(&gradient, &mut now, 3, 4);
            let soon = upstream.run(&gradient, &mut now, 2000, 60);
            // Twice the capacity is what the tolerance and the headroom come to for a small one.
            let good = capacity as u32..=(capacity * 2.5) as u32;
            assert!(good.contains(&soon), "{soon} for {capacity}");
            let later = upstream.run(&gradient, &mut now, 2000, 7200);
            assert!(
                good.contains(&later),
                "an hour later {later} for {capacity}"
            );
        }
    }

    #[test]
    fn it_follows_an_upstream_that_becomes_slow_or_fast() {
        let (gradient, mut now) = (gradient(4, 1000, 20), Instant::now());
        upstream(100.0, 20).run(&gradient, &mut now, 3, 4);
        upstream(100.0, 20).run(&gradient, &mut now, 2000, 60);
        let few = upstream(10.0, 20).run(&gradient, &mut now, 2000, 60);
        assert!((10..=30).contains(&few), "{few}");
        let many = upstream(100.0, 20).run(&gradient, &mut now, 2000, 60);
        assert!((100..=250).contains(&many), "{many}");
        // Ten times slower by itself, and for good: that is learned.
        let slow = upstream(100.0, 200).run(&gradient, &mut now, 2000, 60);
        assert!((100..=250).contains(&slow), "{slow}");
    }

    #[test]
    fn it_does_not_grow_unused_and_keeps_its_bounds() {
        let (gradient, mut now) = (gradient(4, 100, 20), Instant::now());
        assert_eq!(upstream(1000.0, 5).run(&gradient, &mut now, 9, 100), 20);
        assert_eq!(upstream(1000.0, 5).run(&gradient, &mut now, 2000, 100), 100);
        for _ in 0..1000 {
            now += WINDOW / 20;
            gradient.overloaded(now, 100);
        }
        assert_eq!(gradient.limit(), 4);
    }

    #[test]
    fn other_bounds_take_nothing_away_of_what_was_learned_within_them() {
        let (learned, mut now) = (gradient(4, 1000, 20), Instant::now());
        let soon = upstream(100.0, 20).run(&learned, &mut now, 2000, 60);
        let bounds = |min, max| Bounds::new(min, max, min);
        assert_eq!(learned.bound(bounds(2, 500)), soon);
        assert_eq!(learned.bound(bounds(2, 30)), 30);
        assert_eq!(upstream(100.0, 20).run(&learned, &mut now, 2000, 9), 30);
        assert_eq!(learned.bound(bounds(40, 50)), 40);
    }

    #[test]
    fn times_are_told_apart_to_an_eighth() {
        for micros in [64u64, 100, 999, 5_000, 20_000, 333_333, 30_000_000] {
            let seen = middle(bucket(Duration::from_micros(micros)));
            let off = seen * 1e6 / micros as f64;
            assert!((0.87..1.13).contains(&off), "{micros} µs: {seen} s");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(median(&[0; BUCKETS]), None);
    }
}
