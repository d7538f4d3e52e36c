//! A limit as it runs: its rules, and what every key has taken.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::overrides::Overrides;
use super::shared::{Mode, Shared, Sharing};
use super::table::Table;
use super::{Key, NamedRule, Now, Room, Rule, RuleStanding};
use crate::observability::LimitMetrics;

/// How many keys a limiter knows at most, unless it is told otherwise: some 50 MB with one rule of the usual kind.
pub const MAX_KEYS: usize = 1_000_000;

/// How a key stands after a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// One for each rule, in their order.
    pub rules: SmallVec<[RuleStanding; 4]>,
}

impl Standing {
    /// Whether what was asked for is within every rule, so that it was taken.
    pub fn is_within(&self) -> bool {
        self.rules.iter().all(RuleStanding::is_within)
    }

    /// Until every rule has what was asked for; `None` where one never will.
    pub fn wait(&self) -> Option<Duration> {
        let mut rules = self.rules.iter();
        rules.try_fold(Duration::ZERO, |longest, rule| {
            Some(longest.max(rule.wait?))
        })
    }

    /// As somebody else has decided, who has charged it.
    pub(super) fn into_within(mut self) -> Standing {
        for rule in &mut self.rules {
            rule.wait = Some(Duration::ZERO);
        }
        self
    }

    /// As somebody else has decided, who has not charged it: numbers may be rounded there.
    pub(super) fn into_beyond(mut self) -> Standing {
        if self.is_within() {
            for rule in &mut self.rules {
                rule.wait = Some(Duration::from_micros(1));
            }
        }
        self
    }
}

/// One number for each rule, in their order.
pub(super) type Counted = SmallVec<[u64; 2]>;

/// Rules, and what every key has taken of them.
pub struct Limiter {
    /// What operators call it: where it stands in the configuration.
    name: Box<str>,
    rules: Box<[NamedRule]>,
    table: Arc<Table>,
    metrics: Arc<LimitMetrics>,
    shared: Option<Box<Shared>>,
    overrides: Arc<Overrides>,
}

impl Limiter {
    /// A limiter of at most `keys` keys. What one of the same name has counted before goes on, if it was counted in the
    /// same windows: limits can be changed without giving everybody a new one.
    pub fn new(name: &str, rules: Vec<NamedRule>, keys: usize, room: &Room) -> Limiter {
        Limiter {
            name: name.into(),
            table: room.table(name, &rules, keys),
            metrics: room.metrics(name),
            overrides: room.overrides(name),
            rules: rules.into(),
            shared: None,
        }
    }

