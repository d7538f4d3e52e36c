//! How much of what is asked for is still there: the memory tier of the cache beside W-TinyLFU, moka and LRU; and what a hit costs.
//!
//! `cargo bench --bench eviction`, or `cargo bench --bench eviction -- 11` for traces of another seed. It prints the parts of a
//! hundred of all requests that were hits, and of all bytes; what scans ask for counts too, and is never a hit. It fails where
//! the memory tier has two points less hits than the better of W-TinyLFU and moka, objects being of one size.

mod caches;
mod trace;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use caches::{BOOKKEEPING, Cache, Lru, Moka, Ours, WindowTinyLfu, moka};
use trace::{OBJECTS, Request, Sizes, Trace};

const REQUESTS: usize = 1_000_000;
/// Of all objects that are wanted, a cache has room for so many parts of a hundred.
const ROOMS: [u64; 3] = [1, 5, 10];
/// In points of a hundred.
const MOST_BELOW: f64 = 2.0;
const SEED: u64 = 7;

/// In parts of a hundred.
struct Ratio {
    objects: f64,
    bytes: f64,
}

/// Of what is asked for after a third of the requests has filled the cache.
fn ratio(mut cache: impl Cache, requests: &[Request]) -> Ratio {
    let (first, rest) = requests.split_at(requests.len() / 3);
    for request in first {
        cache.ask(request.object, request.bytes);
    }
    let (mut hits, mut hit_bytes, mut bytes) = (0_u64, 0_u64, 0_u64);
    for request in rest {
        bytes += request.bytes;
        if cache.ask(request.object, request.bytes) {
            hits += 1;
            hit_bytes += request.bytes;
        }
    }
    Ratio {
        objects: 100.0 * hits as f64 / rest.len() as f64,
        bytes: 100.0 * hit_bytes as f64 / bytes as f64,
    }
}

/// One line of the table: the memory tier, W-TinyLFU, moka and LRU.
type Row = [Ratio; 4];

fn rows(trace: Trace, count: usize, seed: u64) -> Vec<Row> {
    let requests = trace.requests(count, seed);
    let all: u64 = (0..OBJECTS)
        .map(|it| trace.sizes.of(it) + BOOKKEEPING)
        .sum();
    let row = |room: u64| {
        let bound = all / 100 * room;
        [
            ratio(Ours::new(bound), &requests),
            ratio(WindowTinyLfu::new(bound), &requests),
            ratio(moka(bound, trace.sizes.each()), &requests),
            ratio(Lru::new(bound), &requests),
        ]
    };
    ROOMS.into_iter().map(row).collect()
}

fn traces() -> Vec<Trace> {
    let mut traces = Vec::new();
    for sizes in [Sizes::Uniform, Sizes::LogNormal] {
        for theta in [0.99, 0.9, 0.7] {
            for scans in [0, 10, 30] {
                traces.push(Trace {
                    theta,
                    scans,
                    sizes,
                    does_change: false,
                });
            }
            traces.push(Trace {
                theta,
                scans: 10,
                sizes,
                does_change: true,
            });
        }
    }
    traces
}

/// Prints the lines of a trace; gives the least difference to what is better.
fn print(trace: Trace, rows: &[Row]) -> f64 {
    let sizes = match trace.sizes {
        Sizes::Uniform => "uniform",
        Sizes::LogNormal => "log-normal",
    };
    let wanted = if trace.does_change { "change" } else { "stay" };
    let mut least = f64::INFINITY;
    for (room, [ours, window, moka, lru]) in ROOMS.into_iter().zip(rows) {
        let difference = ours.objects - window.objects.max(moka.objects);
        least = least.min(difference);
        println!(
            "{sizes:10}  {:5}  {:4}%  {wanted:6}  {room:3}%  {:6.2} {:6.2} {:6.2} {:6.2}  {:+6.2} {:+6.2}  {:6.2} {:6.2} {:6.2} {:6.2}  {:+6.2} {:+6.2}",
            trace.theta,
            trace.scans,
            ours.objects,
            window.objects,
            moka.objects,
            lru.objects,
            ours.objects - window.objects,
            ours.objects - moka.objects,
            ours.bytes,
            window.bytes,
            moka.bytes,
            lru.bytes,
            ours.bytes - window.bytes,
            ours.bytes - moka.bytes,
        );
    }
    least
}

/// All of the table; gives the least difference where objects are of one size.
fn compare(count: usize, seed: u64) -> f64 {
    let traces = traces();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(trace) = traces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let place = traces.iter().position(|it| std::ptr::eq(it, trace));
                    let rows = rows(*trace, count, seed);
                    done.lock().expect("nobody panicked").push((place, rows));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panicked");
    done.sort_by_key(|(place, _)| *place);
    println!(
        "{:39}of objects{:20}difference  of bytes{:22}difference",
        "", "", ""
    );
    println!(
        "sizes       theta  scans  wanted  room    ours W-Tiny   moka    LRU  W-Tiny   moka    ours W-Tiny   moka    LRU  W-Tiny   moka"
    );
    let mut least = f64::INFINITY;
    for (trace, (_, rows)) in traces.iter().zip(&done) {
        let difference = print(*trace, rows);
        if trace.sizes == Sizes::Uniform {
            least = least.min(difference);
        }
    }
    least
}

/// Nanoseconds that a thread takes for a hit while so many of them ask, everything being there.
fn time(threads: usize, requests: &[Request], is_hit: impl Fn(u64) -> bool + Sync) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (before, after) = requests.split_at(requests.len() / threads * thread);
            let is_hit = &is_hit;
            scope.spawn(move || {
                let hits = after.iter().chain(before).filter(|it| is_hit(it.object));
                assert_eq!(hits.count(), requests.len(), "all of them are there");
            });
        }
    });
    began.elapsed().as_nanos() as f64 / requests.len() as f64
}

fn print_times(count: usize, seed: u64) {
    let trace = Trace {
        theta: 0.99,
        scans: 0,
        sizes: Sizes::Uniform,
        does_change: false,
    };
    let requests = trace.requests(count, seed);
    let bound = 2 * OBJECTS * (trace.sizes.of(0) + BOOKKEEPING);
    let (mut ours, mut moka): (Ours, Moka) = (Ours::new(bound), moka(bound, trace.sizes.each()));
    for request in &requests {
        ours.ask(request.object, request.bytes);
        moka.ask(request.object, request.bytes);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let ours = time(threads, &requests, |it| {
            ours.0.find(&Ours::key(it)).is_some()
        });
        let moka = time(threads, &requests, |it| moka.get(&it).is_some());
        println!("a hit, {threads} asking at once: ours {ours:.0} ns, moka {moka:.0} ns");
    }
}

/// Otherwise it would not be of the same weight.
fn check_bookkeeping() {
    let mut ours = Ours::new(1 << 20);
    ours.ask(1, 1000);
    assert_eq!(ours.0.bytes(), 1000 + BOOKKEEPING);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seed = arguments.iter().find_map(|it| it.parse().ok());
    // `cargo test --benches` asks whether it runs, and not what comes of it.
    let is_measured = arguments.iter().any(|it| it == "--bench");
    let (count, seed) = match is_measured {
        true => (REQUESTS, seed.unwrap_or(SEED)),
        false => (3000, SEED),
    };
    check_bookkeeping();
    let least = compare(count, seed);
    print_times(count, seed);
    println!(
        "{least:+.2} points to the better of W-TinyLFU and moka at worst, objects being of one size"
    );
    assert!(
        !is_measured || least >= -MOST_BELOW,
        "{MOST_BELOW} points are the bound"
    );
}
