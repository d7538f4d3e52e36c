//! Where counts are that outlive a configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::in_force::Namesakes;
use super::overrides::Overrides;
use super::places::Places;
use super::shared::Fast;
use super::table::Table;
use super::{Gcra, InForce, KeyReader, Limiter, NamedRule, Now, Shape};
use crate::observability::{LimitMetrics, Metrics};

/// The tables of all limiters by name, and the places of all bulkheads. Configurations come and go; a table goes with the
/// last limiter that has it, and places with the last request that has one.
#[derive(Default)]
pub struct Room {
    metrics: Metrics,
    tables: Mutex<HashMap<Place, Vec<Laid>>>,
    limits: Mutex<HashMap<Box<str>, Weak<LimitMetrics>>>,
    pub(super) places: Places,
    /// What stores are still to be told.
    fast: Mutex<Exchanges>,
    overrides: Mutex<HashMap<Box<str>, Weak<Overrides>>>,
    in_force: Mutex<HashMap<Box<str>, Namesakes>>,
}

/// By what the keys there begin with.
type Exchanges = HashMap<Box<str>, Weak<Fast>>;

/// What has to be the same for one limiter to go on where another has stopped.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    name: Box<str>,
    keys: usize,
    clock: Clock,
}

/// A table, and what its words are of. A configuration that is compiled and never serves has one of its own where its
/// rules are others, and so does not get in the way of one that does.
struct Laid {
    columns: Box<[Column]>,
    table: Weak<Table>,
}

/// The words of one rule.
struct Column {
    name: Box<str>,
    shape: Shape,
    words: usize,
}

/// Whose moments the words are of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Clock {
    Own,
    Store,
}

impl Room {
    pub fn new(metrics: &Metrics) -> Room {
        Room {
            metrics: metrics.clone(),
            ..Room::default()
        }
    }

    /// The table that the limiter of this name has, or has had until now, if it means the same to these rules. Otherwise a
    /// new one, with what the other has of rules that are still there: what is taken after this and before the rules are in
    /// force is not in it.
    pub(super) fn table(&self, name: &str, rules: &[NamedRule], keys: usize) -> Arc<Table> {
        self.table_by(Clock::Own, name, rules, keys)
    }

    /// As [`Room::table`], where the words are of the clock of a store.
    pub(super) fn table_of_store(
        &self,
        name: &str,
        rules: &[NamedRule],
        keys: usize,
    ) -> Arc<Table> {
        self.table_by(Clock::Store, name, rules, keys)
    }

    fn table_by(&self, clock: Clock, name: &str, rules: &[NamedRule], keys: usize) -> Arc<Table> {
        let place = Place {
            name: name.into(),
            keys,
            clock,
        };
        let column = |it: &NamedRule| Column {
            name: it.name.clone(),
            shape: it.rule.shape(),
            words: it.rule.words(),
        };
        let columns: Box<[Column]> = rules.iter().map(column).collect();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() == tables.capacity() {
            // Before it takes more memory, as in `find`.
            tables.retain(|_, all| all.iter().any(|it| it.table.strong_count() > 0));
        }
        let all = tables.entry(place).or_default();
        all.retain(|it| it.table.strong_count() > 0);
        let is_same = |it: &Laid| {
            let shapes = |columns: &[Column]| -> Vec<_> {
                columns.iter().map(|it| it.shape.clone()).collect()
            };
            shapes(&it.columns) == shapes(&columns)
        };
        let same = all.iter().position(is_same).map(|at| all.remove(at));
        let table = match same.and_then(|it| it.table.upgrade()) {
            Some(table) => table,
            None => {
                let words = columns.iter().map(|it| it.words).sum();
                let table = Arc::new(Table::new(words, keys, self.metrics(name)));
                // What a store counts it begins anew with other rules, and so do those who only know what it has.
                if clock == Clock::Own
                    && let Some(last) = all.last()
                    && let Some(before) = last.table.upgrade()
                {
                    take_over(&table, &columns, &before, &last.columns);
                }
                table
            }
        };
        // The last one is the newest.
        all.push(Laid {
            columns,
            table: Arc::downgrade(&table),
        });
        table
    }

    /// What limiters have to tell a store of keys that begin like this there.
    pub(super) fn fast(&self, prefix: &str) -> Arc<Fast> {
        find(&self.fast, prefix.into(), Arc::default)
    }

    /// Has stores told what they do not know yet, once. For when nothing is counted any more.
    pub async fn tell_stores(&self) {
        let fast = || self.fast.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = fast().values().filter_map(Weak::upgrade).collect();
        let told = all.iter().map(|fast| fast.exchange());
        futures_util::future::join_all(told).await;
    }

    /// What operators have granted to keys of the limiter of this name, whatever its rules were.
    pub(super) fn overrides(&self, name: &str) -> Arc<Overrides> {
        find(&self.overrides, name.into(), Arc::default)
    }

