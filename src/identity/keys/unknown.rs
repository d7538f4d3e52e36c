//! Names of keys that were asked for and are not there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

/// More are forgotten all at once: whoever makes names up gains a fetch by it, and there is one in each cool-down at
/// most.
const MOST: usize = 4096;

/// Names that the newest set has not, each for the cool-down.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    state: RandomState,
    /// By their hashes, since strangers choose how long they are.
    until: Mutex<HashMap<u64, Instant, RandomState>>,
}

impl Unknown {
    pub(super) fn remember(&self, kid: Option<&str>, time: Duration) {
        let now = Instant::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MOST {
            until.retain(|_, until| *until > now);
        }
        if until.len() >= MOST {
            until.clear();
        }
        until.insert(self.state.hash_one(kid), now + time);
    }

    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = until.get(&self.state.hash_one(kid));
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
        assert!(!unknown.has(Some("a")) && !unknown.has(None));
        unknown.remember(Some("a"), second);
        unknown.remember(None, second);
        assert!(unknown.has(Some("a")) && unknown.has(None) && !unknown.has(Some("b")));
        tokio::time::advance(second).await;
        assert!(!unknown.has(Some("a")) && !unknown.has(None));
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
