//! The disk behind the memory: who opens and closes it, what is written there, and what is read from there.
//!
//! # What is written
//! A response goes to disk once all of it has come, unless it is good for something for no more than two seconds. What was there
//! under its key goes when the response begins, since a cache answers with the most recent one (RFC 9111 section 4).
//! Bodies are not copied: those that wait to be written are those of the memory.
//!
//! # What is read
//! What memory has not, and the disk may have, is looked for there ([`Cache::find_on_disk`]), once for all who ask for it at a
//! time; then it is in memory as well. What is too large for memory is read by each on its own. A disk that is slow or
//! broken is a miss.
//!
//! # Purges
//! A purge is in force when its mark is in memory, and is durable when it is in the disk's log. [`Cache::purge_durably`] ends
//! with the latter. [`Cache::purge`] ends with the former and has the mark logged soon, by the [keeper], in order: it is for
//! what a client has changed by an unsafe method (RFC 9111 section 4.4). The response to that does not wait for the disk; what the end of
//! the process by force within those milliseconds undoes is what the client would have had without a cache on disk, one stale response
//! for no longer than its lifetime. Marks that cannot be logged, or for which there is no room before the keeper, make it
//! write all marks that there are anew.
//!
//! *No mark is lost when the disk is opened.* Whoever purges adds the mark to memory first, then looks under the lock whether there is a
//! log. The keeper sets the log under that lock, then takes all marks from memory and logs them, and only then lets objects be
//! found. Whoever has found no log has looked before it was set, so that the mark was in memory when all were taken.

mod keeper;
mod load;
mod stream;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::broadcast::Told;
use super::disk::{Disk, Stats};
use super::entry::Entry;
use super::key_hash::Key;
use super::marks::{Mark, Purge};
use super::rfc::Vary;
use super::{Cache, meta};
use crate::stores::StoreError;

use load::Loading;

/// What is good for less is not worth writing.
const LEAST_USE: Duration = Duration::from_secs(2);
/// For how long a purge waits for the disk to be opened.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many marks may wait to be logged for which nobody waits.
const MOST_LATE: usize = 4096;

/// Where the disk's files are, and how much they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    pub folder: PathBuf,
    /// In bytes.
    pub size: u64,
}

/// The disk, where there is one.
#[derive(Debug)]
pub(super) struct Tier {
    wanted: watch::Sender<Option<DiskSettings>>,
    /// What the keeper has last tried to come to, and has or has not.
    tried: watch::Sender<Option<DiskSettings>>,
    stage: RwLock<Stage>,
    late: mpsc::Sender<Mark>,
    /// Taken by the keeper.
    to_log: Mutex<Option<mpsc::Receiver<Mark>>>,
    /// There are marks in memory that may not be in the log.
    is_behind: AtomicBool,
    /// It cannot be had since another process has it, which may be over in a moment.
    is_busy: AtomicBool,
    /// There was a disk, which was left to another process.
    is_left: AtomicBool,
    loading: Loading,
    streams: Mutex<JoinSet<()>>,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Closed,
    /// Purges are logged, and nothing is found yet.
    Logs(Arc<Disk>),
    Open(Arc<Disk>),
}

impl Default for Tier {
    fn default() -> Tier {
        let (late, to_log) = mpsc::channel(MOST_LATE);
        Tier {
            wanted: watch::Sender::default(),
            tried: watch::Sender::default(),
            stage: RwLock::default(),
            late,
            to_log: Mutex::new(Some(to_log)),
            is_behind: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            loading: Loading::default(),
            streams: Mutex::default(),
        }
    }
}

impl Tier {
    /// What there is to be from now on; the keeper sees to it.
    pub(super) fn want(&self, disk: Option<DiskSettings>) {
        self.is_left.store(false, Ordering::Relaxed);
        self.ask_for(disk);
    }

    fn ask_for(&self, disk: Option<DiskSettings>) {
        self.wanted.send_if_modified(|wanted| {
            let is_other = *wanted != disk;
            *wanted = disk;
            is_other
        });
    }

    fn take_to_log(&self) -> Option<mpsc::Receiver<Mark>> {
        let mut to_log = self.to_log.lock().unwrap_or_else(PoisonError::into_inner);
        to_log.take()
    }

    fn set(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        stage.clone()
    }

    /// What objects are written to and found in.
    fn open(&self) -> Option<Arc<Disk>> {
        match self.stage() {
            Stage::Open(disk) => Some(disk),
            Stage::Closed | Stage::Logs(_) => None,
        }
    }

    /// What purges are logged in.
    fn log(&self) -> Option<Arc<Disk>> {
        match self.stage() {
            Stage::Closed => None,
            Stage::Logs(disk) | Stage::Open(disk) => Some(disk),
        }
    }

