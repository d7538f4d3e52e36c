//! Limits: how much a key may take in a time, and what it has taken; how much there may be at a time.
//!
//! In: rules, and keys with the cost of what they ask for. Out: a [`Standing`], whether it is within all rules, what
//! is left and when there will be more. This room must never know what a key stands for, what is refused because of it,
//! or how that is said: policies choose the keys and make the answers.
//!
//! # How it is counted
//! A [`Limiter`] has [`Rule`]s, which are arithmetic over a few words of state, and a table with those
//! words for every key. A decision is over all rules of a key at once: either all of them are charged or none is.
//!
//! | rule | what it allows | words |
//! |---|---|---|
//! | [`Gcra`] | so much a time, evenly, and a burst on top | 1 |
//! | [`Sliding`] | so much in any window of this length | 9 |
//! | [`Calendar`] | so much in each minute, hour, day, week or month of a time zone | 2 |
//!
//! # Plans
//! [`Plans`] are limits that callers have bought, whichever policy applies them, and [`RatesConfig`] and [`QuotaConfig`]
//! are how rules are written, there and in policies.
//!
//! # Operators
//! What is [`InForce`] can be asked for by its name, keys are written as text, and a key can have some [`Factor`] of its
//! limits for a while: an [`Override`]. It holds in this process, outlives configurations and not the process.
//!
//! # Bounds
//! A limiter knows at most as many keys as it is told to. Where one more comes, a key is forgotten for it: of a few, the
//! one that is nearest to having its whole limit again, and of those that are as near the one that has taken least. That
//! key may then take up to its limit once more, each time that it is forgotten: who floods a limiter with new keys can make
//! it forget, but never refuse anybody else.
//!
//! # Changes
//! Where a configuration has other rules, each goes on with what was counted of it: of a rate that is another now, what
//! was taken stays taken and comes back as fast as it says; a window of another length begins anew. What is taken while
//! such a configuration is being compiled is not counted in it. Of limits that several gateways count together a rate
//! begins anew: see [`shared`].
//!
//! # At a time
//! [`Permits`] are places for requests, [`KeyedPermits`] the same for each key. A [`Permit`] is given back by being
//! dropped, and in no other way. Where all are taken, a request may wait in a bounded queue, in which who is more
//! important ([`Criticality`]) comes first, and in which nobody waits in vain. A [`Bulkhead`] is such places in front of
//! an upstream or a route; a [`Gradient`] learns how many of them an upstream can do with. A [`Shedder`] refuses what
//! matters less while the gateway itself has too much to do. A [`Flow`] says how long bytes have to wait.
//!
//! What is taken, what waits and what was learned belongs to a name in the [`Room`], and is the same for every
//! configuration that has the name. How much there may be is said by the newest of them that has had a request: each has
//! its [`Edition`].

mod bulkhead;
mod calendar;
mod criticality;
mod factor;
mod flow;
mod gcra;
mod gradient;
mod in_force;
mod key;
mod keyed_permits;
mod limiter;
mod overload;
mod overrides;
mod permits;
mod places;
mod plans;
mod queue;
mod quotas;
mod rates;
mod room;
mod rule;
pub mod shared;
mod sliding;
mod table;
mod taken;
mod terms;

#[cfg(test)]
mod property;

pub use bulkhead::{Bulkhead, Entry, Limit, Pending, QueueConfig};
pub use calendar::{Calendar, Period};
pub use criticality::Criticality;
pub use factor::{Factor, NoFactor};
pub use flow::{Congested, Flow};
pub use gcra::Gcra;
pub use gradient::{Bounds as GradientBounds, Config as GradientConfig, Gradient};
pub use in_force::{AskedKey, InForce, KeyPart, KeyReader, KeyWords};
pub use key::{Key, KeyHasher, KeyParts};
pub use keyed_permits::{Counts, KeyedPermits};
pub use limiter::{Limiter, MAX_KEYS, Standing};
pub use overload::{Config as OverloadConfig, Overload, Pressure, SAMPLE, Shedder};
pub use overrides::{Full, MAX_OVERRIDES, Override};
pub use permits::{Patience, Permit, Permits, Refused, Turn, Waiting};
pub use places::InUse;
pub use plans::{BandwidthConfig, Plan, PlanConfig, Plans};
pub use quotas::{PeriodConfig, QuotaConfig, TimeZoneName};
pub use rates::{RatesConfig, WindowConfig};
pub use room::Room;
pub use rule::{NamedRule, Now, Rule, RuleStanding, Shape};
pub use shared::{
    Asked, KeyName, KeyNameHasher, Mode, OnStoreDown, SharedConfig, Sharing, Verdict,
};
pub use sliding::Sliding;
pub use taken::{Charge, Exceeded, Taken};
pub use terms::Edition;
