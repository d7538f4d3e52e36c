//! The words of state of every key: sharded, bounded, and without a lock that is held for longer than a decision takes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashbrown::HashTable;

use super::Key;
use crate::observability::LimitMetrics;

/// Threads that decide about different keys hardly ever meet in one of so many.
const SHARDS: usize = 64;
/// Of how many keys the one is forgotten that is nearest to fresh.
const SAMPLE: usize = 16;
/// How many keys are not worth a look at all of them.
const LEAST_SWEPT: usize = 4;

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
                let before = shard.keys.len();
                let place = shard.add(key, fresh_in);
                self.metrics
                    .add_keys(shard.keys.len() as i64 - before as i64);
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
            for place in 0..shard.keys.len() {
                let key = shard.keys[place];
                let words = shard.words_of(place);
                self.with(key, |_| u64::MAX, |new| convert(words, new));
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        let shards = self.shards.get().into_iter().flatten();
        shards.map(|shard| lock(shard).keys.len()).sum()
    }

    fn shards(&self) -> &[Mutex<Shard>] {
        self.shards.get_or_init(|| {
            let most = self.keys.div_ceil(SHARDS).max(1);
            let shard = || Mutex::new(Shard::new(self.words, most));
            std::iter::repeat_with(shard).take(SHARDS).collect()
        })
    }

    fn shard(&self, key: Key) -> std::sync::MutexGuard<'_, Shard> {
        // The lowest bits and the highest choose the place within a shard.
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

/// Keys in the order of their arrival, as far as none was forgotten, with their words beside them.
#[derive(Debug)]
struct Shard {
    places: HashTable<u32>,
    keys: Vec<Key>,
    words: Vec<u64>,
    stride: usize,
    most: usize,
    /// Where the next look for a key that can be forgotten begins.
    hand: usize,
    /// How many keys are added before all are looked at again.
    until_sweep: usize,
}

