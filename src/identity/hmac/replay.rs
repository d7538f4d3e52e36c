//! What has been shown once and must not be shown again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;

/// Enough that threads seldom meet at one of them.
const SHARDS: usize = 64;

/// Part of a cryptographic hash of what was shown. Nobody finds two messages with the same 128 bits whose signatures
/// are both good, for they would have to be signed first.
pub type Mark = [u8; 16];

/// What was shown within a window of time, in bounded memory, as one configuration sizes it.
///
/// A mark is remembered for at least the window and for at most twice as long: each shard has a young and an old
/// set, and from time to time the young one becomes the old one. Where there is no room for another mark, it is not
/// taken: to forget would let somebody in twice.
#[derive(Debug)]
pub struct Window {
    /// In milliseconds.
    length: AtomicU64,
    /// Marks per shard, young and old together.
    room: AtomicUsize,
    shards: Arc<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    young: HashSet<Mark, RandomState>,
    old: HashSet<Mark, RandomState>,
    turns: Instant,
}

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    First,
    Again,
    /// It cannot be said, for there is no room.
    Full,
}

/// Without room; see [`Window::fit`].
impl Default for Window {
    fn default() -> Window {
        let turns = Instant::now();
        let shard = |_| {
            Mutex::new(Shard {
                young: HashSet::default(),
                old: HashSet::default(),
                turns,
            })
        };
        Window::over((0..SHARDS).map(shard).collect())
    }
}

impl Window {
    fn over(shards: Arc<[Mutex<Shard>]>) -> Window {
        Window {
            length: AtomicU64::default(),
            room: AtomicUsize::default(),
            shards,
        }
    }

    /// The same for another configuration, which has yet to say how large it is: what one remembers the other knows.
    pub fn resumed(&self) -> Window {
        Window::over(self.shards.clone())
    }

    /// Makes it at least as long and as large as this.
    pub fn fit(&self, length: Duration, capacity: usize) {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.length.fetch_max(length, Ordering::Relaxed);
        self.room
            .fetch_max(capacity.div_ceil(SHARDS), Ordering::Relaxed);
    }

    /// Remembers a mark from `now` on, and says whether it was known.
    pub fn show(&self, mark: Mark, now: Instant) -> Shown {
        let Some(shard) = self.shards.get(usize::from(mark[0]) % SHARDS) else {
            return Shown::Full;
        };
        // What is in there is whole after every step.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let length = Duration::from_millis(self.length.load(Ordering::Relaxed));
        shard.turn(now, length);
        if shard.young.contains(&mark) || shard.old.contains(&mark) {
            return Shown::Again;
        }
        if shard.young.len() + shard.old.len() >= self.room.load(Ordering::Relaxed) {
            return Shown::Full;
        }
        shard.young.insert(mark);
        Shown::First
    }
}

impl Shard {
    fn turn(&mut self, now: Instant, length: Duration) {
        if now < self.turns {
            return;
        }
        // After a pause of more than a window what was young is too old to matter, too.
        let young = std::mem::take(&mut self.young);
        self.old = match now < self.turns + length {
            true => young,
            false => HashSet::default(),
        };
        self.turns = now + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(length: Duration, capacity: usize) -> Window {
        let window = Window::default();
        window.fit(length, capacity);
        window
    }

    fn mark(number: u64) -> Mark {
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&number.to_be_bytes());
        mark
    }

    #[test]
    fn what_was_shown_is_known_for_the_window_and_no_longer_than_two() {
        let length = Duration::from_secs(60);
        let window = window(length, 64 * 4);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(window.show(mark(1), at(1)), Shown::First);
        assert_eq!(window.show(mark(1), at(1)), Shown::Again);
        assert_eq!(window.show(mark(2), at(50)), Shown::First);
        assert_eq!(window.show(mark(1), at(61)), Shown::Again);
        assert_eq!(window.show(mark(2), at(109)), Shown::Again);
        assert_eq!(window.show(mark(1), at(122)), Shown::First);
        assert_eq!(window.show(mark(1), at(10_000)), Shown::First);
    }

    #[test]
    fn nothing_is_forgotten_for_want_of_room() {
        let window = window(Duration::from_secs(60), 64 * 2);
        let start = Instant::now();
        // The first byte alone says which shard it is.
        assert_eq!(window.show(mark(1), start), Shown::First);
        assert_eq!(window.show(mark(2), start), Shown::First);
        assert_eq!(window.show(mark(3), start), Shown::Full);
        assert_eq!(window.show(mark(1), start), Shown::Again);
        let other = [1; 16];
        assert_eq!(window.show(other, start), Shown::First);
        let later = start + Duration::from_secs(121);
        assert_eq!(window.show(mark(3), later), Shown::First);
    }

    #[test]
    fn another_size_forgets_nothing() {
        let window = window(Duration::from_secs(60), 64);
        let now = Instant::now();
        assert_eq!(window.show(mark(1), now), Shown::First);
        assert_eq!(window.show(mark(2), now), Shown::Full);
        let next = window.resumed();
        assert_eq!(next.show(mark(2), now), Shown::Full);
        next.fit(Duration::from_secs(10), 64 * 2);
        next.fit(Duration::from_secs(5), 64);
        assert_eq!(next.show(mark(2), now), Shown::First);
        assert_eq!(next.show(mark(1), now), Shown::Again);
        assert_eq!(window.show(mark(2), now), Shown::Again);
    }

    #[test]
    fn of_many_threads_one_is_the_first() {
        let window = window(Duration::from_secs(60), 1 << 16);
        let is_first = |n: &u64| window.show(mark(*n), Instant::now()) == Shown::First;
        let count = || (0..1000).filter(is_first).count();
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            let counts = threads.into_iter().map(|it| it.join().expect("it ends"));
            counts.sum()
        });
        assert_eq!(firsts, 1000);
    }
}
