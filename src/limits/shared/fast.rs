//! Decisions made here, and what the store is told of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use smallvec::smallvec;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::clock::Clock;
use super::exact::Exact;
use super::{How, KeyName, OnStoreDown, SYNC, Shared, Verdict};
use crate::limits::limiter::Counted;
use crate::limits::{Key, KeyParts as _, Limiter, Now, Rule, Standing};
use crate::observability::DecidedBy;
use crate::stores::StoreError;

const SHARDS: usize = 64;
/// How many keys wait for the store at most.
const MOST_CHANGES: usize = 10_000;
/// They are not spread evenly.
const MOST_OF_SHARD: usize = MOST_CHANGES.div_ceil(SHARDS) * 2;
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
    shards: Box<[Mutex<HashMap<Key, Change>>]>,
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

/// What there is to exchange of a key.
struct Change {
    name: KeyName,
    /// What was taken of each rule and the store does not know.
    untold: Counted,
    /// The oldest of it.
    since: Instant,
    /// Whether anybody has asked since the last exchange, who should know next time what the store has by then.
    is_asked: bool,
    /// Whether the store could not be told the last time.
    is_failing: bool,
    /// Whether the store may know of some of it all the same, since only its answer is missing.
    is_doubtful: bool,
}

/// Why nothing came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// It was not sent.
    Unasked,
    /// There was no answer in time.
    Late,
    /// The answer was an error, or there is none.
    Broken,
}

impl Failure {
    fn of(error: &StoreError) -> Failure {
        match error {
            StoreError::Down(_) => Failure::Unasked,
            StoreError::Deadline(_) => Failure::Late,
            StoreError::Redis(_) => Failure::Broken,
        }
    }
}

