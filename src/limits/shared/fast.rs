//! Decisions made here, and what the store is told of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout_at};

use super::clock::Clock;
use super::exact::Exact;
use super::{KeyName, OnStoreDown, Shared, Verdict};
use crate::limits::{Key, Limiter, Now, Standing};
use crate::observability::DecidedBy;

const SHARDS: usize = 64;
/// How many keys' changes wait for the store at most.
const MOST_CHANGES: usize = 10_000;
/// They are not spread evenly.
const MOST_OF_SHARD: usize = MOST_CHANGES.div_ceil(SHARDS) * 2;
/// How many commands are under way at once.
const AT_ONCE: usize = 256;

/// What has changed since the store was last told. It is there for as long as any configuration has a limiter of the name.
pub(in crate::limits) struct Fast {
    sync: Duration,
    clock: Clock,
    shards: Box<[Mutex<HashMap<Key, Change>>]>,
    /// Whether the store must be told of something, or asked whether it is there again.
    is_due: AtomicBool,
    /// The task that tells has it too, and must not keep the rest.
    due: Arc<Notify>,
    is_started: AtomicBool,
    /// The last one that has counted: configurations come and go.
    limiter: Mutex<Weak<Limiter>>,
    /// A key that the store could not be told of. As long as there is one, the store counts as down.
    failing: Mutex<Option<KeyName>>,
    is_failing: AtomicBool,
}

struct Change {
    name: KeyName,
    /// What was charged.
    cost: u64,
    since: Instant,
}

impl Fast {
    pub(in crate::limits) fn new(sync: Duration) -> Fast {
        let shard = || Mutex::new(HashMap::new());
        Fast {
            sync,
            clock: Clock::new(Now::read()),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            is_due: AtomicBool::new(false),
            due: Arc::default(),
            is_started: AtomicBool::new(false),
            limiter: Mutex::default(),
            failing: Mutex::new(None),
            is_failing: AtomicBool::new(false),
        }
    }

    /// The store's time, by which everything is counted here.
    pub(in crate::limits) fn at(&self, now: Now) -> Now {
        self.clock.at(now)
    }

    pub(super) fn take(
        self: &Arc<Self>,
        limiter: &Arc<Limiter>,
        shared: &Shared,
        (key, name): (Key, impl FnOnce() -> KeyName),
        cost: u64,
        now: Now,
    ) -> Verdict {
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        if is_failing && shared.on_store_down != OnStoreDown::Local {
            return shared.without_store(|| limiter.take(key, cost, now));
        }
        let standing = self.count(limiter, shared, (key, name), cost, |limiter| {
            let standing = limiter.take(key, cost, now);
            (standing.is_within(), standing)
        });
        shared.decided(match is_failing {
            true => DecidedBy::Local,
            false => DecidedBy::Shared,
        });
        Verdict::Counted(standing)
    }

    pub(super) fn charge(
        self: &Arc<Self>,
        limiter: &Arc<Limiter>,
        shared: &Shared,
        key: (Key, impl FnOnce() -> KeyName),
        cost: u64,
        now: Now,
    ) -> Standing {
        let of = key.0;
        self.count(limiter, shared, key, cost, |limiter| {
            (true, limiter.charge(of, cost, now))
        })
    }

    /// Counts here, and notes that the store is to be told. Both under one lock, so that what comes from the store meanwhile
    /// can be put together with what it does not have.
    fn count<T>(
        self: &Arc<Self>,
        limiter: &Arc<Limiter>,
        shared: &Shared,
        (key, name): (Key, impl FnOnce() -> KeyName),
        cost: u64,
        act: impl FnOnce(&Limiter) -> (bool, T),
    ) -> T {
        let mut changes = self.shard(key);
        let (is_charged, result) = act(limiter);
        if !is_charged || cost == 0 {
            return result;
        }
        let has_room = changes.len() < MOST_OF_SHARD;
        match changes.get_mut(&key) {
            Some(change) => {
                if change.cost == 0 {
                    change.since = Instant::now();
                }
                change.cost = change.cost.saturating_add(cost);
            }
            None if has_room => {
                let change = Change {
                    name: name(),
                    cost,
                    since: Instant::now(),
                };
                changes.insert(key, change);
            }
            None => shared.store.metrics().unshared(1),
        }
        drop(changes);
        if !self.is_due.load(Ordering::Relaxed) && !self.is_due.swap(true, Ordering::AcqRel) {
            self.wake(limiter);
        }
        result
    }