    /// One that counts together with other gateways. What it counts by itself it counts by the store's clock where that
    /// is what it decides by, and so in a table of its own.
    pub fn sharing(
        name: &str,
        rules: Vec<NamedRule>,
        keys: usize,
        room: &Room,
        sharing: Sharing,
    ) -> Limiter {
        let table = match sharing.mode() {
            Mode::Exact => room.table(name, &rules, keys),
            Mode::Fast => room.table_of_store(name, &rules, keys),
        };
        Limiter {
            name: name.into(),
            table,
            metrics: room.metrics(name),
            overrides: room.overrides(name),
            shared: Some(Box::new(sharing.share(name, &rules, room))),
            rules: rules.into(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn metrics(&self) -> &LimitMetrics {
        &self.metrics
    }

    pub fn rules(&self) -> &[NamedRule] {
        &self.rules
    }

    /// The rules as they hold for a key. Without overrides that is one relaxed load.
    pub(super) fn rules_of(&self, key: Key) -> Cow<'_, [NamedRule]> {
        let Some(factor) = self.overrides.factor(key) else {
            return Cow::Borrowed(&self.rules);
        };
        let times = |it: &NamedRule| it.rule.times(factor).named(&*it.name);
        Cow::Owned(self.rules.iter().map(times).collect())
    }

    pub(super) fn granted(&self) -> &Overrides {
        &self.overrides
    }

    /// Takes `cost` from every rule, or from none where one has not that much left.
    pub fn take(&self, key: Key, cost: u64, now: Now) -> Standing {
        let now = self.own(now);
        let fresh_in = |words: &[u64]| self.fresh_in(words, now);
        let rules = &*self.rules_of(key);
        self.table.with(key, fresh_in, |words| {
            let mut standing = weigh(rules, words, cost, now);
            if standing.is_within() {
                each(rules, words, |rule, words| rule.add(words, cost, now));
            } else {
                untaken(rules, words, &mut standing, now);
            }
            standing
        })
    }

    /// How a key stands that would take `cost`; nothing is taken.
    pub fn look(&self, key: Key, cost: u64, now: Now) -> Standing {
        let now = self.own(now);
        let rules = &*self.rules_of(key);
        self.table.look(key, |words| match words {
            Some(words) => weigh(rules, words, cost, now),
            None => {
                let words: SmallVec<[u64; 16]> = smallvec::smallvec![0; self.words()];
                weigh(rules, &words, cost, now)
            }
        })
    }

    /// Counts what has been taken already, whether or not it is within the limits. Gives how the key stands since.
    pub fn charge(&self, key: Key, cost: u64, now: Now) -> Standing {
        self.charge_each(key, cost, now).0
    }

    /// What `cost` is worth of each rule that holds for a key: see [`Rule::worth`].
    pub(super) fn worth(&self, key: Key, cost: u64) -> Counted {
        let rules = self.rules_of(key);
        rules.iter().map(|it| it.rule.worth(cost)).collect()
    }

    /// As [`Limiter::charge`]. Gives also what that is worth which each rule has counted.
    pub(super) fn charge_each(&self, key: Key, cost: u64, now: Now) -> (Standing, Counted) {
        let now = self.own(now);
        let fresh_in = |words: &[u64]| self.fresh_in(words, now);
        let rules = &*self.rules_of(key);
        self.table.with(key, fresh_in, |words| {
            let mut counted = Counted::new();
            each(rules, words, |rule, words| {
                counted.push(rule.worth(rule.charge(words, cost, now)));
            });
            (weigh(rules, words, 0, now).into_within(), counted)
        })
    }

    /// What that is worth of what a key has taken which counts still, of each rule; `None` where nothing is known of it.
    /// Unlike elsewhere, `now` is by the clock that is counted by.
    pub(super) fn owed(&self, key: Key, now: Now) -> Option<Counted> {
        self.table
            .look(key, |words| Some(self.owed_by(words?, now)))
    }

    /// As [`Limiter::owed`], of these words.
    pub(super) fn owed_by(&self, mut words: &[u64], now: Now) -> Counted {
        let owed = self.rules.iter().map(|NamedRule { rule, .. }| {
            let (own, rest) = words.split_at(rule.words());
            words = rest;
            rule.owed(own, now)
        });
        owed.collect()
    }

    /// Gives a key all of its limits again.
    pub fn reset(&self, key: Key) {
        self.table.forget(key);
    }

    /// Whether anything is counted of a key.
    pub fn knows(&self, key: Key) -> bool {
        self.table.look(key, |words| words.is_some())
    }

    /// How many keys are known.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_deref()
    }

    /// How a key with these words stands that would take `cost`, at a moment of the clock that they are of, by the rules
    /// that hold for it.
    pub(super) fn stand(rules: &[NamedRule], words: &[u64], cost: u64, now: Now) -> Standing {
        let mut standing = weigh(rules, words, cost, now);
        if !standing.is_within() {
            untaken(rules, words, &mut standing, now);
        }
        standing
    }

    /// Puts words in the place of those that a key has, and adds to them what was taken of each rule, as it is worth.
    pub(super) fn put(&self, key: Key, words: &[u64], taken: &[u64], now: Now) {
        let now = self.own(now);
        let fresh_in = |words: &[u64]| self.fresh_in(words, now);
        self.table.with(key, fresh_in, |own| {
            if own.len() == words.len() {
                own.copy_from_slice(words);
            }
            if taken.iter().any(|worth| *worth > 0) {
                let mut taken = taken.iter();
                each(&self.rules, own, |rule, words| {
                    rule.add_worth(words, taken.next().copied().unwrap_or(0), now);
                });
            }
        });
    }

    /// The moment by the clock that is counted by here.
    fn own(&self, now: Now) -> Now {
        match &self.shared {
            None => now,
            Some(shared) => shared.at(now),
        }
    }

    pub(super) fn words(&self) -> usize {
        self.rules.iter().map(|it| it.rule.words()).sum()
    }

    fn fresh_in(&self, mut words: &[u64], now: Now) -> u64 {
        let mut longest = 0;
        for NamedRule { rule, .. } in &self.rules {
            let (own, rest) = words.split_at(rule.words());
            longest = longest.max(rule.fresh_in(own, now));
            words = rest;
        }
        longest
    }
}

fn weigh(rules: &[NamedRule], mut words: &[u64], cost: u64, now: Now) -> Standing {
    let mut standings = SmallVec::new();
    for NamedRule { rule, .. } in rules {
        let (own, rest) = words.split_at(rule.words());
        standings.push(rule.weigh(own, cost, now));
        words = rest;
    }
    Standing { rules: standings }
}

/// Rules that would have had enough have not been charged where another had not.
fn untaken(rules: &[NamedRule], mut words: &[u64], standing: &mut Standing, now: Now) {
    for (NamedRule { rule, .. }, standing) in rules.iter().zip(&mut standing.rules) {
        let (own, rest) = words.split_at(rule.words());
        if standing.is_within() {
            *standing = rule.weigh(own, 0, now);
        }
        words = rest;
    }
}

fn each(rules: &[NamedRule], mut words: &mut [u64], mut act: impl FnMut(&Rule, &mut [u64])) {
    for NamedRule { rule, .. } in rules {
        let (own, rest) = words.split_at_mut(rule.words());
        act(rule, own);
        words = rest;
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
