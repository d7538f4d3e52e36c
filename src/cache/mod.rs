//! The cache: responses that answer for their upstreams (RFC 9111).
//!
//! In: what routes want kept, requests, and the responses of upstreams. Out: responses that are good, what has to be asked of
//! an upstream, and who waits for whose answer. This room must never know sessions or policies; requests that come to it
//! are taken to be allowed.
//!
//! # How a request goes
//! Its key is of everything that tells one response from another: its route and branch, scheme, host, path, what counts of its query, and what
//! the route's `vary_by` says. What lies there is a response, or the names of the headers by which variants are told apart
//! ([`rfc::Vary`]), whose values make another key. An [`Entry`] is judged by its age, by what it and the request say, and by
//! what was purged ([`marks`]). Where it will not do, the first who asks begins a fill, and the others wait for its
//! [`Outcome`]; each reads the body at its own pace while it is written ([`body`]).
//!
//! # Bounds
//! Memory is bound by bytes, headers and bookkeeping included ([`memory`]); bodies that are written or still read by somebody
//! are bound together with those that are kept ([`body::Budget`]). A response that has no room is passed on and not kept.
//! Behind the memory there may be a disk, which is larger and is still there after a restart (`tier`).

pub mod body;
pub mod broadcast;
pub mod disk;
pub mod marks;
pub mod memory;
pub mod rfc;

mod ask;
mod budget;
mod config;
mod entry;
mod fill;
mod fleet;
#[cfg(test)]
mod fuzz;
mod heir;
mod key;
mod key_hash;
mod meta;
mod outcome;
mod report;
mod rules;
mod sink;
mod slot;
mod tier;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;

pub use ask::{Ask, Past};
pub use config::{BroadcastConfig, Config, DiskConfig, Settings};
pub use entry::{Entry, Use};
pub use fill::{Filler, Framing, Pending, Purpose};
pub use heir::Purges;
pub use key::{Query, Scope, VaryBy};
pub use key_hash::Key;
pub use outcome::{Failure, Once, Outcome, Spared, Told};
pub use report::{Kept, Report};
pub use rules::{Freshness, Rules, StatusTtl};
pub use sink::Sink;
pub use tier::DiskSettings;

use body::Budget;
use fleet::Fleet;
use heir::Heir;
use key::Parts;
use key_hash::ByKey;
use marks::{Kind, Mark, Marks, Purge, Verdict};
use memory::Memory;
use rfc::{Forward, Vary, WhyNot};
use slot::Slot;
use tier::Tier;

use crate::limits::KeyParts as _;
use crate::observability::Metrics;

/// Bodies have a little more than entries, so that what is written and read has room while the memory is full.
const BODIES: u64 = 8;
/// For how long nobody waits for what was not to be kept.
const NO_WAIT: Duration = Duration::from_secs(10);
const SHARDS: usize = 16;
/// In bytes: a body that is not written to disk again because its header is another.
const LARGE: u64 = 64 << 10;

/// What responses are kept in. There is one for a gateway, whatever its configuration.
pub struct Cache {
    memory: Memory<Slot>,
    budget: Arc<Budget>,
    marks: Marks,
    /// The fills that are under way.
    pending: [Mutex<HashMap<Key, Pending, ByKey>>; SHARDS],
    name: ArcSwap<Box<str>>,
    /// The disk behind the memory.
    tier: Tier,
    fleet: Fleet,
    heir: Heir,
    /// What was asked for before this number of the clock is not kept; with the highest, nothing is.
    least_start: AtomicU64,
    /// How many purges there were of each kind.
    purges: [AtomicU64; Kind::ALL.len()],
}

/// What there is for a request.
#[derive(Clone, Debug)]
pub enum Found {
    Entry(Arc<Entry>),
    Nothing(Forward),
    /// Nobody waits for anybody.
    Passes,
}

/// Who fetches what is not there.
#[derive(Debug)]
pub enum Joined {
    /// Whoever asks now.
    Began(Box<Filler>, Pending),
    /// Somebody does already.
    Waits(Pending),
}

