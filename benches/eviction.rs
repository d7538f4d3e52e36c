//! How much of what is asked for is still there: the memory tier of the cache beside W-TinyLFU and LRU.
//!
//! `cargo bench --bench eviction`. It prints object hit ratios in percent, and fails where the memory tier is more than two points
//! below W-TinyLFU.
//!
//! # The traces
//! Objects are asked for by the Zipfian generator of YCSB (Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating
//! billion-record synthetic databases", SIGMOD 1994): the object of rank *i* with a probability in proportion to 1/*i*^θ. Scans
//! come in between: runs of 1,000 objects that are each asked for once and never again, as by a crawler or a backup. One trace
//! changes which objects are wanted, all at once, each time a quarter of it is over.
//!
//! # The peers
//! W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU: A highly efficient cache admission policy", ACM ToS 2017): a window of 1 % by
//! LRU, and a main part of two segments, a fifth on probation. Whoever leaves the window gets in where it was asked for more often
//! than whoever would have to go. Frequencies are exact here, and halved after ten requests for each place; a real one
//! estimates them in a sketch, and is no better.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use northgate::cache::Key;
use northgate::cache::memory::{Memory, Weigh};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const OBJECTS: u64 = 100_000;
const REQUESTS: usize = 2_000_000;
/// Requests that fill the caches and do not count.
const WARM_UP: usize = REQUESTS / 4;
const SCAN: u64 = 1000;
/// In points of a hundred.
const MOST_BELOW: f64 = 2.0;

/// YCSB's generator.
struct Zipf {
    theta: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(theta: f64) -> Zipf {
        let zeta = |count: u64| -> f64 { (1..=count).map(|it| (it as f64).powf(-theta)).sum() };
        let all = zeta(OBJECTS);
        let eta = (1.0 - (2.0 / OBJECTS as f64).powf(1.0 - theta)) / (1.0 - zeta(2) / all);
        Zipf {
            theta,
            zeta: all,
            eta,
        }
    }

    /// A rank, from 0 on.
    fn draw(&self, dice: &mut StdRng) -> u64 {
        let at: f64 = dice.random();
        let scaled = at * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        let rank = (self.eta * at - self.eta + 1.0).powf(1.0 / (1.0 - self.theta));
        ((OBJECTS as f64 * rank) as u64).min(OBJECTS - 1)
    }
}

#[derive(Clone, Copy)]
struct Trace {
    theta: f64,
    /// Of the requests, so many parts of a hundred are of scans.
    scans: u64,
    does_change: bool,
}

impl Trace {
    fn requests(self, seed: u64) -> Vec<u64> {
        let (zipf, mut dice) = (Zipf::new(self.theta), StdRng::seed_from_u64(seed));
        let mut requests = Vec::with_capacity(REQUESTS);
        // Beyond all objects, whichever are wanted.
        let mut scanned = 1_u64 << 40;
        while requests.len() < REQUESTS {
            let between = match self.scans {
                0 => REQUESTS as u64,
                scans => SCAN * (100 - scans) / scans,
            };
            for _ in 0..between.min((REQUESTS - requests.len()) as u64) {
                let quarter = (requests.len() * 4 / REQUESTS) as u64;
                let of = if self.does_change { quarter } else { 0 };
                requests.push(of * OBJECTS + zipf.draw(&mut dice));
            }
            for _ in 0..SCAN.min((REQUESTS - requests.len()) as u64) {
                requests.push(scanned);
                scanned += 1;
            }
        }
        requests
    }
}

/// Something that keeps what it is asked for, as far as it has room.
trait Cache {
    /// Whether it was there.
    fn ask(&mut self, object: u64) -> bool;
}

struct Object;

const WEIGHT: u64 = 1024;
/// What the memory tier adds for its own bookkeeping.
const BOOKKEEPING: u64 = 160;

impl Weigh for Object {
    fn weight(&self) -> u64 {
        WEIGHT
    }
}

impl Cache for Memory<Object> {
    fn ask(&mut self, object: u64) -> bool {
        // As even as the hash that keys are.
        let mix = |seed: u64| {
            let mut bits = (object ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            (bits ^ (bits >> 32)).to_le_bytes()
        };
        let key = Key::of_digest(&[mix(1), mix(2)].concat());
        let is_there = self.find(&key).is_some();
        if !is_there {
            self.put(key, Arc::new(Object));
        }
        is_there
    }
}

/// The least recently used goes.
#[derive(Default)]
struct Lru {
    places: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    now: u64,
}

impl Lru {
    fn has(&self, object: u64) -> bool {
        self.places.contains_key(&object)
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn touch(&mut self, object: u64) {
        self.now += 1;
        if let Some(before) = self.places.insert(object, self.now) {
            self.order.remove(&before);
        }
        self.order.insert(self.now, object);
    }

    fn remove(&mut self, object: u64) -> bool {
        let place = self.places.remove(&object);
        place.is_some_and(|place| self.order.remove(&place).is_some())
    }

    fn oldest(&self) -> Option<u64> {
        self.order.values().next().copied()
    }
}

struct Bounded(Lru, usize);

impl Cache for Bounded {
    fn ask(&mut self, object: u64) -> bool {
        let is_there = self.0.has(object);
        self.0.touch(object);
        if self.0.len() > self.1 {
            let oldest = self.0.oldest().expect("there are some");
            self.0.remove(oldest);
        }
        is_there
    }
}

/// W-TinyLFU with exact frequencies.
struct TinyLfu {
    window: Lru,
    probation: Lru,
    protected: Lru,
    most: [usize; 3],
    frequencies: HashMap<u64, u32>,
    asked: usize,
}

impl TinyLfu {
    fn new(places: usize) -> TinyLfu {
        let window = (places / 100).max(1);
        let protected = (places - window) * 4 / 5;
        TinyLfu {
            window: Lru::default(),
            probation: Lru::default(),
            protected: Lru::default(),
            most: [window, places - window - protected, protected],
            frequencies: HashMap::new(),
            asked: 0,
        }
    }

