use std::num::NonZeroUsize;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

#[derive(Debug)]
struct Thing {
    number: u64,
    bytes: u64,
}

impl Weigh for Thing {
    fn weight(&self) -> u64 {
        self.bytes
    }
}

fn key(number: u64) -> Key {
    // As even as a hash.
    let mut bytes = [0; 16];
    let one = crate::text::mix(number ^ 0x5bd1).to_le_bytes();
    let other = crate::text::mix(number).to_le_bytes();
    bytes
        .iter_mut()
        .zip(one.into_iter().chain(other))
        .for_each(|(to, byte)| *to = byte);
    Key::of_digest(&bytes)
}

fn put(memory: &Memory<Thing>, number: u64, bytes: u64) {
    memory.put(key(number), Arc::new(Thing { number, bytes }));
}

#[test]
fn what_is_put_in_is_found_and_counted() {
    let memory = Memory::new(1 << 20);
    put(&memory, 1, 100);
    put(&memory, 2, 200);
    assert_eq!(memory.find(&key(1)).map(|it| it.number), Some(1));
    assert!(memory.find(&key(3)).is_none());
    assert_eq!(memory.bytes(), 300 + 2 * OVERHEAD);
    put(&memory, 2, 50);
    assert_eq!((memory.len(), memory.bytes()), (2, 150 + 2 * OVERHEAD));
    assert!(!memory.remove_if(&key(2), |it| it.bytes == 200));
    assert!(memory.remove_if(&key(2), |it| it.bytes == 50));
    assert!(memory.remove_if(&key(1), |_| true));
    assert_eq!((memory.len(), memory.bytes()), (0, 0));
    assert!(memory.is_empty());
}

#[test]
fn the_bound_holds_whatever_happens() {
    let mut dice = StdRng::seed_from_u64(7);
    let memory = Memory::new(100_000);
    for turn in 0..20_000 {
        let number = dice.random_range(0..400);
        match dice.random_range(0..10) {
            0..6 => put(&memory, number, dice.random_range(1..3000)),
            6..8 => {
                if let Some(found) = memory.find(&key(number)) {
                    assert_eq!(found.number, number);
                }
            }
            8 => drop(memory.remove_if(&key(number), |_| true)),
            _ => memory.weigh_again(&key(number)),
        }
        assert!(memory.bytes() <= memory.bound(), "{turn}");
        if turn == 10_000 {
            memory.set_bound(50_000);
            assert!(memory.bytes() <= 50_000);
        }
    }
    let each: u64 = memory.each().map(|it| it.bytes + OVERHEAD).sum();
    assert_eq!(each, memory.bytes());
    assert!(memory.evicted() > 0);
    memory.set_bound(0);
    assert_eq!((memory.len(), memory.bytes()), (0, 0));
}

#[test]
fn what_is_replaced_again_and_again_takes_no_more() {
    let memory = Memory::new(1 << 30);
    for _ in 0..100_000 {
        put(&memory, 1, 10);
    }
    let queues = memory.queues();
    assert!(
        queues.small.len() + queues.main.len() <= 2 * GONE_AT_LEAST,
        "{}",
        queues.small.len()
    );
}

/// Of things that are all asked for again and again, those that one more has to look at. They are new, or have been there.
#[test]
fn one_more_looks_at_few_where_all_are_asked_for() {
    const COUNT: u64 = 5000;
    let memory = Memory::new(COUNT * (100 + OVERHEAD));
    (0..COUNT).for_each(|number| put(&memory, number, 100));
    // So many times they are asked for all, and another comes.
    for round in 0..40 {
        for number in 0..COUNT {
            (0..3).for_each(|_| drop(memory.find(&key(number))));
        }
        let asked_for = |memory: &Memory<Thing>| {
            let queues = memory.queues();
            let all = queues.small.iter().chain(&queues.main);
            all.filter(|node| node.uses.load(Ordering::Relaxed) == MOST_USES)
                .count()
        };
        let before = asked_for(&memory);
        let evicted = memory.evicted();
        put(&memory, COUNT + round, 100);
        assert_eq!(memory.evicted(), evicted + 1, "{round}");
        let seen = before - asked_for(&memory);
        assert!(seen <= MOST_SPARED + 1, "{round}: {seen}");
        assert!(memory.bytes() <= memory.bound());
    }
    // What is large makes as many go as it needs, and is in the bound as well.
    put(&memory, COUNT * 2, 100_000);
    assert!(memory.bytes() <= memory.bound());
}

