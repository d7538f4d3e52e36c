//! Tokens that have been verified, so that one that comes again costs no check of its signature.
//!
//! A set-associative cache: a token's hash says in which four places it may stand, and a new one takes the place of one
//! that is empty, over or longest unused there. Looking a token up locks nothing, and compares the whole token, so that
//! what is found was verified byte for byte; the hash is keyed at random, so that nobody chooses who is displaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::RandomState;
use arc_swap::ArcSwapOption;

use crate::identity::Identity;

/// Places that one token may take.
const WAYS: usize = 4;

/// Verified tokens, up to a number.
pub(super) struct Remembered {
    hasher: RandomState,
    /// What is in the slot of the same index; lets a look pass over others' slots without touching what is in them. It
    /// may lag behind, which costs a missed hit and nothing else, for the token itself decides.
    hashes: Box<[AtomicU64]>,
    slots: Box<[ArcSwapOption<Entry>]>,
}

struct Entry {
    hash: u64,
    token: Box<[u8]>,
    identity: Arc<Identity>,
    validity: Validity,
    /// Since it was last passed over for displacement.
    is_used: AtomicBool,
}

/// How long a verification counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// In seconds since 1970; not at this moment any more.
    pub(super) until: u64,
    /// Of the key set that it was verified with. Another generation may have withdrawn the key.
    pub(super) generation: u64,
}