    /// Has operators find a limiter, for as long as it is there.
    pub fn list(&self, limiter: &Arc<Limiter>, keys: Arc<dyn KeyReader>, is_shadow: bool) {
        let mut all = self.in_force();
        if all.len() == all.capacity() {
            // Before it takes more memory, as in `find`.
            all.retain(|_, it| !it.are_gone());
        }
        let namesakes = all.entry(limiter.name().into()).or_default();
        namesakes.add(limiter, keys, is_shadow);
    }

    /// All limits in force, in the order of their names.
    pub fn limits(&self) -> Vec<InForce> {
        let mut limits: Vec<_> = self
            .in_force()
            .values()
            .filter_map(Namesakes::newest)
            .collect();
        limits.sort_by(|one, other| one.limiter.name().cmp(other.limiter.name()));
        limits
    }

    /// The limit of this name, if it is in force.
    pub fn limit(&self, name: &str) -> Option<InForce> {
        self.in_force().get(name)?.newest()
    }

    fn in_force(&self) -> MutexGuard<'_, HashMap<Box<str>, Namesakes>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where decisions of the limit of this name are counted.
    pub fn metrics(&self, name: &str) -> Arc<LimitMetrics> {
        find(&self.limits, name.into(), || {
            Arc::new(self.metrics.limit(name))
        })
    }

    /// Where everything is counted.
    pub(super) fn registry(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether there is a limit of this name.
    pub fn has(&self, name: &str) -> bool {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let is_limit = limits.get(name).is_some_and(|it| it.strong_count() > 0);
        is_limit || self.has_keyed_permits(name)
    }
}

/// Fills a table with what another has of the same rules. That takes about a tenth of a second for a million keys.
fn take_over(to: &Table, columns: &[Column], from: &Table, before: &[Column]) {
    let sources = sources(columns, before);
    if sources.iter().all(Option::is_none) {
        return;
    }
    let now = Now::read().nanos;
    to.take_over(from, |old, mut new| {
        for (column, source) in columns.iter().zip(&sources) {
            let (own, rest) = new.split_at_mut(column.words);
            new = rest;
            let Some(source) = *source else { continue };
            let at: usize = before[..source].iter().map(|it| it.words).sum();
            own.copy_from_slice(&old[at..at + column.words]);
            if let (Shape::Gcra { interval: from, .. }, Shape::Gcra { interval, burst }) =
                (&before[source].shape, &column.shape)
            {
                own[0] = Gcra::carried(own[0], *from, (*interval, *burst), now);
            }
        }
    });
}

/// Which of the rules before each rule goes on with: one of its shape, of several that of its name; or else a rate of its
/// name, or any that is left. What was counted in windows of another length says nothing of this one.
fn sources(columns: &[Column], before: &[Column]) -> Vec<Option<usize>> {
    let is_rate = |column: &Column| matches!(column.shape, Shape::Gcra { .. });
    type Test<'t> = &'t dyn Fn(&Column, &Column) -> bool;
    let tests: [Test<'_>; 4] = [
        &|new, old| new.shape == old.shape && new.name == old.name,
        &|new, old| new.shape == old.shape,
        &|new, old| is_rate(new) && is_rate(old) && new.name == old.name,
        &|new, old| is_rate(new) && is_rate(old),
    ];
    let mut sources = vec![None; columns.len()];
    for test in tests {
        for (index, new) in columns.iter().enumerate() {
            if sources[index].is_none() {
                let is_free = |at: &usize| !sources.contains(&Some(*at));
                let mut free = (0..before.len()).filter(is_free);
                sources[index] = free.find(|at| test(new, &before[*at]));
            }
        }
    }
    sources
}

/// What is there under this key, if anybody has it still; otherwise a new one.
pub(super) fn find<K: Eq + std::hash::Hash, V>(
    all: &Mutex<HashMap<K, Weak<V>>>,
    key: K,
    make: impl FnOnce() -> Arc<V>,
) -> Arc<V> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = all.get(&key).and_then(Weak::upgrade) {
        return there;
    }
    if all.len() == all.capacity() {
        // Before it takes more memory: so each is looked at a constant number of times.
        all.retain(|_, it| it.strong_count() > 0);
    }
    let made = make();
    all.insert(key, Arc::downgrade(&made));
    made
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use super::super::{Gcra, Key, Limiter, Now, Rule, Sliding};
    use super::*;

    fn gcra() -> NamedRule {
        let five = NonZero::new(5).expect("five is not zero");
        Rule::Gcra(Gcra::new(five, Duration::from_secs(3600), five)).named("5/h")
    }

    fn sliding() -> NamedRule {
        let five = NonZero::new(5).expect("five is not zero");
        Rule::Sliding(Sliding::new(five, Duration::from_secs(3600))).named("5/h")
    }

    fn left(limiter: &Limiter) -> u64 {
        let now = Now {
            nanos: 1 << 40,
            unix: 0,
        };
        limiter.look(Key::hasher().finish(), 0, now).rules[0].remaining
    }

