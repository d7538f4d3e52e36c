//! Limits that several gateways count together, in a store.
//!
//! Gateways count together what stands in the same place of their configurations, and the limit of a plan wherever it is
//! applied. Where one of its rules is of another kind, has another window or is of another rate or burst, they are counted
//! apart, so that a change of those begins anew; a change of how much there may be in a window does not. What a key stands
//! for is not in the store, only a digest of it.
//!
//! Windows of the calendar are by the store's clock, in the time zone of the limit: gateways need the same zone data. One
//! whose clock is another by more than a window says so in the log. While the store cannot be asked, and with `fast` before
//! the first exchange, it is the clock of the gateway.
//!
//! # Exact
//! Every decision is one round trip to the store, which looks at all rules of a key and charges them in one step, by its
//! own clock. However many gateways there are and however their clocks differ, no more is admitted than by one that
//! counts alone.
//!
//! # Fast
//! Every decision is made here and now, by what this gateway knows of the key: what the store had at their last exchange,
//! and what was taken here since. Within `sync` of a request, admitted or refused, there is another exchange.
//!
//! For N gateways, let *D* be `sync` and twice the store's `timeout` together, and *A* the most that arrives for a key at
//! one of them within *D*. While the store answers and no gateway forgets the key, they admit together
//!
//! | rule | at most |
//! |---|---|
//! | a rate *r* with a burst *b* | in any time *t*: *r·t* + *b* + *r·D* + (N − 1) · min(*A*, *b* + *r·D*) |
//! | a limit *L* in a window, sliding or of the calendar | in any window: *L* + (N − 1) · min(*A*, *L*) |
//!
//! Why: of all exchanges behind which the gateway that made it has admitted anything before its next one, take the last.
//! That gateway admits only what its view has room for, and its view lacks only what each of the others has taken from the
//! beginning of its exchange before that one to the end of the one after it, which is *D*: behind later ones nobody has
//! admitted anything. What was too much of a rate is a debt that the store keeps whole, so that it is paid back before
//! anything more is admitted. The *r·D* is for what differs between clocks. Of a window it is the clocks that have to agree
//! within *D*: what is taken around the end of one counts in the one that it is told in. A price that is told afterwards is
//! charged whether or not there is room: by each gateway up to a debt of two bursts by what it knows, together 2·N·*b*.
//!
//! An exchange is of up to 256 keys at a time, of fewer where the store is slow, and of about 20 000 at most. Where so many
//! change at one gateway that it takes longer than `timeout`, the next one is as much later, and *D* as much longer;
//! `northgate_store_sync_lag_seconds` says how old what is told has become, also where only some of it could be told. What
//! changes of more keys at once is not shared until somebody asks for the key again, and
//! `northgate_store_unshared_changes_total` counts it; of a million such keys at most it is known which. A gateway that is killed counts as one more of the N, since what it
//! has not told is gone; one that ends has the store told before, for up to a second.
//!
//! What an operator resets is so at once where it is asked for, and at the other gateways with their next exchange of the
//! key; what they have taken since the last one counts. An override holds where it was granted and nowhere else: what is
//! taken of a rate by it counts as the same share at the others, and of a window as the same number.
//!
//! # A store that cannot be asked
//! No request waits for longer than the store's `timeout` for each exact limit of its route, and those that come after one that has waited in vain do not wait
//! at all: see [`stores`](crate::stores). What becomes of them is `on_store_down`. With `fast` it is so from the first
//! exchange in vain to the first that is not: for all keys where the store does not answer at all, and for single ones where
//! it answers of others, as a cluster does that has lost a server. A key of that server which comes anew is decided
//! about by what is known here until it has been exchanged.
//!
//! While every gateway counts by itself, all of them together admit at most N times the limit. With `fast` the store is told
//! afterwards what was counted meanwhile, as far as it counts still: of a rate what has not come back, of a window
//! everything until it ends. So one more outage does not give as much again. What was under way when the store fell
//! silent, and may have reached it, is told again under the number that it had, and counts once: the store has the last
//! number of each of the 64 gateways that told last of a key. With `exact` nothing is told.
//! When the store loses what it has, as by a flush or by a failover whose replica was behind, everybody has his limit once
//! more.

mod change;
mod clock;
mod exact;
mod fast;
mod name;
mod script;
#[cfg(test)]
mod script_tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration as StdDuration;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use self::clock::Clock;
use self::exact::Exact;
pub(super) use self::fast::Fast;
pub use self::name::{KeyName, KeyNameHasher};
use super::{Key, Limiter, NamedRule, Now, Room, Standing};
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
    /// more together than the limit: as much as arrives at the others within `sync` and twice the store's `timeout`.
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
    /// Whether the log says that the clock here is wrong.
    has_warned: AtomicBool,
}

enum How {
    /// With the store's clock, where that is not the one here.
    Exact(Clock),
    Fast {
        fast: Arc<Fast>,
        sync: StdDuration,
    },
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
        let prefix = format!("northgate:limit:{{{name}:{}:", shape(rules));
        Shared {
            script: script::Decider::new(rules),
            mode: match self.mode {
                Mode::Exact => How::Exact(Clock::new()),
                Mode::Fast => How::Fast {
                    fast: room.fast(&prefix),
                    sync: self.sync,
                },
            },
            prefix: prefix.into(),
            store: self.store,
            on_store_down: self.on_store_down,
            has_warned: AtomicBool::new(false),
        }
    }
}

/// Rules of another shape have other words, and so other keys: what was taken of another rate means something else, and
/// a debt of it could last for ever.
fn shape(rules: &[NamedRule]) -> String {
    let shapes: Vec<_> = rules.iter().map(|it| it.rule.shape()).collect();
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
        shared.is_some_and(|shared| matches!(shared.mode, How::Exact(_)))
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
            Some((shared, How::Fast { fast, .. })) => {
                Asked::Now(fast.take(self, shared, (key, name), cost, now))
            }
            Some((shared, How::Exact(_))) => {
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
            How::Fast { fast, .. } => Some(fast.charge(self, shared, (key, name), cost, now)),
            How::Exact(_) => {
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
        let Some(shared) = self.shared() else {
            self.reset(key);
            return Ok(());
        };
        let forget = || match &shared.mode {
            How::Exact(_) => self.reset(key),
            How::Fast { fast, .. } => fast.reset(self, key),
        };
        // Afterwards again: an exchange that was under way may have brought back what the store had before.
        forget();
        let reset = Exact::of(self, shared, key).reset(name).await;
        forget();
        reset
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
            How::Exact(_) => now,
            How::Fast { fast, .. } => fast.clock().at(now),
        }
    }

    /// The store's clock, as far as it is known.
    fn clock(&self) -> &Clock {
        match &self.mode {
            How::Exact(clock) => clock,
            How::Fast { fast, .. } => fast.clock(),
        }
    }

    fn decided(&self, by: DecidedBy) {
        let mode = match self.mode {
            How::Exact(_) => SharingMode::Exact,
            How::Fast { .. } => SharingMode::Fast,
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
