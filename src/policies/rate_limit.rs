//! `rate_limit`: how often a caller may call.
//!
//! ```toml
//! [listeners.public]
//! bind = "0.0.0.0:8080"
//! policies.rate_limit = {}                  # as often as the caller's plan says, on all routes together
//!
//! [gateway]
//! default_plan = "free"
//!
//! [plans.free]
//! rate_limit = { rate = "60/min", burst = 20 }
//!
//! [plans.gold]
//! rate_limit = { rate = "1000/s", burst = 2000 }
//!
//! [routes.search]
//! match = { path = "/search" }
//! respond = { status = 200 }
//!
//! [routes.search.policies.rate_limit]       # this route is dearer, for everybody but those with gold
//! by = "consumer"
//! windows = [{ rate = "10/s", burst = 20 }, { requests = 1000, window = "1h" }]
//! plans = { gold = { rate = "100/s" } }
//! cost = 'request.method == "POST" ? 5 : 1'
//! ```
//!
//! # Which limit
//! The first of these that there is: what `plans` says for the caller's plan, the policy's own `rate` or `windows`, the
//! `rate_limit` of the caller's plan. A caller without a plan, or with one that is not configured, has the plan that
//! `gateway.default_plan` names. What is said nowhere is no limit.
//!
//! A plan's own limit is counted once for each caller over all routes that apply it and tell callers apart by the same;
//! numbers of a policy are counted on the routes that have this very policy, together.
//!
//! # Who is counted
//! `by` says what tells callers apart. `consumer` is the consumer; a caller that is none is told apart by its provider and
//! subject, and a stranger by its address (of IPv6 the first 64 bits). `credential` is what it has shown: each key or
//! token by itself. What a request lacks is a value as well: all callers without the header, cookie or claim are
//! counted together. Headers and cookies are whatever clients say: put `client` or `consumer` beside them where somebody
//! could gain by saying another. A policy that several routes inherit counts them together, unless `by` has `route`.
//!
//! At most a million callers are known at a time. Where there are more, one is forgotten that is about to have its whole
//! limit again anyway, and may take up to that once more each time: who makes up names gets nobody else refused.
//!
//! # Counting
//! `rate = "10/s", burst = 20` is an even flow of ten a second, of which twenty may come at once (GCRA): in no interval
//! are there more than the rate allows in it and a burst. `requests = 1000, window = "1h"` is at most a thousand in any
//! hour. Of several windows either all have room or nothing is taken from any.
//!
//! # Several gateways
//! ```toml
//! [stores.main]
//! redis = { url = "redis://127.0.0.1:6379" }
//!
//! [routes.api]
//! match = { path = "/api/{*rest}" }
//! respond = { status = 200 }
//! policies.rate_limit = { rate = "100/s", shared = { store = "main" } }
//! ```
//! With `shared` all gateways of the store count together. What the two modes promise, and what becomes of requests while
//! the store cannot be asked, is in [`limits::shared`](crate::limits::shared).
//!
//! # Cost
//! A request takes one, or what `cost` says. With `response_cost` the upstream says in a header what it has cost: the
//! request comes in for what `cost` says and is charged with the rest afterwards, even where that is more than there is;
//! then the caller waits until it is made up for, of a rate for two bursts at most. Several values of the header are added
//! up, and each policy that reads the header is charged, before any policy changes the response. Who goes away before the
//! response has come, and requests that are under way together, have been charged with what `cost` says: with `cost = 0`
//! that is nothing.
//!
//! What a policy has counted stays counted where another one refuses afterwards: `concurrency` comes
//! before `rate_limit`, and that before `quota`.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{ByConfig, CostConfig, Counting, Draft, ResponseCost};
use super::{BuildScope, Hooks};
use crate::limits::{RatesConfig, SharedConfig, WindowConfig};
use crate::response::Code;
use crate::text::{Name, Rate, Spanned};

/// How often a caller may call.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RateLimitConfig")]
pub struct Config {
    /// What tells callers apart, one thing or several together. Default `"consumer"`.
    pub by: Option<Spanned<ByConfig>>,
    /// How often in the long run. Default: as the caller's plan says.
    pub rate: Option<Rate>,
    /// How many may come at once. Default: as many as `rate` allows in its time.
    pub burst: Option<Spanned<NonZero<u32>>>,
    /// Several limits that hold at once, in the place of `rate`; at most eight.
    pub windows: Option<Spanned<Vec<Spanned<WindowConfig>>>>,
    /// What callers with these plans may do here, in the place of everything else that is said. Default: nothing of its
    /// own for any plan.
    pub plans: BTreeMap<Spanned<Name>, Spanned<RatesConfig>>,
    /// What a request takes: a whole number up to 1,000,000, or an expression in CEL whose answer is a number, which is
    /// rounded up. Where that has no value, or one below zero, the request takes 1. Default 1.
    pub cost: Option<Spanned<CostConfig>>,
    /// A header of the response that says what the request has cost, such as `"x-cost"`. Clients do not see it. Default:
    /// none.
    pub response_cost: Option<ResponseCost>,
    /// Counts together with other gateways. Default: each of them counts by itself.
    pub shared: Option<SharedConfig>,
    /// Whether it only watches: it counts and tells metrics and the access log what it would refuse, and refuses nothing.
    /// Default `false`.
    pub shadow: bool,
}

pub struct Policy {
    counting: Arc<Counting>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "rate_limit";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let own = RatesConfig {
            rate: config.rate,
            burst: config.burst,
            windows: config.windows.clone(),
        };
        let draft = Draft {
            by: config.by.as_ref(),
            own: (!own.is_empty()).then_some(&own),
            plans: &config.plans,
            of_plan: |plan| plan.rate_limit.as_deref(),
            build: RatesConfig::build,
            cost: config.cost.as_ref(),
            response_cost: config.response_cost.as_ref(),
            shared: config.shared.as_ref(),
            is_shadow: config.shadow,
            code: Code::RateLimited,
            name: Self::NAME,
        };
        let counting = Arc::new(draft.build(scope)?);
        Some(Policy { counting })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        self.counting.claim(hooks);
    }
}
