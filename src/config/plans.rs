//! Compiling what is said of limits beyond single routes: plans, and how much requests matter under load.

use std::sync::Arc;

use super::GatewayConfig;
use super::document::Document;
use crate::limits::{Criticality, Overload, Plans, Shedder};
use crate::observability::Metrics;
use crate::policies::ByPlan;
use crate::routing::Snapshot;
use crate::text::{Diagnostics, Subject, give_way};

/// What callers have bought.
pub(super) fn plans(document: &Document, diagnostics: &mut Diagnostics) -> Arc<Plans> {
    let mut plans = Plans::default();
    let mut subject = Subject::new(diagnostics, "plans");
    for (name, plan) in &document.plans {
        plans.add(name, &plan.config.value, &mut subject.key(name));
    }
    let gateway = document.gateway.as_ref();
    if let Some(name) = gateway.and_then(|it| it.config.default_plan.as_ref()) {
        let mut subject = Subject::new(diagnostics, "gateway");
        plans.set_usual(name, &mut subject.key("default_plan"));
    }
    let mut subject = Subject::new(diagnostics, "consumers");
    for (step, (name, consumer)) in document.consumers.iter().enumerate() {
        give_way(step);
        // Without any plan it is no more than a word, which conditions and upstreams may know.
        if let Some(plan) = &consumer.config.plan
            && !plans.is_empty()
        {
            plans.check(plan, &mut subject.key(name).key("plan"));
        }
    }
    Arc::new(plans)
}

/// What plans say of how much their callers matter.
pub(super) type Classes = Arc<ByPlan<Option<Criticality>>>;

/// How much callers matter by their plans, where one of these says so.
pub(super) fn classes(plans: &Arc<Plans>) -> Option<Classes> {
    let says_so = plans.all().any(|(_, plan)| plan.criticality.is_some());
    says_so.then(|| Arc::new(ByPlan::each(plans, None, |_, plan| plan.criticality)))
}

/// Who refuses requests while there is too much to do. What is known of the load stays.
pub(super) fn overload(
    gateway: &GatewayConfig,
    before: Option<&Snapshot>,
    metrics: &Metrics,
) -> Option<Overload> {
    let config = gateway.overload.clone()?;
    let before = before.and_then(|before| before.overload.as_ref());
    let shedder = match before {
        Some(before) => before.shedder.clone(),
        None => Arc::new(Shedder::new(metrics)),
    };
    Some(Overload { config, shedder })
}
