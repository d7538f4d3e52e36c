//! What holds for whom: that of the caller's plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ahash::RandomState;

use crate::facts::View;
use crate::limits::{Plan, Plans};
use crate::policies::BuildScope;
use crate::text::{Name, Spanned, Subject};

/// One thing for the callers of each plan, and one for all others.
pub struct ByPlan<T> {
    /// Empty where plans make no difference.
    named: HashMap<Box<str>, T, RandomState>,
    other: T,
    plans: Arc<Plans>,
}

impl<T: Clone> ByPlan<T> {
    /// The same for all callers.
    pub fn same(value: T, plans: &Arc<Plans>) -> ByPlan<T> {
        ByPlan {
            named: HashMap::default(),
            other: value,
            plans: plans.clone(),
        }
    }

    /// What `of` has for each plan. Callers without one have that of the default plan, or else `other`.
    pub fn each(plans: &Arc<Plans>, other: T, mut of: impl FnMut(&Name, &Plan) -> T) -> ByPlan<T> {
        let named = plans.all();
        let named = named.map(|(name, plan)| (name.as_str().into(), of(name, plan)));
        let named: HashMap<Box<str>, T, RandomState> = named.collect();
        let default = plans.usual().and_then(|name| named.get(name.as_str()));
        let default = default.cloned();
        ByPlan {
            other: default.unwrap_or(other),
            named,
            plans: plans.clone(),
        }
    }

    /// Everything that holds for somebody.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.named.values().chain([&self.other])
    }

    /// Costs a hash of the plan's name, where plans make a difference.
    pub fn of(&self, view: View<'_>) -> &T {
        if self.named.is_empty() {
            return &self.other;
        }
        let identity = view.facts.identity.as_deref();
        let Some(plan) = identity.and_then(|it| it.plan.as_deref()) else {
            return &self.other;
        };
        self.named.get(plan).unwrap_or_else(|| {
            self.plans.report(plan);
            &self.other
        })
    }
}

/// Whether a policy that says nothing itself leaves something to plans; after a diagnostic where it does not. `write` is
/// what it could say.
pub fn check_plans(
    scope: &mut BuildScope<'_>,
    policy: &str,
    says_so: impl Fn(&Plan) -> bool,
    write: &str,
) {
    if !scope.plans.all().any(|(_, plan)| says_so(plan)) {
        let what = format!("has no limit of its own, and no plan has a {policy}");
        let problem = scope.subject.error(scope.span, what);
        problem.help(format!("write {write}, or [plans.NAME] with a {policy}"));
    } else if scope.plans.usual().is_none() {
        let what = "has no limit for callers without a plan";
        let problem = scope.subject.warning(scope.span, what);
        problem.help("name a plan that they have: gateway.default_plan = \"…\"");
    }
}

/// Whether everything that a policy has something of its own for is a plan. After a diagnostic for each that is not.
pub fn are_plans<T>(
    named: &BTreeMap<Spanned<Name>, T>,
    plans: &Plans,
    subject: &mut Subject<'_>,
) -> bool {
    let unknown = |name: &&Spanned<Name>| !plans.check(name, &mut subject.key(name.as_str()));
    named.keys().filter(unknown).count() == 0
}
