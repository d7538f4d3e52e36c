//! The memory tier: what is asked for most, within so many bytes.
//!
//! Which entries go is chosen by S3-FIFO (Yang, Zhang, Qiu, Yue and Vinayak, "FIFO queues are all you need for cache eviction",
//! SOSP 2023): what is new goes through a small queue, and only what is asked for again there comes into the main one. So what is
//! asked for once, as by somebody who reads everything in turn, pushes out nothing that is asked for often. To find an entry
//! costs a look into one of 64 tables under a lock that readers share, and no more than that; queues are only touched where
//! something is put in.

mod ghosts;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::key_hash::{ByKey, Key};
use ghosts::Ghosts;

const SHARDS: usize = 64;
/// What an entry costs beside what it weighs itself: its places in a table, in a queue and among the ghosts.
const OVERHEAD: u64 = 160;
/// Of the bytes that there are, so many parts of a hundred are for what is new.
const SMALL_PERCENT: u64 = 10;
/// How much use is remembered at most.
const MOST_USES: u8 = 3;
/// Where everything is asked for again and again so many are spared for one that has to go. The next goes whatever its
/// use, as otherwise whoever puts something in would go through the whole queue, and all others wait for that.
const MOST_SPARED: usize = 64;
/// As many gone entries may be in the queues, and as many as there are live ones.
const GONE_AT_LEAST: usize = 1024;

/// Something that has a weight.
pub trait Weigh {
    /// In bytes, all that it holds counted. It may grow.
    fn weight(&self) -> u64;
}

type Shard<V> = RwLock<HashMap<Key, Arc<Node<V>>, ByKey>>;

/// Entries by their keys.
pub struct Memory<V> {
    shards: Box<[Shard<V>]>,
    queues: Mutex<Queues<V>>,
    bytes: AtomicU64,
    bound: AtomicU64,
    evicted: AtomicU64,
}

struct Node<V> {
    key: Key,
    value: Arc<V>,
    /// As it was weighed last.
    weight: AtomicU64,
    uses: AtomicU8,
    /// It is in a queue only any more.
    is_gone: AtomicBool,
    is_main: AtomicBool,
}

struct Queues<V> {
    small: VecDeque<Arc<Node<V>>>,
    main: VecDeque<Arc<Node<V>>>,
    small_bytes: u64,
    gone: usize,
    ghosts: Ghosts,
}

impl<V: Weigh> Memory<V> {
    /// For so many bytes.
    pub fn new(bound: u64) -> Memory<V> {
        Memory {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            queues: Mutex::new(Queues {
                small: VecDeque::new(),
                main: VecDeque::new(),
                small_bytes: 0,
                gone: 0,
                ghosts: Ghosts::default(),
            }),
            bytes: AtomicU64::new(0),
            bound: AtomicU64::new(bound),
            evicted: AtomicU64::new(0),
        }
    }

    pub fn find(&self, key: &Key) -> Option<Arc<V>> {
        let shard = self
            .shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let node = shard.get(key)?;
        let uses = node.uses.load(Ordering::Relaxed);
        if uses < MOST_USES {
            // Of two who come at once one may not be counted.
            node.uses.store(uses + 1, Ordering::Relaxed);
        }
        Some(node.value.clone())
    }

    /// Puts a value in the place of what is there, and lets others go where there are too many bytes then.
    pub fn put(&self, key: Key, value: Arc<V>) {
        self.put_unless(key, value, |_| false);
    }

