//! Where places and flows are that outlive a configuration, by name.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::room::find;
use super::{Edition, Flow, Gradient, KeyedPermits, Permits, Room};
use crate::observability::BulkheadMetrics;

/// Of each name what is there, for as long as anybody has it.
#[derive(Default)]
pub(super) struct Places {
    permits: ByName<Permits>,
    keyed_permits: ByName<KeyedPermits>,
    gradients: ByName<Gradient>,
    flows: Mutex<HashMap<FlowKey, Weak<Flow>>>,
}

type ByName<T> = Mutex<HashMap<Box<str>, Weak<T>>>;

/// By name and rate.
type FlowKey = (Box<str>, NonZero<u64>);

/// How many requests there may be at a time, or how fast bodies may flow, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InUse {
    /// Behind the door of an upstream or a route.
    Places {
        limit: u32,
        is_learned: bool,
        in_flight: u32,
        waiting: u32,
    },
    /// Of each caller; `limit` is for one, the others are of all.
    Concurrency {
        limit: u32,
        keys: usize,
        in_flight: usize,
        waiting: usize,
    },
    /// For each caller, in bytes a second.
    Bandwidth { rate: u64, keys: usize },
}

impl Room {
    /// The places that are or were called so; otherwise new ones.
    pub(super) fn permits(&self, name: &str, new: impl FnOnce() -> Arc<Permits>) -> Arc<Permits> {
        find(&self.places.permits, name.into(), new)
    }

    /// As `permits`, of those per key, and where they are counted.
    pub fn keyed_permits(
        &self,
        name: &str,
        keys: usize,
        limit: u32,
    ) -> (Arc<KeyedPermits>, BulkheadMetrics) {
        let new = || KeyedPermits::new(keys, limit);
        let permits = find(&self.places.keyed_permits, name.into(), new);
        (permits, self.registry().concurrency(name))
    }

    /// What is or was learned under this name; otherwise one that has learned nothing.
    pub(super) fn gradient(&self, name: &str, new: impl FnOnce() -> Gradient) -> Arc<Gradient> {
        find(&self.places.gradients, name.into(), || Arc::new(new()))
    }

    /// As `permits`, of bytes a second, where these are as many.
    pub fn flow(&self, name: &str, rate: NonZero<u64>, keys: usize) -> Arc<Flow> {
        let flow = find(&self.places.flows, (name.into(), rate), || {
            Arc::new(Flow::new(rate, keys, self.metrics(name)))
        });
        flow.begin(Edition::next());
        flow
    }

    /// Everything of what there may only be so much at a time, in the order of the names. What nobody has come to yet is
    /// as it was before. Of bandwidth it is what the newest configuration says. Callers are counted one by one, which is nothing for the request path.
    pub fn in_use(&self) -> Vec<(Box<str>, InUse)> {
        let places = each(&self.places.permits, |name, permits| {
            let places = InUse::Places {
                limit: permits.limit(),
                is_learned: permits.is_learned(),
                in_flight: permits.in_flight(),
                waiting: permits.waiting(),
            };
            (name.clone(), places)
        });
        let concurrency = each(&self.places.keyed_permits, |name, permits| {
            let counts = permits.counts();
            let concurrency = InUse::Concurrency {
                limit: permits.limit(),
                keys: counts.keys,
                in_flight: counts.in_flight,
                waiting: counts.waiting,
            };
            (name.clone(), concurrency)
        });
        let mut flows = each(&self.places.flows, |(name, rate), flow| {
            let bandwidth = InUse::Bandwidth {
                rate: rate.get(),
                keys: flow.keys(),
            };
            (flow.edition(), (name.clone(), bandwidth))
        });
        // Bodies that have begun still flow as fast as was said before.
        flows.sort_by_key(|(edition, _)| Reverse(*edition));
        let mut known = HashSet::new();
        flows.retain(|(_, (name, _))| known.insert(name.clone()));
        let flows = flows.into_iter().map(|(_, it)| it).collect();
        let mut all: Vec<_> = [places, concurrency, flows].into_iter().flatten().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Whether any caller has places of this name.
    pub(super) fn has_keyed_permits(&self, name: &str) -> bool {
        let permits = &self.places.keyed_permits;
        let permits = permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.get(name).is_some_and(|it| it.strong_count() > 0)
    }
}

/// Asks each of which somebody still has it, when the lock is free again.
fn each<K: Clone, V, T>(all: &Mutex<HashMap<K, Weak<V>>>, ask: impl Fn(&K, &V) -> T) -> Vec<T> {
    let alive = |(key, it): (&K, &Weak<V>)| Some((key.clone(), it.upgrade()?));
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let there: Vec<(K, Arc<V>)> = all.iter().filter_map(alive).collect();
    drop(all);
    there.iter().map(|(key, it)| ask(key, it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_bandwidth_the_newest_is_shown() {
        let room = Room::default();
        let flow = |rate: u64| room.flow("shop", NonZero::new(rate).unwrap(), 10);
        let shown = || room.in_use();
        let is = |rate| vec![("shop".into(), InUse::Bandwidth { rate, keys: 0 })];
        let first = flow(1000);
        assert_eq!(shown(), is(1000));
        let second = flow(2000);
        assert_eq!(shown(), is(2000));
        let again = flow(1000);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(shown(), is(1000));
        drop((first, again));
        assert_eq!(shown(), is(2000));
        drop(second);
        assert_eq!(shown(), vec![]);
    }
}
