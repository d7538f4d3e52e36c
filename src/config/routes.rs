//! Compiling routes: what they match, what they do, and which policies are their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changes::Kind;
use super::document::Document;
use super::quarantine::Quarantine;
use crate::actions::{
    Action, Affinities, Aggregate, Batch, Canaries, Fallback, Guards, Login, Mirror, Proxy,
    Redirect, Respond, Rewrite, Split, To,
};
use crate::aggregation::{self, Plan};
use crate::facts::Variables;
use crate::identity::Directory;
use crate::limits::{Bulkhead, Criticality, Limit};
use crate::observability::{Metrics, RouteMetrics};
use crate::policies::{Layer, References, Scope};
use crate::routing::{self, Matcher, Snapshot};
use crate::text::{Diagnostics, Fingerprint, Name, Span, Spanned, Subject, give_way, nearest};
use crate::upstream::{Retry, Upstream};

/// All upstreams by name; `None` for one with errors, so that naming it is not another error.
pub(super) type Upstreams = BTreeMap<Name, Option<Arc<Upstream>>>;

/// A route as far as it is the same on every listener.
pub(super) struct CompiledRoute {
    pub(super) name: Name,
    pub(super) span: Span,
    pub(super) listeners: Vec<Name>,
    pub(super) matcher: Matcher,
    pub(super) layer: Layer,
    pub(super) action: Arc<Action>,
    pub(super) timeout: Option<std::time::Duration>,
    pub(super) criticality: Criticality,
    pub(super) metrics: Arc<RouteMetrics>,
    /// As in [`Route`](routing::Route).
    pub(super) written: Option<Fingerprint>,
}

