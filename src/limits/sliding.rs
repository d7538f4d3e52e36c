//! A window that slides: so much in any window of its length.
//!
//! The window is cut into fifteen slots, and what is counted are those that it touches, sixteen with the one that it
//! leaves and the one that it enters. So no window of its length, wherever it begins, holds more than the limit; the
//! price is that what is taken counts for up to a fifteenth of the window longer than it need.

use std::num::NonZero;
use std::time::Duration;

use super::{Factor, RuleStanding};

const SLOTS: u64 = 16;
const MICRO: u64 = 1000;
/// Two counts of 32 bits share a word.
const COUNT_WORDS: usize = SLOTS as usize / 2;

/// So much in any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    limit: u32,
    window: Duration,
    /// In nanoseconds.
    slot: u64,
}

impl Sliding {
    pub(super) const SLOTS: usize = SLOTS as usize;
    pub(super) const WORDS: usize = 1 + COUNT_WORDS;

    /// `limit` in each window of this length, which is a microsecond at least.
    pub fn new(limit: NonZero<u32>, window: Duration) -> Sliding {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Sliding {
            limit: limit.get(),
            window,
            // In whole microseconds, which is what a store has.
            slot: nanos.div_ceil((SLOTS - 1) * MICRO).max(1) * MICRO,
        }
    }

    pub(super) fn times(&self, factor: Factor) -> Sliding {
        let limit = factor.of(self.limit());
        Sliding {
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            ..*self
        }
    }

    pub fn limit(&self) -> u64 {
        u64::from(self.limit)
    }

    pub fn window(&self) -> Duration {
        self.window
    }

    pub(super) fn slot_micros(&self) -> u64 {
        self.slot / MICRO
    }

    pub(super) fn weigh(&self, words: &[u64], cost: u64, now: u64) -> RuleStanding {
        let current = now / self.slot;
        let used = used(words, current);
        let limit = self.limit();
        let with_cost = used.saturating_add(cost);
        let is_within = with_cost <= limit;
        let (used, newest) = match is_within {
            true => (with_cost, (cost > 0).then_some(current)),
            false => (used, None),
        };
        let newest = newest.or_else(|| taken(words, current).last());
        let next = match used < limit {
            true => Duration::ZERO,
            false => self.until_gone(taken(words, current).next().unwrap_or(current), now),
        };
        RuleStanding {
            quota: limit,
            remaining: limit.saturating_sub(used),
            next,
            reset: newest.map_or(Duration::ZERO, |slot| self.until_gone(slot, now)),
            wait: match is_within {
                true => Some(Duration::ZERO),
                false => self.wait(words, current, with_cost, now),
            },
        }
    }

    /// Until so many of the oldest are gone that what was asked for has room.
    fn wait(&self, words: &[u64], current: u64, with_cost: u64, now: u64) -> Option<Duration> {
        let mut excess = with_cost - self.limit();
        slots(words, current).find_map(|(slot, count)| {
            excess = excess.saturating_sub(count);
            (excess == 0).then(|| self.until_gone(slot, now))
        })
    }

    fn until_gone(&self, slot: u64, now: u64) -> Duration {
        let gone = slot.saturating_add(SLOTS).saturating_mul(self.slot);
        Duration::from_nanos(gone.saturating_sub(now))
    }

    pub(super) fn owed(&self, words: &[u64], now: u64) -> u64 {
        used(words, now / self.slot)
    }

    pub(super) fn add(&self, words: &mut [u64], cost: u64, now: u64) {
        let current = now / self.slot;
        // Slots that the ring has gone round since are empty now.
        let last = words[0];
        for slot in (last + 1..=current).rev().take(SLOTS as usize) {
            set(words, slot, 0);
        }
        words[0] = last.max(current);
        let count = u64::from(count(words, current)).saturating_add(cost);
        set(words, current, u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn fresh_in(&self, words: &[u64], now: u64) -> u64 {
        let current = now / self.slot;
        let newest = taken(words, current).last();
        let until = newest.map(|slot| self.until_gone(slot, now));
        until.map_or(0, |until| {
            u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)
        })
    }
}

/// The slots that count, from the oldest, with what was taken in them.
fn slots(words: &[u64], current: u64) -> impl Iterator<Item = (u64, u64)> {
    let oldest = current.saturating_sub(SLOTS - 1);
    let newest = words[0].min(current);
    // Those behind the newest one that was written hold what the ring had there a round before.
    (oldest..=newest).map(|slot| (slot, u64::from(count(words, slot))))
}

/// Those in which anything was taken, from the oldest.
fn taken(words: &[u64], current: u64) -> impl Iterator<Item = u64> {
    let taken = slots(words, current).filter(|(_, count)| *count > 0);
    taken.map(|(slot, _)| slot)
}

fn used(words: &[u64], current: u64) -> u64 {
    slots(words, current).map(|(_, count)| count).sum()
}

fn count(words: &[u64], slot: u64) -> u32 {
    let (word, shift) = place(slot);
    (words[word] >> shift) as u32
}

fn set(words: &mut [u64], slot: u64, count: u32) {
    let (word, shift) = place(slot);
    words[word] = words[word] & !(u64::from(u32::MAX) << shift) | u64::from(count) << shift;
}

fn place(slot: u64) -> (usize, u64) {
    let slot = slot % SLOTS;
    (1 + (slot / 2) as usize, slot % 2 * 32)
}