    fn wake(self: &Arc<Self>, limiter: &Arc<Limiter>) {
        *self.limiter.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(limiter);
        if !self.is_started.swap(true, Ordering::AcqRel) {
            tokio::spawn(sync(Arc::downgrade(self), self.due.clone()));
        }
        self.due.notify_one();
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Change>> {
        let shard = &self.shards[key.hash() as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store is to be told now. A key that has not changed since the last time is not looked at any more.
    fn collect(&self) -> Vec<(Key, KeyName, u64, Instant)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut changes = shard.lock().unwrap_or_else(PoisonError::into_inner);
            changes.retain(|key, change| {
                let cost = std::mem::take(&mut change.cost);
                if cost > 0 {
                    all.push((*key, change.name.clone(), cost, change.since));
                }
                cost > 0
            });
        }
        all
    }
}

impl Drop for Fast {
    fn drop(&mut self) {
        // Whoever waits there ends.
        self.due.notify_one();
    }
}

/// Exchanges what has changed with the store, as long as anybody counts.
async fn sync(fast: Weak<Fast>, due: Arc<Notify>) {
    let state = |fast: &Weak<Fast>| {
        let fast = fast.upgrade()?;
        Some((fast.sync, fast.is_failing.load(Ordering::Relaxed)))
    };
    while let Some((pause, is_failing)) = state(&fast) {
        if !is_failing {
            due.notified().await;
        }
        sleep(pause).await;
        let Some(fast) = fast.upgrade() else { return };
        fast.is_due.store(false, Ordering::Release);
        let limiter = {
            let limiter = fast.limiter.lock();
            limiter.unwrap_or_else(PoisonError::into_inner).upgrade()
        };
        let Some(limiter) = limiter else {
            // Nobody is there to be told whether the store is.
            fast.is_failing.store(false, Ordering::Relaxed);
            continue;
        };
        if let Some(shared) = limiter.shared() {
            exchange(&limiter, shared, &fast).await;
        }
    }
}

async fn exchange(limiter: &Limiter, shared: &Shared, fast: &Fast) {
    let failing = {
        let mut failing = fast.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.take()
    };
    if let Some(name) = failing {
        // Whether it is there again; what has been counted meanwhile is not for it.
        let exact = Exact::of(limiter, shared, Key::hasher().finish());
        let answer = exact.look(&name, 0, Now::read()).await;
        if answer.is_err() {
            return fail(shared, fast, name, fast.collect().len());
        }
        fast.collect();
        fast.is_failing.store(false, Ordering::Relaxed);
        return;
    }
    let changes = fast.collect();
    let Some(oldest) = changes.iter().map(|change| change.3).min() else {
        return;
    };
    let deadline = tokio::time::Instant::now() + shared.store.timeout();
    let count = changes.len();
    let mut shared_count = 0;
    let mut unshared = None;
    let told = changes.into_iter().map(|(key, name, cost, _)| async move {
        let exact = Exact::of(limiter, shared, key);
        let done = timeout_at(deadline, tell(&exact, fast, key, &name, cost)).await;
        (matches!(done, Ok(true)), name)
    });
    let mut told = stream::iter(told).buffer_unordered(AT_ONCE);
    while let Some((is_shared, name)) = told.next().await {
        match is_shared {
            true => shared_count += 1,
            false => unshared = Some(name),
        }
    }
    match unshared {
        None => shared.store.metrics().synced(oldest.elapsed()),
        Some(name) => fail(shared, fast, name, count - shared_count),
    }
}

/// What could not be told is not told later: it was counted by a limit that has moved on since.
fn fail(shared: &Shared, fast: &Fast, name: KeyName, unshared: usize) {
    shared.store.metrics().unshared(unshared);
    *fast.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    fast.is_failing.store(true, Ordering::Relaxed);
}

/// Adds to the store's counts, and puts what it has then in the place of what is known here.
async fn tell(exact: &Exact<'_>, fast: &Fast, key: Key, name: &KeyName, cost: u64) -> bool {
    let (asked, began) = (Now::read(), Instant::now());
    let Ok(told) = exact.add(name, cost, fast.at(asked)).await else {
        return false;
    };
    fast.clock.set(told.now, asked, began.elapsed());
    let Ok(words) = exact.words(&told) else {
        return false;
    };
    let changes = fast.shard(key);
    let since = changes.get(&key).map_or(0, |change| change.cost);
    exact.limiter.put(key, &words, since, Now::read());
    true
}
