//! How many places there are, by the newest configuration that has had a request.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which of several configurations says something: later ones are greater. Exchanges of an older one may go on for long,
/// and may even be its first to come to a door: what it says holds no more once a newer one has had a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition(u64);

impl Edition {
    /// One that is greater than all before.
    pub fn next() -> Edition {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Edition(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// That of what nobody has said anything of yet.
    const NONE: Edition = Edition(0);
}

/// The number of places. Reading it costs a load.
#[derive(Debug)]
pub(super) struct Terms {
    limit: AtomicU32,
    said: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    by: Edition,
    /// Whether the number is learned, so that what was learned may change it.
    is_learned: bool,
}

impl Terms {
    pub(super) fn new(limit: u32) -> Terms {
        Terms {
            limit: AtomicU32::new(limit),
            said: Mutex::new(Said {
                by: Edition::NONE,
                is_learned: false,
            }),
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn is_learned(&self) -> bool {
        self.said().is_learned
    }

    /// Takes up what a configuration says, if none that is newer has had a say: `act` gives the number. `None` where it
    /// changes nothing; otherwise whether there are more places than before.
    pub(super) fn say(
        &self,
        by: Edition,
        is_learned: bool,
        act: impl FnOnce() -> u32,
    ) -> Option<bool> {
        let mut said = self.said();
        if by < said.by {
            return None;
        }
        *said = Said { by, is_learned };
        let limit = act();
        Some(self.limit.swap(limit, Ordering::Relaxed) < limit)
    }

    /// Takes up what was learned, whoever has learned it, if the newest configuration goes by that. Whether there are more
    /// places than before.
    pub(super) fn learn(&self, limit: u32) -> bool {
        let said = self.said();
        said.is_learned && self.limit.swap(limit, Ordering::Relaxed) < limit
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_has_the_say_and_what_is_learned_holds_where_it_says_so() {
        let terms = Terms::new(5);
        let (first, second, third) = (Edition::next(), Edition::next(), Edition::next());
        assert!(!terms.learn(9), "nobody has said that it is learned");
        assert_eq!(terms.say(second, true, || 7), Some(true));
        assert_eq!(terms.say(first, false, || 99), None);
        assert_eq!(terms.limit(), 7);
        assert!(terms.learn(9) && !terms.learn(8));
        assert_eq!(terms.say(third, false, || 4), Some(false));
        assert!(!terms.learn(50));
        assert_eq!(terms.limit(), 4);
    }
}
