//! What is counted, and what is said of it.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Trouble is told once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// All since it was opened, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects that can be found now, without those in the queue.
    pub objects: u64,
    /// What the regions take on the disk now, whether what is in them can still be found or not.
    pub bytes: u64,
    /// What `bytes` never exceeds.
    pub bound: u64,
    /// What the index takes in memory now.
    pub index_bytes: u64,
    /// What waits to be written now, in memory.
    pub queue_bytes: u64,
    /// What the marks take on the disk now.
    pub marks_bytes: u64,
    pub hits: u64,
    /// What was asked for and not found, could not be read or not in time.
    pub misses: u64,
    /// Objects that were written, and how many bytes that were. Those that were written again do not count.
    pub writes: u64,
    pub written_bytes: u64,
    /// Objects that were not written because too much waited to be.
    pub dropped_full: u64,
    /// … because they are larger than a region.
    pub dropped_too_large: u64,
    /// … because the disk would not take them.
    pub dropped_failed: u64,
    /// … because they were removed or followed by another before their turn came.
    pub dropped_superseded: u64,
    /// Removals that a restart may undo, because too much waited to be written or the disk would not take them.
    pub dropped_removals: u64,
    /// Objects that were forgotten because they were not as they had been written.
    pub corrupt: u64,
    /// Objects that went with their region.
    pub evicted: u64,
    /// Objects that were asked for and were written again before their region went.
    pub carried: u64,
    /// Errors that the file system has told, in reading and in writing.
    pub read_errors: u64,
    pub write_errors: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Count,)*
            pub(super) reading: Trouble,
            pub(super) writing: Trouble,
        }

        impl Counters {
            /// What is counted here; the rest is for whoever knows it.
            pub(super) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.value(),)* ..Stats::default() }
            }
        }
    };
}

counters!(
    hits,
    misses,
    writes,
    written_bytes,
    dropped_full,
    dropped_too_large,
    dropped_failed,
    dropped_superseded,
    dropped_removals,
    corrupt,
    evicted,
    carried,
    read_errors,
    write_errors
);

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(super) fn cannot_read(&self, error: &io::Error) {
        self.read_errors.add(1);
        if self.reading.is_to_be_told() {
            log::warn!("cache: an object cannot be read from the disk: {error}");
        }
    }

    pub(super) fn is_corrupt(&self) {
        self.corrupt.add(1);
        if self.reading.is_to_be_told() {
            log::warn!("cache: an object on the disk is not what was written; it is forgotten");
        }
    }

    pub(super) fn cannot_write(&self, error: &io::Error) {
        self.write_errors.add(1);
        if self.writing.is_to_be_told() {
            log::warn!("cache: the disk cannot be written to: {error}");
        }
    }
}

/// When it was told last.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    fn is_to_be_told(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| told.elapsed() >= SAID_EVERY);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

#[test]
fn trouble_is_told_once_in_a_time() {
    let trouble = Trouble::default();
    assert_eq!(
        (trouble.is_to_be_told(), trouble.is_to_be_told()),
        (true, false)
    );
}
