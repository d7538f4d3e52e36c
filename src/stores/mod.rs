//! Stores: servers that several gateways keep what they share in.
//!
//! In: `[stores.NAME]`, where such a server is, and commands of rooms above. Out: their answers, within a deadline. This
//! room must never know what is kept: who keeps something chooses the keys, and what becomes of requests while the
//! server cannot be asked.
//!
//! ```toml
//! [stores.shared]
//! redis = { url = "rediss://redis.internal:6379/0", password = { credential = "redis" }, timeout = "300ms" }
//!
//! [stores.watched]
//! redis.sentinel = { master = "main", urls = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"] }
//!
//! [stores.spread]
//! redis.cluster = ["redis://10.0.1.1:6379", "redis://10.0.1.2:6379"]
//! ```
//!
//! # A server that does not answer
//! A command waits for `timeout` and no longer, for everything that it takes. The first that has waited in vain ends the
//! waiting: from then on all others fail at once, while a task beside the requests tries to reach the server, first after
//! a tenth of a second, then less and less often up to once a second, each time a little earlier or later than other
//! gateways. Nobody has to do anything for it to be asked again: that is so no later than a second after it serves
//! again, and the time of an attempt that has begun before and of the one that succeeds, each of which is at most
//! `timeout` (for the master of sentinels, twice that).
//!
//! In vain is a wait of at least half of `timeout`, whether it ends by its own deadline or by that of whoever asks. Who had
//! less time says nothing about the server, which is then asked over the same connection whether it is there, and has
//! `timeout` to say so. What comes too late is nobody's answer.
//!
//! A connection that breaks is made anew at once, so that a server that is replaced is not even noticed. When that breaks
//! as well it is made anew after a tenth of a second, for which commands wait; and when the third does, the server counts
//! as one that does not answer. It counts from the beginning where a connection was good for a fifth of a second, and for
//! four times as long as the server was left alone.
//!
//! What was under way on such a connection is sent again, once, and so may be done twice, as a request that is counted twice
//! with `exact`. What must not be, as what is charged beside a request, ends with an error; only what was never sent ends as refused.
//!
//! In a cluster all of this is so for each server by itself. Only keys whose slot nobody has, and those of a server that is
//! gone, have no answer; who has them now is found out at the first sign, and then as often as above. Servers of a
//! cluster that are not told `cluster-require-full-coverage no` all refuse everything then, of their own will.
//!
//! Whoever has a server wait with its answer until there is one has a connection of his own for that ([`OwnLine`]), and finds
//! out for himself whether it is still to the right server.
//!
//! The master that sentinels name is looked for anew whenever the connection to it breaks, it does not answer, or it says
//! that it is a replica. What was written to a master in its last moment can be lost with it: replication is asynchronous.

mod cluster;
mod config;
mod dial;
mod health;
mod line;
mod node;
mod place;
mod redis;
mod script;
mod sentinel;
mod slots;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::observability::Metrics;
use crate::text::{Name, Spanned, Subject};

pub use self::config::{CertificateConfig, Config as RedisConfig, SentinelConfig};
pub use self::line::OwnLine;
pub(crate) use self::node::pause;
pub use self::redis::{Redis, StoreError};
pub use self::script::{Call, Script};

/// A server that several gateways keep what they share in.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Redis or Valkey, 6.2 or later.
    pub redis: Spanned<RedisConfig>,
}

/// Every store by name.
#[derive(Debug, Default)]
pub struct Stores(BTreeMap<Name, Option<Arc<Redis>>>);

impl Stores {
    /// Adds a store, the one of `before` where it is still the same, so that its connections stay. `base` is the folder
    /// that paths are relative to. Blocks on the file system.
    pub fn add(
        &mut self,
        config: &Config,
        base: &Path,
        (name, metrics): (&Name, &Metrics),
        before: Option<&Stores>,
        subject: &mut Subject<'_>,
    ) {
        let metrics = metrics.store(name.as_str());
        let built = Redis::build(&config.redis, base, metrics, &mut subject.key("redis"));
        let before = before.and_then(|before| before.0.get(name)?.as_ref());
        let kept = before.filter(|before| built.as_ref().is_some_and(|it| it.is_same(before)));
        let store = kept.cloned().or_else(|| built.map(Arc::new));
        self.0.insert(name.clone(), store);
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.keys().any(|known| known.as_str() == name)
    }

    /// The store of this name; `None` after a diagnostic, or where the store itself has mistakes.
    pub fn find(&self, name: &Spanned<Name>, subject: &mut Subject<'_>) -> Option<Arc<Redis>> {
        if let Some(store) = self.0.get(&name.value) {
            return store.clone();
        }
        let known: Vec<&str> = self.0.keys().map(Name::as_str).collect();
        let problem = subject.error(name.span, format!("there is no store {:?}", name.as_str()));
        problem.help(match known.as_slice() {
            [] => format!("define it: [stores.{}]", name.as_str()),
            known => format!("known are {}", known.join(", ")),
        });
        None
    }
}
