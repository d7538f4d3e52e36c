//! Counting requests against limits: what `rate_limit` and `quota` have in common.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::HeaderMap;

use super::{ByPlan, Cost, Counted, ResponseCost, refuse};
use crate::facts::View;
use crate::limits::{Charge, Limiter, Now, Taken};
use crate::observability::Decision;
use crate::policies::{Hooks, LimitStep, OnLimit, OnResponse};
use crate::response::Code;

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
        hooks.on_limit(Arc::new(OnRoute { counting, route }));
        if self.response_cost.is_some() {
            hooks.on_response(self.clone());
        }
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
        let standing = limiter.take(key, cost, Now::read());
        let decision = match (standing.is_within(), counting.is_shadow) {
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
            is_shadow: counting.is_shadow,
        });
        LimitStep::Now(match decision {
            Decision::Admitted | Decision::Shadow => ControlFlow::Continue(()),
            Decision::Refused => ControlFlow::Break(refuse(counting.code, &taken.charges)),
        })
    }
}

/// Charges what a request has cost beyond what it was let in for.
impl OnResponse for Counting {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>) {
        let Some(cost) = self.response_cost.as_ref().and_then(|it| it.take(headers)) else {
            return;
        };
        let Some(limiter) = self.limiters.of(view) else {
            return;
        };
        let mut charges = view.facts.taken.charges.iter();
        let charge = charges.find(|charge| Arc::ptr_eq(&charge.limiter, limiter));
        let charge = charge.filter(|charge| charge.standing.is_within());
        if let Some(charge) = charge
            && cost > charge.cost
        {
            limiter.charge(charge.key, cost - charge.cost, Now::read());
        }
    }
}