/// Which of so many things are asked for how often goes by Zipf's law; each so many steps somebody reads twice as many others
/// in turn as there is room for. Gives the parts of what is not read in turn that were there, and what they are for LRU.
fn hit_ratios(capacity: usize, alpha: f64) -> (f64, f64) {
    const COUNT: usize = 10_000;
    const STEPS: usize = 50_000;
    const SCAN_EVERY: usize = 2500;
    let weights: Vec<f64> = (1..=COUNT).map(|rank| (rank as f64).powf(-alpha)).collect();
    let mut sums = Vec::with_capacity(COUNT);
    let mut sum = 0.0;
    for weight in weights {
        sum += weight;
        sums.push(sum);
    }
    let mut dice = StdRng::seed_from_u64(42);
    let memory = Memory::new(capacity as u64 * (100 + OVERHEAD));
    let mut lru: lru::LruCache<u64, ()> = lru::LruCache::new(NonZeroUsize::new(capacity).unwrap());
    let (mut hits, mut lru_hits, mut asked, mut scanned) = (0, 0, 0, 1 << 40);
    for step in 0..STEPS {
        let at = dice.random_range(0.0..sum);
        let number = sums.partition_point(|sum| *sum <= at) as u64;
        asked += 1;
        match memory.find(&key(number)) {
            Some(_) => hits += 1,
            None => put(&memory, number, 100),
        }
        match lru.get(&number) {
            Some(()) => lru_hits += 1,
            None => drop(lru.put(number, ())),
        }
        if step % SCAN_EVERY == SCAN_EVERY - 1 {
            for _ in 0..2 * capacity {
                scanned += 1;
                if memory.find(&key(scanned)).is_none() {
                    put(&memory, scanned, 100);
                }
                lru.put(scanned, ());
            }
        }
    }
    (
        f64::from(hits) / f64::from(asked),
        f64::from(lru_hits) / f64::from(asked),
    )
}

#[test]
fn scans_push_out_nothing_that_is_asked_for_often() {
    // About a point below what is measured. Without ghosts, with one use remembered, with uses not counted, or with thrice the
    // room for what is new it is less in one of them at least.
    for (alpha, capacity, least) in [
        (0.8, 100, 0.23),
        (0.8, 1000, 0.48),
        (1.0, 100, 0.465),
        (1.0, 1000, 0.66),
    ] {
        let (scanned, lru) = hit_ratios(capacity, alpha);
        let told = format!("{alpha} {capacity}: {scanned:.4}, LRU {lru:.4}");
        assert!(scanned > least, "{told}");
        assert!(scanned > lru + 0.05, "{told}");
    }
}

#[test]
fn many_threads_find_what_was_put_there() {
    let memory: Arc<Memory<Thing>> = Arc::new(Memory::new(200_000));
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let memory = memory.clone();
            std::thread::spawn(move || {
                let mut dice = StdRng::seed_from_u64(seed);
                for _ in 0..20_000 {
                    let number = dice.random_range(0..1000);
                    match memory.find(&key(number)) {
                        Some(found) => assert_eq!(found.number, number),
                        None => put(&memory, number, dice.random_range(1..2000)),
                    }
                    if dice.random_range(0..10) == 0 {
                        memory.remove_if(&key(number), |it| it.number == number);
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let each: u64 = memory.each().map(|it| it.bytes + OVERHEAD).sum();
    assert_eq!(each, memory.bytes());
    assert!(memory.bytes() <= memory.bound());
}
