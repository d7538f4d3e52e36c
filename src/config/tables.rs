//! The tables of listeners: which routes they have, and with which pipelines.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes::Kind;
use super::listeners::Group;
use super::parts;
use super::plans::Classes;
use super::quarantine::Quarantine;
use super::routes::CompiledRoute;
use crate::actions::Action;
use crate::cache::Cache;
use crate::limits::{Criticality, Overload};
use crate::observability::RouteMetrics;
use crate::policies::Layer;
use crate::routing::{FALLBACK, Matcher, Route, Table, TableBuilder};
use crate::text::{Diagnostics, Name, Subject, give_way};

/// Why a route cannot do what its own definition and the policies that it inherits say together, and what to write.
fn problem(route: &Route) -> Option<(String, String)> {
    if let Some(problem) = route.pipeline.gate_problem() {
        return Some((problem.to_string(), problem.help()));
    }
    let mut policies = route.pipeline.origins().iter();
    let is_locked = route.action.later().is_some() && policies.any(|it| it.policy == "oidc");
    is_locked.then(|| {
        let what = "has the policy oidc in force: whoever has not logged in could not log in";
        (what.to_owned(), "write policies.oidc = \"off\"".to_owned())
    })
}

/// The routes of a group's table, each with its pipeline.
pub(super) fn pipelines<'r>(
    (group, cache): (&Group, &Arc<Cache>),
    (classes, overload): (Option<&Classes>, Option<&Overload>),
    routes: &'r [CompiledRoute],
    quarantine: &mut Quarantine,
    told: &mut BTreeSet<Name>,
    diagnostics: &mut Diagnostics,
) -> Vec<(&'r str, &'r Matcher, Arc<Route>)> {
    let mut all = Vec::with_capacity(routes.len());
    for (step, route) in routes.iter().enumerate() {
        give_way(step);
        let mut on = route.listeners.iter();
        let is_on = route.listeners.is_empty() || on.any(|name| group.members.contains(name));
        if !is_on {
            continue;
        }
        let mut compiled = Route {
            name: route.name.as_str().into(),
            span: Some(route.span),
            written: route.written,
            pipeline: route.layer.over(&group.layer).pipeline(&route.name),
            action: route.action.clone(),
            timeout: route.timeout,
            criticality: route.criticality,
            metrics: route.metrics.clone(),
            parts: Box::default(),
            largest_part: 0,
            part_metrics: None,
        };
        compiled.parts = parts::routes(&compiled, cache);
        if let Some((problem, help)) = problem(&compiled) {
            // Once: it may be in the tables of several groups, and may be out of service for something else already.
            if told.insert(route.name.clone()) && !quarantine.has(Kind::Route, &route.name) {
                let mut routes = Subject::new(diagnostics, "routes");
                let mut subject = routes.key(&route.name);
                subject.error(route.span, problem).help(help);
            }
            if !quarantine.contain(Kind::Route, &route.name, 1) {
                continue;
            }
            compiled.pipeline = Layer::default().pipeline(&route.name);
            compiled.action = Arc::new(Action::Quarantined);
            compiled.parts = Box::default();
            compiled.written = None;
        }
        if let Some(classes) = classes {
            compiled.pipeline.rank(classes);
        }
        if let Some(overload) = overload {
            let class = compiled.criticality;
            compiled.pipeline.shed(&overload.shedder, class);
        }
        all.push((route.name.as_str(), &route.matcher, Arc::new(compiled)));
    }
    all
}

pub(super) fn table<'r>(
    mut all: Vec<(&'r str, &'r Matcher, Arc<Route>)>,
    kept: &[(&'r str, &'r Matcher, &'r Arc<Route>)],
) -> Table<Arc<Route>> {
    let copies = kept
        .iter()
        .map(|&(name, matcher, route)| (name, matcher, route.clone()));
    all.extend(copies);
    // In an order that does not depend on what was taken over.
    all.sort_by_key(|(name, _, _)| *name);
    let mut table = TableBuilder::new();
    for (step, (name, matcher, route)) in all.into_iter().enumerate() {
        give_way(step);
        table.insert(name, matcher.clone(), route);
    }
    table.build()
}

pub(super) fn fallback(
    layer: &Layer,
    overload: Option<&Overload>,
    metrics: &Arc<RouteMetrics>,
) -> Route {
    let mut pipeline = layer.pipeline(FALLBACK);
    if let Some(overload) = overload {
        pipeline.shed(&overload.shedder, Criticality::default());
    }
    Route {
        name: FALLBACK.into(),
        span: None,
        written: None,
        pipeline,
        action: Arc::new(Action::Nothing),
        timeout: None,
        criticality: Criticality::default(),
        metrics: metrics.clone(),
        parts: Box::default(),
        largest_part: 0,
        part_metrics: None,
    }
}
