//! What operators have granted to single keys, for a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ahash::RandomState;

use super::{Factor, Key};
use crate::text::Timestamp;

/// How many overrides a limit has at most.
pub const MAX_OVERRIDES: usize = 10_000;

/// What holds for a key in the place of its limit, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Of all rules.
    pub factor: Factor,
    pub expires: Timestamp,
    /// The key, as operators write it.
    pub key: Box<str>,
}

/// There are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has {MAX_OVERRIDES} overrides already, which is as many as it may have")]
pub struct Full;

/// The overrides of one limit, whose configuration may change meanwhile.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    /// Unix time of the end of the last one; 0 where there is none. It is all that is looked at where there is none.
    until: AtomicU64,
    all: RwLock<HashMap<Key, Override, RandomState>>,
}

impl Overrides {
    /// What is in force for a key.
    pub(super) fn factor(&self, key: Key) -> Option<Factor> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => self.find(key, until, Timestamp::now(), |it| it.factor),
        }
    }

    pub(super) fn of(&self, key: Key) -> Option<Override> {
        let until = self.until.load(Ordering::Relaxed);
        self.find(key, until, Timestamp::now(), Override::clone)
    }

    #[cold]
    fn find<T>(
        &self,
        key: Key,
        until: u64,
        now: Timestamp,
        of: impl FnOnce(&Override) -> T,
    ) -> Option<T> {
        if until <= now.unix() {
            self.forget_ended(now);
            return None;
        }
        let all = self.read();
        all.get(&key).filter(|it| it.expires > now).map(of)
    }

    /// Puts it in the place of the one that the key has, if it has one.
    pub(super) fn grant(&self, key: Key, granted: Override) -> Result<(), Full> {
        self.forget_ended(Timestamp::now());
        let mut all = self.write();
        if all.len() >= MAX_OVERRIDES && !all.contains_key(&key) {
            return Err(Full);
        }
        all.insert(key, granted);
        self.tell(&all);
        Ok(())
    }

    /// Gives whether there was one.
    pub(super) fn end(&self, key: Key) -> bool {
        self.forget_ended(Timestamp::now());
        let mut all = self.write();
        let was_there = all.remove(&key).is_some();
        self.tell(&all);
        was_there
    }

    /// Those in force, by their keys.
    pub(super) fn list(&self) -> Vec<Override> {
        self.forget_ended(Timestamp::now());
        let mut all: Vec<Override> = self.read().values().cloned().collect();
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all
    }

    fn forget_ended(&self, now: Timestamp) {
        let mut all = self.write();
        all.retain(|_, it| it.expires > now);
        self.tell(&all);
    }

    fn tell(&self, all: &HashMap<Key, Override, RandomState>) {
        let last = all.values().map(|it| it.expires.unix()).max();
        self.until.store(last.unwrap_or(0), Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Override, RandomState>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Override, RandomState>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut hasher = Key::hasher();
        hasher.part(&number.to_le_bytes());
        hasher.finish()
    }

    fn until(seconds: u64) -> Override {
        Override {
            factor: "2".parse().unwrap(),
            expires: Timestamp::from_unix(seconds).unwrap(),
            key: "k".into(),
        }
    }

    #[test]
    fn they_end_by_themselves() {
        let overrides = Overrides::default();
        let now = Timestamp::now().unix();
        overrides.grant(key(1), until(now + 1000)).unwrap();
        overrides.grant(key(2), until(now + 2000)).unwrap();
        let at = |number, seconds| {
            let last = overrides.until.load(Ordering::Relaxed);
            let moment = Timestamp::from_unix(now + seconds).unwrap();
            overrides.find(key(number), last, moment, |_| ()).is_some()
        };
        assert!(overrides.factor(key(1)).is_some() && overrides.factor(key(3)).is_none());
        assert!(at(1, 999) && !at(1, 1000) && at(2, 1000));
        // With the last one all are gone, and there is nothing to look at any more.
        assert!(!at(2, 2000));
        assert_eq!(overrides.until.load(Ordering::Relaxed), 0);
        assert!(overrides.read().is_empty());
    }

    #[test]
    fn there_are_only_so_many() {
        let overrides = Overrides::default();
        let later = Timestamp::now().unix() + 1000;
        for number in 0..MAX_OVERRIDES {
            let mut all = overrides.write();
            all.insert(key(number), until(later));
        }
        assert_eq!(overrides.grant(key(MAX_OVERRIDES), until(later)), Err(Full));
        assert_eq!(overrides.grant(key(5), until(later + 1)), Ok(()));
        assert!(overrides.end(key(7)) && !overrides.end(key(7)));
        assert_eq!(overrides.grant(key(MAX_OVERRIDES), until(later)), Ok(()));
        assert_eq!(overrides.list().len(), MAX_OVERRIDES);
    }
}
