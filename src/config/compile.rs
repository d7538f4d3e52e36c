//! From a document to what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::GatewayConfig;
use super::document::Document;
use super::listeners::{self, Group};
use super::load::{Loaded, base};
use crate::actions::{Action, Proxy, Redirect, Respond, Rewrite};
use crate::admin;
use crate::facts::Variables;
use crate::observability::{AccessLogConfig, Metrics, RouteMetrics};
use crate::policies::{Layer, Scope};
use crate::routing::{self, Matcher, Route, Snapshot, Table, TableBuilder, View};
use crate::text::{Diagnostics, Name, Setting, Sources, Span, Spanned, nearest};
use crate::upstream::{self, Upstream};

/// The name in logs and metrics of requests that no route matches.
const FALLBACK: &str = "-";

/// A configuration that can run.
#[derive(Debug)]
pub struct Configuration {
    pub snapshot: Snapshot,
    pub settings: Settings,
}

/// What concerns the process and not a request.
#[derive(Debug)]
pub struct Settings {
    pub workers: Option<usize>,
    pub shutdown_grace: std::time::Duration,
    pub keepalive_pool: usize,
    pub access_log: Option<AccessLogConfig>,
    pub admin: Option<admin::Admin>,
}

/// Resolves and compiles. `None` where there are errors; warnings alone do not stop it.
pub fn compile(loaded: &mut Loaded, metrics: &Metrics) -> Option<Configuration> {
    let Loaded {
        sources,
        document,
        diagnostics,
    } = loaded;
    // A document with errors of shape has holes; resolving it would report names as unknown that are only bad.
    if diagnostics.has_errors() {
        return None;
    }
    if document.listeners.is_empty() {
        diagnostics
            .error(None, "there is no listener")
            .help("add [listeners.public] with bind = \"0.0.0.0:8080\"");
    }
    let gateway = document
        .gateway
        .as_ref()
        .map(|gateway| gateway.value.clone())
        .unwrap_or_default();
    let gateway_layer = Layer::build(
        &gateway.policies,
        Scope::Gateway,
        Variables::Shared,
        diagnostics,
    );
    let (listeners, groups) =
        listeners::compile(document, &gateway_layer, sources, metrics, diagnostics);
    let upstreams = compile_upstreams(document, sources, metrics, diagnostics);
    let routes = compile_routes(document, &upstreams, metrics, diagnostics);
    warn_of_unused(document, diagnostics);
    let admin = document.admin.as_ref().and_then(|config| {
        admin::Admin::build(config, &base(sources, config.span.source), diagnostics)
    });
    if diagnostics.has_errors() {
        return None;
    }
    let fallback_metrics = Arc::new(metrics.route(FALLBACK));
    let tables: Vec<Shared> = groups
        .iter()
        .map(|group| Shared {
            table: Arc::new(table(group, &routes)),
            fallback: Arc::new(fallback(&group.layer, &fallback_metrics)),
        })
        .collect();
    warn_of_shadows(&tables, diagnostics);
    let views = listeners
        .into_iter()
        .map(|compiled| {
            let Shared { table, fallback } = &tables[compiled.group];
            View {
                listener: compiled.listener,
                table: table.clone(),
                fallback: fallback.clone(),
            }
        })
        .collect();
    Some(Configuration {
        snapshot: Snapshot {
            listeners: views,
            fallback: Arc::new(fallback(&gateway_layer, &fallback_metrics)),
            upstreams: upstreams.into_values().flatten().collect(),
        },
        settings: settings(gateway, admin),
    })
}

fn settings(gateway: GatewayConfig, admin: Option<admin::Admin>) -> Settings {
    Settings {
        workers: gateway.workers.map(|workers| usize::from(workers.get())),
        shutdown_grace: gateway.shutdown_grace.as_std(),
        keepalive_pool: gateway.keepalive_pool.get() as usize,
        access_log: match gateway.access_log {
            Setting::Off => None,
            Setting::On(config) => Some(config),
        },
        admin,
    }
}

