//! What newer keys were asked for, and were not there.
//!
//! A name that the newest set has not is refused for the cool-down, whoever shows it. So who guesses the name of a key
//! that is to come, and shows it right before it is published, has good tokens of that name refused until then; it
//! takes a fetch that began before the key was there. Tokens whose signature no key verifies are remembered each by
//! itself, so that none of them stands for another.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

/// More are forgotten all at once: whoever makes names up gains a fetch by it, and there is one in each cool-down at
/// most.
const MOST: usize = 4096;

/// What the newest set has not, each for the cool-down.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    state: RandomState,
    /// By their hashes, since strangers choose how long they are.
    until: Mutex<HashMap<u64, Instant, RandomState>>,
}

impl Unknown {
    pub(super) fn remember(&self, what: impl Hash, time: Duration) {
        let now = Instant::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MOST {
            until.retain(|_, until| *until > now);
        }
        if until.len() >= MOST {
            until.clear();
        }
        until.insert(self.state.hash_one(what), now + time);
    }

    pub(super) fn has(&self, what: impl Hash) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = until.get(&self.state.hash_one(what));
        until.is_some_and(|until| *until > Instant::now())
    }

    pub(super) fn forget(&self) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn names_are_remembered_for_a_time_and_never_too_many() {
        let unknown = Unknown::default();
        let second = Duration::from_secs(1);
        assert!(!unknown.has(Some("a")) && !unknown.has(None::<&str>));
        unknown.remember(Some("a"), second);
        unknown.remember(None::<&str>, second);
        assert!(unknown.has(Some("a")) && unknown.has(None::<&str>) && !unknown.has(Some("b")));
        tokio::time::advance(second).await;
        assert!(!unknown.has(Some("a")) && !unknown.has(None::<&str>));
        for number in 0..3 * MOST {
            unknown.remember(Some(&number.to_string()), second);
            assert!(unknown.has(Some(&number.to_string())));
        }
        let length = unknown.until.lock().unwrap().len();
        assert!((1..=MOST).contains(&length), "{length}");
        unknown.forget();
        assert_eq!(unknown.until.lock().unwrap().len(), 0);
    }
}
