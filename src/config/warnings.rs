//! What is allowed and probably not meant.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ahash::RandomState;
use http::{HeaderMap, Method};

use super::document::Document;
use super::kept;
use crate::actions::Action;
use crate::identity::Directory;
use crate::policies::is_authenticator;
use crate::routing::{Lookup, RequestParts, Route, Snapshot, Table};
use crate::text::{Diagnostics, Span, Subject};

/// `before` is what runs, of which routes are kept.
pub(super) fn of_unused(
    document: &Document,
    before: Option<&Snapshot>,
    diagnostics: &mut Diagnostics,
) {
    let routes = document.routes.values();
    let named = routes.flat_map(|route| route.config.upstreams());
    let named = named.map(|name| name.as_str());
    let views = before.map_or(&[][..], |before| &before.listeners);
    let views = views.iter().take(usize::from(!document.kept.is_empty()));
    let kept = views.flat_map(|view| kept::routes(document, view));
    let kept = kept.flat_map(|(_, _, route)| route.action.upstreams());
    let kept = kept.map(|upstream| upstream.name());
    let used: HashSet<&str, RandomState> = named.chain(kept).collect();
    // A route that names an upstream that is not there was probably meant for one of the unused; what routes with
    // mistakes name is not known.
    let is_known = document.broken.routes.is_empty()
        && used
            .iter()
            .all(|name| document.upstreams.contains_key(*name));
    if is_known {
        for (name, upstream) in &document.upstreams {
            if !used.contains(name.as_str()) {
                diagnostics.warning(upstream.name.span, format!("no route uses upstream {name}"));
            }
        }
    }
    if document.routes.is_empty() && document.kept.is_empty() && !diagnostics.has_errors() {
        diagnostics.warning(None, "there is no route: every request will get 404");
    }
}

/// Plans that no caller can have.
pub(super) fn of_unused_plans(document: &Document, diagnostics: &mut Diagnostics) {
    if document.plans.is_empty() || has_plans_of_claims(document) {
        return;
    }
    let consumers = document.consumers.values();
    let bought = consumers.filter_map(|it| it.config.plan.as_ref());
    let gateway = document.gateway.as_ref();
    let usual = gateway.and_then(|it| it.config.default_plan.as_ref());
    let used: HashSet<&str, RandomState> = bought.chain(usual).map(|it| it.as_str()).collect();
    for (name, plan) in &document.plans {
        if !used.contains(name.as_str()) {
            diagnostics.warning(plan.name.span, format!("no consumer has the plan {name}"));
        }
    }
}

/// Whether somebody else says who has which plan.
fn has_plans_of_claims(document: &Document) -> bool {
    let Some(section) = &document.identity else {
        return false;
    };
    let identity = &section.config;
    identity.jwt.values().any(|it| it.claims.plan.is_some())
        || identity.oidc.values().any(|it| it.claims.plan.is_some())
        || identity
            .introspection
            .values()
            .any(|it| it.claims.plan.is_some())
        || identity
            .forward_auth
            .values()
            .any(|it| it.identity.plan.is_some())
}

/// How many routes one warning names.
const NAMED: usize = 5;

/// Routes that let everybody reach an upstream, where others want to know who calls: the authenticator may have been
/// forgotten. A route that switches one off has been thought of. Where there is no authenticator at all, every route is
/// open and nobody would read a warning for each. One for all of them, since there may be thousands.
pub(super) fn of_open_routes<'t>(
    tables: impl Iterator<Item = &'t Table<Arc<Route>>> + Clone,
    diagnostics: &mut Diagnostics,
) {
    let routes = || tables.clone().flat_map(Table::routes);
    let is_open = |route: &Route| route.pipeline.gate().is_open();
    if routes().all(|(_, _, route)| is_open(route)) {
        return;
    }
    let is_meant = |route: &Route| {
        let mut off = route.pipeline.off().iter();
        off.any(|origin| is_authenticator(origin.policy))
    };
    let is_forgotten = |route: &Route| {
        let is_forwarded = matches!(*route.action, Action::Proxy(_) | Action::Aggregate(_));
        is_open(route) && is_forwarded && !is_meant(route)
    };
    let open = routes().filter(|(_, _, route)| is_forgotten(route));
    let open: BTreeMap<&str, Option<Span>> = open.map(|(name, _, it)| (name, it.span)).collect();
    let Some(first) = open.values().next() else {
        return;
    };
    let names: Vec<&str> = open.keys().take(NAMED).copied().collect();
    let more = open.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let verb = if open.len() == 1 { "lets" } else { "let" };
    let what = format!(
        "{}{more} {verb} everybody in, though other routes have an authenticator",
        names.join(", ")
    );
    diagnostics.warning(*first, what).help(
        "add one where it was forgotten; where everybody is meant, say so in the route's policies: jwt = \"off\"",
    );
}

/// Logins that could not end, since nobody would take what the provider sends the browser back with.
pub(super) fn of_logins<'t>(
    tables: impl Iterator<Item = &'t Table<Arc<Route>>> + Clone,
    document: &Document,
    identity: &Directory,
    diagnostics: &mut Diagnostics,
) {
    for (name, provider) in identity.oidc.all() {
        let callback = provider.core().callback();
        let headers = HeaderMap::new();
        let back = RequestParts {
            host: callback.host(),
            path: callback.uri().path(),
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        let serves = |table: &Table<Arc<Route>>| match table.find(&back) {
            Lookup::Found(route, _) => {
                let login = route.action.later();
                login.is_some_and(|login| Arc::ptr_eq(login.provider(), provider))
            }
            Lookup::MethodNotAllowed(_) | Lookup::NotFound => false,
        };
        let written = document.identity.as_ref();
        let written = written.and_then(|section| section.config.oidc.get(name));
        if let Some(written) = written
            && !tables.clone().any(serves)
        {
            let (folder, _) = provider.core().callback_path();
            let mut subject = Subject::new(diagnostics, "identity");
            let mut subject = subject.key("oidc");
            let mut subject = subject.key(name);
            let what = "has a callback_url that no route serves: no login comes to its end";
            subject
                .warning(written.callback_url.span, what)
                .help(format!(
                    "add [routes.{name}-login] with match = {{ path = \"{folder}{{*rest}}\" }} and login = \"{name}\""
                ));
        }
    }
}

pub(super) fn of_shadows<'t>(
    tables: impl Iterator<Item = &'t Table<Arc<Route>>>,
    document: &Document,
    diagnostics: &mut Diagnostics,
) {
    let mut told = BTreeSet::new();
    for table in tables {
        let shadows = table.shadowed();
        if shadows.is_empty() {
            continue;
        }
        let place = |name: &str| {
            let broken = || document.broken.routes.iter().find(|it| **it.name == *name);
            let read = document.routes.get(name).map(|it| it.name.span);
            let kept = || document.kept.get(name).copied();
            read.or_else(kept).or_else(|| Some(broken()?.name.span))
        };
        for shadow in shadows {
            if let (Some(span), Some(by)) = (place(shadow.name), place(shadow.by))
                && told.insert(shadow.name.to_owned())
            {
                let (name, by_name) = (shadow.name, shadow.by);
                diagnostics
                    .warning(
                        span,
                        format!("route {name} never gets a request: {by_name} always wins"),
                    )
                    .also(by, "this one wins")
                    .help(format!(
                        "{by_name} matches all that {name} does and comes first by name; give {name} a condition \
                         of its own, or remove it"
                    ));
            }
        }
    }
}
