//! Stores: servers that several gateways keep what they share in.
//!
//! In: `[stores.NAME]`, where such a server is, and commands of rooms above. Out: their answers, within a deadline. This
//! room must never know what is kept: who keeps something chooses the keys, and what becomes of requests while the
//! server cannot be asked.
//!
//! ```toml
//! [stores.shared]
//! redis = { url = "rediss://redis.internal:6379/0", password = { credential = "redis" }, timeout = "300ms" }
//! ```

mod redis;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Name, Spanned, Subject};

pub use self::redis::{Config as RedisConfig, Redis, StoreError};

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
    /// Adds a store, the one of `before` where it is still the same, so that its connection stays. `base` is the folder
    /// that paths are relative to. Blocks on the file system.
    pub fn add(
        &mut self,
        name: &Name,
        config: &Config,
        base: &Path,
        before: Option<&Stores>,
        subject: &mut Subject<'_>,
    ) {
        let built = Redis::build(&config.redis, base, &mut subject.key("redis"));
        let before = before.and_then(|before| before.0.get(name)?.as_ref());
        let kept = before.filter(|before| built.as_ref().is_some_and(|it| it.is_same(before)));
        let store = kept.cloned().or_else(|| built.map(Arc::new));
        self.0.insert(name.clone(), store);
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
