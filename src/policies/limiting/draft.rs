//! From what is written of a limit to what counts: what `rate_limit` and `quota` have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    By, ByConfig, ByPlan, Cost, CostConfig, Counted, Counting, ResponseCost, Written, are_plans,
};
use crate::facts::KeyBy;
use crate::limits::{Limiter, MAX_KEYS, NamedRule, Plan, SharedConfig, Sharing};
use crate::policies::BuildScope;
use crate::response::Code;
use crate::text::{Name, Span, Spanned, Subject};

/// What is written of a limit whose rules are written as `R`.
pub struct Draft<'c, R> {
    pub by: Option<&'c Spanned<ByConfig>>,
    /// The policy's own rules; `None` where it leaves them to plans.
    pub own: Option<&'c R>,
    /// What it has for plans in the place of everything else.
    pub plans: &'c BTreeMap<Spanned<Name>, Spanned<R>>,
    /// What a plan itself says.
    pub of_plan: fn(&Plan) -> Option<&[NamedRule]>,
    pub build: fn(&R, Span, &mut Subject<'_>) -> Option<Vec<NamedRule>>,
    pub cost: Option<&'c Spanned<CostConfig>>,
    pub response_cost: Option<&'c ResponseCost>,
    pub shared: Option<&'c SharedConfig>,
    pub is_shadow: bool,
    pub code: Code,
    /// The policy's.
    pub name: &'static str,
}

impl<R> Draft<'_, R> {
    /// `None` after diagnostics.
    pub fn build(self, scope: &mut BuildScope<'_>) -> Option<Counting> {
        let by = match self.by {
            Some(by) => by.clone(),
            None => Spanned::new(ByConfig::One(By::Of(KeyBy::Consumer)), scope.span),
        };
        let counted = Counted::build(&by, scope.variables, &mut scope.subject.key("by"));
        let cost = Cost::build(self.cost, scope.variables, &mut scope.subject.key("cost"));
        let limiters = self.limiters(&counted, scope);
        let counting = Counting {
            counted: counted?,
            cost: cost?,
            limiters: limiters?,
            response_cost: self.response_cost.cloned(),
            is_shadow: self.is_shadow,
            code: self.code,
        };
        if !self.check_cost(&counting, scope) {
            return None;
        }
        let keys = Arc::new(Written::new(&by));
        for limiter in counting.limiters.all().flatten() {
            scope.limits.list(limiter, keys.clone(), self.is_shadow);
        }
        Some(counting)
    }

    fn limiters(
        &self,
        counted: &Option<Counted>,
        scope: &mut BuildScope<'_>,
    ) -> Option<ByPlan<Option<Arc<Limiter>>>> {
        let own = match self.own {
            Some(own) => Some((self.build)(own, scope.span, &mut scope.subject)),
            None => None,
        };
        let mut subject = scope.subject.key("plans");
        let are_plans = are_plans(self.plans, scope.plans, &mut subject);
        let mut overrides = BTreeMap::new();
        for (name, rules) in self.plans {
            let rules = (self.build)(&rules.value, rules.span, &mut subject.key(name.as_str()));
            overrides.insert(name.as_str(), rules?);
        }
        if !are_plans || !self.check_plans(scope) {
            return None;
        }
        let name = scope.subject.to_string();
        let sharing = scope.sharing(self.shared)?;
        let new = |name: &str, rules| {
            let limiter = match sharing.clone() {
                None => Limiter::new(name, rules, MAX_KEYS, scope.limits),
                Some(sharing) => Limiter::sharing(name, rules, MAX_KEYS, scope.limits, sharing),
            };
            Arc::new(limiter)
        };
        let own = match own {
            Some(rules) => Some(new(&name, rules?)),
            None => None,
        };
        if own.is_some() && overrides.is_empty() {
            return Some(ByPlan::same(own, scope.plans));
        }
        let by = counted.as_ref()?.text();
        let of = |plan_name: &Name, plan: &Plan| {
            if let Some(rules) = overrides.remove(plan_name.as_str()) {
                return Some(new(&format!("{name}.plans.{}", plan_name.as_str()), rules));
            }
            own.clone().or_else(|| {
                // Routes that share it and those that do not count apart.
                let how = sharing
                    .as_ref()
                    .map_or_else(String::new, Sharing::to_string);
                let name = format!("plans.{}.{} by {by}{how}", plan_name.as_str(), self.name);
                let rules = (self.of_plan)(plan)?;
                Some(scope.plans.limiter(&name, || new(&name, rules.to_vec())))
            })
        };
        Some(ByPlan::each(scope.plans, own.clone(), of))
    }

    /// Whether there is something that could limit anybody; after a diagnostic where there is not.
    fn check_plans(&self, scope: &mut BuildScope<'_>) -> bool {
        if self.own.is_some() {
            return true;
        }
        let has_rules = |(name, plan): (&Name, &Plan)| {
            self.plans.contains_key(name.as_str()) || (self.of_plan)(plan).is_some()
        };
        if !scope.plans.all().any(has_rules) {
            let what = format!("has no limit of its own, and no plan has a {}", self.name);
            let problem = scope.subject.error(scope.span, what);
            problem.help(match self.name {
                "quota" => "write requests = 10_000, per = \"day\", or [plans.NAME] with a quota",
                _ => "write rate = \"10/s\", or [plans.NAME] with a rate_limit",
            });
            return false;
        }
        if scope.plans.usual().is_none() {
            let what = "has no limit for callers without a plan";
            let problem = scope.subject.warning(scope.span, what);
            problem.help("name a plan that they have: gateway.default_plan = \"…\"");
        }
        true
    }

    /// Whether a request of the usual cost can ever come in; after a diagnostic where it cannot.
    fn check_cost(&self, counting: &Counting, scope: &mut BuildScope<'_>) -> bool {
        let (Some(config), Cost::Constant(cost)) = (self.cost, &counting.cost) else {
            return true;
        };
        let mut subject = scope.subject.key("cost");
        if *cost == 0 && self.response_cost.is_none() {
            subject.error(
                config.span,
                "must be above 0 where there is no response_cost",
            );
            return false;
        }
        if *cost == 0 {
            let what = "is 0: requests come in free until a response has said what they cost";
            let problem = subject.warning(config.span, what);
            problem.help("write what a request costs at least: cost = 1");
        }
        let limiters = counting.limiters.all().flatten();
        let mut rules = limiters.flat_map(|limiter| limiter.rules());
        let too_small = rules.find(|rule| rule.rule.quota() < *cost);
        if let Some(rule) = too_small {
            let what = format!(
                "is more than {} ever has, which is {}",
                rule.name,
                rule.rule.quota()
            );
            subject.error(config.span, what);
        }
        too_small.is_none()
    }
}
