//! The words of state of every key: sharded, bounded, and without a lock that is held for longer than a decision takes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smallvec::SmallVec;

use super::Key;
use crate::observability::LimitMetrics;

/// Threads that decide about different keys hardly ever meet in one of so many.
const SHARDS: usize = 64;
/// Of how many keys the one is forgotten that is nearest to fresh.
const SAMPLE: usize = 16;
/// How many keys are added at least before all are looked at again.
const LEAST_SWEPT: usize = 4;
/// How many places a shard has that has any.
const LEAST_PLACES: usize = 4;
/// A shard gives back memory where it has more places than so many for each key.
const MOST_SPARE: usize = 8;

/// Keys and their words. Those of a key that is not there are zero.
#[derive(Debug)]
pub struct Table {
    /// They are there from the first key on: most routes have limits of their own that nobody meets for long.
    shards: OnceLock<Box<[Mutex<Shard>]>>,
    words: usize,
    keys: usize,
    metrics: Arc<LimitMetrics>,
}

impl Table {
    /// `words` for each of at most `keys` keys, rounded up to a multiple of 64.
    pub fn new(words: usize, keys: usize, metrics: Arc<LimitMetrics>) -> Table {
        Table {
            shards: OnceLock::new(),
            words,
            keys,
            metrics,
        }
    }

    /// Has `act` read and change the words of a key, which is added where it is not there. `fresh_in` says how far words
    /// are from saying nothing: it is asked only where there is no more room.
    pub fn with<T>(
        &self,
        key: Key,
        fresh_in: impl Fn(&[u64]) -> u64,
        act: impl FnOnce(&mut [u64]) -> T,
    ) -> T {
        let mut shard = self.shard(key);
        let place = match shard.find(key) {
            Some(place) => place,
            None => {
                let before = shard.keys;
                let place = shard.add(key, fresh_in);
                self.metrics.add_keys(shard.keys as i64 - before as i64);
                place
            }
        };
        act(shard.words_of(place))
    }

    /// As [`Table::with`], for reading: a key that is not there is not added.
    pub fn look<T>(&self, key: Key, act: impl FnOnce(Option<&[u64]>) -> T) -> T {
        let mut shard = self.shard(key);
        match shard.find(key) {
            Some(place) => act(Some(shard.words_of(place))),
            None => act(None),
        }
    }

    /// Forgets a key. Gives whether it was there.
    pub fn forget(&self, key: Key) -> bool {
        let mut shard = self.shard(key);
        let place = shard.find(key);
        let removed = place.map(|place| shard.remove(place));
        if removed.is_some() {
            self.metrics.add_keys(-1);
        }
        removed.is_some()
    }

