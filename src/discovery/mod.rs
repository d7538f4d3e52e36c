//! Discovery: where the endpoints of an upstream are, as whoever knows it tells.
//!
//! In: what is written, and registries that are asked. Out: sets of [`Member`]s, each a whole that takes the place of
//! the one before. This room must never know what is sent to them: no HTTP of requests, no health, no choice.
//!
//! # Sources
//! A `Source` is one registry, spoken to in its own way. It follows the registry until that fails and tells a
//! `Sink` what it hears. What all of them need is done here, once (`follow.rs`):
//!
//! - a source that has failed is begun again after a pause that grows and has jitter;
//! - the last set stays in force while its registry fails, for as long as that takes;
//! - changes that come in a burst are taken over as few: the first at once, the others 20 ms later;
//! - the set in force is written to `gateway.state_dir` (`kept.rs`), and a start without the registry begins with it;
//! - host names among endpoints are looked up again and again (`lists.rs`), and one that fails keeps its addresses;
//! - an empty answer counts or not, by `on_empty`;
//! - age, last change and last error are told: metrics, log, admin listener.
//!
//! A source never touches disk or metrics, and does not compare sets.
//!
//! # Readiness
//! A start waits for the first answer of each registry, five seconds at most, and goes on without: with the kept set,
//! or with no endpoints (503 `upstream_unhealthy`) until there is an answer. A registry that is down keeps no gateway
//! from becoming ready, since that would take all other upstreams down with it.

mod changes;
mod config;
mod consul;
mod dns;
mod etcd;
mod file;
mod follow;
mod kept;
mod kubernetes;
mod listed;
mod lists;
mod member;
mod names;
mod pause;
mod sink;
mod standing;

use std::convert::Infallible;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;

use crate::observability::Metrics;
use crate::text::Subject;
use sink::Sink;

pub use config::{Config, OnEmpty};
pub use follow::Discovery;
pub use member::{Labels, Member, Socket};
pub use standing::{Shown, Trouble};

/// One registry, as one upstream follows it.
#[async_trait]
trait Source: fmt::Debug + Send + Sync + 'static {
    /// The word for it in the configuration, which is a label of metrics too.
    fn kind(&self) -> &'static str;

    /// What is followed, in one line for logs: `consul service users at http://127.0.0.1:8500/`. No secrets. What is
    /// kept on disk is only used by a source that says the same, so all that decides who is in the set is in it.
    fn describe(&self) -> String;

    /// Whether a set without members is believed where the configuration does not say.
    fn on_empty(&self) -> OnEmpty;

    /// Follows the registry and tells the sink, until that fails. It may be dropped at any await, and is begun again
    /// after a failure: what it has to remember until then is in `self`. It must not block, and each wait of its has
    /// a deadline, so that a registry that has vanished is noticed.
    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure>;

    /// Publishes what following has told, where that takes time of its own, as names do that are looked up. It runs beside
    /// the following and through the pauses after failures.
    async fn publish(&self, _sink: &Sink) -> Infallible {
        std::future::pending().await
    }
}

/// Why a registry cannot be followed. The texts are for logs and operators and have no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    /// No connection, or one that broke, or no answer in time.
    #[error("it cannot be reached: {0}")]
    Unreachable(Box<str>),
    /// It has answered that it will not or cannot say.
    #[error("it refuses: {0}")]
    Refused(Box<str>),
    /// What it says makes no sense.
    #[error("what it says is no good: {0}")]
    Malformed(Box<str>),
    /// A name of what it says has no addresses that anybody knows, which is no failure of the registry.
    #[error("a name cannot be resolved: {0}")]
    Unresolved(Box<str>),
}

impl Failure {
    fn unreachable(why: impl fmt::Display) -> Failure {
        Failure::Unreachable(why.to_string().into())
    }

    fn refused(why: impl fmt::Display) -> Failure {
        Failure::Refused(why.to_string().into())
    }

    fn malformed(why: impl fmt::Display) -> Failure {
        Failure::Malformed(why.to_string().into())
    }

    fn unresolved(why: impl fmt::Display) -> Failure {
        Failure::Unresolved(why.to_string().into())
    }

    /// A label of metrics.
    fn kind(&self) -> &'static str {
        match self {
            Failure::Unreachable(_) => "unreachable",
            Failure::Refused(_) => "refused",
            Failure::Malformed(_) => "malformed",
            Failure::Unresolved(_) => "unresolved",
        }
    }
}

/// What compiling a discovery needs from around it.
pub struct Build<'a> {
    /// The upstream's name.
    pub name: &'a str,
    /// The folder that file paths are relative to.
    pub base: &'a Path,
    /// Where sets are kept, if they are.
    pub state_dir: Option<&'a Path>,
    pub metrics: &'a Metrics,
    /// `upstreams.NAME.discovery`
    pub subject: Subject<'a>,
}