/// All upstreams by name; `None` for one with errors, so that naming it is not another error.
fn compile_upstreams(
    document: &Document,
    sources: &Sources,
    metrics: &Metrics,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<Name, Option<Arc<Upstream>>> {
    let mut compiled = BTreeMap::new();
    for (name, (place, config)) in &document.upstreams {
        let folder = base(sources, place.span.source);
        let mut build = upstream::Build {
            span: place.span,
            base: &folder,
            metrics,
            diagnostics,
        };
        compiled.insert(
            name.clone(),
            Upstream::build(name, &config.value, &mut build),
        );
    }
    compiled
}

/// What the listeners of one group have in common.
struct Shared {
    table: Arc<Table<Arc<Route>>>,
    fallback: Arc<Route>,
}

/// A route as far as it is the same on every listener.
struct CompiledRoute {
    name: Name,
    span: Span,
    listeners: Vec<Name>,
    matcher: Matcher,
    layer: Layer,
    action: Arc<Action>,
    timeout: Option<std::time::Duration>,
    metrics: Arc<RouteMetrics>,
}

fn compile_routes(
    document: &Document,
    upstreams: &BTreeMap<Name, Option<Arc<Upstream>>>,
    metrics: &Metrics,
    diagnostics: &mut Diagnostics,
) -> Vec<CompiledRoute> {
    let mut compiled = Vec::with_capacity(document.routes.len());
    for (name, (place, config)) in &document.routes {
        for listener in &config.listeners {
            if !document.listeners.contains_key(&listener.value) {
                let known = document.listeners.keys().map(Name::as_str);
                unknown("listener", listener, known, diagnostics);
            }
        }
        let matcher = config.r#match.build(config.r#match.span, diagnostics);
        let parameters: &[Box<str>] = matcher
            .as_ref()
            .map_or(&[], |matcher| matcher.path().captures());
        let action = compile_action(name, place.span, config, parameters, upstreams, diagnostics);
        // Without its matcher a route's parameters are not known, and every use of one would look like a mistake.
        let Some(matcher) = &matcher else { continue };
        let layer = Layer::build(
            &config.policies,
            Scope::Route,
            Variables::Route(parameters),
            diagnostics,
        );
        compiled.extend(action.map(|action| {
            CompiledRoute {
                name: name.clone(),
                span: place.span,
                listeners: config
                    .listeners
                    .iter()
                    .map(|listener| listener.value.clone())
                    .collect(),
                matcher: matcher.clone(),
                layer,
                action: Arc::new(action),
                timeout: config.timeout.as_ref().map(|timeout| timeout.as_std()),
                metrics: Arc::new(metrics.route(name)),
            }
        }));
    }
    compiled
}

fn compile_action(
    name: &Name,
    span: Span,
    config: &routing::Config,
    parameters: &[Box<str>],
    upstreams: &BTreeMap<Name, Option<Arc<Upstream>>>,
    diagnostics: &mut Diagnostics,
) -> Option<Action> {
    if config.upstream.is_none() {
        let needless = [
            ("rewrite", config.rewrite.as_ref().map(|it| it.span)),
            ("timeout", config.timeout.as_ref().map(|it| it.span)),
        ];
        for (key, span) in needless
            .into_iter()
            .filter_map(|(key, span)| Some((key, span?)))
        {
            diagnostics.error(span, format!("{key} is of use only beside upstream"));
        }
    }
    match (&config.upstream, &config.redirect, &config.respond) {
        (Some(named), None, None) => {
            let rewrite = match &config.rewrite {
                None => Some(None),
                Some(rewrite) => Rewrite::build(rewrite, parameters, diagnostics).map(Some),
            };
            match upstreams.get(&named.value) {
                Some(upstream) => Some(Action::Proxy(Proxy {
                    upstream: upstream.clone()?,
                    rewrite: rewrite?,
                })),
                None => {
                    unknown(
                        "upstream",
                        named,
                        upstreams.keys().map(Name::as_str),
                        diagnostics,
                    );
                    None
                }
            }
        }
        (None, Some(redirect), None) => {
            Redirect::build(redirect, parameters, diagnostics).map(Action::Redirect)
        }
        (None, None, Some(respond)) => {
            Respond::build(respond, respond.span, diagnostics).map(Action::Respond)
        }
        (None, None, None) => {
            diagnostics.error(
                span,
                format!("route {name} does nothing; give it upstream, redirect or respond"),
            );
            None
        }
        _ => {
            diagnostics
                .error(span, format!("route {name} has more than one action; keep one of upstream, redirect and respond"));
            None
        }
    }
}

fn unknown<'a>(
    kind: &str,
    named: &Spanned<Name>,
    known: impl Iterator<Item = &'a str> + Clone,
    diagnostics: &mut Diagnostics,
) {
    let near = nearest(named.as_str(), known.clone()).map(|near| format!("did you mean {near:?}?"));
    let diagnostic = diagnostics.error(
        named.span,
        format!("there is no {kind} {:?}", named.as_str()),
    );
    match near {
        Some(near) => diagnostic.help(near),
        None => {
            let some: Vec<&str> = known.take(10).collect();
            diagnostic.help(if some.is_empty() {
                format!("define it: [{kind}s.{}]", named.as_str())
            } else {
                format!("known are {}", some.join(", "))
            })
        }
    };
}