    /// All of it has come, or it was confirmed.
    pub(super) fn put(&self, entry: &Entry) {
        let Some(disk) = self.open() else { return };
        let left = entry
            .lifetime
            .is_of_use_for()
            .saturating_sub(entry.age(Instant::now()));
        let Some(parts) = entry.body.parts().filter(|_| left >= LEAST_USE) else {
            return;
        };
        let parts: Vec<Bytes> = parts.cloned().collect();
        // Of what was let go there is the end alone.
        if parts.iter().map(|part| part.len() as u64).sum::<u64>() != entry.body.length() {
            return;
        }
        // What becomes of it is counted there.
        disk.put(*entry.key.bytes(), meta::of_entry(entry), parts);
    }

    pub(super) fn put_variants(&self, key: Key, vary: &Vary) {
        if let Some(disk) = self.open() {
            disk.put(*key.bytes(), meta::of_variants(vary), Vec::new());
        }
    }

    /// Whether it may be there.
    pub(super) fn has(&self, key: Key) -> bool {
        self.open().is_some_and(|disk| disk.contains(key.bytes()))
    }

    pub(super) fn remove(&self, key: Key) {
        if let Some(disk) = self.open().filter(|disk| disk.contains(key.bytes())) {
            disk.remove(key.bytes());
        }
    }

    /// Has a mark that is in memory logged soon.
    pub(super) fn log_soon(&self, mark: Mark) {
        if self.log().is_some() && self.late.try_send(mark).is_err() {
            self.is_behind.store(true, Ordering::Relaxed);
        }
    }

    async fn log_now(&self, mark: Mark) -> io::Result<()> {
        let Some(disk) = self.log() else {
            return self.opened().await;
        };
        let logged = disk.log_mark(&mark.to_bytes()).await;
        if logged.is_err() {
            self.is_behind.store(true, Ordering::Relaxed);
        }
        logged
    }
}

impl Tier {
    /// Ends once the disk is open, where there is to be one: all marks that were in memory until then are in its log.
    async fn opened(&self) -> io::Result<()> {
        if self.is_left.load(Ordering::Relaxed) {
            return Err(io::Error::other("it was left to another process"));
        }
        let mut tried = self.tried.subscribe();
        let opened = async {
            loop {
                let wanted = self.wanted.borrow().clone();
                if wanted.is_none() || self.open().is_some() {
                    return Ok(());
                }
                let has_failed = *tried.borrow_and_update() == wanted;
                if has_failed && !self.is_busy.load(Ordering::Relaxed) {
                    return Err(io::Error::other("it cannot be used"));
                }
                // There is no end before the tier's.
                let _ = tried.changed().await;
            }
        };
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        opened.unwrap_or_else(|_| Err(io::Error::other("another process still has it")))
    }
}

/// A purge that is in force.
#[derive(Debug)]
pub struct Purged {
    pub mark: Mark,
    /// With an error a restart may undo it.
    pub logged: io::Result<()>,
    /// Whether other gateways know; `None` where there are none.
    pub told: Option<Told>,
}

impl Cache {
    /// Purges, and ends when no restart undoes it, and others are told or cannot be. Without a disk no restart can undo it. A disk that
    /// another process still has is waited for, two seconds at most.
    pub async fn purge_durably(&self, purge: &Purge) -> Purged {
        let mark = self.mark(purge);
        if self.heir.is_there() {
            // That one logs it as well.
            self.fleet.tell(purge).await;
            let why = "another process serves in the place of this one, and is told".into();
            return Purged {
                mark,
                logged: Ok(()),
                told: Some(Told::LocalOnly(StoreError::Down(why))),
            };
        }
        let (logged, told) = tokio::join!(self.tier.log_now(mark), self.fleet.tell(purge));
        Purged { mark, logged, told }
    }

    /// Waits until others are told of all purges, for so long at most. Gives of how many they are not.
    pub async fn tell_others(&self, patience: Duration) -> usize {
        self.fleet.drain(patience).await
    }

    /// Opens and closes the disk as configurations say and as the process lives, and has purges told and heard, for as long as
    /// it is polled. Once.
    pub fn keep(self: Arc<Cache>) -> impl Future<Output = ()> + Send {
        keeper::keep(self)
    }

    /// Has the keeper close the disk, so that another process can have it. [`Cache::apply`] has it opened again.
    pub fn release_disk(&self) {
        let is_wanted = self.tier.wanted.borrow().is_some();
        self.tier.is_left.store(is_wanted, Ordering::Relaxed);
        self.tier.ask_for(None);
    }

    /// Ends when the keeper has tried to do what it is to do. Whoever waits has a deadline.
    pub async fn disk_settled(&self) {
        let wanted = self.tier.wanted.borrow().clone();
        // There is no end before the cache's.
        let _ = self
            .tier
            .tried
            .subscribe()
            .wait_for(|it| *it == wanted)
            .await;
    }

    /// `None` where there is no disk.
    pub fn disk_stats(&self) -> Option<Stats> {
        Some(self.tier.open()?.stats())
    }
}

/// As it is logged.
fn record(mark: Mark) -> Vec<u8> {
    mark.to_bytes().to_vec()
}