impl Default for Fast {
    fn default() -> Fast {
        let shard = || Mutex::new(HashMap::new());
        Fast {
            clock: Clock::new(Now::read()),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
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
        let change = change(&mut shard, key, name, limiter.rules().len());
        let is_failing = change.as_ref().is_some_and(|change| change.is_failing)
            || self.is_failing.load(Ordering::Relaxed);
        let verdict = match is_failing && shared.on_store_down != OnStoreDown::Local {
            true => shared.without_store(|| limiter.take(key, cost, now)),
            false => {
                let standing = limiter.take(key, cost, now);
                if cost > 0 && standing.is_within() {
                    note(change, shared, std::iter::repeat(cost));
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
        let change = change(&mut shard, key, name, limiter.rules().len());
        note(change, shared, charged.into_iter());
        drop(shard);
        self.is_to_tell(limiter);
        standing
    }

    /// Forgets what is known of a key, and what of it the store does not know.
    pub(super) fn reset(&self, limiter: &Limiter, key: Key) {
        let mut shard = self.shard(key);
        if let Some(change) = shard.get_mut(&key) {
            change.untold.fill(0);
            change.is_doubtful = false;
        }
        limiter.reset(key);
    }

    /// Has the store told what it does not know, and what it has put in the place of what is known here. Gives whether it
    /// has to be tried again.
    pub(in crate::limits) async fn exchange(&self) -> bool {
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
        if self.tell_all(&limiter, shared).await || Arc::strong_count(&limiter) == 1 {
            // What is left of a limiter that no configuration has any more is not waited for.
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
            let is_slow = all.contains(&Err(Failure::Late));
            let at_once = match is_slow {
                true => at_once / 2,
                false => at_once * 2,
            };
            self.at_once
                .store(at_once.clamp(1, AT_ONCE), Ordering::Relaxed);
            let count = all.iter().filter(|it| it.is_ok()).count();
            told += count;
            failed += all.len() - count;
        }
        failed += keys.len();
        let is_failing = told == 0 && failed > 0 && !answers(limiter, shared).await;
        self.is_failing.store(is_failing, Ordering::Relaxed);
        if failed == 0
            && let Some(oldest) = oldest
        {
            shared.store.metrics().synced(oldest.elapsed());
        }
        failed == 0
    }

    /// The keys of which there is something to exchange, and the oldest thing that the store does not know.
    fn collect(&self, limiter: &Limiter) -> (Vec<(Key, KeyName)>, Option<Instant>) {
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let (mut keys, mut oldest, now) = (Vec::new(), None::<Instant>, Now::read());
        for shard in &self.shards {
            let mut changes = lock(shard);
            // So that those that only wait for their server leave room for others.
            let has_room = changes.len() < MOST_OF_SHARD / 2;
            changes.retain(|key, change| {
                change.is_failing |= is_failing;
                if change.is_failing {
                    change.forget_settled(limiter, *key, now);
                }
                let is_asked = std::mem::take(&mut change.is_asked);
                if change.has_untold() {
                    oldest = Some(oldest.map_or(change.since, |it| it.min(change.since)));
                } else if !(is_asked || change.is_failing && has_room) {
                    // It is not looked at any more until somebody asks.
                    return false;
                }
                keys.push((*key, change.name.clone()));
                true
            });
        }
        (keys, oldest)
    }

    /// Adds to the store's counts, and puts what it has then in the place of what is known here.
    async fn tell(
        &self,
        limiter: &Limiter,
        shared: &Shared,
        key: Key,
        name: KeyName,
    ) -> Result<(), Failure> {
        let (asked, began) = (Now::read(), Instant::now());
        let exact = Exact::of(limiter, shared, key);
        if self.is_doubtful(key) {
            let theirs = exact.owed(&name, asked).await;
            let theirs = theirs.map_err(|error| Failure::of(&error))?;
            self.settle(limiter, key, &theirs);
        }
        let Some((untold, since)) = self.untold(limiter, key, asked) else {
            return Ok(());
        };
        let told = exact.add(&name, &untold, asked).await;
        let mut shard = self.shard(key);
        let Some(change) = shard.get_mut(&key) else {
            return Ok(());
        };
        let failure = match told {
            Ok((told, words)) => {
                self.clock.set(told.now, asked, began.elapsed());
                limiter.put(key, &words, &change.untold, Now::read());
                change.is_failing = false;
                return Ok(());
            }
            Err(error) => Failure::of(&error),
        };
        if untold.iter().any(|taken| *taken > 0) {
            change.is_doubtful |= failure != Failure::Unasked;
            if !change.is_failing {
                shared.store.metrics().unshared(1);
            }
        }
        change.add(untold.into_iter(), since);
        change.is_failing = true;
        Err(failure)
    }

    fn is_doubtful(&self, key: Key) -> bool {
        let shard = self.shard(key);
        shard.get(&key).is_some_and(|change| change.is_doubtful)
    }

    /// Leaves out what the store has been told already, as far as that can be seen: what is counted there.
    fn settle(&self, limiter: &Limiter, key: Key, theirs: &[u64]) {
        let mut shard = self.shard(key);
        let Some(change) = shard.get_mut(&key) else {
            return;
        };
        change.is_doubtful = false;
        let Some(ours) = limiter.owed(key, Now::read()) else {
            return change.untold.fill(0);
        };
        let both = ours.into_iter().zip(theirs);
        for (untold, (ours, theirs)) in change.untold.iter_mut().zip(both) {
            *untold = ours.saturating_sub(*theirs).min(*untold);
        }
    }

    /// Takes what the store does not know of a key and has to.
    fn untold(&self, limiter: &Limiter, key: Key, now: Now) -> Option<(Counted, Instant)> {
        let mut shard = self.shard(key);
        let change = shard.get_mut(&key)?;
        change.forget_settled(limiter, key, now);
        let none = smallvec![0; change.untold.len()];
        Some((std::mem::replace(&mut change.untold, none), change.since))
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

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Change>> {
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

impl Change {
    fn has_untold(&self) -> bool {
        self.untold.iter().any(|taken| *taken > 0)
    }

    fn add(&mut self, taken: impl Iterator<Item = u64>, since: Instant) {
        self.since = match self.has_untold() {
            true => self.since.min(since),
            false => since,
        };
        for (untold, taken) in self.untold.iter_mut().zip(taken) {
            *untold = untold.saturating_add(taken);
        }
    }

    /// Leaves out what others need not know: what was taken in a window that has ended; and where the store could not be
    /// told in time, what of a rate has come back here meanwhile. Otherwise all of a rate counts, since it comes back once
    /// for all of them together.
    fn forget_settled(&mut self, limiter: &Limiter, key: Key, now: Now) {
        if !self.has_untold() {
            return;
        }
        let owed = match limiter.owed(key, now) {
            Some(owed) => owed,
            None if self.is_failing => return self.untold.fill(0),
            None => return,
        };
        let rules = limiter.rules().iter().zip(owed);
        for (untold, (named, owed)) in self.untold.iter_mut().zip(rules) {
            if self.is_failing || !matches!(named.rule, Rule::Gcra(_)) {
                *untold = owed.min(*untold);
            }
        }
    }
}

impl Drop for Fast {
    fn drop(&mut self) {
        // Whoever waits there ends.
        self.due.notify_one();
    }
}

/// What there is to exchange of a key that is asked about; `None` where there are too many.
fn change(
    shard: &mut HashMap<Key, Change>,
    key: Key,
    name: impl FnOnce() -> KeyName,
    rules: usize,
) -> Option<&mut Change> {
    let has_room = shard.len() < MOST_OF_SHARD;
    let change = match shard.entry(key) {
        Entry::Occupied(change) => change.into_mut(),
        Entry::Vacant(place) if has_room => place.insert(Change {
            name: name(),
            untold: smallvec![0; rules],
            since: Instant::now(),
            is_asked: true,
            is_failing: false,
            is_doubtful: false,
        }),
        Entry::Vacant(_) => return None,
    };
    change.is_asked = true;
    Some(change)
}

/// Notes what was taken of each rule.
fn note(change: Option<&mut Change>, shared: &Shared, taken: impl Iterator<Item = u64>) {
    match change {
        Some(change) if change.has_untold() => change.add(taken, change.since),
        Some(change) => change.add(taken, Instant::now()),
        None => shared.store.metrics().unshared(1),
    }
}

/// Whether the store answers of any of a few keys, which a cluster has anywhere: those that failed may be of one server.
async fn answers(limiter: &Limiter, shared: &Shared) -> bool {
    let exact = &Exact::of(limiter, shared, Key::hasher().finish());
    let looks = (0..PROBES).map(|_| {
        let mut name = KeyName::hasher();
        name.part(&rand::random::<[u8; 16]>());
        let name = name.finish();
        async move { exact.owed(&name, Now::read()).await.is_ok() }
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
