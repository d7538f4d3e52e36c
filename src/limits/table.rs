//! The words of state of every key: sharded, bounded, and without a lock that is held for longer than a decision takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smallvec::SmallVec;

use super::Key;
use crate::observability::LimitMetrics;

/// Threads that decide about different keys hardly ever meet in one of so many.
const SHARDS: usize = 64;
/// Of how many keys the one is forgotten that is nearest to fresh.
const SAMPLE: usize = 16;
/// How many keys are not worth a look at all of them.
const LEAST_SWEPT: usize = 4;
/// How many places a shard has that has any.
const LEAST_PLACES: usize = 4;

/// Tables differ in where they look for a key: one that takes over another meets its keys in the order of their places, and
/// with the same order in both they would all come to be beside each other first.
static TABLES: AtomicU64 = AtomicU64::new(0);

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
            let number = TABLES.fetch_add(1, Ordering::Relaxed);
            // Any odd number keeps apart what is; this one, the golden ratio, spreads what is near (Knuth, the same section).
            let salt = (2 * number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
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
    /// How many keys are added before all are looked at again.
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
        if self.until_sweep == 0 {
            self.sweep(&fresh_in);
            // As many are added before the next time as were kept, at the bound as well: so that one look at a key is paid
            // for by one that was added.
            self.until_sweep = self.keys.max(LEAST_SWEPT);
        }
        self.until_sweep -= 1;
        if self.keys >= self.most {
            let place = self.nearest(&fresh_in);
            self.remove(place);
        } else if self.keys >= most_keys(self.places) {
            self.grow();
        }
        self.insert(key)
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

    fn grow(&mut self) {
        let places = (self.places * 2).clamp(LEAST_PLACES, places_for(self.most));
        let before = std::mem::replace(&mut self.slots, vec![0; places * self.stride]);
        (self.places, self.keys) = (places, 0);
        for slot in before.chunks_exact(self.stride) {
            if let Some(key) = Key::of_hash(slot[0]) {
                let place = self.insert(key);
                self.words_of(place).copy_from_slice(&slot[1..]);
            }
        }
    }

    /// Forgets every key whose words say nothing.
    fn sweep(&mut self, fresh_in: impl Fn(&[u64]) -> u64) {
        for place in 0..self.places {
            // Another one may have come into its place.
            while self.key_at(place).is_some() && fresh_in(self.words_of(place)) == 0 {
                self.remove(place);
            }
        }
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
    fn whatever_comes_and_goes_a_shard_has_what_a_map_has() {
        use std::collections::HashMap;
        let mut shard = Shard::new(2, 60, 1);
        let mut model = HashMap::new();
        let mut chance = 1_u64;
        for step in 0..100_000_u64 {
            // Knuth's generator: what comes is the same each time.
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let number = (chance >> 33) % 59;
            match (shard.find(key(number)), chance >> 63) {
                (Some(place), 0) => {
                    shard.remove(place);
                    assert!(model.remove(&number).is_some());
                }
                (Some(place), _) => assert_eq!(shard.words_of(place), model[&number]),
                (None, _) => {
                    assert!(!model.contains_key(&number));
                    let place = shard.add(key(number), |_| 1);
                    assert_eq!(shard.words_of(place), [0, 0]);
                    shard.words_of(place).copy_from_slice(&[number, step]);
                    model.insert(number, [number, step]);
                }
            }
            assert_eq!(shard.keys, model.len());
        }
    }

    #[test]
    fn what_is_taken_over_is_there_and_was_not_looked_for_long() {
        let from = table(1, 1_000_000);
        for number in 0..200_000 {
            from.with(key(number), fresh_in, |words| words[0] = number + 1);
        }
        for keys in [1_000_000, 100_000] {
            let to = table(1, keys);
            let began = std::time::Instant::now();
            to.take_over(&from, |before, words| words.copy_from_slice(before));
            // Where keys came to be beside each other it was minutes.
            assert!(began.elapsed().as_secs() < 20);
            assert_eq!(to.len(), 200_000.min(keys.next_multiple_of(64)));
        }
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
            let mut shard = Shard::new(1, most, 1);
            for number in 0..20_000 {
                let place = shard.add(key(number), counted);
                // So that there is always one to be forgotten, and never many.
                shard.words_of(place)[0] = u64::from(number % 4000 != 3999);
            }
            // One of the sweeps, and at the bound those of a few more.
            let most = 20_000 * (2 + SAMPLE);
            assert!(looks.get() <= most, "{}", looks.get());
        }
    }

    #[test]
    fn at_its_bound_it_forgets_those_nearest_to_fresh() {
        let table = table(1, SHARDS * 100);
        for number in 0..2_000 {
            table.with(key(number), fresh_in, |words| words[0] = 1_000_000);
        }
        for number in 2_000..300_000 {
            table.with(key(number), fresh_in, |words| words[0] = 1);
        }
        assert!(table.len() <= SHARDS * 100, "{}", table.len());
        let kept = |number: &u64| table.look(key(*number), |words| words.is_some());
        let kept = (0..2_000).filter(kept).count();
        // It looks at sixteen only, which may all be of this kind: of a shard with half of its keys such ones, one is lost
        // with a chance of 0.07, and hardly any shard has so many.
        assert!(kept > 1_980, "{kept}");
    }
}