    /// As [`Memory::put`], unless what is there is better; gives that.
    pub fn put_unless(
        &self,
        key: Key,
        value: Arc<V>,
        is_better: impl FnOnce(&V) -> bool,
    ) -> Option<Arc<V>> {
        let weight = value.weight() + OVERHEAD;
        let node = Arc::new(Node {
            key,
            value,
            weight: AtomicU64::new(weight),
            uses: AtomicU8::new(0),
            is_gone: AtomicBool::new(false),
            is_main: AtomicBool::new(false),
        });
        let mut queues = self.queues();
        let before = {
            let mut shard = self
                .shard(&key)
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            match shard.get(&key) {
                Some(before) if is_better(&before.value) => return Some(before.value.clone()),
                _ => shard.insert(key, node.clone()),
            }
        };
        let was_main = before
            .as_ref()
            .is_some_and(|it| it.is_main.load(Ordering::Relaxed));
        if let Some(before) = &before {
            node.uses
                .store(before.uses.load(Ordering::Relaxed), Ordering::Relaxed);
            self.let_go(&mut queues, before);
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        if was_main || queues.ghosts.take(key) {
            node.is_main.store(true, Ordering::Relaxed);
            queues.main.push_back(node);
        } else {
            queues.small_bytes += weight;
            queues.small.push_back(node);
        }
        self.evict(&mut queues);
        queues.tidy();
        None
    }

    /// Weighs what has grown since it was put in.
    pub fn weigh_again(&self, key: &Key) {
        let mut queues = self.queues();
        let node = {
            let shard = self
                .shard(key)
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            shard.get(key).cloned()
        };
        let Some(node) = node else { return };
        let now = node.value.weight() + OVERHEAD;
        let before = node.weight.swap(now, Ordering::Relaxed);
        self.bytes.fetch_add(now, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        if !node.is_main.load(Ordering::Relaxed) {
            queues.small_bytes = (queues.small_bytes + now).saturating_sub(before);
        }
        self.evict(&mut queues);
    }

    /// Takes out what lies under a key, where it is what is meant. False where it is not, or nothing is there.
    pub fn remove_if(&self, key: &Key, is_meant: impl FnOnce(&V) -> bool) -> bool {
        let mut queues = self.queues();
        let node = {
            let mut shard = self
                .shard(key)
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            match shard.get(key) {
                Some(node) if is_meant(&node.value) => shard.remove(key),
                _ => None,
            }
        };
        if let Some(node) = &node {
            self.let_go(&mut queues, node);
        }
        queues.tidy();
        node.is_some()
    }

    pub fn len(&self) -> usize {
        let lengths = self
            .shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len());
        lengths.sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all entries take.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn bound(&self) -> u64 {
        self.bound.load(Ordering::Relaxed)
    }

    /// How many have had to go since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    pub fn set_bound(&self, bound: u64) {
        self.bound.store(bound, Ordering::Relaxed);
        self.evict(&mut self.queues());
    }

    /// All entries, some at a time: nobody waits for longer than it takes to copy a 64th of the pointers.
    pub fn each(&self) -> impl Iterator<Item = Arc<V>> {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard
                .values()
                .map(|node| node.value.clone())
                .collect::<Vec<_>>()
        })
    }

    fn shard(&self, key: &Key) -> &Shard<V> {
        // Tables go by the lowest bits and the highest seven of the same number.
        &self.shards[(key.number() >> 40) as usize % SHARDS]
    }

    fn queues(&self) -> MutexGuard<'_, Queues<V>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is in no table any more.
    fn let_go(&self, queues: &mut Queues<V>, node: &Node<V>) {
        node.is_gone.store(true, Ordering::Relaxed);
        queues.gone += 1;
        let weight = node.weight.load(Ordering::Relaxed);
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        if !node.is_main.load(Ordering::Relaxed) {
            queues.small_bytes = queues.small_bytes.saturating_sub(weight);
        }
    }

    fn evict(&self, queues: &mut Queues<V>) {
        let bound = self.bound();
        let (mut spared, mut evicted) = (0, self.evicted());
        while self.bytes() > bound {
            let now = self.evicted();
            if now != evicted {
                (spared, evicted) = (0, now);
            }
            let is_small_full = queues.small_bytes > bound / 100 * SMALL_PERCENT;
            let has_gone = match is_small_full || queues.main.is_empty() {
                true => {
                    self.evict_small(queues, &mut spared) || self.evict_main(queues, &mut spared)
                }
                false => {
                    self.evict_main(queues, &mut spared) || self.evict_small(queues, &mut spared)
                }
            };
            if !has_gone {
                return;
            }
        }
    }

    /// False where there is nobody in the queue.
    fn evict_small(&self, queues: &mut Queues<V>, spared: &mut usize) -> bool {
        let Some(node) = queues.small.pop_front() else {
            return false;
        };
        if node.is_gone.load(Ordering::Relaxed) {
            queues.gone = queues.gone.saturating_sub(1);
        } else if node.uses.load(Ordering::Relaxed) > 1 && *spared < MOST_SPARED {
            *spared += 1;
            let weight = node.weight.load(Ordering::Relaxed);
            queues.small_bytes = queues.small_bytes.saturating_sub(weight);
            node.uses.store(0, Ordering::Relaxed);
            node.is_main.store(true, Ordering::Relaxed);
            queues.main.push_back(node);
        } else {
            let most = queues.main.len() + queues.small.len();
            queues.ghosts.add(node.key, most);
            self.drop_node(queues, &node);
        }
        true
    }

    fn evict_main(&self, queues: &mut Queues<V>, spared: &mut usize) -> bool {
        let Some(node) = queues.main.pop_front() else {
            return false;
        };
        let uses = node.uses.load(Ordering::Relaxed);
        if node.is_gone.load(Ordering::Relaxed) {
            queues.gone = queues.gone.saturating_sub(1);
        } else if uses > 0 && *spared < MOST_SPARED {
            *spared += 1;
            node.uses.store(uses - 1, Ordering::Relaxed);
            queues.main.push_back(node);
        } else {
            self.drop_node(queues, &node);
        }
        true
    }

    /// Of a node that is in no queue any more.
    fn drop_node(&self, queues: &mut Queues<V>, node: &Arc<Node<V>>) {
        let mut shard = self
            .shard(&node.key)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.get(&node.key).is_some_and(|it| Arc::ptr_eq(it, node)) {
            shard.remove(&node.key);
        }
        drop(shard);
        self.let_go(queues, node);
        queues.gone -= 1;
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

impl<V> Queues<V> {
    /// Clears the queues of what is gone, where that is more than what is there.
    fn tidy(&mut self) {
        let all = self.small.len() + self.main.len();
        if self.gone < GONE_AT_LEAST.max(all / 2) {
            return;
        }
        let is_there = |node: &Arc<Node<V>>| !node.is_gone.load(Ordering::Relaxed);
        self.small.retain(is_there);
        self.main.retain(is_there);
        self.gone = 0;
    }
}

impl<V> std::fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("bytes", &self.bytes)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
