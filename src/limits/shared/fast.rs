//! Decisions made here, and what the store is told of them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::change::{Change, Telling};
use super::clock::Clock;
use super::exact::Exact;
use super::script::Mark;
use super::{How, KeyName, OnStoreDown, SYNC, Shared, Verdict};
use crate::limits::limiter::MAX_KEYS;
use crate::limits::{Key, KeyParts as _, Limiter, Now, Standing};
use crate::observability::DecidedBy;
use crate::stores::StoreError;

const SHARDS: usize = 64;
/// How many keys wait for the store at most: some 20 000, so that 10 000 find room though they are not spread evenly.
const MOST_OF_SHARD: usize = 10_000_usize.div_ceil(SHARDS) * 2;
/// How many keys are remembered at most of which it could not be noted what was taken: as many as a limiter has, unless it
/// is told otherwise, some 16 MB.
const MOST_MISSED_OF_SHARD: usize = MAX_KEYS / SHARDS;
/// How many commands are under way at once, at most.
const AT_ONCE: usize = 256;
/// After how many failures, if nothing else, an exchange is given up.
const HOPELESS: usize = 64;
/// Of how many keys a store is asked of whose keys none could be told.
const PROBES: usize = 8;
/// Before a store that could not be told is told again, whatever `sync` is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What limiters of the same keys have to exchange with the store. It is there for as long as any configuration has one.
pub(in crate::limits) struct Fast {
    clock: Clock,
    shards: Box<[Mutex<Shard>]>,
    /// Who tells, and how often anything was told: see [`Mark`].
    gateway: u64,
    number: AtomicU64,
    /// Whether there is anything to exchange.
    is_due: AtomicBool,
    /// The task that waits for it has it too, and must not keep the rest.
    due: Arc<Notify>,
    is_started: AtomicBool,
    /// The last one that was asked since the last exchange. So it is there until the store is told, also where no
    /// configuration has it any more.
    teller: Mutex<Option<Arc<Limiter>>>,
    /// There is one exchange at a time.
    exchanging: tokio::sync::Mutex<()>,
    /// How many commands are under way at once: half as many where one has waited in vain, so that a store that is slow
    /// is told all the same, and a store that does not know the script is not sent it with every key.
    at_once: AtomicUsize,
    /// Whether nothing came of the last exchange, and the store does not answer of other keys either. Otherwise keys fail
    /// by themselves: a cluster has several servers.
    is_failing: AtomicBool,
}

#[derive(Default)]
struct Shard {
    changes: HashMap<Key, Change>,
    /// Of which something was taken when there was no room for more changes. The store has to be told of it the next time.
    missed: HashSet<Key>,
}

impl Default for Fast {
    fn default() -> Fast {
        Fast {
            clock: Clock::new(),
            shards: std::iter::repeat_with(Mutex::default)
                .take(SHARDS)
                .collect(),
            gateway: rand::random(),
            number: AtomicU64::new(1),
            is_due: AtomicBool::new(false),
            due: Arc::default(),
            is_started: AtomicBool::new(false),
            teller: Mutex::new(None),
            exchanging: tokio::sync::Mutex::default(),
            at_once: AtomicUsize::new(1),
            is_failing: AtomicBool::new(false),
        }
    }
}

