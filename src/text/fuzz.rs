//! Fuzzing on the stable compiler, for the parsers of all rooms. For tests alone.
//!
//! A target is called with the seeds that are committed under `tests/fuzz/NAME` and then with what mutation makes of
//! them: bits, ranges and words of the target's own, and pieces of other inputs. The compiler that is used everywhere
//! else can tell no coverage, so a target tells instead how an input ended; one that ended as none before it is kept
//! and mutated further. A target asserts what must hold of its parser, beyond that it does not panic.
//!
//! Each target has a second by default. For longer: `NORTHGATE_FUZZ_SECONDS=600 cargo test --lib fuzz`. An input that
//! fails is shown; put it among the seeds once it is understood.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const LONGEST_INPUT: usize = 4096;
const LARGEST_CORPUS: usize = 4096;

/// Runs a target. `words` are what its inputs are made of.
pub(crate) fn fuzz<Ending: Hash>(name: &str, words: &[&str], target: impl Fn(&[u8]) -> Ending) {
    fuzz_from(&[&format!("tests/fuzz/{name}")], words, target);
}

/// As [`fuzz`], with the files of these folders as seeds.
pub(crate) fn fuzz_from<Ending: Hash>(
    folders: &[&str],
    words: &[&str],
    target: impl Fn(&[u8]) -> Ending,
) {
    let run = |input: &[u8]| {
        let _shown = Shown(input);
        let mut hasher = DefaultHasher::new();
        target(input).hash(&mut hasher);
        hasher.finish()
    };
    let mut corpus: Vec<Vec<u8>> = folders.iter().flat_map(|folder| seeds(folder)).collect();
    let mut endings: HashSet<u64> = corpus.iter().map(|seed| run(seed)).collect();
    assert!(endings.len() > 1, "the seeds in {folders:?} all end alike");
    let mut rng = rand::rngs::StdRng::from_os_rng();
    let deadline = Instant::now() + budget();
    let mut inputs = 0_u64;
    while Instant::now() < deadline {
        let mut input = corpus.choose(&mut rng).cloned().unwrap_or_default();
        for _ in 0..rng.random_range(1..=6) {
            mutate(&mut input, &corpus, words, &mut rng);
        }
        input.truncate(LONGEST_INPUT);
        if endings.insert(run(&input)) && corpus.len() < LARGEST_CORPUS {
            corpus.push(input);
        }
        inputs += 1;
    }
    println!(
        "{folders:?}: {inputs} inputs ended in {} ways",
        endings.len()
    );
}

fn budget() -> Duration {
    let seconds = std::env::var("NORTHGATE_FUZZ_SECONDS");
    let seconds = seconds.map_or(1.0, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs_f64(seconds)
}

fn seeds(folder: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(Path::new(folder)).expect("tests run in the crate's root");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort_unstable();
    let read = |path| std::fs::read(path).expect("a seed");
    paths.iter().map(read).collect()
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], rng: &mut impl Rng) {
    let at = rng.random_range(0..=input.len());
    let range = at..rng.random_range(at..=input.len().min(at + 16));
    match rng.random_range(0..7) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        1 => input.insert(at, rng.random()),
        2 => drop(input.drain(range)),
        3 => {
            let copy = input[range.clone()].to_vec();
            input.splice(at..at, copy);
        }
        4 | 5 => {
            let word = words.choose(rng).copied().unwrap_or_default();
            let end = if rng.random() { range.end } else { at };
            input.splice(at..end, word.bytes());
        }
        _ => {
            let other = corpus.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// Shows the input when a target unwinds through it.
struct Shown<'i>(&'i [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}
