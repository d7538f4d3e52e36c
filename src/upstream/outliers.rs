//! Outliers: what one endpoint has done lately, whether that is worse than it may be, and how long it is out for it.
//!
//! Tries only count here, and say that they have seen enough; whether the endpoint is ejected is decided by the task of
//! its upstream (`availability.rs`), which sees all of them.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outcome::{End, Outcome};
use super::outlier_config::OutlierConfig;
use super::window::Window;
use crate::text::Ratio;

/// One endpoint as the rules see it.
#[derive(Debug)]
pub(super) struct Outlier {
    rules: Rules,
    failed: AtomicU32,
    unanswered: AtomicU32,
    window: Window,
    /// What it has done, once that is enough; 0 until then. What comes after does not count.
    suspected: AtomicU8,
    /// For the task, and for whoever asks.
    record: Mutex<Record>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    consecutive_5xx: u32,
    consecutive_failures: u32,
    failure_ratio: Option<Ratio>,
    slow_call: Option<Duration>,
    slow_ratio: Ratio,
    min_requests: u64,
    window: Duration,
    base: Duration,
    longest: Duration,
    max_ejected: Ratio,
}

/// What an endpoint is ejected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Consecutive5xx = 1,
    ConsecutiveFailures,
    FailureRatio,
    Slow,
}

/// Being out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ejection {
    pub reason: Reason,
    pub until: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    ejection: Option<Ejection>,
    /// How many times the base it was out for last.
    times: u32,
    returned: Option<Instant>,
}

impl Outlier {
    /// One that is out for as long as the one `before` at its address, and goes on where that was if the rules are the same.
    pub(super) fn build(
        rules: &Rules,
        before: Option<&Arc<Outlier>>,
        now: Instant,
    ) -> Arc<Outlier> {
        match before {
            Some(before) if before.rules == *rules => before.clone(),
            before => {
                let outlier = Outlier::new(rules.clone(), now);
                if let Some(before) = before {
                    outlier.take_after(before, now);
                }
                Arc::new(outlier)
            }
        }
    }

    fn new(rules: Rules, now: Instant) -> Outlier {
        Outlier {
            window: Window::new(rules.window, now),
            rules,
            failed: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            suspected: AtomicU8::new(0),
            record: Mutex::default(),
        }
    }

    fn take_after(&self, before: &Outlier, now: Instant) {
        let mut record = *before.record();
        if let Some(ejection) = &mut record.ejection {
            ejection.until = ejection.until.min(now + self.rules.longest);
            self.suspected
                .store(ejection.reason as u8, Ordering::Relaxed);
        }
        *self.record() = record;
    }

    /// Takes in how a try has gone. True where it is enough now.
    pub(super) fn learn(&self, now: Instant, outcome: &Outcome) -> bool {
        if self.suspected.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let Some(reason) = self.judge(now, outcome) else {
            return false;
        };
        let first =
            self.suspected
                .compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
        first.is_ok()
    }

    fn judge(&self, now: Instant, outcome: &Outcome) -> Option<Reason> {
        let rules = &self.rules;
        let (mut unanswered, mut failed) = (0, 0);
        // Of who was overtaken nobody knows what it would have said.
        if outcome.end != End::Overtaken {
            let is_answered = matches!(outcome.end, End::Answered { .. });
            unanswered = count(&self.unanswered, !is_answered);
            failed = count(&self.failed, outcome.is_failure());
        }
        if rules.looks_at_shares() {
            let counts = outcome.counts(rules.slow_call);
            self.window.add(now, counts);
            if counts.failed + counts.slow > 0
                && let Some(reason) = self.judge_shares(now)
            {
                return Some(reason);
            }
        }
        match () {
            () if unanswered >= rules.consecutive_failures => Some(Reason::ConsecutiveFailures),
            () if failed >= rules.consecutive_5xx => Some(Reason::Consecutive5xx),
            () => None,
        }
    }