impl Shard {
    fn new(stride: usize, most: usize) -> Shard {
        Shard {
            places: HashTable::new(),
            keys: Vec::new(),
            words: Vec::new(),
            stride,
            most,
            hand: 0,
            until_sweep: LEAST_SWEPT,
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        let found = self
            .places
            .find(key.hash(), |place| self.keys[*place as usize] == key);
        found.map(|place| *place as usize)
    }

    fn words_of(&mut self, place: usize) -> &mut [u64] {
        &mut self.words[place * self.stride..(place + 1) * self.stride]
    }

    /// The place of a key that was not there.
    #[cold]
    fn add(&mut self, key: Key, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        if self.until_sweep == 0 {
            self.sweep(&fresh_in);
            // As many are added before the next time as were kept, at the bound as well: so that one look at a key is paid
            // for by one that was added, and no more than twice the memory is taken that is needed.
            self.until_sweep = self.keys.len().max(LEAST_SWEPT);
        }
        self.until_sweep -= 1;
        if self.keys.len() >= self.most {
            let place = self.nearest(&fresh_in);
            self.remove(place);
        }
        let place = self.keys.len();
        self.keys.push(key);
        self.words.resize(self.words.len() + self.stride, 0);
        let keys = &self.keys;
        let hash = |place: &u32| keys[*place as usize].hash();
        // A shard of more than 2³² keys would be larger than its memory.
        self.places.insert_unique(key.hash(), place as u32, hash);
        place
    }

    /// Forgets every key whose words say nothing.
    fn sweep(&mut self, fresh_in: impl Fn(&[u64]) -> u64) {
        let mut place = 0;
        while place < self.keys.len() {
            if fresh_in(self.words_of(place)) == 0 {
                // The last one comes here in its stead.
                self.remove(place);
            } else {
                place += 1;
            }
        }
    }

    /// Of a few keys, spread over all of them, the one that is nearest to fresh.
    fn nearest(&mut self, fresh_in: impl Fn(&[u64]) -> u64) -> usize {
        let (start, keys) = (self.hand, self.keys.len());
        self.hand = (start + 1) % keys;
        let step = keys.div_ceil(SAMPLE);
        let places = (0..SAMPLE).map(|index| (start + index * step) % keys);
        let stride = self.stride;
        let words = |place: usize| &self.words[place * stride..(place + 1) * stride];
        places
            .min_by_key(|place| fresh_in(words(*place)))
            .unwrap_or(0)
    }

    fn remove(&mut self, place: usize) {
        let keys = &self.keys;
        let hash = |place: &u32| keys[*place as usize].hash();
        let last = keys.len() - 1;
        for at in [place, last] {
            // Of the last key there may be no other.
            let entry = self
                .places
                .find_entry(keys[at].hash(), |it| *it as usize == at);
            if let Ok(entry) = entry {
                entry.remove();
            }
        }
        if place != last {
            self.places
                .insert_unique(keys[last].hash(), place as u32, hash);
        }
        self.keys.swap_remove(place);
        let (stride, from) = (self.stride, last * self.stride);
        self.words.copy_within(from..from + stride, place * stride);
        self.words.truncate(from);
        if self.hand >= self.keys.len() {
            self.hand = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::Metrics;

    fn table(words: usize, keys: usize) -> Table {
        Table::new(words, keys, Arc::new(Metrics::new().limit("table")))
    }

    fn key(number: u64) -> Key {
        let mut hasher = Key::hasher();
        hasher.part(&number.to_le_bytes());
        hasher.finish()
    }

    /// Words that say how long they have to go.
    fn fresh_in(words: &[u64]) -> u64 {
        words[0]
    }

    #[test]
    fn words_stay_with_their_key() {
        let table = table(2, 100_000);
        for number in 0..10_000 {
            table.with(key(number), fresh_in, |words| {
                words.copy_from_slice(&[1, number])
            });
        }
        for number in (0..10_000).step_by(3) {
            assert!(table.forget(key(number)));
            assert!(!table.forget(key(number)));
        }
        for number in 0..10_000 {
            let expected = (number % 3 != 0).then_some(number);
            table.look(key(number), |words| {
                assert_eq!(words.map(|it| it[1]), expected)
            });
        }
        assert_eq!(table.len(), 6666);
    }

    #[test]
    fn what_says_nothing_is_forgotten_before_memory_grows() {
        let table = table(1, 1 << 30);
        for number in 0..1_000_000 {
            table.with(key(number), fresh_in, |_| ());
        }
        assert!(table.len() <= SHARDS * 4, "{}", table.len());
    }

    #[test]
    fn a_key_that_is_added_pays_for_a_few_looks_at_most() {
        let looks = std::cell::Cell::new(0);
        let counted = |words: &[u64]| {
            looks.set(looks.get() + 1);
            words[0]
        };
        for most in [1 << 20, 4096] {
            looks.set(0);
            let mut shard = Shard::new(1, most);
            for number in 0..20_000 {
                let place = shard.add(key(number), counted);
                shard.words_of(place)[0] = 1;
                if number > 4000 {
                    // So that there is always one to be forgotten, and never many.
                    shard.words_of(0)[0] = 0;
                }
            }
            // One of the sweeps, and at the bound those of a few more.
            let most = 20_000 * (2 + SAMPLE);
            assert!(looks.get() <= most, "{}", looks.get());
        }
    }

    #[test]
    fn at_its_bound_it_forgets_those_nearest_to_fresh() {
        let table = table(1, SHARDS * 100);
        for number in 0..3_000 {
            table.with(key(number), fresh_in, |words| words[0] = 1_000_000);
        }
        for number in 3_000..300_000 {
            table.with(key(number), fresh_in, |words| words[0] = 1);
        }
        assert!(table.len() <= SHARDS * 100, "{}", table.len());
        let kept = |number: &u64| table.look(key(*number), |words| words.is_some());
        let kept = (0..3_000).filter(kept).count();
        // It looks at a few only, which may all be of this kind.
        assert!(kept > 2_950, "{kept}");
    }
}