    fn take(limiter: &Limiter) {
        let now = Now {
            nanos: 1 << 40,
            unix: 0,
        };
        assert!(limiter.take(Key::hasher().finish(), 2, now).is_within());
    }

    #[test]
    fn what_never_serves_takes_nobodys_counts_away() {
        let room = Room::default();
        let first = Limiter::new("a", vec![gcra()], 64, &room);
        take(&first);
        // A configuration that is compiled, and refused.
        drop(Limiter::new("a", vec![sliding()], 64, &room));
        let second = Limiter::new("a", vec![gcra()], 64, &room);
        assert_eq!(left(&second), 3);
        drop(first);
        assert_eq!(left(&Limiter::new("a", vec![gcra()], 64, &room)), 3);
        // Others, and the same after nobody has had it.
        assert_eq!(left(&Limiter::new("b", vec![gcra()], 64, &room)), 5);
        assert_eq!(left(&Limiter::new("a", vec![sliding()], 64, &room)), 5);
        drop(second);
        assert_eq!(left(&Limiter::new("a", vec![gcra()], 64, &room)), 5);
    }

    fn rate(count: u64, period: u64, burst: u64) -> NamedRule {
        let number = |number| NonZero::new(number).expect("above zero");
        let gcra = Gcra::new(number(count), Duration::from_secs(period), number(burst));
        Rule::Gcra(gcra).named(format!("{count}/{period}"))
    }

    fn all_left(limiter: &Limiter) -> Vec<u64> {
        let standing = limiter.look(Key::hasher().finish(), 0, Now::read());
        standing.rules.iter().map(|it| it.remaining).collect()
    }

    fn limiter(rules: Vec<NamedRule>, room: &Room) -> Limiter {
        Limiter::new("a", rules, 64, room)
    }

    #[test]
    fn what_was_taken_stays_taken_where_a_rate_changes() {
        let room = Room::default();
        let slow = limiter(vec![rate(1, 3600, 10)], &room);
        let key = Key::hasher().finish();
        assert!(slow.take(key, 10, Now::read()).is_within());
        for (count, period, burst, left) in [(1, 60, 40, 30), (1, 7200, 15, 5), (1, 86_400, 9, 0)] {
            let changed = limiter(vec![rate(count, period, burst)], &room);
            assert_eq!(all_left(&changed), [left]);
        }
        // Ten hours are ten milliseconds of this one.
        let fast = limiter(vec![rate(1000, 1, 2000)], &room);
        assert!(all_left(&fast)[0] >= 1990);
        drop(slow);
    }

    #[test]
    fn what_a_store_counts_begins_anew_where_a_rate_changes() {
        let room = Room::default();
        let table = |rule: NamedRule| room.table_of_store("a", &[rule], 64);
        let key = Key::hasher().finish();
        let first = table(rate(1, 3600, 10));
        first.with(key, |_| 0, |words| words[0] = u64::MAX);
        assert!(Arc::ptr_eq(&first, &table(rate(1, 3600, 10))));
        for other in [rate(1, 60, 10), rate(1, 3600, 9)] {
            assert_eq!(table(other).len(), 0);
        }
    }

    #[test]
    fn rules_keep_their_counts_where_others_come_and_go() {
        let room = Room::default();
        let hour = || rate(1, 3600, 10);
        let day = || rate(1, 86_400, 20);
        let first = limiter(vec![hour(), sliding(), day()], &room);
        assert!(
            first
                .take(Key::hasher().finish(), 3, Now::read())
                .is_within()
        );
        assert_eq!(all_left(&first), [7, 2, 17]);
        let other_way = limiter(vec![day(), hour(), sliding()], &room);
        assert_eq!(all_left(&other_way), [17, 7, 2]);
        let fewer = limiter(vec![sliding()], &room);
        assert_eq!(all_left(&fewer), [2]);
        let more = limiter(vec![hour(), sliding()], &room);
        assert_eq!(all_left(&more), [10, 2]);
    }

    #[test]
    fn metrics_go_with_the_last_limiter() {
        let metrics = Metrics::new();
        let room = Room::new(&metrics);
        let keys = || {
            let text = String::from_utf8(metrics.expose()).expect("text");
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("northgate_limit_keys{northgate_limit=\"a\"} "));
            line.map(str::to_owned)
        };
        let first = Limiter::new("a", vec![gcra()], 64, &room);
        assert_eq!(keys(), None);
        take(&first);
        let second = Limiter::new("a", vec![sliding()], 64, &room);
        take(&second);
        assert_eq!(keys().as_deref(), Some("2"));
        first.reset(Key::hasher().finish());
        assert_eq!(keys().as_deref(), Some("1"));
        assert!(room.has("a") && !room.has("b"));
        drop((first, second));
        assert_eq!(keys().as_deref(), Some("0"));
        assert!(!room.has("a"));
    }
}
