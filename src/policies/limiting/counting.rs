//! Counting requests against limits: what `rate_limit` and `quota` have in common.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};

use super::{ByPlan, Cost, Counted, ResponseCost, refuse};
use crate::facts::View;
use crate::limits::{Asked, Charge, Key, Limiter, Now, Taken, Verdict};
use crate::observability::Decision;
use crate::policies::{Flow, Hooks, LimitStep, OnCost, OnLimit};
use crate::response::{Code, Reply};

/// Whom a policy counts, against what, and what it does then.
pub struct Counting {
    pub counted: Counted,
    /// `None` is no limit.
    pub limiters: ByPlan<Option<Arc<Limiter>>>,
    pub cost: Cost,
    pub response_cost: Option<ResponseCost>,
    /// Whether it only watches.
    pub is_shadow: bool,
    /// Of its refusals.
    pub code: Code,
}

impl Counting {
    pub fn claim(self: &Arc<Self>, hooks: &mut Hooks) {
        let route = match self.counted.has_route() {
            true => hooks.route().into(),
            false => Box::default(),
        };
        let counting = self.clone();
        let on_route = Arc::new(OnRoute { counting, route });
        if self.response_cost.is_some() {
            hooks.on_cost(on_route.clone());
        }
        hooks.on_limit(on_route);
    }
}

/// A policy on one of the routes that have it.
struct OnRoute {
    counting: Arc<Counting>,
    /// Empty where routes make no difference.
    route: Box<str>,
}

impl OnLimit for OnRoute {
    fn on_limit<'a>(&'a self, view: View<'a>, taken: &'a mut Taken) -> LimitStep<'a> {
        let counting = &*self.counting;
        let Some(limiter) = counting.limiters.of(view) else {
            return LimitStep::Now(ControlFlow::Continue(()));
        };
        let key = counting.counted.key(view, &self.route);
        let cost = counting.cost.of(view);
        let name = || counting.counted.name(view, &self.route);
        let charged = (limiter, key, cost);
        match limiter.decide(key, name, cost, Now::read()) {
            Asked::Now(verdict) => LimitStep::Now(counting.conclude(charged, verdict, taken)),
            Asked::Later(verdict) => LimitStep::Later(Box::pin(async move {
                counting.conclude(charged, verdict.await, taken)
            })),
        }
    }

    fn may_wait(&self) -> bool {
        let mut limiters = self.counting.limiters.all().flatten();
        limiters.any(|limiter| limiter.may_wait())
    }
}

impl Counting {
    fn conclude(
        &self,
        (limiter, key, cost): (&Arc<Limiter>, Key, u64),
        verdict: Verdict,
        taken: &mut Taken,
    ) -> Flow {
        let standing = match verdict {
            Verdict::Counted(standing) => standing,
            Verdict::Unavailable if !self.is_shadow => return ControlFlow::Break(unavailable()),
            Verdict::Unavailable | Verdict::Uncounted => return ControlFlow::Continue(()),
        };
        let decision = match (standing.is_within(), self.is_shadow) {
            (true, _) => Decision::Admitted,
            (false, false) => Decision::Refused,
            (false, true) => Decision::Shadow,
        };
        limiter.metrics().count(decision);
        taken.charges.push(Charge {
            limiter: limiter.clone(),
            key,
            cost,
            standing,
            is_shadow: self.is_shadow,
        });
        match decision {
            Decision::Admitted | Decision::Shadow => ControlFlow::Continue(()),
            Decision::Refused => ControlFlow::Break(refuse(self.code, &taken.charges)),
        }
    }
}

/// A store that does not answer is tried again within a second.
#[cold]
fn unavailable() -> Reply {
    let mut reply = Reply::failure(Code::LimitUnavailable);
    reply.headers.push((RETRY_AFTER, HeaderValue::from(1)));
    reply
}

/// Charges what a request has cost beyond what it was let in for.
impl OnCost for OnRoute {
    fn on_cost(&self, headers: &HeaderMap, view: View<'_>, taken: &mut Taken) {
        let counting = &*self.counting;
        let cost = counting.response_cost.as_ref();
        let Some(cost) = cost.and_then(|it| it.read(headers)) else {
            return;
        };
        let Some(limiter) = counting.limiters.of(view) else {
            return;
        };
        let mut charges = taken.charges.iter_mut();
        let charge = charges.find(|charge| Arc::ptr_eq(&charge.limiter, limiter));
        let charge = charge.filter(|charge| charge.standing.is_within());
        if let Some(charge) = charge
            && cost > charge.cost
        {
            let name = || counting.counted.name(view, &self.route);
            let more = cost - charge.cost;
            let standing = limiter.charge_shared(charge.key, name, more, Now::read());
            // Only what is more than this is charged where there is another response to the same request.
            charge.cost = cost;
            if let Some(standing) = standing {
                charge.standing = standing;
            }
        }
    }

    fn hide_cost(&self, headers: &mut HeaderMap) {
        if let Some(cost) = &self.counting.response_cost {
            cost.hide(headers);
        }
    }
}
