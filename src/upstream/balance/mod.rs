//! Which endpoint serves the next request.
//!
//! Whenever something is told of endpoints (a new set, a change of health), an immutable [`Available`] is built of all
//! of them, with everything worked out that does not depend on the request: which priorities and zones get what share
//! (`levels.rs`), and for each group of endpoints that are as good as one another the order in which they are chosen
//! (`group.rs`). A pick reads that, and counters of the endpoints, and allocates nothing:
//!
//! 1. The endpoint of a sticky session, while it is available (`sticky.rs`).
//! 2. Else a group by its share, at random or by the key that is hashed.
//! 3. In it an endpoint, as `balance` says.
//! 4. Where every endpoint of the group has been tried, one of the next groups, those without a share last.

mod config;
mod dice;
mod draws;
mod group;
mod latency;
mod levels;
mod load;
mod maglev;
mod rules;
mod set;
mod slow_start;
mod sticky;
mod turns;
mod way;

#[cfg(test)]
mod sets_tests;
#[cfg(test)]
mod tests;

use std::time::Instant;

pub use config::{Balance, HashConfig, SubsetConfig, SubsetFallback, ZonesConfig};
pub(super) use config::{check, check_subset};
pub(super) use group::MOST;
pub(super) use latency::{Latency, Now};
pub(super) use rules::{Algorithm, Rules};
pub(super) use set::Available;
pub(super) use slow_start::{Warmth, watch as watch_slow_start};
pub use sticky::{Config as StickyConfig, SameSite, Sticky};
pub(super) use sticky::{Mark, Tag, tag_of};
pub use way::Idle;

/// What a request says of which endpoint it is to get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub now: Instant,
    /// What is hashed, where it has anything of the kind.
    pub key: Option<u64>,
    /// Of the endpoint of its session, where it has one.
    pub tag: Option<Tag>,
}
