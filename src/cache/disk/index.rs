//! Where each object is, in memory.
//!
//! Two words an object, in tables that are between 7/16 and 7/8 full: 20 to 40 bytes. Half of the key stands for all of
//! it; of a billion objects one in ten million is taken for another, which is found out when it is read.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ahash::RandomState;
use bytes::Bytes;

use super::place::{Packed, Place};
use super::record::{Key, name_of};
use super::region::Region;

/// So many that going through one is soon done, of a hundred million objects as well.
const SHARDS: usize = 256;

/// An object on its way to the disk.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) key: Key,
    pub(super) meta: Bytes,
    pub(super) parts: Vec<Bytes>,
    pub(super) body_length: u64,
}

/// The regions there are, by their slots.
#[derive(Debug, Default)]
pub(super) struct Regions(RwLock<Vec<Option<Arc<Region>>>>);

#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Shard {
    places: HashMap<u64, Packed, RandomState>,
    /// What was given and is not written yet. It comes before what was written.
    queued: HashMap<u64, Arc<Parcel>, RandomState>,
}

/// Where an object is.
#[derive(Debug)]
pub(super) enum Whereabouts {
    Queued(Arc<Parcel>),
    Written(Arc<Region>, Place),
}

impl Regions {
    /// The lowest slot that is free.
    pub(super) fn free_slot(&self) -> u16 {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let free = slots.iter().position(Option::is_none);
        free.unwrap_or(slots.len()) as u16
    }

    pub(super) fn add(&self, region: Arc<Region>) {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let slot = usize::from(region.slot);
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        if let Some(free) = slots.get_mut(slot) {
            *free = Some(region);
        }
    }

    pub(super) fn remove(&self, slot: u16) {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = slots.get_mut(usize::from(slot)) {
            *taken = None;
        }
    }

    pub(super) fn clear(&self) {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        slots.clear();
    }

    fn of(&self, slot: u16) -> Option<Arc<Region>> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(usize::from(slot))?.clone()
    }
}

impl Index {
    /// With room for so many objects before it grows.
    pub(super) fn new(capacity: usize) -> Index {
        let hasher = RandomState::new();
        // A bit more than its share, since no shard has exactly that.
        let each = capacity.div_ceil(SHARDS) * 33 / 32;
        let shard = || {
            Mutex::new(Shard {
                places: HashMap::with_capacity_and_hasher(each, hasher.clone()),
                queued: HashMap::with_hasher(hasher.clone()),
            })
        };
        Index {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher,
        }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        let name = name_of(key);
        let shard = self.shard(name);
        shard.queued.contains_key(&name) || shard.places.contains_key(&name)
    }

    /// And remembers that somebody asked for it.
    pub(super) fn find(&self, key: &Key, regions: &Regions) -> Option<Whereabouts> {
        let name = name_of(key);
        let mut shard = self.shard(name);
        if let Some(parcel) = shard.queued.get(&name) {
            // The other half of the key: what is in memory costs nothing to compare.
            return (parcel.key == *key).then(|| Whereabouts::Queued(parcel.clone()));
        }
        let packed = shard.places.get_mut(&name)?;
        packed.hit();
        // Under the lock: the slot is not given to another region before all places in it are gone from here.
        let region = regions.of(packed.slot())?;
        Some(Whereabouts::Written(region, packed.place()))
    }

    /// From now on it is this one, and no other of its key is found.
    pub(super) fn queue(&self, parcel: &Arc<Parcel>) {
        let name = name_of(&parcel.key);
        let mut shard = self.shard(name);
        shard.queued.insert(name, parcel.clone());
    }

    /// Whether it is still wanted: neither removed nor followed by another of its key.
    pub(super) fn is_queued(&self, parcel: &Arc<Parcel>) -> bool {
        let name = name_of(&parcel.key);
        let shard = self.shard(name);
        let queued = shard.queued.get(&name);
        queued.is_some_and(|queued| Arc::ptr_eq(queued, parcel))
    }

    /// It was written here.
    pub(super) fn settle(&self, parcel: &Arc<Parcel>, place: Place) {
        let name = name_of(&parcel.key);
        let mut shard = self.shard(name);
        if let Slot::Occupied(queued) = shard.queued.entry(name)
            && Arc::ptr_eq(queued.get(), parcel)
        {
            queued.remove();
            shard.places.insert(name, Packed::new(place));
        }
    }

    /// It cannot be written. `true` where one of its key was, which is gone as well.
    pub(super) fn discard(&self, parcel: &Arc<Parcel>) -> bool {
        let name = name_of(&parcel.key);
        let mut shard = self.shard(name);
        let Slot::Occupied(queued) = shard.queued.entry(name) else {
            return false;
        };
        if !Arc::ptr_eq(queued.get(), parcel) {
            return false;
        }
        queued.remove();
        shard.places.remove(&name).is_some()
    }

    /// What the files say, in the order in which it was written.
    pub(super) fn restore(&self, name: u64, place: Place) {
        self.shard(name).places.insert(name, Packed::new(place));
    }

    /// Whether there was one.
    pub(super) fn remove(&self, name: u64) -> bool {
        let mut shard = self.shard(name);
        let was_queued = shard.queued.remove(&name).is_some();
        shard.places.remove(&name).is_some() || was_queued
    }

    /// Where it is still there. `true` if so.
    pub(super) fn remove_from(&self, name: u64, place: Place) -> bool {
        let mut shard = self.shard(name);
        let is_there = shard
            .places
            .get(&name)
            .is_some_and(|packed| packed.place() == place);
        if is_there {
            shard.places.remove(&name);
        }
        is_there
    }

    /// It was written again: where it is still at the one place, it is at the other.
    pub(super) fn relocate(&self, name: u64, from: Place, to: Place) {
        let mut shard = self.shard(name);
        if let Some(packed) = shard.places.get_mut(&name)
            && packed.place() == from
        {
            *packed = Packed::new(to);
        }
    }

    /// What was asked for of a region, in the order of the places. Goes through all objects, a shard at a time.
    pub(super) fn asked_for_in(&self, slot: u16) -> Vec<(u64, Place)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let of_slot = shard
                .places
                .iter()
                .filter(|(_, packed)| packed.slot() == slot && packed.is_hit());
            found.extend(of_slot.map(|(name, packed)| (*name, packed.place())));
        }
        found.sort_unstable_by_key(|(_, place)| place.offset);
        found
    }

    /// Forgets all objects of a region; says how many. Goes through all objects, a shard at a time.
    pub(super) fn sweep(&self, slot: u16) -> usize {
        let mut swept = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.places.len();
            shard.places.retain(|_, packed| packed.slot() != slot);
            swept += before - shard.places.len();
        }
        swept
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.places = HashMap::with_hasher(self.hasher.clone());
            shard.queued = HashMap::with_hasher(self.hasher.clone());
        }
    }

    /// Objects that were written, and what the index takes for them in bytes. The tables of the standard library have
    /// room for 7/8 of their places, each of which is as large as what is in it and one byte.
    pub(super) fn size(&self) -> (usize, usize) {
        const EACH: usize = size_of::<(u64, Packed)>() + 1;
        let mut size = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            size.0 += shard.places.len();
            size.1 += (shard.places.capacity() * 8).div_ceil(7) * EACH;
        }
        size
    }

    fn shard(&self, name: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[name as usize % SHARDS];
        lock(shard)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
