//! The disk tier: objects in files that are written from their beginning to their end, bound by bytes.
//!
//! In: complete objects, each a key, what its owner says of it (`meta`) and a body. Out: the same, whole and byte for byte,
//! or nothing. This room must never know what an object means, how fresh it is or whether it may be given out.
//!
//! # How it is kept
//! Records are appended to a *region*, a file of a 64th of the bound (4 to 256 MiB). A full region is sealed with an
//! index of its records, and never changes again. Where the bound is reached the oldest region is deleted as a whole; what
//! was asked for since it was written is written once more before, up to a quarter of a region. So what nobody asks for
//! goes first in, first out, and what somebody does stays. One thread writes; a bounded queue is before it, and what does
//! not fit is not written. What is in the queue can be found already.
//!
//! In memory an object takes two words in a table, 20 to 40 bytes.
//!
//! # What a crash leaves
//! | what stops | what is lost |
//! |---|---|
//! | the process, at any moment (`kill -9`) | what was in the queue, and what was just being written |
//! | the machine | also what the kernel had not written; regions are not synced |
//!
//! Nothing torn is ever given out: the head and `meta` of a record, and each 64 KiB of its body, have a CRC-32 that is
//! looked at whenever they are read. At the start the indexes of sealed regions are read, and the region that was being
//! written is gone through up to the first record that is not whole.
//!
//! A removal is a record as well, written behind what was put before: a crash may undo those that were in the queue, and
//! of a machine those of the last seconds. What must not come back, whatever happens, is the matter of a mark.
//!
//! # Marks
//! A mark is a purge, as its owner writes it. [`Disk::log_mark`] ends when it is on the disk, synced, and it is there again
//! after every crash ([`Disk::take_marks`]). Where the log is not all there any more, everything that was stored is dropped
//! at the start: what a lost purge was about is not known. (Each region says which log it belongs to.) A half record at its end was never acknowledged, and is cut off.
//!
//! # One process at a time
//! The folder is locked. In a binary upgrade the old process calls [`Disk::close`] when it begins to drain, and goes on
//! without disk. The new one, for which [`Disk::open`] says [`OpenError::Busy`] until then, serves without disk, tries again
//! every second or so, and logs what was purged meanwhile *before* it finds the first object: those marks are in no log
//! yet. What was being read when it was closed can be read to its end.
//!
//! # Trouble
//! A disk that is full, read-only, gone or broken makes misses and counts, and is told once a minute. Where it is full below
//! the bound, the oldest region goes for what comes. After an error nothing is written for a second.

mod committer;
mod counters;
mod found;
mod index;
mod limits;
mod marks;
mod place;
mod queue;
mod reads;
mod record;
mod recovery;
mod region;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use counters::Stats;
pub use found::Found;
pub use marks::Position;
pub use record::Key;

use committer::{Answer, MarkWork};
use counters::Counters;
use index::{Index, Parcel, Regions};
use limits::{LEAST_BOUND, Limits};
use place::Place;
use queue::{Queue, Refused};
use reads::Reads;
use record::{MOST_META, name_of, record_length};
use writer::{Work, Writer};

/// What marks may wait to be logged, in bytes.
const MOST_MARKS_WAITING: u64 = 16 << 20;
/// A purge that takes longer to be durable has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what waits, beside its bytes.
const OVERHEAD: u64 = 256;

/// A cache on disk. It ends when it is closed; one that is dropped ends by itself, soon after.
#[derive(Debug)]
pub struct Disk {
    inner: Arc<Inner>,
    running: Mutex<Option<Running>>,
    marks: Mutex<Vec<Vec<u8>>>,
}

/// What the threads and the readers share.
#[derive(Debug)]
struct Inner {
    index: Index,
    regions: Regions,
    reads: Reads,
    counters: Counters,
    work: Queue<Work>,
    marks: Queue<MarkWork>,
    /// Of the log of marks.
    position: Mutex<Position>,
    /// What the regions take.
    bytes: AtomicU64,
    limits: Limits,
}

#[derive(Debug)]
struct Running {
    writer: JoinHandle<()>,
    committer: JoinHandle<()>,
    /// Both threads hold it too: a process that does not wait for them does not unlock before they end.
    lock: Arc<File>,
}

