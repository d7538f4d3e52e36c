//! Tokens that have been verified, so that one that comes again costs no check of its signature.
//!
//! A set-associative cache: a token's hash says in which four places it may stand, and a new one takes the place of one
//! that is empty, over or longest unused there. Looking a token up locks nothing, and compares the whole token, so that
//! what is found was verified byte for byte; the hash is keyed at random, so that nobody chooses who is displaced.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ahash::RandomState;
use arc_swap::ArcSwapOption;

use crate::identity::Identity;
use crate::identity::keys::KeySet;

/// Places that one token may take.
const WAYS: usize = 4;

/// How many tokens of other issuers are known to be that.
const STRANGERS: usize = 1024;

/// Verified tokens, up to a number.
pub(super) struct Remembered {
    hasher: RandomState,
    /// The hashes of tokens of other issuers, where several providers are asked about every token: each but one would
    /// read it again and again to find that it is not its own. A hash that meets another here has a token refused that
    /// might be good, which happens once in the life of the universe.
    strangers: Box<[AtomicU64]>,
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
pub(super) struct Validity {
    /// In seconds since 1970; not at this moment any more.
    pub(super) until: u64,
    /// What it was verified with, and no other set: another may have withdrawn the key. It is weak, for a withdrawn
    /// set need not stay; while it is held no other set can have its address.
    pub(super) keys: Weak<KeySet>,
}

/// A token's name in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(pub(super) u64);

impl Remembered {
    /// Room for this many tokens, rounded up; for none where it is zero.
    pub(super) fn new(tokens: usize) -> Remembered {
        let slots = match tokens {
            0 => 0,
            some => some.next_power_of_two().max(WAYS),
        };
        Remembered {
            hasher: RandomState::new(),
            strangers: (0..STRANGERS).map(|_| AtomicU64::new(0)).collect(),
            hashes: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    pub(super) fn hash(&self, token: &[u8]) -> Hash {
        // Zero stands for nothing.
        Hash(self.hasher.hash_one(token).max(1))
    }

    /// Who the token proves, where it was verified with these keys and is still valid now.
    pub(super) fn find(
        &self,
        hash: Hash,
        token: &[u8],
        now: u64,
        keys: &Arc<KeySet>,
    ) -> Option<Arc<Identity>> {
        let Hash(hash) = hash;
        let (hashes, slots) = self.places(hash)?;
        for (held, slot) in hashes.iter().zip(slots) {
            if held.load(Ordering::Relaxed) != hash {
                continue;
            }
            let entry = slot.load();
            if let Some(entry) = entry.as_ref()
                && *entry.token == *token
                && entry.validity.counts(now, Arc::as_ptr(keys))
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
        hash: Hash,
        token: &[u8],
        identity: Arc<Identity>,
        validity: Validity,
        now: u64,
    ) {
        let Hash(hash) = hash;
        let Some((hashes, slots)) = self.places(hash) else {
            return;
        };
        let place = displaced(slots, hash, now, validity.keys.as_ptr());
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

    /// Whether the token is known to be of another issuer.
    pub(super) fn is_stranger(&self, Hash(hash): Hash) -> bool {
        let held = self.strangers.get(hash as usize % STRANGERS);
        held.is_some_and(|held| held.load(Ordering::Relaxed) == hash)
    }

    pub(super) fn keep_out(&self, Hash(hash): Hash) {
        if let Some(held) = self.strangers.get(hash as usize % STRANGERS) {
            held.store(hash, Ordering::Relaxed);
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
fn displaced(slots: &[ArcSwapOption<Entry>], hash: u64, now: u64, keys: *const KeySet) -> usize {
    let is_free = |slot: &ArcSwapOption<Entry>| match slot.load().as_ref() {
        None => true,
        Some(entry) => entry.hash == hash || !entry.validity.counts(now, keys),
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
    fn counts(&self, now: u64, keys: *const KeySet) -> bool {
        now < self.until && std::ptr::eq(self.keys.as_ptr(), keys)
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({})", self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table {
        remembered: Remembered,
        keys: Arc<KeySet>,
    }

    impl Table {
        fn new(tokens: usize) -> Table {
            Table {
                remembered: Remembered::new(tokens),
                keys: Arc::default(),
            }
        }

        fn insert(&self, token: &[u8], until: u64, now: u64) -> Arc<Identity> {
            let identity = Arc::new(Identity::default());
            let validity = Validity {
                until,
                keys: Arc::downgrade(&self.keys),
            };
            let hash = self.remembered.hash(token);
            let own = identity.clone();
            self.remembered.insert(hash, token, own, validity, now);
            identity
        }

        fn find(&self, token: &[u8], now: u64, keys: &Arc<KeySet>) -> Option<Arc<Identity>> {
            let hash = self.remembered.hash(token);
            self.remembered.find(hash, token, now, keys)
        }

        fn has(&self, token: &[u8], now: u64) -> bool {
            self.find(token, now, &self.keys).is_some()
        }
    }

    #[test]
    fn a_token_is_known_as_long_as_it_counts() {
        let table = Table::new(16);
        assert!(!table.has(b"token", 0));
        let identity = table.insert(b"token", 100, 0);
        let check = |token: &[u8], now, keys: &Arc<KeySet>, expected| {
            let found = table.find(token, now, keys);
            let is_found = found.is_some_and(|found| Arc::ptr_eq(&found, &identity));
            assert_eq!(is_found, expected, "{now}");
        };
        check(b"token", 0, &table.keys, true);
        check(b"token", 99, &table.keys, true);
        check(b"token", 100, &table.keys, false);
        check(b"token", 0, &Arc::default(), false);
        check(b"tokem", 0, &table.keys, false);
        check(b"toke", 0, &table.keys, false);
        check(b"", 0, &table.keys, false);
    }

    #[test]
    fn no_later_set_of_keys_is_taken_for_one_that_is_gone() {
        let mut table = Table::new(16);
        table.insert(b"token", 100, 0);
        let before = Arc::as_ptr(&table.keys);
        for _ in 0..1000 {
            // Were the address free, it would be handed out again.
            table.keys = Arc::default();
            assert_ne!(Arc::as_ptr(&table.keys), before);
            assert!(!table.has(b"token", 0));
        }
    }

    #[test]
    fn the_whole_token_decides_and_not_its_hash() {
        let table = Table::new(4);
        table.insert(b"real", 100, 0);
        let hash = table.remembered.hash(b"real");
        let found = table.remembered.find(hash, b"forged", 0, &table.keys);
        assert!(found.is_none());
        let found = table.remembered.find(hash, b"real", 0, &table.keys);
        assert!(found.is_some());
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_what_is_used_stays() {
        let table = Table::new(64);
        let often = b"often".as_slice();
        table.insert(often, u64::MAX, 0);
        for number in 0..10_000_u32 {
            table.insert(&number.to_le_bytes(), u64::MAX, 0);
            assert!(table.has(often, 0), "it was used between every two others");
        }
        assert_eq!(table.remembered.slots.len(), 64);
        let kept = (0..10_000_u32).filter(|number| table.has(&number.to_le_bytes(), 0));
        assert!((32..64).contains(&kept.count()));
    }

    #[test]
    fn what_is_over_is_displaced_first() {
        let table = Table::new(WAYS);
        for (token, until) in [(b"a", 10), (b"b", 1000), (b"c", 1000), (b"d", 1000)] {
            table.insert(token, until, 0);
        }
        table.insert(b"e", 1000, 10);
        for token in [b"b", b"c", b"d", b"e"] {
            assert!(table.has(token, 10));
        }
        table.insert(b"b", 2000, 10);
        assert!(table.has(b"b", 1500), "in its own place");
        assert!(table.has(b"c", 10));
    }

    #[test]
    fn none_are_remembered_where_none_shall_be() {
        let table = Table::new(0);
        table.insert(b"token", u64::MAX, 0);
        assert!(!table.has(b"token", 0));
    }

    #[test]
    fn strangers_are_known_by_what_they_are() {
        let Table { remembered, .. } = Table::new(0);
        let (one, other) = (remembered.hash(b"one"), remembered.hash(b"other"));
        assert!(!remembered.is_stranger(one));
        remembered.keep_out(one);
        assert!(remembered.is_stranger(one) && !remembered.is_stranger(other));
        for number in 0..10_000_u32 {
            remembered.keep_out(remembered.hash(&number.to_le_bytes()));
        }
        assert!(!remembered.is_stranger(one), "only so many are known");
    }
}