fn warn_of_unused(document: &Document, diagnostics: &mut Diagnostics) {
    let used: std::collections::BTreeSet<&Name> = document
        .routes
        .values()
        .filter_map(|(_, route)| route.upstream.as_ref())
        .map(|named| &named.value)
        .collect();
    for (name, (place, _)) in &document.upstreams {
        if !used.contains(name) {
            diagnostics.warning(place.span, format!("no route uses upstream {name}"));
        }
    }
    if document.routes.is_empty() {
        diagnostics.warning(None, "there is no route: every request will get 404");
    }
}

fn table(group: &Group, routes: &[CompiledRoute]) -> Table<Arc<Route>> {
    let mut table = TableBuilder::new();
    for route in routes {
        let is_on = route.listeners.is_empty()
            || route
                .listeners
                .iter()
                .any(|name| group.members.contains(name));
        if is_on {
            let compiled = Route {
                name: route.name.as_str().into(),
                span: Some(route.span),
                pipeline: route.layer.over(&group.layer).pipeline(),
                action: route.action.clone(),
                timeout: route.timeout,
                metrics: route.metrics.clone(),
            };
            table.insert(&route.name, route.matcher.clone(), Arc::new(compiled));
        }
    }
    table.build()
}

fn fallback(layer: &Layer, metrics: &Arc<RouteMetrics>) -> Route {
    Route {
        name: FALLBACK.into(),
        span: None,
        pipeline: layer.pipeline(),
        action: Arc::new(Action::Nothing),
        timeout: None,
        metrics: metrics.clone(),
    }
}

fn warn_of_shadows(tables: &[Shared], diagnostics: &mut Diagnostics) {
    let mut told = std::collections::BTreeSet::new();
    for Shared { table, .. } in tables {
        let shadows = table.shadowed();
        if shadows.is_empty() {
            continue;
        }
        let places: BTreeMap<&str, Span> = table
            .routes()
            .filter_map(|(name, _, route)| Some((name, route.span?)))
            .collect();
        for shadow in shadows {
            if let (Some(&span), Some(&by)) = (places.get(shadow.name), places.get(shadow.by))
                && told.insert(shadow.name.to_owned())
            {
                diagnostics
                    .warning(
                        span,
                        format!(
                            "route {} never gets a request: {} always wins",
                            shadow.name, shadow.by
                        ),
                    )
                    .also(by, "this one wins");
            }
        }
    }
}
