//! The keys of what has left the small queue, and would have been worth to be kept if it is asked for again.

use std::collections::{HashMap, VecDeque};

use crate::cache::key_hash::{ByKey, Key};

/// As many are remembered at least.
const LEAST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// The oldest first; those that were taken are there until it is their turn.
    queue: VecDeque<(Key, u64)>,
    numbers: HashMap<Key, u64, ByKey>,
    next: u64,
}

impl Ghosts {
    /// Remembers one more, and no more than so many.
    pub(super) fn add(&mut self, key: Key, most: usize) {
        self.next += 1;
        self.queue.push_back((key, self.next));
        self.numbers.insert(key, self.next);
        while self.queue.len() > most.max(LEAST) {
            if let Some((key, number)) = self.queue.pop_front()
                && self.numbers.get(&key) == Some(&number)
            {
                self.numbers.remove(&key);
            }
        }
    }

    /// Whether it is remembered; it is not any more.
    pub(super) fn take(&mut self, key: Key) -> bool {
        self.numbers.remove(&key).is_some()
    }
}