/// Why there is no cache on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses the folder")]
    Busy,
    #[error("it is to be at least {LEAST_BOUND} bytes large")]
    TooSmall,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of an object that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Queued,
    /// Too much waits to be written.
    Full,
    /// It is larger than three quarters of a region, or its `meta` than a megabyte.
    TooLarge,
    Closed,
}

impl Disk {
    /// The cache in this folder, which is made where it is not there, of at most `bound` bytes, and of 2 TiB. On top come
    /// the log of marks and, of what was deleted and is still being read from, up to an eighth of the bound (two regions, if
    /// it is small). A file stays open for each region: 64 of them up to 16 GiB, 4 for each GiB above. Blocks on the file
    /// system, of a million objects for less than a second.
    pub fn open(folder: &Path, bound: u64) -> Result<Disk, OpenError> {
        let limits = Limits::of(bound).ok_or(OpenError::TooSmall)?;
        let recovered = recovery::recover(folder, &limits)?;
        let inner = Arc::new(Inner {
            index: recovered.index,
            regions: recovered.regions,
            reads: Reads::new(),
            counters: Counters::default(),
            work: Queue::new(limits.queue),
            marks: Queue::new(MOST_MARKS_WAITING),
            position: Mutex::new(recovered.log.position()),
            bytes: AtomicU64::new(0),
            limits,
        });
        let lock = Arc::new(recovered.lock);
        let writer = Writer::new(inner.clone(), folder.to_owned(), limits, recovered.stock);
        let writing = lock.clone();
        let writer = thread::Builder::new()
            .name("cache-disk".into())
            .spawn(move || {
                writer.run();
                drop(writing);
            })?;
        let (shared, logging, log) = (inner.clone(), lock.clone(), recovered.log);
        let committer = thread::Builder::new()
            .name("cache-marks".into())
            .spawn(move || {
                committer::run(&shared, log);
                drop(logging);
            })
            .inspect_err(|_| inner.work.close())?;
        Ok(Disk {
            inner,
            running: Mutex::new(Some(Running {
                writer,
                committer,
                lock,
            })),
            marks: Mutex::new(recovered.records),
        })
    }

    /// Writes what is queued, ends, and leaves the folder to others. From now on nothing is found and nothing is taken.
    /// Blocks on the file system. Does nothing the second time.
    pub fn close(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(running) = running else { return };
        self.inner.end();
        for thread in [running.writer, running.committer] {
            if thread.join().is_err() {
                log::error!("cache: a thread of the disk has panicked");
            }
        }
        self.inner.index.clear();
        self.inner.regions.clear();
        if let Err(error) = running.lock.unlock() {
            log::warn!("cache: the folder stays locked: {error}");
        }
    }

    /// Gives an object to be written; what there was of its key is not found any more, whatever becomes of this. Never
    /// blocks. The parts are kept in memory until it is written, and can be found from now on.
    pub fn put(&self, key: Key, meta: Bytes, parts: Vec<Bytes>) -> Put {
        let counters = &self.inner.counters;
        let body_length = parts.iter().map(|part| part.len() as u64).sum();
        let length = record_length(meta.len() as u64, body_length);
        if meta.len() > MOST_META || length > self.inner.limits.record {
            counters.dropped_too_large.add(1);
            self.remove(&key);
            return Put::TooLarge;
        }
        let weight = length + OVERHEAD + (parts.len() * size_of::<Bytes>()) as u64;
        let parcel = Arc::new(Parcel {
            key,
            meta,
            parts,
            body_length,
        });
        // It is in the index before the writer looks for it there.
        self.inner.index.queue(&parcel);
        let Err(refused) = self.inner.work.push(Work::Put(parcel.clone()), weight) else {
            return Put::Queued;
        };
        if self.inner.index.discard(&parcel) {
            self.inner.log_removal(key);
        }
        match refused {
            Refused::Full => {
                counters.dropped_full.add(1);
                Put::Full
            }
            Refused::Closed => Put::Closed,
        }
    }

