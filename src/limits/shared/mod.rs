//! Limits that several gateways count together, in a store.
//!
//! Gateways count together what stands in the same place of their configurations, and the limit of a plan wherever it is
//! applied. Where rules are of another kind or have other windows they are counted apart, so that a change of those begins
//! anew, and so does a change of a rate that is one of several; a change of other numbers does not. What a key stands for is not in the store, only a digest of it.
//!
//! # Exact
//! Every decision is one round trip to the store, which looks at all rules of a key and charges them in one step, by its
//! own clock. However many gateways there are and however their clocks differ, no more is admitted than by one that
//! counts alone. Of a quota of the calendar the store is told when its windows begin and end, in the time zone of the
//! limit: gateways need the same zone data, and clocks that are right to within a window.
//!
//! # Fast
//! Every decision is made here and now, by what this gateway knows. What it has admitted is added to the store's counts,
//! and what the store has is known here, within `sync` of the first request of a key and as long as there are more of it.
//!
//! For N gateways, let *D* be `sync` and twice the store's `timeout` together, and *A* the most that arrives for a key at one of
//! them within *D*. While the store answers in time, and no more than 10 000 keys change at one gateway within *D*, they
//! admit together
//!
//! | rule | at most |
//! |---|---|
//! | a rate *r* with a burst *b* | in any time *t*: *r·t* + *b* + *r·D* + (N − 1) · min(*A*, *b* + *r·D*) |
//! | a limit *L* in a window, sliding or of the calendar | in any window: *L* + (N − 1) · min(*A*, *L*) |
//!
//! Why: a gateway admits only what its own view has room for, and a view lacks only what the others have admitted since it
//! was last brought up to date, which is at most *D* ago for a key that it is asked about. Whoever was brought up to date
//! last knows of all but one *D* of each of the others.
//!
//! The row of the rate holds only as long as what all of them have admitted too much is no more than a burst: nothing reads
//! a debt of more than two bursts, so that what lies beyond is forgotten and not paid back. Where many of them are flooded
//! for the same key at once, they may admit up to N times the rate for as long as that goes on. Where that matters, use
//! `exact`, or a window in the place of the rate.
//!
//! While the store cannot be asked, and every gateway counts by itself, all of them together admit at most N times the
//! limit, in both modes; what is counted then is not shared afterwards, so that with `fast` each further outage in a window
//! gives as much again. When the store loses what it has, as by a flush or by a failover whose replica was behind, everybody
//! has his limit once more. A gateway that is started anew counts as one more of the N, since what it has not told is gone.
//!
//! Keys that cannot be told in time, whether the store or one server of a cluster is at fault or there are too many of them,
//! make all keys of the limit count as cut off from the store until an exchange succeeds: with `allow`, a flood of new keys
//! can bring that about. A key that is refused is not asked about again before it has room here, so that a reset elsewhere
//! reaches a gateway with `fast` only then. Clocks of gateways must be right to the second for windows of the calendar.
//!
//! # A store that cannot be asked
//! No request waits for longer than the store's `timeout`, and those that come after one that has waited in vain do not wait
//! at all: see [`stores`](crate::stores). What becomes of them is `on_store_down`.

mod clock;
mod exact;
mod fast;
mod name;
mod script;
#[cfg(test)]
mod script_tests;

use std::sync::Arc;
use std::time::Duration as StdDuration;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use self::exact::Exact;
pub(super) use self::fast::Fast;
pub use self::name::{KeyName, KeyNameHasher};
use super::{Key, Limiter, NamedRule, Now, Room, Rule, Shape, Standing};
use crate::observability::{DecidedBy, SharingMode};
use crate::stores::{Redis, StoreError, Stores};
use crate::text::{Duration, Name, Spanned, Subject};

/// Counts together with other gateways.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedConfig {
    /// Where: a store of `[stores]`, the same one in every gateway.
    pub store: Spanned<Name>,
    /// Default `"exact"`.
    #[serde(default)]
    pub mode: Mode,
    /// How often what was counted here is exchanged with the store, in `fast` mode: 10 ms to 10 s. Default `"100ms"`.
    pub sync: Option<Spanned<Duration>>,
    /// Default `"local"`.
    #[serde(default)]
    pub on_store_down: OnStoreDown,
}