    fn frequency(&self, object: u64) -> u32 {
        self.frequencies.get(&object).copied().unwrap_or(0)
    }

    fn count(&mut self, object: u64) {
        let frequency = self.frequencies.entry(object).or_default();
        *frequency = (*frequency + 1).min(15);
        self.asked += 1;
        if self.asked >= 10 * self.most.iter().sum::<usize>() {
            self.asked /= 2;
            self.frequencies.retain(|_, frequency| {
                *frequency /= 2;
                *frequency > 0
            });
        }
    }
}

impl Cache for TinyLfu {
    fn ask(&mut self, object: u64) -> bool {
        self.count(object);
        let [window, probation, protected] = self.most;
        if self.window.has(object) {
            self.window.touch(object);
            return true;
        }
        if self.protected.has(object) {
            self.protected.touch(object);
            return true;
        }
        if self.probation.remove(object) {
            self.protected.touch(object);
            if self.protected.len() > protected {
                let oldest = self.protected.oldest().expect("there are some");
                self.protected.remove(oldest);
                self.probation.touch(oldest);
            }
            return true;
        }
        self.window.touch(object);
        if self.window.len() > window {
            let candidate = self.window.oldest().expect("there are some");
            self.window.remove(candidate);
            // What the protected segment does not use is for those on probation.
            let room = probation + protected - self.protected.len();
            if self.probation.len() < room {
                self.probation.touch(candidate);
            } else if let Some(victim) = self.probation.oldest()
                && self.frequency(candidate) > self.frequency(victim)
            {
                self.probation.remove(victim);
                self.probation.touch(candidate);
            }
        }
        false
    }
}

/// In points of a hundred.
fn hit_ratio(cache: &mut dyn Cache, requests: &[u64]) -> f64 {
    let (first, rest) = requests.split_at(WARM_UP);
    for object in first {
        cache.ask(*object);
    }
    let hits = rest.iter().filter(|object| cache.ask(**object)).count();
    100.0 * hits as f64 / rest.len() as f64
}

fn main() {
    // `cargo test --benches` asks whether it runs, and not what comes of it.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let mut worst = 0.0_f64;
    println!("theta  scans  wanted   places   ours  w-tinylfu    lru  difference");
    for (theta, scans, does_change) in [
        (0.99, 0, false),
        (0.99, 10, false),
        (0.99, 30, false),
        (0.9, 0, false),
        (0.9, 30, false),
        (0.7, 0, false),
        (0.7, 30, false),
        (0.99, 0, true),
        (0.9, 10, true),
    ] {
        let trace = Trace {
            theta,
            scans,
            does_change,
        };
        let requests = trace.requests(7);
        for places in [1000, 5000, 10_000] {
            let bound = places as u64 * (WEIGHT + BOOKKEEPING);
            let ours = hit_ratio(&mut Memory::<Object>::new(bound), &requests);
            let tiny = hit_ratio(&mut TinyLfu::new(places), &requests);
            let lru = hit_ratio(&mut Bounded(Lru::default(), places), &requests);
            let difference = ours - tiny;
            worst = worst.min(difference);
            let wanted = if does_change { "change" } else { "stay" };
            println!(
                "{theta:5}  {scans:4}%  {wanted:6}  {places:7}  {ours:5.2}      {tiny:5.2}  {lru:5.2}       {difference:+5.2}"
            );
        }
        if !is_measured {
            return;
        }
    }
    let requests = Trace {
        theta: 0.99,
        scans: 0,
        does_change: false,
    };
    let requests = requests.requests(11);
    let mut memory = Memory::<Object>::new(OBJECTS * (WEIGHT + BOOKKEEPING));
    for object in &requests {
        memory.ask(*object);
    }
    let began = Instant::now();
    let hits = requests
        .iter()
        .filter(|object| memory.ask(**object))
        .count();
    let each = began.elapsed().as_nanos() as f64 / requests.len() as f64;
    println!("{hits} hits of {}, {each:.0} ns each", requests.len());
    assert!(
        worst >= -MOST_BELOW,
        "{worst:+.2} points to W-TinyLFU; {MOST_BELOW} are the bound"
    );
}
