//! What consumers have bought: `[plans.NAME]`.
//!
//! What a plan allows is counted over all routes together that apply it, for each caller: a thousand requests a second
//! are a thousand and not as many on each route. Routes that tell callers apart by something else count apart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Criticality, Limiter, NamedRule, QuotaConfig, RatesConfig};
use crate::text::{ByteSize, Name, Spanned, Subject, nearest};

/// What a consumer has bought.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PlanConfig")]
pub struct PlanConfig {
    /// How often it may call, where the policy `rate_limit` says nothing of its own. Default: as often as it likes.
    pub rate_limit: Option<Spanned<RatesConfig>>,
    /// How often it may call in a day or month, where the policy `quota` says nothing of its own. Default: as often as it
    /// likes.
    pub quota: Option<Spanned<QuotaConfig>>,
    /// How many of its requests may be served at a time, where the policy `concurrency` says nothing of its own.
    /// Default: as many as it likes.
    pub concurrency: Option<NonZero<u32>>,
    /// How many bytes a second may be sent either way, where the policy `bandwidth` says nothing of its own. Default: as
    /// many as it likes.
    pub bandwidth: Option<BandwidthConfig>,
    /// How much its requests matter where there is not room for all, on routes that ask who calls. A route that matters
    /// less than that is not raised by it. Default: as much as the route says.
    pub criticality: Option<Criticality>,
}

/// Bytes a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PlanBandwidth")]
pub struct BandwidthConfig {
    /// Of the bodies of requests. Default: any number.
    pub request: Option<ByteSize>,
    /// Of the bodies of responses. Default: any number.
    pub response: Option<ByteSize>,
}

/// What a plan allows. What it says nothing of has no limit.
#[derive(Debug, Default)]
pub struct Plan {
    pub rate_limit: Option<Box<[NamedRule]>>,
    pub quota: Option<Box<[NamedRule]>>,
    pub concurrency: Option<NonZero<u32>>,
    pub bandwidth: Option<BandwidthConfig>,
    pub criticality: Option<Criticality>,
}

/// All plans.
#[derive(Debug, Default)]
pub struct Plans {
    plans: BTreeMap<Name, Plan>,
    usual: Option<Name>,
    /// Those that several policies apply, by the name of the limiter.
    limiters: Mutex<HashMap<Box<str>, Arc<Limiter>>>,
    /// Names that are no plans and came with a caller.
    reported: Mutex<HashSet<Box<str>>>,
}

/// Of how many unknown plans the log tells.
const MOST_REPORTED: usize = 64;

impl Plans {
    /// Adds a plan. What of it has mistakes is left out, after diagnostics.
    pub fn add(&mut self, name: &Name, config: &PlanConfig, subject: &mut Subject<'_>) {
        let rates = config.rate_limit.as_ref();
        let rates = rates.and_then(|it| it.build(it.span, &mut subject.key("rate_limit")));
        let quota = config.quota.as_ref();
        let quota = quota.and_then(|it| it.build(it.span, &mut subject.key("quota")));
        let plan = Plan {
            rate_limit: rates.map(Into::into),
            quota: quota.map(Into::into),
            concurrency: config.concurrency,
            bandwidth: config.bandwidth.clone(),
            criticality: config.criticality,
        };
        self.plans.insert(name.clone(), plan);
    }

    /// Which plan callers have that have none, or one that there is not.
    pub fn set_usual(&mut self, name: &Spanned<Name>, subject: &mut Subject<'_>) {
        if self.check(name, subject) {
            self.usual = Some(name.value.clone());
        }
    }

    /// Whether there is such a plan; after a diagnostic where there is none.
    pub fn check(&self, name: &Spanned<Name>, subject: &mut Subject<'_>) -> bool {
        if self.plans.contains_key(name.as_str()) {
            return true;
        }
        let what = format!("there is no plan {:?}", name.as_str());
        let problem = subject.error(name.span, what);
        let known = || self.plans.keys().map(Name::as_str);
        let some: Vec<&str> = known().take(10).collect();
        problem.help(match nearest(name, known()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if some.is_empty() => format!("define it: [plans.{}]", name.as_str()),
            None => format!("known are {}", some.join(", ")),
        });
        false
    }

    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// In order of their names.
    pub fn all(&self) -> impl Iterator<Item = (&Name, &Plan)> {
        self.plans.iter()
    }

    /// What callers have that have no plan, if anything.
    pub fn usual(&self) -> Option<&Name> {
        self.usual.as_ref()
    }

    /// The limiter of this name for rules of a plan: the same for all who ask.
    pub fn limiter(&self, name: &str, make: impl FnOnce() -> Arc<Limiter>) -> Arc<Limiter> {
        let mut limiters = lock(&self.limiters);
        if let Some(limiter) = limiters.get(name) {
            return limiter.clone();
        }
        let limiter = make();
        limiters.insert(name.into(), limiter.clone());
        limiter
    }

    /// Tells the log, once, of a plan that a caller is said to have and that there is not.
    #[cold]
    pub fn report(&self, name: &str) {
        let mut reported = lock(&self.reported);
        if reported.len() >= MOST_REPORTED || reported.contains(name) {
            return;
        }
        reported.insert(name.into());
        let instead = match &self.usual {
            Some(default) => format!("the default plan {default} is applied"),
            None => "what callers without a plan have is applied".to_owned(),
        };
        log::warn!(
            "a caller is said to have the plan {name:?}, which is not configured: {instead}"
        );
    }
}

/// Nothing that is behind the lock is ever half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
