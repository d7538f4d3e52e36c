//! What is purged while another process serves already in the place of this one, which drains: that one is told.
//!
//! A request that changes something may end here when the other has fetched what it changes. Where there are no others this is all
//! that keeps it from being served there until its time is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::Cache;
use super::marks::Purge;

/// So many purges may wait to be told; of more the other one is told that everything was purged.
const MOST: usize = 1024;

/// The other process, where there is one.
#[derive(Debug, Default)]
pub(super) struct Heir(Mutex<Option<Told>>);

#[derive(Debug)]
struct Told {
    purges: mpsc::Sender<Purge>,
    has_missed: Arc<AtomicBool>,
}

/// What it is to be told.
#[derive(Debug)]
pub struct Purges {
    purges: mpsc::Receiver<Purge>,
    has_missed: Arc<AtomicBool>,
}

impl Heir {
    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_there(&self) -> bool {
        self.told().is_some()
    }

    /// It is told soon, where it is there.
    pub(super) fn tell(&self, purge: &Purge) {
        if let Some(Told { purges, has_missed }) = &*self.told()
            && purges.try_send(*purge).is_err()
        {
            has_missed.store(true, Ordering::SeqCst);
            // Who has made room meanwhile has not seen that, and may be waiting again.
            let _ = purges.try_send(Purge::all());
        }
    }
}

impl Purges {
    /// Waits for some, `most` at once. `None` when no more will come. Blocks.
    pub fn next(&mut self, most: usize) -> Option<Vec<Purge>> {
        let mut purges = Vec::new();
        if self.purges.blocking_recv_many(&mut purges, most) == 0 {
            return None;
        }
        // Something was missed where there was no room. Behind that there is always something to wait for.
        if self.has_missed.swap(false, Ordering::SeqCst) {
            return Some(vec![Purge::all()]);
        }
        Some(purges)
    }
}

impl Cache {
    /// Another process is about to serve in the place of this one: from now on it is to be told what is purged here. What is
    /// purged there nobody tells this one, so that it answers nothing from what it has, and lets go of that.
    pub fn step_aside(&self) -> Purges {
        self.forget_before(u64::MAX);
        self.memory.set_bound(0);
        let (sender, purges) = mpsc::channel(MOST);
        let has_missed = Arc::<AtomicBool>::default();
        *self.heir.told() = Some(Told {
            purges: sender,
            has_missed: has_missed.clone(),
        });
        Purges { purges, has_missed }
    }

    /// There is no such process any more: keeps what is fetched from now on, once [`Cache::apply`] says how much.
    pub fn go_on(&self) {
        self.forget_heir();
        // With this the clock is above the start of whatever was asked for until now; it is about nothing else.
        let mark = self.marks.purge(&Purge::url(b"", b"\0"));
        self.forget_before(mark.number());
    }

    /// There is nothing more to tell it.
    pub fn forget_heir(&self) {
        *self.heir.told() = None;
    }

    fn forget_before(&self, least_start: u64) {
        self.least_start.store(least_start, Ordering::SeqCst);
        for pending in &self.pending {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_heir_is_told_what_is_purged_and_everything_where_that_is_too_much() {
        let cache = Cache::default();
        let purge = |number: usize| Purge::tag(number.to_string().as_bytes());
        cache.purge(&purge(0));
        let mut purges = cache.step_aside();
        cache.purge(&purge(1));
        cache.purge(&purge(2));
        assert_eq!(purges.next(64), Some(vec![purge(1), purge(2)]));
        for number in 0..=MOST {
            cache.purge(&purge(number));
        }
        assert_eq!(purges.next(64), Some(vec![Purge::all()]));
        cache.forget_heir();
        while let Some(rest) = purges.next(MOST) {
            assert!(!rest.is_empty());
        }
    }
}