impl Default for Cache {
    fn default() -> Cache {
        let settings = Settings::default();
        Cache {
            memory: Memory::new(settings.memory),
            budget: Arc::new(Budget::new(settings.memory + settings.memory / BODIES)),
            marks: Marks::new(),
            pending: Default::default(),
            name: ArcSwap::from_pointee(settings.name),
            tier: Tier::default(),
            fleet: Fleet::default(),
            heir: Heir::default(),
            least_start: AtomicU64::new(0),
            purges: Default::default(),
        }
    }
}

impl Cache {
    /// One whose figures are among these metrics.
    pub fn new(metrics: &Metrics) -> Arc<Cache> {
        let cache = Arc::new(Cache::default());
        let watched = Arc::downgrade(&cache);
        metrics.watch_cache(move || Some(watched.upgrade()?.figures()));
        cache
    }

    /// Has it keep as much as a configuration says, from now on.
    pub fn apply(&self, settings: &Settings) {
        self.memory.set_bound(settings.memory);
        self.budget
            .set_most(settings.memory + settings.memory / BODIES);
        self.name.store(Arc::new(settings.name.clone()));
        self.tier.want(settings.disk.clone());
        self.fleet.want(settings.broadcast.clone());
    }

    /// What it is called in `Cache-Status`.
    pub fn name(&self) -> Arc<Box<str>> {
        self.name.load_full()
    }

    /// Looks up what a request asks for. Costs two hashes at most, and two looks into a table.
    pub fn find(&self, ask: &Ask, headers: &HeaderMap) -> Found {
        let slot = self.memory.find(&ask.key);
        let (slot, missed) = match slot.as_deref() {
            Some(Slot::Variants(vary)) => {
                let key = Cache::variant(ask.key, vary, headers);
                (self.find_part(ask, key), Forward::VaryMiss)
            }
            None if ask.has_range => (self.find_part(ask, ask.key), Forward::UriMiss),
            _ => (slot, Forward::UriMiss),
        };
        self.found(slot, headers, missed)
    }

    /// What lies there, for a request with these headers.
    fn found(&self, slot: Option<Arc<Slot>>, headers: &HeaderMap, missed: Forward) -> Found {
        match slot.as_deref() {
            Some(Slot::Entry(entry)) if !self.is_live(entry) => {
                self.forget(entry);
                Found::Nothing(missed)
            }
            // Of a part it is known what is wanted only where all of that is in there.
            Some(Slot::Entry(entry)) if entry.lacks_part(headers) => {
                Found::Nothing(Forward::Partial)
            }
            Some(Slot::Entry(entry)) => Found::Entry(entry.clone()),
            Some(Slot::Passes(until)) if *until > Instant::now() => Found::Passes,
            _ => Found::Nothing(missed),
        }
    }

    /// The whole, or else a part where that is asked for.
    fn find_part(&self, ask: &Ask, key: Key) -> Option<Arc<Slot>> {
        let whole = self.memory.find(&key);
        match ask.has_range {
            true => whole.or_else(|| self.memory.find(&Cache::part(key))),
            false => whole,
        }
    }

    /// What a request may do with what was found for it.
    pub fn judge(&self, entry: &Entry, ask: &Ask, rules: &Rules, now: Instant) -> Use {
        entry.usable(ask, rules, self.verdict(entry), now)
    }

    /// Whether an entry is for a request with these headers.
    pub fn is_for(&self, entry: &Entry, ask: &Ask, headers: &HeaderMap) -> bool {
        let key = Cache::variant(ask.key, &entry.vary, headers);
        entry.key == key || entry.key == Cache::part(key)
    }

    /// What purges say of it.
    fn verdict(&self, entry: &Entry) -> Verdict {
        self.marks.judge(&entry.standing, entry.path.as_bytes())
    }

    /// How many seconds an entry is still good; zero or below once it is stale, or was purged.
    pub fn left(&self, entry: &Entry, now: Instant) -> i64 {
        entry.left(self.verdict(entry), now)
    }

    /// Whether an entry may stand in for a response that cannot be had, for who asks so.
    pub fn may_spare(&self, entry: &Entry, ask: &Ask) -> bool {
        entry.may_spare(ask, self.verdict(entry), Instant::now())
    }

