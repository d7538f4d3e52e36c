//! Room for bodies.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all bodies may take together, in bytes.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    most: AtomicU64,
}

impl Budget {
    pub fn new(most: u64) -> Budget {
        Budget {
            used: AtomicU64::new(0),
            most: AtomicU64::new(most),
        }
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// False where that is more than there is; then nothing is taken.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= self.most();
        if !has_room {
            self.give(bytes);
        }
        has_room
    }

    /// For what cannot be refused any more.
    pub(super) fn take_anyway(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
