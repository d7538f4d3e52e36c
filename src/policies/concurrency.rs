//! `concurrency`: how many requests of a caller may be served at a time.
//!
//! ```toml
//! [routes.exports]
//! match = { path = "/exports/{id}" }
//! respond = { status = 200 }
//! policies.concurrency = { by = ["client"], limit = 2, queue = { size = 5, timeout = "1s" } }
//! ```
//!
//! How many that are is said by the first of these that there is: `limit`, or the `concurrency` of the caller's plan,
//! which is counted over all routes that leave it to plans and tell callers apart by the same. What is said nowhere is no
//! limit. Callers of different plans count apart, also where they are told apart by something that is the same for both.
//!
//! A request counts from here until the end of its response, whatever that is: where the client leaves, it takes too
//! long or its task fails, it counts no more. A WebSocket counts until it is closed. Whoever has as many as it may have
//! waits in the `queue`, if there is one, and otherwise gets 429 `concurrency_exceeded` with `Retry-After`. The queue is
//! each caller's own, so nobody waits for others; its rules are those of [`Bulkhead`](crate::limits::Bulkhead)s.
//!
//! It is asked before `rate_limit` and `quota`, so that who is refused here is charged for nothing there. There is no
//! `shadow`: who has too many is refused.
//!
//! A caller is remembered only while it has requests. There can be a million at a time that are told apart; beyond that,
//! who is not known yet is refused.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::RETRY_AFTER;
use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{By, ByConfig, ByPlan, Counted, check_plans};
use super::{BuildScope, Flow, Hooks, LimitStep, OnLimit};
use crate::facts::{KeyBy, View};
use crate::limits::{
    Edition, KeyedPermits, MAX_KEYS, Patience, Plan, QueueConfig, Refused, Room, Taken, Turn,
};
use crate::observability::BulkheadMetrics;
use crate::response::{Code, Reply};
use crate::text::Spanned;

/// How many requests of a caller may be served at a time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ConcurrencyConfig")]
pub struct Config {
    /// What tells callers apart, one thing or several together. Default `"consumer"`.
    pub by: Option<Spanned<ByConfig>>,
    /// How many at a time. Default: as the caller's plan says.
    pub limit: Option<NonZeroU32>,
    /// Requests of the caller that wait for their turn. Default: none waits.
    pub queue: Option<QueueConfig>,
}

/// Places per caller.
pub struct Policy {
    counted: Counted,
    /// `None` is no limit.
    places: ByPlan<Option<Arc<Places>>>,
    /// How many may wait.
    size: u32,
    wait: Duration,
}

/// The places of the callers of one plan, or of all.
struct Places {
    permits: Arc<KeyedPermits>,
    limit: u32,
    metrics: BulkheadMetrics,
    edition: Edition,
    begun: Once,
}

impl super::Policy for Policy {
    const NAME: &'static str = "concurrency";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let errors = scope.subject.error_count();
        if let Some(queue) = &config.queue {
            queue.check(&mut scope.subject.key("queue"));
        }
        let by = match &config.by {
            Some(by) => by.clone(),
            None => Spanned::new(ByConfig::One(By::Of(KeyBy::Consumer)), scope.span),
        };
        let counted = Counted::build(&by, scope.variables, &mut scope.subject.key("by"))?;
        let room = scope.limits;
        let places = match config.limit {
            Some(limit) => {
                let places = Places::new(&scope.subject.to_string(), limit, room);
                ByPlan::same(Some(places), scope.plans)
            }
            None => {
                let says_so = |plan: &Plan| plan.concurrency.is_some();
                check_plans(scope, Self::NAME, says_so, "limit = 10");
                ByPlan::each(scope.plans, None, |name, plan| {
                    let by = counted.text();
                    let name = format!("plans.{}.concurrency by {by}", name.as_str());
                    Some(Places::new(&name, plan.concurrency?, room))
                })
            }
        };
        let queue = config.queue.as_ref();
        (scope.subject.error_count() == errors).then(|| Policy {
            counted,
            places,
            size: queue.map_or(0, QueueConfig::size),
            wait: queue.map_or(Duration::ZERO, QueueConfig::wait),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        let route = match self.counted.has_route() {
            true => hooks.route().into(),
            false => Box::default(),
        };
        let policy = self.clone();
        hooks.on_limit(Arc::new(OnRoute { policy, route }));
    }
}

/// The policy on one of the routes that have it.
struct OnRoute {
    policy: Arc<Policy>,
    /// Empty where routes make no difference.
    route: Box<str>,
}

impl OnLimit for OnRoute {
    fn on_limit<'a>(&'a self, view: View<'a>, taken: &'a mut Taken) -> LimitStep<'a> {
        self.policy.take(view, &self.route, taken)
    }

    fn may_wait(&self) -> bool {
        self.policy.size > 0
    }
}

impl Policy {
    fn take<'a>(&'a self, view: View<'a>, route: &str, taken: &'a mut Taken) -> LimitStep<'a> {
        let Some(places) = self.places.of(view) else {
            return LimitStep::Now(ControlFlow::Continue(()));
        };
        places.begun.call_once(|| places.begin());
        let patience = Patience {
            class: view.facts.criticality,
            wait: self.wait,
            deadline: None,
        };
        let key = self.counted.key(view, route);
        let waiting = match places.permits.take(key, self.size, patience) {
            Turn::Now(permit) => {
                taken.permits.push(permit);
                return LimitStep::Now(ControlFlow::Continue(()));
            }
            Turn::Never(refused) => return LimitStep::Now(places.refuse(refused)),
            Turn::Later(waiting) => waiting,
        };
        LimitStep::Later(Box::pin(async move {
            let since = Instant::now();
            let answer = waiting.turn().await;
            places.metrics.waited(since.elapsed());
            match answer {
                Ok(permit) => {
                    taken.permits.push(permit);
                    ControlFlow::Continue(())
                }
                Err(refused) => places.refuse(refused),
            }
        }))
    }
}

impl Places {
    fn new(name: &str, limit: NonZeroU32, room: &Room) -> Arc<Places> {
        let (permits, metrics) = room.keyed_permits(name, MAX_KEYS, limit.get());
        Arc::new(Places {
            permits,
            limit: limit.get(),
            metrics,
            edition: Edition::next(),
            begun: Once::new(),
        })
    }

    /// Has the limit hold, and the places counted, from the first request on: until then it may be that it is never used.
    fn begin(&self) {
        self.permits.say(self.edition, self.limit);
        let permits = Arc::downgrade(&self.permits);
        self.metrics.watch(move || {
            let (permits, count) = (permits.upgrade()?, |it: usize| {
                it.try_into().unwrap_or(u32::MAX)
            });
            let counts = permits.counts();
            Some([
                ("in_flight", count(counts.in_flight)),
                ("waiting", count(counts.waiting)),
                ("keys", count(counts.keys)),
            ])
        });
    }

    #[cold]
    fn refuse(&self, refused: Refused) -> Flow {
        self.metrics.refused(refused.as_str());
        let mut reply = Reply::failure(Code::ConcurrencyExceeded).cause(refused.cause());
        // Nobody knows when one of the others ends.
        let soon = HeaderValue::from_static("1");
        reply.headers.push((RETRY_AFTER, soon));
        ControlFlow::Break(reply)
    }
}
