//! Where counts are that outlive a configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::table::Table;
use super::{NamedRule, Permits, Shape};
use crate::observability::{LimitMetrics, Metrics};

/// The tables of all limiters by name, and the places of all bulkheads. Configurations come and go; a table goes with the
/// last limiter that has it, and places with the last request that has one.
#[derive(Default)]
pub struct Room {
    metrics: Metrics,
    tables: Mutex<HashMap<Place, Weak<Table>>>,
    limits: Mutex<HashMap<Box<str>, Weak<LimitMetrics>>>,
    permits: Mutex<HashMap<Box<str>, Weak<Permits>>>,
}

/// What has to be the same for one limiter to go on where another has stopped. A configuration that is compiled and
/// never serves does not get in the way of one that does.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    name: Box<str>,
    shape: Box<[Shape]>,
    keys: usize,
}

impl Room {
    pub fn new(metrics: &Metrics) -> Room {
        Room {
            metrics: metrics.clone(),
            ..Room::default()
        }
    }

    /// The table that the limiter of this name has, or has had until now, if it means the same to these rules; otherwise
    /// a new one.
    pub(super) fn table(&self, name: &str, rules: &[NamedRule], keys: usize) -> Arc<Table> {
        let place = Place {
            name: name.into(),
            shape: rules.iter().map(|it| it.rule.shape()).collect(),
            keys,
        };
        let words = rules.iter().map(|it| it.rule.words()).sum();
        find(&self.tables, place, || {
            Arc::new(Table::new(words, keys, self.metrics(name)))
        })
    }

    /// The places that are or were called so; otherwise new ones.
    pub(super) fn permits(&self, name: &str, new: impl FnOnce() -> Arc<Permits>) -> Arc<Permits> {
        find(&self.permits, name.into(), new)
    }

    /// Where decisions of the limit of this name are counted.
    pub fn metrics(&self, name: &str) -> Arc<LimitMetrics> {
        find(&self.limits, name.into(), || {
            Arc::new(self.metrics.limit(name))
        })
    }

    /// Whether there is a limit of this name.
    pub fn has(&self, name: &str) -> bool {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits.get(name);
        limit.is_some_and(|limit| limit.strong_count() > 0)
    }
}

/// What is there under this key, if anybody has it still; otherwise a new one.
fn find<K: Eq + std::hash::Hash, V>(
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