    /// Takes over what `from` has, which nobody must know of yet who has this one: `convert` makes the words of a key,
    /// which are zero, from those that it has there.
    pub fn take_over(&self, from: &Table, convert: impl Fn(&[u64], &mut [u64])) {
        for shard in from.shards.get().into_iter().flatten() {
            let mut shard = lock(shard);
            for place in 0..shard.places {
                if let Some(key) = shard.key_at(place) {
                    let words = shard.words_of(place);
                    self.with(key, |_| u64::MAX, |new| convert(words, new));
                }
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        let shards = self.shards.get().into_iter().flatten();
        shards.map(|shard| lock(shard).keys).sum()
    }

    fn shards(&self) -> &[Mutex<Shard>] {
        self.shards.get_or_init(|| {
            let most = self.keys.div_ceil(SHARDS).max(1);
            // Tables differ in where they look for a key: one that takes over another meets its keys in the order of their
            // places, and with the same order in both, or one and three times that, they would come to be beside each
            // other first. Any odd number keeps apart what is.
            let salt = rand::random::<u64>() | 1;
            let shard = || Mutex::new(Shard::new(self.words, most, salt));
            std::iter::repeat_with(shard).take(SHARDS).collect()
        })
    }

    fn shard(&self, key: Key) -> std::sync::MutexGuard<'_, Shard> {
        let shard = (key.hash() >> 32) as usize % SHARDS;
        lock(&self.shards()[shard])
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let keys = self.len();
        if keys > 0 {
            self.metrics.add_keys(-(keys as i64));
        }
    }
}

/// What is behind the lock is whole between any two instructions that can panic.
fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys with their words beside them, so that a decision meets one place of memory: open addressing with linear probing
/// (Knuth, The Art of Computer Programming 3, section 6.4), without marks of what was removed.
#[derive(Debug)]
struct Shard {
    /// A key and its words, one after the other. A place without a key is all zero.
    slots: Vec<u64>,
    stride: usize,
    places: usize,
    keys: usize,
    most: usize,
    salt: u64,
    /// Where the next look for a key that can be forgotten begins.
    hand: usize,
    /// How many keys are added before all places are looked at again.
    until_sweep: usize,
}

impl Shard {
    fn new(words: usize, most: usize, salt: u64) -> Shard {
        Shard {
            slots: Vec::new(),
            stride: words + 1,
            places: 0,
            keys: 0,
            most,
            salt,
            hand: 0,
            until_sweep: LEAST_SWEPT,
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        let mut place = self.home(key)?;
        loop {
            match self.key_at(place) {
                Some(it) if it == key => return Some(place),
                Some(_) => place = self.next(place),
                None => return None,
            }
        }
    }

    fn words_of(&mut self, place: usize) -> &mut [u64] {
        &mut self.slots[place * self.stride + 1..(place + 1) * self.stride]
    }

    /// The place of a key that was not there.
    #[cold]
    fn add(&mut self, key: Key, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        self.tidy(&fresh_in);
        self.until_sweep -= 1;
        if self.keys >= self.most {
            let place = self.nearest(&fresh_in);
            self.remove(place);
        } else if self.keys >= most_keys(self.places) {
            self.rebuild(self.places * 2);
        }
        self.insert(key)
    }

    /// Forgets every key whose words say nothing, and gives back the memory that they had, if it is time. Gives how many
    /// places it has looked at.
    fn tidy(&mut self, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        if self.until_sweep > 0 {
            return 0;
        }
        let looked = self.sweep(fresh_in);
        if self.keys < self.places / MOST_SPARE {
            self.rebuild(self.keys * MOST_SPARE / 2);
        }
        // A key that is added pays for a look at four places, and at the bound as well.
        self.until_sweep = self.keys.max(self.places / 4).max(LEAST_SWEPT);
        looked
    }

    fn insert(&mut self, key: Key) -> usize {
        let mut place = self.home(key).unwrap_or(0);
        while self.key_at(place).is_some() {
            place = self.next(place);
        }
        self.slots[place * self.stride] = key.hash();
        self.keys += 1;
        place
    }

    /// With about so many places, which are enough for the keys that there are.
    fn rebuild(&mut self, places: usize) {
        let places = places.clamp(LEAST_PLACES, places_for(self.most));
        let before = std::mem::replace(&mut self.slots, vec![0; places * self.stride]);
        (self.places, self.keys, self.hand) = (places, 0, 0);
        for slot in before.chunks_exact(self.stride) {
            if let Some(key) = Key::of_hash(slot[0]) {
                let place = self.insert(key);
                self.words_of(place).copy_from_slice(&slot[1..]);
            }
        }
    }

    fn sweep(&mut self, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        let before = self.keys;
        for place in 0..self.places {
            // Another one may have come into its place.
            while self.key_at(place).is_some() && fresh_in(self.words_of(place)) == 0 {
                self.remove(place);
            }
        }
        self.places + before - self.keys
    }

    /// Of a few keys, which are neighbours by nothing but their hashes, the one that is nearest to fresh.
    fn nearest(&mut self, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        let start = self.hand;
        let places = (start..self.places).chain(0..start);
        let places = places.filter(|place| self.key_at(*place).is_some());
        let sample: SmallVec<[usize; SAMPLE]> = places.take(SAMPLE).collect();
        self.hand = sample.last().map_or(0, |last| self.next(*last));
        let words = |place: usize| &self.slots[place * self.stride + 1..(place + 1) * self.stride];
        let nearest = sample.iter().min_by_key(|place| fresh_in(words(**place)));
        nearest.copied().unwrap_or(0)
    }

    /// Those behind it that would not be found any more come nearer to their homes.
    fn remove(&mut self, place: usize) {
        let (mut hole, mut next) = (place, self.next(place));
        while let Some(home) = self.key_at(next).and_then(|key| self.home(key)) {
            if self.steps(home, next) >= self.steps(hole, next) {
                let from = next * self.stride;
                self.slots
                    .copy_within(from..from + self.stride, hole * self.stride);
                hole = next;
            }
            next = self.next(next);
        }
        self.slots[hole * self.stride..(hole + 1) * self.stride].fill(0);
        self.keys -= 1;
    }

    /// Where a key is looked for first; `None` while there are no places.
    fn home(&self, key: Key) -> Option<usize> {
        let mixed = key.hash().wrapping_mul(self.salt) >> 32;
        (self.places > 0).then_some((mixed as usize * self.places) >> 32)
    }

    fn key_at(&self, place: usize) -> Option<Key> {
        Key::of_hash(self.slots[place * self.stride])
    }

    fn next(&self, place: usize) -> usize {
        match place + 1 {
            next if next == self.places => 0,
            next => next,
        }
    }

    /// How far it is from one place to another, which may be around the end.
    fn steps(&self, from: usize, to: usize) -> usize {
        match to >= from {
            true => to - from,
            false => to + self.places - from,
        }
    }
}

/// A quarter stays free, so that a key is two or three places from its home and one that is not there is missed soon.
fn most_keys(places: usize) -> usize {
    places / 4 * 3
}

fn places_for(keys: usize) -> usize {
    keys.div_ceil(3) * 4
}

#[cfg(test)]
mod tests;