pub(super) fn compile(
    document: &Document,
    upstreams: &Upstreams,
    references: References<'_>,
    (metrics, before): (&Metrics, Option<&Snapshot>),
    quarantine: &mut Quarantine,
    diagnostics: &mut Diagnostics,
) -> Vec<CompiledRoute> {
    let canaries = before.map_or_else(Canaries::new, Snapshot::canaries);
    let mut routes = Subject::new(diagnostics, "routes");
    let mut compiled = Vec::with_capacity(document.routes.len());
    for broken in &document.broken.routes {
        // Without them, there is no saying whose requests would be left to others.
        let Some(reach) = &broken.partial else {
            continue;
        };
        let mut subject = routes.key(&broken.name);
        check_listeners(&reach.listeners, document, quarantine, &mut subject);
        let matcher = reach
            .r#match
            .build(reach.r#match.span, &mut subject.key("match"));
        compiled.extend(matcher.map(|matcher| CompiledRoute {
            name: broken.name.value.clone(),
            span: broken.name.span,
            listeners: names(&reach.listeners),
            matcher,
            layer: Layer::default(),
            action: Arc::new(Action::Quarantined),
            timeout: None,
            criticality: Criticality::default(),
            metrics: Arc::new(metrics.route(&broken.name)),
            written: None,
        }));
    }
    for (step, (name, object)) in document.routes.iter().enumerate() {
        give_way(step);
        let (place, config) = (object.name.span, &object.config);
        let mut subject = routes.key(name);
        check_listeners(&config.listeners, document, quarantine, &mut subject);
        let matcher = config
            .r#match
            .build(config.r#match.span, &mut subject.key("match"));
        let guards = |parameters| Guards {
            route: name,
            written: object.fingerprint,
            metrics,
            parameters,
            before: &canaries,
        };
        // Without its matcher a route's parameters are not known, and every use of one would look like a mistake.
        let Some(matcher) = matcher else {
            resolve_action(config, place, (upstreams, &guards(None)), &mut subject);
            continue;
        };
        let errors = subject.error_count();
        let parameters = matcher.path().captures();
        let guards = guards(Some(parameters));
        let action =
            resolve_action(config, place, (upstreams, &guards), &mut subject).and_then(|wanted| {
                let bulkhead = bulkhead(name, config, (references, metrics), &mut subject);
                wanted.build(
                    config,
                    (parameters, bulkhead, (upstreams, &guards)),
                    references.identity,
                    &mut subject,
                )
            });
        let variables = Variables::Route(parameters);
        let layer = Layer::build(
            &config.policies,
            Scope::Route,
            variables,
            references,
            &mut subject,
        );
        let errors = subject.error_count() - errors;
        let (action, layer) = match action {
            Some(action) if errors == 0 => (action, layer),
            _ if quarantine.contain(Kind::Route, name, errors) => {
                (Action::Quarantined, Layer::default())
            }
            _ => continue,
        };
        let depends_on_more = layer.reads_files
            || !config.listeners.is_empty()
            || matches!(action, Action::Quarantined);
        let written = (!depends_on_more).then_some(object.fingerprint);
        compiled.push(CompiledRoute {
            name: name.clone(),
            span: place,
            listeners: names(&config.listeners),
            layer,
            action: Arc::new(action),
            timeout: config.timeout.as_ref().map(|timeout| timeout.as_std()),
            criticality: config.criticality,
            metrics: Arc::new(metrics.route(name)),
            written,
            matcher,
        });
    }
    compiled
}

fn check_listeners(
    listeners: &[Spanned<Name>],
    document: &Document,
    quarantine: &Quarantine,
    subject: &mut Subject<'_>,
) {
    for (index, listener) in listeners.iter().enumerate() {
        let name = &listener.value;
        if !document.listeners.contains_key(name) && !quarantine.has(Kind::Listener, name) {
            let known = document.listeners.keys().map(Name::as_str);
            let mut list = subject.key("listeners");
            unknown("listener", listener, known, &mut list.index(index));
        }
    }
}

fn names(listeners: &[Spanned<Name>]) -> Vec<Name> {
    listeners.iter().map(|name| name.value.clone()).collect()
}

/// The one action of a route, resolved but not compiled.
enum Wanted<'d> {
    /// `None` where there is an upstream with errors or an unknown one.
    Proxy(Option<To>),
    Aggregate(&'d Spanned<aggregation::Config>),
    Batch(&'d Spanned<crate::actions::BatchConfig>),
    Redirect(&'d crate::actions::RedirectConfig),
    Respond(&'d Spanned<crate::actions::RespondConfig>),
    Login(&'d Spanned<Name>),
}

fn resolve_action<'d>(
    config: &'d routing::Config,
    span: Span,
    (upstreams, guards): (&Upstreams, &Guards<'_>),
    subject: &mut Subject<'_>,
) -> Option<Wanted<'d>> {
    let places = [
        ("upstream", config.upstream.as_ref().map(|it| it.span)),
        ("split", config.split.as_ref().map(|it| it.span)),
        ("aggregate", config.aggregate.as_ref().map(|it| it.span)),
        ("batch", config.batch.as_ref().map(|it| it.span)),
        ("redirect", config.redirect.as_ref().map(|it| it.span)),
        ("respond", config.respond.as_ref().map(|it| it.span)),
        ("login", config.login.as_ref().map(|it| it.span)),
    ];
    let actions: Vec<_> = places
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect();
    if !config.forwards() && !actions.is_empty() {
        refuse_needless(config, subject);
    }
    if let [_, _, ..] = *actions {
        let keys: Vec<_> = actions.iter().map(|(key, _)| *key).collect();
        let what = format!(
            "has {} actions; keep one of {}",
            keys.len(),
            keys.join(", ")
        );
        let problem = subject.error(span, what);
        for (key, span) in actions {
            problem.also(span, key);
        }
        return None;
    }
    if let Some(login) = &config.login {
        return Some(Wanted::Login(login));
    }
    if let Some(aggregate) = &config.aggregate {
        return Some(Wanted::Aggregate(aggregate));
    }
    if let Some(batch) = &config.batch {
        return Some(Wanted::Batch(batch));
    }
    if let Some(split) = &config.split {
        let find = |named: &_, subject: &mut Subject<'_>| find(named, upstreams, subject);
        let split = Split::build(split, guards, find, &mut subject.key("split"));
        return Some(Wanted::Proxy(split.map(|split| To::Split(split.into()))));
    }
    match (&config.upstream, &config.redirect, &config.respond) {
        (Some(named), ..) => {
            let upstream = find(named, upstreams, &mut subject.key("upstream"));
            Some(Wanted::Proxy(upstream.map(To::One)))
        }
        (_, Some(redirect), _) => Some(Wanted::Redirect(redirect)),
        (.., Some(respond)) => Some(Wanted::Respond(respond)),
        (None, None, None) => {
            let problem = subject.error(span, "has no action");
            problem.help("give it upstream, split, aggregate, batch, redirect, respond or login");
            None
        }
    }
}

/// The upstream of this name. `None` for one with errors, or after a diagnostic.
fn find(
    named: &Spanned<Name>,
    upstreams: &Upstreams,
    subject: &mut Subject<'_>,
) -> Option<Arc<Upstream>> {
    match upstreams.get(&named.value) {
        Some(upstream) => upstream.clone(),
        None => {
            let known = upstreams.keys().map(Name::as_str);
            unknown("upstream", named, known, subject);
            None
        }
    }
}

fn refuse_needless(config: &routing::Config, subject: &mut Subject<'_>) {
    let timeout = config.timeout.as_ref().filter(|_| config.login.is_none());
    let upstream = "is of use only beside upstream or split";
    let fallback = config.fallback.as_ref().and_then(|steps| steps.first());
    let needless = [
        (
            "rewrite",
            config.rewrite.as_ref().map(|it| it.span),
            upstream,
        ),
        (
            "timeout",
            timeout.map(|it| it.span),
            "is of use only beside upstream, split or login",
        ),
        (
            "max_in_flight",
            config.max_in_flight.as_ref().map(|it| it.span),
            upstream,
        ),
        ("queue", config.queue.as_ref().map(|it| it.span), upstream),
        ("fallback", fallback.map(|it| it.span), upstream),
        ("retry", config.retry.as_ref().map(|it| it.span), upstream),
        ("mirror", config.mirror.as_ref().map(|it| it.span), upstream),
    ];
    for (key, span, what) in needless {
        if let Some(span) = span {
            let mut subject = subject.key(key);
            subject
                .error(span, what)
                .help("remove it, or forward with upstream = \"…\" instead");
        }
    }
}

/// The route's own places, where they are limited.
fn bulkhead(
    name: &str,
    config: &routing::Config,
    (references, metrics): (References<'_>, &Metrics),
    subject: &mut Subject<'_>,
) -> Option<Arc<Bulkhead>> {
    let queue = config.queue.as_ref();
    if let Some(queue) = queue {
        let mut subject = subject.key("queue");
        queue.check(&mut subject);
        if config.max_in_flight.is_none() && config.forwards() {
            let problem = subject.error(queue.span, "nobody waits where nothing is limited");
            problem.help("add max_in_flight = 100, or remove queue");
        }
    }
    let limit = config.max_in_flight.as_ref()?.value;
    let queue = queue.map(|queue| &queue.value);
    let key = format!("routes.{name}");
    let metrics = metrics.route_bulkhead(name);
    Some(Bulkhead::new(
        &key,
        Limit::Fixed(limit),
        queue,
        metrics,
        references.limits,
    ))
}

/// What an action is compiled with, beside the route: the names in its path, its places, all upstreams, and what watches
/// branches.
type Around<'a> = (
    &'a [Box<str>],
    Option<Arc<Bulkhead>>,
    (&'a Upstreams, &'a Guards<'a>),
);

impl Wanted<'_> {
    fn build(
        self,
        config: &routing::Config,
        (parameters, bulkhead, (upstreams, guards)): Around<'_>,
        identity: &Directory,
        subject: &mut Subject<'_>,
    ) -> Option<Action> {
        match self {
            Wanted::Login(name) => {
                let provider = identity.oidc.named(name, &mut subject.key("login"))?;
                Some(Action::Login(Login::new(provider)))
            }
            Wanted::Proxy(to) => {
                let rewrite = match &config.rewrite {
                    None => Some(None),
                    Some(rewrite) => {
                        Rewrite::build(rewrite, parameters, &mut subject.key("rewrite")).map(Some)
                    }
                };
                let find = |named: &_, subject: &mut Subject<'_>| find(named, upstreams, subject);
                let fallback = match &config.fallback {
                    None => Some(Fallback::default()),
                    Some(steps) => {
                        Fallback::build(steps, parameters, find, &mut subject.key("fallback"))
                    }
                };
                let errors = subject.error_count();
                let retry = config
                    .retry
                    .as_ref()
                    .map(|retry| Arc::new(Retry::of_route(retry, &mut subject.key("retry"))));
                if let (Some(retry), Some(To::One(upstream))) = (&config.retry, &to)
                    && upstream.protocol().is_h2()
                {
                    retry.refuse_hedge(&mut subject.key("retry"));
                }
                if subject.error_count() > errors {
                    return None;
                }
                let mirror = match &config.mirror {
                    None => Some(None),
                    Some(mirror) => {
                        let metrics = guards.metrics.mirror(guards.route, &mirror.upstream);
                        let mut subject = subject.key("mirror");
                        Mirror::build(mirror, (guards.route, metrics), find, &mut subject)
                            .map(|mirror| Some(Arc::new(mirror)))
                    }
                };
                let mut proxy = Proxy {
                    to: to?,
                    rewrite: rewrite?,
                    affinities: Affinities::default(),
                    retry,
                    bulkhead,
                    fallback: fallback?,
                    mirror: mirror?,
                };
                let path = (parameters, config.r#match.span);
                let mut subject = subject.key("match");
                proxy.affinities = Affinities::build(proxy.upstreams(), path, &mut subject);
                Some(Action::Proxy(proxy))
            }
            Wanted::Aggregate(wanted) => {
                let mut subject = subject.key("aggregate");
                aggregate(
                    wanted,
                    (parameters, config.r#match.span),
                    upstreams,
                    &mut subject,
                )
                .map(Action::Aggregate)
            }
            Wanted::Batch(batch) => {
                let methods = &config.r#match.methods;
                if !methods.is_empty() && !methods.iter().any(|it| it.0 == http::Method::POST) {
                    let what = "a batch is asked for by POST, and the route matches no POST";
                    let mut subject = subject.key("match");
                    let mut subject = subject.key("methods");
                    let problem = subject.error(config.r#match.span, what);
                    problem
                        .help("write methods = [\"POST\"]")
                        .also(batch.span, "batch");
                    return None;
                }
                let batch = Batch::build(batch, &mut subject.key("batch"))?;
                Some(Action::Batch(batch.into()))
            }
            Wanted::Redirect(redirect) => {
                Redirect::build(redirect, parameters, &mut subject.key("redirect"))
                    .map(Action::Redirect)
            }
            Wanted::Respond(respond) => {
                Respond::build(respond, respond.span, &mut subject.key("respond"))
                    .map(Action::Respond)
            }
        }
    }
}

/// An aggregation, with where its parts are forwarded to.
fn aggregate(
    config: &Spanned<aggregation::Config>,
    (parameters, span): (&[Box<str>], Span),
    upstreams: &Upstreams,
    subject: &mut Subject<'_>,
) -> Option<Aggregate> {
    let mut found = Vec::with_capacity(config.parts.len());
    let is_upstream = |named: &Spanned<Name>, subject: &mut Subject<'_>| {
        let upstream = find(named, upstreams, subject);
        let is_there = upstream.is_some();
        found.extend(upstream);
        is_there
    };
    let plan = Plan::build(config, parameters, is_upstream, subject)?;
    let parts: Vec<Proxy> = found
        .into_iter()
        .zip(plan.parts())
        .map(|(upstream, part)| {
            let to = To::One(upstream);
            let mut proxy = Proxy {
                to,
                rewrite: None,
                affinities: Affinities::default(),
                retry: part.retry.clone(),
                bulkhead: None,
                fallback: Fallback::default(),
                mirror: None,
            };
            proxy.affinities = Affinities::build(proxy.upstreams(), (parameters, span), subject);
            proxy
        })
        .collect();
    Some(Aggregate::new(plan, parts))
}

fn unknown<'a>(
    kind: &str,
    named: &Spanned<Name>,
    known: impl Iterator<Item = &'a str> + Clone,
    subject: &mut Subject<'_>,
) {
    let name = named.as_str();
    let problem = subject.error(named.span, format!("there is no {kind} {name:?}"));
    let some: Vec<&str> = known.clone().take(10).collect();
    problem.help(match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if some.is_empty() => format!("define it: [{kind}s.{name}]"),
        None => format!("known are {}", some.join(", ")),
    });
}