impl Remembered {
    /// Room for this many tokens, rounded up; for none where it is zero.
    pub(super) fn new(tokens: usize) -> Remembered {
        let slots = match tokens {
            0 => 0,
            some => some.next_power_of_two().max(WAYS),
        };
        Remembered {
            hasher: RandomState::new(),
            hashes: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// Who the token proves, where it was verified with this generation of keys and is still valid now.
    pub(super) fn find(&self, token: &[u8], now: u64, generation: u64) -> Option<Arc<Identity>> {
        let hash = self.hash(token);
        let (hashes, slots) = self.places(hash)?;
        for (held, slot) in hashes.iter().zip(slots) {
            if held.load(Ordering::Relaxed) != hash {
                continue;
            }
            let entry = slot.load();
            if let Some(entry) = entry.as_ref()
                && *entry.token == *token
                && entry.validity.counts(now, generation)
            {
                if !entry.is_used.load(Ordering::Relaxed) {
                    entry.is_used.store(true, Ordering::Relaxed);
                }
                return Some(entry.identity.clone());
            }
        }
        None
    }

    /// Keeps a token that has just been verified.
    pub(super) fn insert(
        &self,
        token: &[u8],
        identity: Arc<Identity>,
        validity: Validity,
        now: u64,
    ) {
        let hash = self.hash(token);
        let Some((hashes, slots)) = self.places(hash) else {
            return;
        };
        let place = displaced(slots, hash, now, validity.generation);
        if let (Some(held), Some(slot)) = (hashes.get(place), slots.get(place)) {
            slot.store(Some(Arc::new(Entry {
                hash,
                token: token.into(),
                identity,
                validity,
                is_used: AtomicBool::new(false),
            })));
            held.store(hash, Ordering::Relaxed);
        }
    }

    fn hash(&self, token: &[u8]) -> u64 {
        match self.slots.is_empty() {
            true => 0,
            // Zero stands for nothing.
            false => self.hasher.hash_one(token).max(1),
        }
    }

    /// The places that a token of this hash may take.
    fn places(&self, hash: u64) -> Option<(&[AtomicU64], &[ArcSwapOption<Entry>])> {
        let sets = self.slots.len() / WAYS;
        let set = hash as usize & sets.checked_sub(1)?;
        let range = set * WAYS..(set + 1) * WAYS;
        Some((self.hashes.get(range.clone())?, self.slots.get(range)?))
    }
}

/// The place for a new token: its own, one that nothing is lost with, or the next that was not used since it was last
/// passed over.
fn displaced(slots: &[ArcSwapOption<Entry>], hash: u64, now: u64, generation: u64) -> usize {
    let is_free = |slot: &ArcSwapOption<Entry>| match slot.load().as_ref() {
        None => true,
        Some(entry) => entry.hash == hash || !entry.validity.counts(now, generation),
    };
    if let Some(free) = slots.iter().position(is_free) {
        return free;
    }
    let first = (hash >> 32) as usize % WAYS;
    let order = (first..WAYS).chain(0..first);
    let was_unused = |&place: &usize| {
        let entry = slots.get(place).map(ArcSwapOption::load);
        let entry = entry.as_ref().and_then(|entry| entry.as_ref());
        entry.is_some_and(|entry| !entry.is_used.swap(false, Ordering::Relaxed))
    };
    order.clone().find(was_unused).unwrap_or(first)
}

impl Validity {
    fn counts(self, now: u64, generation: u64) -> bool {
        now < self.until && self.generation == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Validity = Validity {
        until: u64::MAX,
        generation: 1,
    };

    fn someone() -> Arc<Identity> {
        Arc::new(Identity::default())
    }

    #[test]
    fn a_token_is_known_as_long_as_it_counts() {
        let remembered = Remembered::new(16);
        let identity = someone();
        let validity = Validity {
            until: 100,
            generation: 7,
        };
        assert!(remembered.find(b"token", 0, 7).is_none());
        remembered.insert(b"token", identity.clone(), validity, 0);
        let check = |token: &[u8], now, generation, expected| {
            let found = remembered.find(token, now, generation);
            let is_found = found.is_some_and(|found| Arc::ptr_eq(&found, &identity));
            assert_eq!(is_found, expected, "{now} {generation}");
        };
        check(b"token", 0, 7, true);
        check(b"token", 99, 7, true);
        check(b"token", 100, 7, false);
        check(b"token", 0, 8, false);
        check(b"token", 0, 6, false);
        check(b"tokem", 0, 7, false);
        check(b"toke", 0, 7, false);
        check(b"", 0, 7, false);
    }

    #[test]
    fn the_whole_token_decides_and_not_its_hash() {
        let remembered = Remembered::new(4);
        let forged = b"forged";
        let hash = remembered.hash(forged);
        let entry = Entry {
            hash,
            token: b"real".as_slice().into(),
            identity: someone(),
            validity: FOREVER,
            is_used: AtomicBool::new(false),
        };
        for (held, slot) in remembered.hashes.iter().zip(&remembered.slots) {
            held.store(hash, Ordering::Relaxed);
            slot.store(Some(Arc::new(Entry {
                token: entry.token.clone(),
                identity: someone(),
                is_used: AtomicBool::new(false),
                ..entry
            })));
        }
        assert!(remembered.find(forged, 0, 1).is_none());
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_what_is_used_stays() {
        let remembered = Remembered::new(64);
        let often = b"often".as_slice();
        remembered.insert(often, someone(), FOREVER, 0);
        let mut missed = 0;
        for number in 0..10_000_u32 {
            remembered.insert(&number.to_le_bytes(), someone(), FOREVER, 0);
            if remembered.find(often, 0, 1).is_none() {
                missed += 1;
                remembered.insert(often, someone(), FOREVER, 0);
            }
        }
        assert_eq!(remembered.slots.len(), 64);
        assert_eq!(missed, 0, "it was used between every two others");
        let kept = (0..10_000_u32).filter(|number| {
            let found = remembered.find(&number.to_le_bytes(), 0, 1);
            found.is_some()
        });
        assert!((32..64).contains(&kept.count()));
    }

    #[test]
    fn what_is_over_is_displaced_first() {
        let remembered = Remembered::new(WAYS);
        let until = |until| Validity {
            until,
            generation: 1,
        };
        for (token, end) in [(b"a", 10), (b"b", 1000), (b"c", 1000), (b"d", 1000)] {
            remembered.insert(token, someone(), until(end), 0);
        }
        remembered.insert(b"e", someone(), until(1000), 10);
        for token in [b"b", b"c", b"d", b"e"] {
            assert!(remembered.find(token, 10, 1).is_some());
        }
        remembered.insert(b"b", someone(), until(2000), 10);
        assert!(remembered.find(b"b", 1500, 1).is_some(), "in its own place");
        assert!(remembered.find(b"c", 10, 1).is_some());
    }

    #[test]
    fn none_are_remembered_where_none_shall_be() {
        let remembered = Remembered::new(0);
        remembered.insert(b"token", someone(), FOREVER, 0);
        assert!(remembered.find(b"token", 0, 1).is_none());
    }
}