/// What is more important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// That never more is admitted: the store is asked about every request, which waits for it.
    #[default]
    Exact,
    /// That no request waits: it is decided here, and counts are exchanged every `sync`. For as long, gateways can admit
    /// more together than the limit: as much as arrives at the others within `sync` and the store's `timeout`.
    Fast,
}

/// What becomes of requests while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreDown {
    /// Each gateway counts by itself: up to the limit at each of them.
    #[default]
    Local,
    /// All are admitted, and nothing is counted.
    Allow,
    /// None is admitted: 503.
    Deny,
}

/// What a limiter has that is counted together with others.
pub(super) struct Shared {
    store: Arc<Redis>,
    on_store_down: OnStoreDown,
    /// Of every key in the store.
    prefix: Box<str>,
    script: script::Decider,
    mode: How,
}

enum How {
    Exact,
    Fast(Arc<Fast>),
}

/// Where and how a limiter is to be shared.
#[derive(Clone)]
pub struct Sharing {
    store: Arc<Redis>,
    mode: Mode,
    sync: StdDuration,
    on_store_down: OnStoreDown,
}

const SYNC: StdDuration = StdDuration::from_millis(100);
const SHORTEST_SYNC: StdDuration = StdDuration::from_millis(10);
const LONGEST_SYNC: StdDuration = StdDuration::from_secs(10);

impl std::fmt::Display for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (store, sync) = (self.store.metrics().store(), self.sync);
        match self.mode {
            Mode::Exact => write!(f, " in {store}"),
            Mode::Fast => write!(f, " in {store} every {sync:?}"),
        }
    }
}

impl Sharing {
    /// `None` after diagnostics.
    pub fn build(
        config: &SharedConfig,
        stores: &Stores,
        subject: &mut Subject<'_>,
    ) -> Option<Sharing> {
        let store = stores.find(&config.store, &mut subject.key("store"));
        let sync = config.sync.as_ref();
        let problem = sync.and_then(|sync| {
            let is_usual = (SHORTEST_SYNC..=LONGEST_SYNC).contains(&sync.value.as_std());
            match config.mode {
                Mode::Exact => Some("is for mode = \"fast\" alone"),
                Mode::Fast if !is_usual => Some("must be 10 ms to 10 s"),
                Mode::Fast => None,
            }
        });
        if let (Some(sync), Some(problem)) = (sync, problem) {
            subject.key("sync").error(sync.span, problem);
            return None;
        }
        Some(Sharing {
            store: store?,
            mode: config.mode,
            sync: sync.map_or(SYNC, |sync| sync.value.as_std()),
            on_store_down: config.on_store_down,
        })
    }

    /// Whether something beside the configuration says how the store is reached.
    pub fn reads_files(&self) -> bool {
        self.store.reads_files()
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn share(self, name: &str, rules: &[NamedRule], room: &Room) -> Shared {
        Shared {
            script: script::Decider::new(rules),
            prefix: format!("northgate:limit:{{{name}:{}:", shape(rules)).into(),
            mode: match self.mode {
                Mode::Exact => How::Exact,
                Mode::Fast => How::Fast(room.fast(name, self.sync)),
            },
            store: self.store,
            on_store_down: self.on_store_down,
        }
    }
}

/// Rules of another shape have other words, and so other keys. Of the same shape they may have other numbers; only where
/// there are several rates, these say which words are whose.
fn shape(rules: &[NamedRule]) -> String {
    let is_rate = |it: &&NamedRule| matches!(it.rule, Rule::Gcra(_));
    let is_only = rules.iter().filter(is_rate).count() < 2;
    let shapes = rules.iter().map(|it| match it.rule.shape() {
        Shape::Gcra { .. } if is_only => Shape::Gcra { interval: 0 },
        shape => shape,
    });
    let shapes: Vec<_> = shapes.collect();
    let digest = digest(&SHA256, format!("{shapes:?}").as_bytes());
    digest
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What a limiter that may be shared says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and none is kept: a box would cost each request an allocation"
)]
pub enum Verdict {
    /// It was counted: whether it is within the limits is in how the key stands.
    Counted(Standing),
    /// It may pass, and nothing is known of its key: the store cannot be asked.
    Uncounted,
    /// It may not pass, since the store cannot be asked.
    Unavailable,
}

/// A verdict, or one that has to be waited for: at most as long as the store's `timeout`.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and none is kept: a box would cost each request an allocation"
)]
pub enum Asked<'a> {
    Now(Verdict),
    Later(BoxFuture<'a, Verdict>),
}