    /// Whether it was not purged for good.
    pub(crate) fn is_live(&self, entry: &Entry) -> bool {
        self.verdict(entry) != Verdict::Dead
    }

    /// Whether no purge is about it.
    pub(crate) fn is_untouched(&self, entry: &Entry) -> bool {
        self.verdict(entry) == Verdict::Live
    }

    /// Begins to fetch what lies, or will lie, under a key, or has somebody wait for who does already.
    pub fn join(&self, rules: &Arc<Rules>, key: Key, purpose: impl FnOnce() -> Purpose) -> Joined {
        let mut pending = self.pending(key);
        if let Some(pending) = pending.get(&key) {
            return Joined::Waits(pending.clone());
        }
        let (filler, own) = Filler::new(rules.clone(), purpose(), key, self.marks.now());
        // Of what must not be kept nobody else is to have anything.
        if self.least_start.load(Ordering::SeqCst) != u64::MAX {
            pending.insert(key, own.clone());
        }
        Joined::Began(Box::new(filler), own)
    }

    fn pending(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Pending, ByKey>> {
        let shard = &self.pending[(key.number() >> 32) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for this fill from now on; another under the same key is none of its business.
    fn end_wait(&self, key: Key, is_own: impl Fn(&Pending) -> bool) {
        let mut pending = self.pending(key);
        if pending.get(&key).is_some_and(is_own) {
            pending.remove(&key);
        }
    }

    /// Whether others can wait for this fill.
    fn is_pending(&self, key: Key, is_own: impl Fn(&Pending) -> bool) -> bool {
        self.pending(key).get(&key).is_some_and(is_own)
    }

    /// Under which variants lie.
    fn variant(key: Key, vary: &Vary, headers: &HeaderMap) -> Key {
        if vary.names().is_empty() {
            return key;
        }
        let mut parts = Parts::default();
        parts.part(key.bytes());
        for name in vary.names() {
            parts.part(name.as_str().as_bytes());
            match rfc::said(headers, name) {
                Some(said) => parts.part(&said),
                None => parts.absent(),
            }
        }
        parts.key()
    }

    /// Under which a part of what is under a key lies.
    fn part(key: Key) -> Key {
        let mut parts = Parts::default();
        parts.part(b"part");
        parts.part(key.bytes());
        parts.key()
    }

    /// Under which those wait whose responses are as a rule for nobody else: what becomes of one of them says nothing to others.
    pub fn apart(key: Key) -> Key {
        let mut parts = Parts::default();
        parts.part(b"apart");
        parts.part(key.bytes());
        parts.key()
    }

    /// Under which nobody else waits.
    pub fn alone(key: Key) -> Key {
        let mut parts = Parts::default();
        parts.part(b"alone");
        parts.part(key.bytes());
        parts.part(&rand::random::<u128>().to_le_bytes());
        parts.key()
    }

    /// Under which those wait who want the same ranges.
    pub fn ranges(ask: &Ask, headers: &HeaderMap) -> Key {
        let mut parts = Parts::default();
        parts.part(b"ranges");
        parts.part(ask.key.bytes());
        for range in headers.get_all(http::header::RANGE) {
            parts.part(range.as_bytes());
        }
        for condition in headers.get_all(http::header::IF_RANGE) {
            parts.part(condition.as_bytes());
        }
        parts.key()
    }

    /// Whether something is asked for often enough to be kept.
    fn is_wanted(&self, key: Key, least: u16) -> Result<(), WhyNot> {
        if least <= 1 {
            return Ok(());
        }
        let slot = self.memory.find(&key);
        let uses = match slot.as_deref() {
            Some(Slot::Seen(uses)) => uses.fetch_add(1, Ordering::Relaxed) + 1,
            Some(Slot::Entry(_) | Slot::Variants(_)) => return Ok(()),
            _ => {
                self.memory
                    .put(key, Arc::new(Slot::Seen(AtomicU16::new(1))));
                1
            }
        };
        match uses >= least {
            true => Ok(()),
            false => Err(WhyNot::Rare),
        }
    }

    /// Has nobody wait for what lies under this key, for a while.
    fn pass(&self, key: Key) {
        let until = Instant::now() + NO_WAIT;
        let is_kept = |slot: &Slot| matches!(slot, Slot::Entry(_) | Slot::Variants(_));
        self.memory
            .put_unless(key, Arc::new(Slot::Passes(until)), is_kept);
    }

    /// An entry whose body begins to come.
    fn put(&self, entry: &Arc<Entry>) {
        if self.is_too_early(entry) {
            return;
        }
        self.memory
            .put(entry.key, Arc::new(Slot::Entry(entry.clone())));
        self.tier.remove(entry.key);
    }

    /// `entry` is `stale`, confirmed. Where its body is not all there, what is kept stays as it is: that may still break off, and
    /// only what began it is then taken out.
    fn put_confirmed(&self, entry: &Arc<Entry>, stale: &Entry) {
        // In this order: a whole body is not let go any more.
        let is_there = entry.body.is_whole() && entry.body.is_kept();
        if !is_there || self.is_too_early(entry) {
            return;
        }
        let slot = Slot::Entry(entry.clone());
        self.memory.put(entry.key, Arc::new(slot));
        // On disk it is good for less long, and is asked about once more when it is wanted from there.
        let is_same = entry.standing.tags() == stale.standing.tags();
        if !is_same || entry.body.length() < LARGE || !self.tier.has(entry.key) {
            self.tier.put(entry);
        }
    }

    fn is_too_early(&self, entry: &Entry) -> bool {
        entry.standing.start() < self.least_start.load(Ordering::SeqCst)
    }

    /// Has the variants of what is under a key told apart as an entry says.
    fn put_variants(&self, key: Key, entry: &Entry) {
        if entry.vary.names().is_empty() {
            return;
        }
        let is_known = |slot: &Slot| matches!(slot, Slot::Variants(vary) if *vary == entry.vary);
        if !self.memory.find(&key).is_some_and(|slot| is_known(&slot)) {
            let variants = Slot::Variants(entry.vary.clone());
            self.memory.put(key, Arc::new(variants));
            self.tier.put_variants(key, &entry.vary);
        } else if !self.tier.has(key) {
            self.tier.put_variants(key, &entry.vary);
        }
    }

    /// All of an entry has come.
    fn settle(&self, entry: &Arc<Entry>) {
        self.memory.weigh_again(&entry.key);
        let is_other = |slot: &Slot| !matches!(slot, Slot::Entry(own) if Arc::ptr_eq(own, entry));
        let has_other = (self.memory.find(&entry.key)).is_some_and(|slot| is_other(&slot));
        if self.is_live(entry) && !has_other && !self.is_too_early(entry) {
            self.tier.put(entry);
        }
    }

    /// Takes an entry out, where it is still there.
    fn forget(&self, entry: &Arc<Entry>) {
        let is_meant = |slot: &Slot| matches!(slot, Slot::Entry(own) if Arc::ptr_eq(own, entry));
        // Where memory has something else, so has the disk.
        if self.memory.remove_if(&entry.key, is_meant) || self.memory.find(&entry.key).is_none() {
            self.tier.remove(entry.key);
        }
    }

    /// Purges what a request has changed. When it returns nothing that was asked for before is served as if it were good, by
    /// this gateway; others are told soon. Where there is a disk a restart may undo it for some milliseconds: see
    /// [`Cache::purge_durably`].
    pub fn purge(&self, purge: &Purge) -> Mark {
        let mark = self.purge_here(purge);
        self.fleet.tell_soon(purge);
        mark
    }

    /// The same for what another process has purged and told whom there is to tell.
    pub fn purge_as_told(&self, purge: &Purge) {
        self.purge_here(purge);
    }

    fn purge_here(&self, purge: &Purge) -> Mark {
        let mark = self.mark(purge);
        self.tier.log_soon(mark);
        mark
    }

    fn mark(&self, purge: &Purge) -> Mark {
        if let Some(count) = self.purges.get(purge.kind() as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mark = self.marks.purge(purge);
        self.heir.tell(purge);
        mark
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