impl Fast {
    /// The store's clock, by which everything is counted here.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn take(
        self: &Arc<Self>,
        limiter: &Arc<Limiter>,
        shared: &Shared,
        (key, name): (Key, impl FnOnce() -> KeyName),
        cost: u64,
        now: Now,
    ) -> Verdict {
        // Counted and noted under one lock, so that what comes from the store meanwhile can be put together with what it
        // does not have.
        let mut shard = self.shard(key);
        let change = shard.change(key, name, limiter.rules().len());
        let is_failing = change.as_ref().is_some_and(|change| change.is_failing)
            || self.is_failing.load(Ordering::Relaxed);
        let verdict = match is_failing && shared.on_store_down != OnStoreDown::Local {
            true => shared.without_store(|| limiter.take(key, cost, now)),
            false => {
                let standing = limiter.take(key, cost, now);
                if cost > 0 && standing.is_within() {
                    let worth = limiter.worth(key, cost);
                    match change {
                        Some(change) => change.note(&worth, &self.clock),
                        None => shard.miss(key, shared),
                    }
                }
                shared.decided(match is_failing {
                    true => DecidedBy::Local,
                    false => DecidedBy::Shared,
                });
                Verdict::Counted(standing)
            }
        };
        drop(shard);
        self.is_to_tell(limiter);
        verdict
    }

    pub(super) fn charge(
        self: &Arc<Self>,
        limiter: &Arc<Limiter>,
        shared: &Shared,
        (key, name): (Key, impl FnOnce() -> KeyName),
        cost: u64,
        now: Now,
    ) -> Standing {
        let mut shard = self.shard(key);
        let (standing, charged) = limiter.charge_each(key, cost, now);
        match shard.change(key, name, limiter.rules().len()) {
            Some(change) => change.note(&charged, &self.clock),
            None => shard.miss(key, shared),
        }
        drop(shard);
        self.is_to_tell(limiter);
        standing
    }

    /// Forgets what is known of a key, and what of it the store does not know.
    pub(super) fn reset(&self, limiter: &Limiter, key: Key) {
        let mut shard = self.shard(key);
        shard.missed.remove(&key);
        if let Some(change) = shard.changes.get_mut(&key) {
            change.reset();
        }
        limiter.reset(key);
    }

    /// Has the store told what it does not know, and what it has put in the place of what is known here. Gives whether it
    /// has to be tried again.
    pub(in crate::limits) async fn exchange(self: &Arc<Self>) -> bool {
        let _alone = self.exchanging.lock().await;
        let teller = self.teller().take();
        // Before anything is collected: what comes after that is for the next time.
        self.is_due.store(false, Ordering::Release);
        let Some(limiter) = teller else {
            return false;
        };
        let Some(shared) = limiter.shared() else {
            return false;
        };
        if self.tell_all(&limiter, shared).await {
            return false;
        }
        // Whoever has called this has it, and the limiter. What is left where no configuration has it any more is not
        // waited for; where one has it that nobody has asked yet, who has asked before goes on.
        if Arc::strong_count(&limiter) == 1 && Arc::strong_count(self) <= 2 {
            return false;
        }
        self.teller().get_or_insert(limiter);
        true
    }

    /// Gives whether the store knows everything.
    async fn tell_all(&self, limiter: &Limiter, shared: &Shared) -> bool {
        let (keys, oldest) = self.collect(limiter);
        let (mut keys, mut told, mut failed) = (keys.into_iter(), 0, 0);
        while keys.len() > 0 && (told > 0 || failed < HOPELESS) {
            let at_once = self.at_once.load(Ordering::Relaxed);
            let tells = keys.by_ref().take(at_once);
            let tells = tells.map(|(key, name)| self.tell(limiter, shared, key, name));
            let all = join_all(tells).await;
            self.at_once
                .store(next_at_once(at_once, &all), Ordering::Relaxed);
            let count = all.iter().filter(|it| it.is_ok()).count();
            told += count;
            failed += all.len() - count;
        }
        failed += keys.len();
        let is_failing = told == 0 && failed > 0 && !answers(limiter, shared).await;
        self.is_failing.store(is_failing, Ordering::Relaxed);
        if !is_failing && let Some(oldest) = oldest {
            shared.store.metrics().synced(oldest.elapsed());
        }
        failed == 0
    }

    /// The keys of which there is something to exchange, and the oldest thing that the store does not know.
    fn collect(&self, limiter: &Limiter) -> (Vec<(Key, KeyName)>, Option<Instant>) {
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let (mut keys, mut oldest, now) = (Vec::new(), None::<Instant>, Now::read());
        for shard in &self.shards {
            let changes = &mut lock(shard).changes;
            // So that those that only wait for their server leave room for others.
            let has_room = changes.len() < MOST_OF_SHARD / 2;
            changes.retain(|key, change| {
                change.is_failing |= is_failing;
                if change.is_failing {
                    change.forget_settled(limiter, *key, now, &self.clock);
                }
                let is_asked = std::mem::take(&mut change.is_asked);
                match change.untold_since() {
                    Some(since) => oldest = Some(oldest.map_or(since, |it| it.min(since))),
                    // It is not looked at any more until somebody asks.
                    None if !(is_asked || change.is_failing && has_room) => return false,
                    None => {}
                }
                keys.push((*key, change.name.clone()));
                true
            });
        }
        (keys, oldest)
    }

    /// Adds to the store's counts, and puts what it has then in the place of what is known here. That is once more where
    /// something had to be told again.
    async fn tell(
        &self,
        limiter: &Limiter,
        shared: &Shared,
        key: Key,
        name: KeyName,
    ) -> Result<(), StoreError> {
        let exact = Exact::of(limiter, shared, key);
        while let Some(telling) = self.telling(limiter, key) {
            let mark = Mark {
                gateway: self.gateway,
                number: telling.number,
            };
            let (asked, began) = (Now::read(), Instant::now());
            let told = exact.add(&name, (mark, &telling.worth), asked).await;
            let mut shard = self.shard(key);
            let Some(change) = shard.changes.get_mut(&key) else {
                return Ok(());
            };
            let (told, words) = match told {
                Ok(told) => told,
                Err(error) => {
                    if change.is_not_told(&telling) {
                        shared.store.metrics().unshared(1);
                    }
                    return Err(error);
                }
            };
            self.clock.set(told.now, asked, began.elapsed());
            if change.is_told(&telling) {
                if std::mem::take(&mut change.is_missed) {
                    change.note_missed(limiter, key, (&words, told.now), &self.clock);
                }
                limiter.put(key, &words, change.untold(), Now::read());
            }
            if !telling.is_again || change.untold_since().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what the store does not know of a key and has to.
    fn telling(&self, limiter: &Limiter, key: Key) -> Option<Telling> {
        let mut shard = self.shard(key);
        let change = shard.changes.get_mut(&key)?;
        change.forget_settled(limiter, key, Now::read(), &self.clock);
        Some(change.tell(self.number.fetch_add(1, Ordering::Relaxed)))
    }

    fn is_to_tell(self: &Arc<Self>, limiter: &Arc<Limiter>) {
        if !self.is_due.load(Ordering::Relaxed) && !self.is_due.swap(true, Ordering::AcqRel) {
            self.wake(limiter);
        }
    }

    fn wake(self: &Arc<Self>, limiter: &Arc<Limiter>) {
        *self.teller() = Some(limiter.clone());
        if !self.is_started.swap(true, Ordering::AcqRel) {
            tokio::spawn(sync(Arc::downgrade(self), self.due.clone()));
        }
        self.due.notify_one();
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.hash() as usize % SHARDS])
    }

    fn teller(&self) -> MutexGuard<'_, Option<Arc<Limiter>>> {
        lock(&self.teller)
    }

    /// How often the store is told.
    fn sync(&self) -> Duration {
        let teller = self.teller();
        let shared = teller.as_ref().and_then(|limiter| limiter.shared());
        match shared.map(|shared| &shared.mode) {
            Some(How::Fast { sync, .. }) => *sync,
            _ => SYNC,
        }
    }
}