    fn judge_shares(&self, now: Instant) -> Option<Reason> {
        let rules = &self.rules;
        let sum = self.window.sum(now);
        if sum.total < rules.min_requests {
            return None;
        }
        let ratio = rules.failure_ratio;
        if ratio.is_some_and(|ratio| ratio.is_reached(sum.failed, sum.total)) {
            return Some(Reason::FailureRatio);
        }
        let is_slow = rules.slow_call.is_some() && rules.slow_ratio.is_reached(sum.slow, sum.total);
        is_slow.then_some(Reason::Slow)
    }

    /// What it has done, where that is enough and nothing has come of it yet.
    pub(super) fn suspicion(&self) -> Option<Reason> {
        let suspected = Reason::of(self.suspected.load(Ordering::Relaxed));
        suspected.filter(|_| self.record().ejection.is_none())
    }

    pub(super) fn ejection(&self) -> Option<Ejection> {
        self.record().ejection
    }

    pub(super) fn max_ejected(&self) -> Ratio {
        self.rules.max_ejected
    }

    /// Puts it out.
    pub(super) fn eject(&self, reason: Reason, now: Instant) -> Duration {
        let base = self.rules.base;
        let mut record = self.record();
        let served = record.returned.map(|it| now.saturating_duration_since(it));
        let forgiven = served.map_or(0, |served| served.as_nanos() / base.as_nanos().max(1));
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        // No more than the longest takes, so that what has been out often is forgiven in time.
        let times = record.times.saturating_sub(forgiven).saturating_add(1);
        record.times = times.min(self.rules.most_times());
        let length = base.saturating_mul(record.times).min(self.rules.longest);
        record.ejection = Some(Ejection {
            reason,
            until: now + length,
        });
        length
    }

    /// Lets it be: it is back, or was not put out, and begins anew.
    pub(super) fn acquit(&self, now: Instant) {
        let mut record = self.record();
        if record.ejection.take().is_some() {
            record.returned = Some(now);
        }
        drop(record);
        self.failed.store(0, Ordering::Relaxed);
        self.unanswered.store(0, Ordering::Relaxed);
        self.window.clear();
        self.suspected.store(0, Ordering::Relaxed);
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts in a row; nothing is written where there is nothing to forget.
fn count(row: &AtomicU32, goes_on: bool) -> u32 {
    if goes_on {
        return row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    }
    if row.load(Ordering::Relaxed) != 0 {
        row.store(0, Ordering::Relaxed);
    }
    0
}

impl Rules {
    pub(super) fn of(config: &OutlierConfig) -> Rules {
        let row = config.consecutive_5xx;
        let failures = config.consecutive_failures.unwrap_or(row);
        Rules {
            consecutive_5xx: row.get().into(),
            consecutive_failures: failures.get().into(),
            failure_ratio: config.failure_ratio,
            slow_call: config.slow_call.map(|slow| slow.as_std()),
            slow_ratio: config.slow_ratio,
            min_requests: config.min_requests.get().into(),
            window: config.window.as_std(),
            base: config.base_ejection.as_std(),
            longest: config.max_ejection.as_std(),
            max_ejected: config.max_ejected,
        }
    }

    fn looks_at_shares(&self) -> bool {
        self.failure_ratio.is_some() || self.slow_call.is_some()
    }

    /// How many times the base the longest ejection is, rounded up.
    fn most_times(&self) -> u32 {
        let times = self
            .longest
            .as_nanos()
            .div_ceil(self.base.as_nanos().max(1));
        u32::try_from(times).unwrap_or(u32::MAX).max(1)
    }
}

impl Reason {
    fn of(number: u8) -> Option<Reason> {
        [
            Reason::Consecutive5xx,
            Reason::ConsecutiveFailures,
            Reason::FailureRatio,
            Reason::Slow,
        ]
        .into_iter()
        .find(|reason| *reason as u8 == number)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Consecutive5xx => "consecutive_5xx",
            Reason::ConsecutiveFailures => "consecutive_failures",
            Reason::FailureRatio => "failure_ratio",
            Reason::Slow => "slow",
        }
    }
}

#[cfg(test)]
#[path = "outliers_tests.rs"]
mod tests;
