//! `rate_limit`: how often a caller may call.
//!
//! ```toml
//! [routes.search]
//! match = { path = "/search" }
//! respond = { status = 200 }
//! policies.rate_limit = { rate = "10/s", burst = 20 }
//! ```

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{By, Counted, refuse};
use super::{BuildScope, Hooks, LimitStep, OnLimit};
use crate::facts::View;
use crate::limits::{Charge, Gcra, Limiter, MAX_KEYS, Now, Rule, Taken};
use crate::response::Code;
use crate::text::{Rate, Spanned};

/// How often a caller may call.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimitConfig")]
pub struct Config {
    /// What tells callers apart, all of it together. Default `["consumer"]`.
    #[serde(default)]
    pub by: Option<Vec<Spanned<By>>>,
    /// How often in the long run.
    pub rate: Rate,
    /// How many may come at once. Default: as many as `rate` allows in its time.
    pub burst: Option<NonZero<u32>>,
}

pub struct Policy {
    counted: Counted,
    limiter: Arc<Limiter>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "rate_limit";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let name = scope.subject.to_string();
        let by = config.by.clone().unwrap_or_else(|| {
            vec![Spanned {
                span: scope.span,
                value: By::Consumer,
            }]
        });
        let counted = Counted::build(&by, scope.variables, &mut scope.subject.key("by"))?;
        let burst = config.burst.unwrap_or(config.rate.count());
        let gcra = Gcra::new(
            config.rate.count().into(),
            config.rate.period(),
            burst.into(),
        );
        let rule = Rule::Gcra(gcra).named(config.rate.to_string());
        let limiter = Limiter::new(&name, vec![rule], MAX_KEYS, scope.limits);
        Some(Policy {
            counted,
            limiter: Arc::new(limiter),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_limit(self.clone());
    }
}

impl OnLimit for Policy {
    fn on_limit<'a>(&'a self, view: View<'a>, taken: &'a mut Taken) -> LimitStep<'a> {
        let key = self.counted.key(view);
        let standing = self.limiter.take(key, 1, Now::read());
        let is_within = standing.is_within();
        taken.charges.push(Charge {
            limiter: self.limiter.clone(),
            key,
            standing,
        });
        LimitStep::Now(match is_within {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(refuse(Code::RateLimited, &taken.charges)),
        })
    }
}
