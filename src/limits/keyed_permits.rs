//! Places per key: so many at a time for each of however many callers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ahash::RandomState;
use tokio::sync::oneshot;

use super::permits::{Holder, Patience, Permit, Refused, Turn, Waiting};
use super::queue::{Answer, Queue, Ticket};
use super::terms::Terms;
use super::{Edition, Key};

const SHARDS: usize = 64;

/// Places per key, for each as many. A key is known for as long as it has a place or waits for one, so what is remembered
/// is in proportion to what is in flight; beyond `capacity` of them, whoever is not known yet gets no place.
#[derive(Debug)]
pub struct KeyedPermits {
    shards: Box<[Mutex<Shard>]>,
    terms: Terms,
    /// Keys per shard.
    capacity: usize,
    hasher: RandomState,
}

type Shard = HashMap<Key, Places, RandomState>;

#[derive(Debug, Default)]
struct Places {
    in_flight: u32,
    /// Made for the first that waits.
    queue: Option<Box<Queue>>,
}

/// What all keys have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys that have a place or wait for one.
    pub keys: usize,
    pub in_flight: usize,
    pub waiting: usize,
}

impl KeyedPermits {
    /// So many places (`limit`) for each of about `capacity` keys at a time.
    pub fn new(capacity: usize, limit: u32) -> Arc<KeyedPermits> {
        let hasher = RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Arc::new(KeyedPermits {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            terms: Terms::new(limit),
            capacity: capacity.div_ceil(SHARDS),
            hasher,
        })
    }

    /// Places that each key has.
    pub fn limit(&self) -> u32 {
        self.terms.limit()
    }

    /// From now on each key has so many places. Nothing of it where a newer configuration has had a request.
    pub fn say(self: &Arc<Self>, by: Edition, limit: u32) {
        if self.terms.say(by, false, || limit) == Some(true) {
            for shard in &self.shards {
                // Who joins a queue from here on has seen the new limit.
                let waited_for =
                    |(key, places): (&Key, &Places)| (places.waiting() > 0).then_some(*key);
                let keys: Vec<Key> = lock(shard).iter().filter_map(waited_for).collect();
                keys.into_iter().for_each(|key| self.hand_over(key));
            }
        }
    }

    /// Asks for a place of `key`, or for one in its queue, if there are fewer than `size` in that.
    pub fn take(self: &Arc<Self>, key: Key, size: u32, patience: Patience) -> Turn {
        let mut shard = self.shard(key);
        let is_full = shard.len() >= self.capacity;
        let limit = self.limit();
        let places = match shard.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full || limit == 0 => return Turn::Never(Refused::Full),
            Entry::Vacant(new) => new.insert(Places::default()),
        };
        if places.waiting() == 0 && places.in_flight < limit {
            places.in_flight += 1;
            return Turn::Now(self.permit(key));
        }
        if size == 0 || patience.wait.is_zero() {
            return Turn::Never(Refused::Full);
        }
        let now = Instant::now();
        let deadline = patience.end(now);
        let queue = places.queue.get_or_insert_default();
        let joined = queue.join(size as usize, patience.class, deadline, now);
        drop(shard);
        match joined {
            Err(refused) => Turn::Never(refused),
            Ok(joined) => {
                if let Some(displaced) = joined.displaced {
                    // Whoever has gone meanwhile need not be told.
                    let _ = displaced.send(Err(Refused::Displaced));
                }
                Turn::Later(Waiting {
                    holder: Holder::Key(self.clone(), key),
                    ticket: joined.ticket,
                    answer: joined.answer,
                    deadline,
                })
            }
        }
    }

    /// Places of `key` that are taken.
    pub fn in_flight(&self, key: Key) -> u32 {
        self.shard(key).get(&key).map_or(0, |it| it.in_flight)
    }

    /// Over all keys. It looks at each of them, which is nothing for the request path.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.shards {
            let shard = lock(shard);
            counts.keys += shard.len();
            for places in shard.values() {
                counts.in_flight += places.in_flight as usize;
                counts.waiting += places.waiting();
            }
        }
        counts
    }

    fn permit(self: &Arc<Self>, key: Key) -> Permit {
        Permit::of(Holder::Key(self.clone(), key))
    }

    pub(super) fn release(self: &Arc<Self>, key: Key) {
        if let Some(places) = self.shard(key).get_mut(&key) {
            places.in_flight = places.in_flight.saturating_sub(1);
        }
        self.hand_over(key);
    }

    /// Gives free places of `key` to those who wait for one.
    fn hand_over(self: &Arc<Self>, key: Key) {
        while let Some(answer) = self.next(key) {
            // Whoever has gone meanwhile leaves its place to the next: the permit comes back here, and is dropped.
            let _ = answer.send(Ok(self.permit(key)));
        }
    }

    /// Takes a place for whose turn it is, and forgets a key that nobody has or wants a place of.
    fn next(&self, key: Key) -> Option<oneshot::Sender<Answer>> {
        let mut shard = self.shard(key);
        let places = shard.get_mut(&key)?;
        if places.in_flight < self.limit()
            && let Some(queue) = &mut places.queue
            && let Some(answer) = queue.next(Instant::now())
        {
            places.in_flight += 1;
            return Some(answer);
        }
        if places.is_unused() {
            shard.remove(&key);
        }
        None
    }

    pub(super) fn leave(&self, key: Key, ticket: Ticket) {
        let mut shard = self.shard(key);
        if let Some(places) = shard.get_mut(&key) {
            if let Some(queue) = &mut places.queue {
                queue.leave(ticket);
            }
            if places.is_unused() {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        lock(&self.shards[place])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    fn is_unused(&self) -> bool {
        self.in_flight == 0 && self.waiting() == 0
    }
}
