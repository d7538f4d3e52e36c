//! The memory tier, and those that it is compared with. All of them are bounded by the same weight of entries.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use lru::LruCache;
use northgate::cache::Key;
use northgate::cache::memory::{Memory, Weigh};

/// What the memory tier adds to each object for its own bookkeeping; the others are charged as much.
pub const BOOKKEEPING: u64 = 160;

/// Something that keeps what it is asked for, as far as it has room.
pub trait Cache {
    /// Whether it was there.
    fn ask(&mut self, object: u64, bytes: u64) -> bool;
}

pub struct Object(u64);

impl Weigh for Object {
    fn weight(&self) -> u64 {
        self.0
    }
}

/// The memory tier as it is.
pub struct Ours(pub Memory<Object>);

impl Ours {
    pub fn new(bound: u64) -> Ours {
        Ours(Memory::new(bound))
    }

    /// As even as the hash that keys are.
    pub fn key(object: u64) -> Key {
        let mix = |seed: u64| {
            let mut bits = (object ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            (bits ^ (bits >> 32)).to_le_bytes()
        };
        Key::of_digest(&[mix(1), mix(2)].concat())
    }
}

impl Cache for Ours {
    fn ask(&mut self, object: u64, bytes: u64) -> bool {
        let key = Ours::key(object);
        let is_there = self.0.find(&key).is_some();
        if !is_there {
            self.0.put(key, Arc::new(Object(bytes)));
        }
        is_there
    }
}

/// Objects with their weights, in the order of their last use.
struct Recent {
    objects: LruCache<u64, u64>,
    weight: u64,
}

impl Recent {
    fn new() -> Recent {
        Recent {
            objects: LruCache::unbounded(),
            weight: 0,
        }
    }

    /// Whether it is there.
    fn touch(&mut self, object: u64) -> bool {
        self.objects.get(&object).is_some()
    }

    fn put(&mut self, object: u64, weight: u64) {
        self.weight += weight;
        self.objects.put(object, weight);
    }

    fn take(&mut self, object: u64) -> Option<u64> {
        let weight = self.objects.pop(&object)?;
        self.weight -= weight;
        Some(weight)
    }

    fn take_oldest(&mut self) -> Option<(u64, u64)> {
        let (object, weight) = self.objects.pop_lru()?;
        self.weight -= weight;
        Some((object, weight))
    }

    fn oldest(&self) -> Option<u64> {
        self.objects.peek_lru().map(|(object, _)| *object)
    }
}

/// The least recently used goes.
pub struct Lru {
    recent: Recent,
    bound: u64,
}

impl Lru {
    pub fn new(bound: u64) -> Lru {
        Lru {
            recent: Recent::new(),
            bound,
        }
    }
}

impl Cache for Lru {
    fn ask(&mut self, object: u64, bytes: u64) -> bool {
        if self.recent.touch(object) {
            return true;
        }
        self.recent.put(object, bytes + BOOKKEEPING);
        while self.recent.weight > self.bound {
            self.recent.take_oldest();
        }
        false
    }
}

/// W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU: A highly efficient cache admission policy", ACM ToS 2017): a window of 1 % by
/// LRU, and a main part of two segments, a fifth on probation. Whoever leaves the window gets in where it was asked for more often
/// than each of those who would have to go. Frequencies are counted up to 15, and halved after ten requests for each object
/// that there is room for. They are exact; in use a sketch estimates them, and adds errors of its own.
pub struct WindowTinyLfu {
    window: Recent,
    probation: Recent,
    protected: Recent,
    bounds: [u64; 3],
    frequencies: HashMap<u64, u8, BuildHasherDefault<DefaultHasher>>,
    asked: usize,
    /// So many have been there at once.
    most: usize,
}

impl WindowTinyLfu {
    pub fn new(bound: u64) -> WindowTinyLfu {
        let window = bound / 100;
        let protected = (bound - window) / 5 * 4;
        WindowTinyLfu {
            window: Recent::new(),
            probation: Recent::new(),
            protected: Recent::new(),
            bounds: [window, bound - window, protected],
            frequencies: HashMap::default(),
            asked: 0,
            most: 0,
        }
    }

    fn count(&mut self, object: u64) {
        let frequency = self.frequencies.entry(object).or_default();
        *frequency = (*frequency + 1).min(15);
        self.asked += 1;
        let parts = [&self.window, &self.probation, &self.protected];
        let there: usize = parts.iter().map(|it| it.objects.len()).sum();
        self.most = self.most.max(there);
        if self.asked >= 10 * self.most.max(100) {
            self.asked /= 2;
            self.frequencies.retain(|_, frequency| {
                *frequency /= 2;
                *frequency > 0
            });
        }
    }

    /// Into the main part, where nobody has to go for it who is asked for as often.
    fn admit(&mut self, candidate: u64, weight: u64) {
        while self.probation.weight + self.protected.weight + weight > self.bounds[1] {
            let (part, victim) = match (self.probation.oldest(), self.protected.oldest()) {
                (Some(victim), _) => (&mut self.probation, victim),
                (None, Some(victim)) => (&mut self.protected, victim),
                (None, None) => return,
            };
            if self.frequencies.get(&candidate) <= self.frequencies.get(&victim) {
                return;
            }
            part.take_oldest();
        }
        self.probation.put(candidate, weight);
    }
}

impl Cache for WindowTinyLfu {
    fn ask(&mut self, object: u64, bytes: u64) -> bool {
        self.count(object);
        if self.window.touch(object) || self.protected.touch(object) {
            return true;
        }
        if let Some(weight) = self.probation.take(object) {
            self.protected.put(object, weight);
            while self.protected.weight > self.bounds[2] {
                let (oldest, weight) = self.protected.take_oldest().expect("it weighs something");
                self.probation.put(oldest, weight);
            }
            return true;
        }
        let weight = bytes + BOOKKEEPING;
        if weight > self.bounds[0] {
            self.admit(object, weight);
            return false;
        }
        self.window.put(object, weight);
        while self.window.weight > self.bounds[0] {
            let (oldest, weight) = self.window.take_oldest().expect("it weighs something");
            self.admit(oldest, weight);
        }
        false
    }
}

/// The crate moka: TinyLFU with a sketch in front of LRU, without a window yet.
pub type Moka = moka::sync::Cache<u64, u32, BuildHasherDefault<DefaultHasher>>;

/// Where all objects are of one size they are counted: moka 0.12 makes its sketch for a quarter of the objects that there is
/// room for, where it has to weigh them.
pub fn moka(bound: u64, each: Option<u64>) -> Moka {
    let builder = moka::sync::Cache::builder();
    let builder = match each {
        Some(bytes) => builder.max_capacity(bound / (bytes + BOOKKEEPING)),
        None => builder
            .max_capacity(bound)
            .weigher(|_, weight: &u32| *weight),
    };
    builder.build_with_hasher(BuildHasherDefault::default())
}

impl Cache for Moka {
    fn ask(&mut self, object: u64, bytes: u64) -> bool {
        let is_there = self.get(&object).is_some();
        if !is_there {
            let weight = u32::try_from(bytes + BOOKKEEPING).expect("objects are below 4 GiB");
            self.insert(object, weight);
        }
        // It counts and evicts in batches; here each request is seen before the next one.
        self.run_pending_tasks();
        is_there
    }
}
