//! A rule, whatever its algorithm, and the moment that it is asked at.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{Calendar, Factor, Gcra, Sliding};
use crate::observability::unix_time;

/// Times of the monotonic clock are counted from here. It lies a second before the first of them, so that zero, which is
/// what the words of a new key are, is a time long ago.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
const BEFORE: u64 = 1_000_000_000;

/// A moment, read once for all rules that are asked about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of a clock that nobody sets.
    pub nanos: u64,
    /// Unix time in seconds, for the calendar.
    pub unix: u64,
}

impl Now {
    pub fn read() -> Now {
        Now::at(Instant::now())
    }

    /// `now` has just been.
    pub fn at(now: Instant) -> Now {
        let since = now.saturating_duration_since(*EPOCH).as_nanos();
        Now {
            nanos: u64::try_from(since)
                .unwrap_or(u64::MAX)
                .saturating_add(BEFORE),
            unix: unix_time(now).as_secs(),
        }
    }
}

/// How much of something is allowed in a time.
#[derive(Clone, Debug)]
pub enum Rule {
    Gcra(Gcra),
    Sliding(Sliding),
    Calendar(Calendar),
}

/// A rule of a limiter, and what it is called there: no two are called the same.
#[derive(Clone, Debug)]
pub struct NamedRule {
    /// Printable ASCII, as clients are told it: `10/s`.
    pub name: Box<str>,
    pub rule: Rule,
}

/// What has to be the same for the words of one rule to mean something to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// In nanoseconds.
    Gcra {
        interval: u64,
        burst: u64,
    },
    Sliding {
        window: Duration,
    },
    Calendar {
        period: super::Period,
        zone: Box<str>,
    },
}

/// How a key stands with one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleStanding {
    /// How much is allowed in a window.
    pub quota: u64,
    /// What can still be taken at once.
    pub remaining: u64,
    /// Until there is more than that, where nothing remains.
    pub next: Duration,
    /// Until all of the limit can be taken again.
    pub reset: Duration,
    /// Until what was asked for can be had: zero where it can be had now, `None` where it never can, because it is more
    /// than the whole limit.
    pub wait: Option<Duration>,
}

impl RuleStanding {
    pub fn is_within(&self) -> bool {
        self.wait == Some(Duration::ZERO)
    }
}

impl Rule {
    pub fn named(self, name: impl Into<Box<str>>) -> NamedRule {
        NamedRule {
            name: name.into(),
            rule: self,
        }
    }

    /// One that allows so many times as much, and whose words mean the same. Of a rate that is so much more often, and so
    /// many more at once: who has used up a share of it has used up that share still.
    pub(super) fn times(&self, factor: Factor) -> Rule {
        match self {
            Rule::Gcra(gcra) => Rule::Gcra(gcra.times(factor)),
            Rule::Sliding(sliding) => Rule::Sliding(sliding.times(factor)),
            Rule::Calendar(calendar) => Rule::Calendar(calendar.times(factor)),
        }
    }

    /// How many words of state a key has.
    pub(super) fn words(&self) -> usize {
        match self {
            Rule::Gcra(_) => Gcra::WORDS,
            Rule::Sliding(_) => Sliding::WORDS,
            Rule::Calendar(_) => Calendar::WORDS,
        }
    }

    pub fn shape(&self) -> Shape {
        match self {
            Rule::Gcra(gcra) => Shape::Gcra {
                interval: gcra.interval(),
                burst: gcra.burst(),
            },
            Rule::Sliding(sliding) => Shape::Sliding {
                window: sliding.window(),
            },
            Rule::Calendar(calendar) => calendar.shape(),
        }
    }

    /// How a key would stand that takes `cost` now; as it stands where that is more than it may have.
    pub(super) fn weigh(&self, words: &[u64], cost: u64, now: Now) -> RuleStanding {
        match self {
            Rule::Gcra(gcra) => gcra.weigh(words, cost, now.nanos),
            Rule::Sliding(sliding) => sliding.weigh(words, cost, now.nanos),
            Rule::Calendar(calendar) => calendar.weigh(words, cost, now.unix),
        }
    }

    /// Counts what was admitted, here or elsewhere.
    pub(super) fn add(&self, words: &mut [u64], cost: u64, now: Now) {
        match self {
            Rule::Gcra(gcra) => gcra.add(words, cost, now.nanos),
            Rule::Sliding(sliding) => sliding.add(words, cost, now.nanos),
            Rule::Calendar(calendar) => calendar.add(words, cost, now.unix),
        }
    }

    /// Counts what is to be paid afterwards, whether or not it is within the limit. Gives how much of it was counted.
    pub(super) fn charge(&self, words: &mut [u64], cost: u64, now: Now) -> u64 {
        if let Rule::Gcra(gcra) = self {
            return gcra.charge(words, cost, now.nanos);
        }
        self.add(words, cost, now);
        cost
    }

    /// What is added to the words where so much is taken, which means the same whatever factor a key has: of a rate the
    /// nanoseconds that it takes to come back, of a window how much it is.
    pub(super) fn worth(&self, cost: u64) -> u64 {
        match self {
            Rule::Gcra(gcra) => gcra.worth(cost),
            Rule::Sliding(_) | Rule::Calendar(_) => cost,
        }
    }

    /// As [`Rule::add`], of what is worth so much.
    pub(super) fn add_worth(&self, words: &mut [u64], worth: u64, now: Now) {
        match self {
            Rule::Gcra(_) => Gcra::add_worth(words, worth, now.nanos),
            Rule::Sliding(_) | Rule::Calendar(_) => self.add(words, worth, now),
        }
    }

    /// What that is worth of what was taken which counts still.
    pub(super) fn owed(&self, words: &[u64], now: Now) -> u64 {
        match self {
            Rule::Gcra(_) => Gcra::owed(words, now.nanos),
            Rule::Sliding(sliding) => sliding.owed(words, now.nanos),
            Rule::Calendar(calendar) => calendar.owed(words, now.unix),
        }
    }

    /// In about how many nanoseconds the words say nothing that those of a new key would not say; zero is now.
    pub(super) fn fresh_in(&self, words: &[u64], now: Now) -> u64 {
        match self {
            Rule::Gcra(_) => Gcra::fresh_in(words, now.nanos),
            Rule::Sliding(sliding) => sliding.fresh_in(words, now.nanos),
            Rule::Calendar(calendar) => calendar.fresh_in(words, now.unix),
        }
    }

    /// How much is allowed in a window: what clients are told.
    pub fn quota(&self) -> u64 {
        match self {
            Rule::Gcra(gcra) => gcra.burst(),
            Rule::Sliding(sliding) => sliding.limit(),
            Rule::Calendar(calendar) => calendar.limit(),
        }
    }

    /// A time of a standing, as clients are told it.
    pub fn told(&self, time: Duration) -> Duration {
        match self {
            Rule::Gcra(gcra) => gcra.told(time),
            Rule::Sliding(_) | Rule::Calendar(_) => time,
        }
    }

    /// The time that [`Rule::quota`] is for; of a rate, how long a burst takes to come back; of a month, thirty days.
    pub fn window(&self) -> Duration {
        match self {
            Rule::Gcra(gcra) => gcra.window(),
            Rule::Sliding(sliding) => sliding.window(),
            Rule::Calendar(calendar) => calendar.period().length(),
        }
    }
}
