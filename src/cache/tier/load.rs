//! Brings what is on disk into memory, once for all who ask for it at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::OnceCell;

use super::stream::Stream;
use crate::cache::ask::Ask;
use crate::cache::body::Body;
use crate::cache::disk::Disk;
use crate::cache::entry::Entry;
use crate::cache::key_hash::{ByKey, Key};
use crate::cache::meta::{self, Kept, Meta};
use crate::cache::rfc::Forward;
use crate::cache::slot::Slot;
use crate::cache::{Cache, Found, disk};

/// A disk that takes longer is asked no more: the upstream may be quicker.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is more than such a part of the memory pushes too much out of it.
const LARGE: u64 = 8;

/// What is being read under a key, for all who want it.
type Turn = Arc<OnceCell<Loaded>>;

#[derive(Debug, Default)]
pub(super) struct Loading(Mutex<HashMap<Key, Turn, ByKey>>);

/// What there is under a key.
#[derive(Clone, Debug)]
enum Loaded {
    Slot(Arc<Slot>),
    /// It is too large for memory: each is to read it alone.
    Large,
    Nothing,
}

/// A place among those who want the same. The last of them clears it away.
struct Wait<'l> {
    loading: &'l Loading,
    key: Key,
    turn: Turn,
}

impl Loading {
    fn join(&self, key: Key) -> Wait<'_> {
        let turn = self.turns().entry(key).or_default().clone();
        Wait {
            loading: self,
            key,
            turn,
        }
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<Key, Turn, ByKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut turns = self.loading.turns();
        // Who comes after it has ended begins anew: something else may be there by then.
        let is_over = self.turn.initialized() || Arc::strong_count(&self.turn) == 2;
        let is_own = |turn: &Turn| Arc::ptr_eq(turn, &self.turn);
        if is_over && turns.get(&self.key).is_some_and(is_own) {
            turns.remove(&self.key);
        }
        // Under the lock, so that whoever leaves next does not count this one any more.
        self.turn = Turn::default();
        drop(turns);
    }
}

impl Cache {
    /// What is on disk for a request, where memory has nothing; `missed` is why. It is in memory from then on, if it is not too
    /// large. Waits for two seconds at most, and not at all where there is likely nothing.
    pub async fn find_on_disk(
        self: &Arc<Cache>,
        ask: &Ask,
        headers: &HeaderMap,
        missed: Forward,
    ) -> Found {
        let Some(disk) = self.tier.open() else {
            return Found::Nothing(missed);
        };
        let looked = self.look(&disk, ask, headers, missed);
        let looked = tokio::time::timeout(PATIENCE, looked).await;
        looked.unwrap_or(Found::Nothing(missed))
    }

    async fn look(
        self: &Arc<Cache>,
        disk: &Disk,
        ask: &Ask,
        headers: &HeaderMap,
        missed: Forward,
    ) -> Found {
        let slot = self.slot(disk, ask.key).await;
        let (key, missed) = match slot.as_deref() {
            Some(Slot::Variants(vary)) => {
                (Cache::variant(ask.key, vary, headers), Forward::VaryMiss)
            }
            None if ask.has_range => (ask.key, missed),
            _ => return self.found(slot, headers, missed),
        };
        let mut slot = match slot {
            Some(_) => self.slot(disk, key).await,
            None => None,
        };
        if slot.is_none() && ask.has_range {
            slot = self.slot(disk, Cache::part(key)).await;
        }
        self.found(slot, headers, missed)
    }

    async fn slot(self: &Arc<Cache>, disk: &Disk, key: Key) -> Option<Arc<Slot>> {
        let is_kept = |slot: &Slot| matches!(slot, Slot::Entry(_) | Slot::Variants(_));
        if let Some(slot) = self.memory.find(&key).filter(|slot| is_kept(slot)) {
            return Some(slot);
        }
        if !disk.contains(key.bytes()) {
            return None;
        }
        let loaded = {
            let wait = self.tier.loading.join(key);
            let loaded = wait.turn.get_or_init(|| self.load(disk, key));
            loaded.await.clone()
        };
        match loaded {
            Loaded::Slot(slot) => Some(slot),
            Loaded::Nothing => None,
            Loaded::Large => {
                let found = disk.find(key.bytes()).await?;
                let Some(Meta::Entry(kept)) = meta::read(found.meta()) else {
                    return None;
                };
                self.pour(disk, (key, kept), found).await
            }
        }
    }

    async fn load(self: &Arc<Cache>, disk: &Disk, key: Key) -> Loaded {
        let Some(found) = disk.find(key.bytes()).await else {
            return Loaded::Nothing;
        };
        let slot = match meta::read(found.meta()) {
            Some(Meta::Variants(vary)) => {
                let slot = Arc::new(Slot::Variants(vary));
                Some(self.put_loaded(key, slot))
            }
            Some(Meta::Entry(_)) if self.is_large(&found) => return Loaded::Large,
            Some(Meta::Entry(kept)) => self.pour(disk, (key, kept), found).await,
            None => {
                disk.remove(key.bytes());
                None
            }
        };
        slot.map_or(Loaded::Nothing, Loaded::Slot)
    }

    fn is_large(&self, found: &disk::Found) -> bool {
        found.body_length() > self.memory.bound() / LARGE
    }

    /// Makes an entry of what was found, whose body comes from the disk.
    async fn pour(
        self: &Arc<Cache>,
        disk: &Disk,
        (key, kept): (Key, Box<Kept>),
        found: disk::Found,
    ) -> Option<Arc<Slot>> {
        let is_large = self.is_large(&found);
        let (writer, body) = Body::begin(&self.budget);
        let entry = kept.into_entry(key, body);
        let Some(entry) = entry.filter(|entry| self.is_live(entry)) else {
            disk.remove(key.bytes());
            return None;
        };
        let entry = Arc::new(entry);
        let slot = Arc::new(Slot::Entry(entry.clone()));
        let mut stream = Stream::new(self.clone(), entry, found, writer);
        if is_large {
            stream.is_for_one();
        }
        let is_whole = stream.begin().await.ok()?;
        let slot = match is_large {
            true => slot,
            false => self.put_loaded(key, slot),
        };
        if !is_whole {
            self.tier.stream(stream);
        }
        Some(slot)
    }

    /// Puts what was loaded, unless somebody has put something more recent meanwhile; gives what is there.
    fn put_loaded(&self, key: Key, slot: Arc<Slot>) -> Arc<Slot> {
        let is_kept = |slot: &Slot| matches!(slot, Slot::Entry(_) | Slot::Variants(_));
        let better = self.memory.put_unless(key, slot.clone(), is_kept);
        better.unwrap_or(slot)
    }

    /// It cannot be read to its end.
    pub(super) fn forget_loaded(&self, entry: &Arc<Entry>) {
        let is_meant = |slot: &Slot| matches!(slot, Slot::Entry(own) if Arc::ptr_eq(own, entry));
        self.memory.remove_if(&entry.key, is_meant);
    }
}

#[test]
fn whoever_leaves_at_once_with_others_leaves_nothing() {
    let (loading, key) = (Loading::default(), Key::of_digest(&[7; 16]));
    let barrier = std::sync::Barrier::new(4);
    let left = || {
        for round in 0..5000 {
            barrier.wait();
            let wait = loading.join(key);
            barrier.wait();
            drop(wait);
            barrier.wait();
            assert_eq!(loading.turns().len(), 0, "{round}");
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(left))));
}
