//! `quota`: how much a caller may have in a day or a month.
//!
//! ```toml
//! [listeners.public]
//! bind = "0.0.0.0:8080"
//!
//! [consumers.acme]
//! plan = "gold"
//!
//! [plans.gold]
//! quota = { requests = 1_000_000, per = "month", time_zone = "Europe/Berlin" }
//!
//! [routes.reports]
//! match = { path = "/reports/{*rest}" }
//! respond = { status = 200 }
//! policies.quota = { requests = 100, per = "day", plans = { gold = { requests = 10_000, per = "day" } } }
//! ```
//!
//! Windows are those of the calendar: a day begins at midnight in `time_zone`, and everything can be had again then.
//! Which limit holds, who is counted together, what a request costs and what `shadow` does is as with `rate_limit`.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{ByConfig, CostConfig, Counting, Draft, ResponseCost};
use super::{BuildScope, Hooks};
use crate::limits::{Period, PeriodConfig, QuotaConfig, SharedConfig, TimeZoneName};
use crate::response::Code;
use crate::text::{Name, Spanned};

/// How much a caller may have in a day or a month.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "QuotaConfig")]
pub struct Config {
    /// What tells callers apart, one thing or several together. Default `"consumer"`.
    pub by: Option<Spanned<ByConfig>>,
    /// How much in each `per`. Default: as the caller's plan says.
    pub requests: Option<NonZero<u64>>,
    /// In which time: `minute`, `hour`, `day`, `week` (from Monday) or `month` of the calendar.
    pub per: Option<Period>,
    /// Several quotas that hold at once, in the place of `requests` and `per`; at most five.
    pub windows: Option<Spanned<Vec<Spanned<PeriodConfig>>>>,
    /// Where days begin, a name of the IANA time zone database such as `"Europe/Berlin"`. Default `"UTC"`.
    pub time_zone: Option<TimeZoneName>,
    /// What callers with these plans may have here, in the place of everything else that is said. Default: nothing of its
    /// own for any plan.
    pub plans: BTreeMap<Spanned<Name>, Spanned<QuotaConfig>>,
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
    const NAME: &'static str = "quota";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let own = QuotaConfig {
            requests: config.requests,
            per: config.per,
            windows: config.windows.clone(),
            time_zone: config.time_zone.clone(),
        };
        let draft = Draft {
            by: config.by.as_ref(),
            own: (!own.is_empty()).then_some(&own),
            plans: &config.plans,
            of_plan: |plan| plan.quota.as_deref(),
            build: QuotaConfig::build,
            cost: config.cost.as_ref(),
            response_cost: config.response_cost.as_ref(),
            shared: config.shared.as_ref(),
            is_shadow: config.shadow,
            code: Code::QuotaExceeded,
            name: Self::NAME,
        };
        let counting = Arc::new(draft.build(scope)?);
        Some(Policy { counting })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        self.counting.claim(hooks);
    }
}