impl Limiter {
    /// Whether others count as well.
    pub fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// Whether the store is asked about every request.
    pub fn may_wait(&self) -> bool {
        let shared = self.shared();
        shared.is_some_and(|shared| matches!(shared.mode, How::Exact))
    }

    /// As [`Limiter::take`], together with the other gateways where the limiter is shared with some. `name` is what `key`
    /// is called there; it is made only where it is needed.
    pub fn decide<'a>(
        self: &'a Arc<Self>,
        key: Key,
        name: impl FnOnce() -> KeyName,
        cost: u64,
        now: Now,
    ) -> Asked<'a> {
        match self.shared().map(|shared| (shared, &shared.mode)) {
            None => Asked::Now(Verdict::Counted(self.take(key, cost, now))),
            Some((shared, How::Fast(fast))) => {
                Asked::Now(fast.take(self, shared, (key, name), cost, now))
            }
            Some((shared, How::Exact)) => {
                let name = name();
                Asked::Later(Box::pin(async move {
                    let exact = Exact::of(self, shared, key);
                    match exact.take(&name, cost, now).await {
                        Ok(standing) => {
                            shared.decided(DecidedBy::Shared);
                            Verdict::Counted(standing)
                        }
                        Err(_) => shared.without_store(|| self.take(key, cost, now)),
                    }
                }))
            }
        }
    }

    /// As [`Limiter::charge`], together with the other gateways. It is told to the store beside the request, and is lost
    /// where that cannot be asked. Gives how the key stands since, as far as that is known here: of what the store decides
    /// it is not.
    pub fn charge_shared(
        self: &Arc<Self>,
        key: Key,
        name: impl FnOnce() -> KeyName,
        cost: u64,
        now: Now,
    ) -> Option<Standing> {
        let Some(shared) = self.shared() else {
            return Some(self.charge(key, cost, now));
        };
        match &shared.mode {
            How::Fast(fast) => Some(fast.charge(self, shared, (key, name), cost, now)),
            How::Exact => {
                let (limiter, name) = (self.clone(), name());
                tokio::spawn(async move {
                    let Some(shared) = limiter.shared() else {
                        return;
                    };
                    let exact = Exact::of(&limiter, shared, key);
                    let charged = exact.charge(&name, cost, now).await;
                    if charged.is_err() {
                        limiter.charge(key, cost, now);
                    }
                });
                None
            }
        }
    }

    /// How a key stands that would take `cost`, as the store has it; nothing is taken. Also where this gateway decides
    /// by itself it is what all have told the store.
    pub async fn look_shared(
        &self,
        key: Key,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Option<Result<Standing, StoreError>> {
        let shared = self.shared()?;
        Some(Exact::of(self, shared, key).look(name, cost, now).await)
    }

    /// Gives a key all of its limits again, for all gateways: at once in exact mode, and as soon as they exchange what they
    /// have counted in fast mode.
    pub async fn reset_shared(&self, key: Key, name: &KeyName) -> Result<(), StoreError> {
        self.reset(key);
        match self.shared() {
            None => Ok(()),
            Some(shared) => Exact::of(self, shared, key).reset(name).await,
        }
    }
}

impl Shared {
    /// Where the words of a key are. The braces keep it apart from other keys, so that a cluster spreads them.
    fn key(&self, name: &KeyName) -> String {
        format!("{}{name}}}", self.prefix)
    }

    /// The moment by the clock that is counted by here.
    pub(super) fn at(&self, now: Now) -> Now {
        match &self.mode {
            How::Exact => now,
            How::Fast(fast) => fast.at(now),
        }
    }

    fn decided(&self, by: DecidedBy) {
        let mode = match self.mode {
            How::Exact => SharingMode::Exact,
            How::Fast(_) => SharingMode::Fast,
        };
        self.store.metrics().decided(mode, by);
    }

    fn without_store(&self, local: impl FnOnce() -> Standing) -> Verdict {
        let (verdict, by) = match self.on_store_down {
            OnStoreDown::Local => (Verdict::Counted(local()), DecidedBy::Local),
            OnStoreDown::Allow => (Verdict::Uncounted, DecidedBy::Allowed),
            OnStoreDown::Deny => (Verdict::Unavailable, DecidedBy::Denied),
        };
        self.decided(by);
        verdict
    }
}