    /// Whether an object is likely there: a look into memory, for requests that need not wait for a miss. Not counted.
    pub fn contains(&self, key: &Key) -> bool {
        self.inner.index.contains(key)
    }

    /// The object, whose head is read. From the kernel's memory at once, else by a thread of tokio's blocking pool, in a
    /// runtime of which this is to be called. What cannot be read within two seconds is a miss.
    pub async fn find(&self, key: &Key) -> Option<Found> {
        let whereabouts = self.inner.index.find(key, &self.inner.regions);
        let found = match whereabouts {
            Some(at) => Found::open(&self.inner, key, at).await,
            None => None,
        };
        let counters = &self.inner.counters;
        match found {
            Some(_) => counters.hits.add(1),
            None => counters.misses.add(1),
        }
        found
    }

    /// From now on there is no object of this key. Never blocks. Whether a restart brings it back: see [the head](self).
    pub fn remove(&self, key: &Key) {
        if self.inner.index.remove(name_of(key)) {
            self.inner.log_removal(*key);
        }
    }

    /// The marks that were logged before it was opened, in their order; nothing the second time.
    pub fn take_marks(&self) -> Vec<Vec<u8>> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut marks)
    }

    /// Ends when the mark is on the disk. With an error it may be there or not. After some errors, and when 64 MiB are
    /// full, only [`Disk::rewrite_marks`] helps.
    pub async fn log_mark(&self, record: &[u8]) -> io::Result<()> {
        let weight = record.len() as u64 + OVERHEAD;
        let work = |answer| MarkWork::Log(record.to_vec(), answer);
        self.inner.log(weight, work).await
    }

    /// How far the log is: to be taken before one looks at what a rewrite is to say.
    pub fn marks_position(&self) -> Position {
        self.inner.position()
    }

    /// These in the place of all marks that were logged until `since`; what was logged later stays, behind them. Who logs a
    /// mark has therefore to apply it in memory first: what is logged and not yet to be seen by whoever rewrites would be
    /// lost. An error leaves what was there. It is one, too, where somebody else has rewritten since.
    pub async fn rewrite_marks(&self, since: Position, records: Vec<Vec<u8>>) -> io::Result<()> {
        let weight = records
            .iter()
            .map(|record| record.len() as u64 + OVERHEAD)
            .sum();
        let work = |answer| MarkWork::Rewrite(since, records, answer);
        self.inner.log(weight, work).await
    }

    /// Ends when all is written that was put or removed before, or could not be.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.inner.work.push(Work::Flush(done), 0).is_ok() {
            // Where the writer has ended there is nothing to wait for.
            let _ = tokio::time::timeout(PATIENCE, is_done).await;
        }
    }

    /// Goes through the shards of the index for their sizes; for operators, not for every request.
    pub fn stats(&self) -> Stats {
        let (objects, index_bytes) = self.inner.index.size();
        Stats {
            objects: objects as u64,
            bytes: self.inner.bytes.load(Relaxed),
            bound: self.inner.limits.bound,
            index_bytes: index_bytes as u64,
            queue_bytes: self.inner.work.weight(),
            marks_bytes: self.inner.position().bytes(),
            ..self.inner.counters.stats()
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Inner {
    fn end(&self) {
        self.work.close();
        self.marks.close();
    }

    /// So that it does not come back at the next start.
    fn log_removal(&self, key: Key) {
        // Where this is refused it may come back: only marks are for ever.
        if self.work.push(Work::Remove(key), OVERHEAD).is_err() {
            self.counters.dropped_removals.add(1);
        }
    }

    /// What is there is not what was written.
    fn forget(&self, name: u64, place: Place) {
        if self.index.remove_from(name, place) {
            self.counters.is_corrupt();
        }
    }

    fn position(&self) -> Position {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn log(&self, weight: u64, work: impl FnOnce(Answer) -> MarkWork) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.marks
            .push(work(answer), weight)
            .map_err(|refused| match refused {
                Refused::Full => io::Error::from(io::ErrorKind::ResourceBusy),
                Refused::Closed => io::Error::other("the cache on disk is closed"),
            })?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(io::Error::other("the log of marks has ended")),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