impl Drop for Fast {
    fn drop(&mut self) {
        // Whoever waits there ends.
        self.due.notify_one();
    }
}

impl Shard {
    /// What there is to exchange of a key that is asked about; `None` where there are too many.
    fn change(
        &mut self,
        key: Key,
        name: impl FnOnce() -> KeyName,
        rules: usize,
    ) -> Option<&mut Change> {
        let has_room = self.changes.len() < MOST_OF_SHARD;
        let change = match self.changes.entry(key) {
            Entry::Occupied(change) => change.into_mut(),
            Entry::Vacant(place) if has_room => {
                let change = place.insert(Change::new(name(), rules));
                change.is_missed = !self.missed.is_empty() && self.missed.remove(&key);
                change
            }
            Entry::Vacant(_) => return None,
        };
        change.is_asked = true;
        Some(change)
    }

    /// Something was taken that cannot be noted.
    fn miss(&mut self, key: Key, shared: &Shared) {
        shared.store.metrics().unshared(1);
        if self.missed.len() < MOST_MISSED_OF_SHARD {
            self.missed.insert(key);
        }
    }
}

/// How many commands are under way at once next time: half as many where one has waited in vain, and twice as many only
/// where all were answered, since what was not sent says nothing.
fn next_at_once(at_once: usize, all: &[Result<(), StoreError>]) -> usize {
    let is_slow = |it: &Result<(), StoreError>| matches!(it, Err(StoreError::Deadline(_)));
    let next = match all {
        all if all.iter().any(is_slow) => at_once / 2,
        all if all.iter().all(Result::is_ok) => at_once * 2,
        _ => at_once,
    };
    next.clamp(1, AT_ONCE)
}

/// Whether the store answers of any of a few keys, which a cluster has anywhere: those that failed may be of one server.
async fn answers(limiter: &Limiter, shared: &Shared) -> bool {
    let exact = &Exact::of(limiter, shared, Key::hasher().finish());
    let looks = (0..PROBES).map(|_| {
        let mut name = KeyName::hasher();
        name.part(&rand::random::<[u8; 16]>());
        let name = name.finish();
        async move { exact.look(&name, 0, Now::read()).await.is_ok() }
    });
    join_all(looks).await.contains(&true)
}

/// Exchanges with the store what there is, as long as anybody counts.
async fn sync(fast: Weak<Fast>, due: Arc<Notify>) {
    let mut is_again = false;
    loop {
        if !is_again {
            due.notified().await;
        }
        let Some(sync) = fast.upgrade().map(|fast| fast.sync()) else {
            return;
        };
        sleep(match is_again {
            true => sync.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            false => sync,
        })
        .await;
        let Some(fast) = fast.upgrade() else { return };
        is_again = fast.exchange().await;
    }
}

/// What is behind the lock is whole between any two instructions that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_under_way_until_all_are_answered() {
        let late = || Err(StoreError::Deadline(Duration::from_secs(1)));
        let unasked = || Err(StoreError::Down("it did not answer".into()));
        assert_eq!(next_at_once(64, &[Ok(()), late(), unasked()]), 32);
        // Behind a late one none is sent for a while.
        assert_eq!(next_at_once(32, &[unasked(), unasked()]), 32);
        assert_eq!(next_at_once(32, &[Ok(()), unasked()]), 32);
        assert_eq!(next_at_once(32, &[Ok(()), Ok(())]), 64);
        assert_eq!(next_at_once(1, &[late()]), 1);
        assert_eq!(next_at_once(AT_ONCE, &[Ok(())]), AT_ONCE);
    }
}
