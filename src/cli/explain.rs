//! `northgate explain`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::ConfigPath;
use super::address::Address;
use crate::actions::Action;
use crate::config::Loaded;
use crate::observability::Metrics;
use crate::response::Code;
use crate::routing::{Lookup, MAX_MISSES, RequestParts, Route, View};
use crate::text::{PathRefusal, PathRules, Span, normalise_path, refuse_query};

/// Tell which route a request would get, why others would not, and what applies to it.
///
/// Exits with 0 where a route wins, with 1 where none does or the configuration has errors.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    path: ConfigPath,
    method: Method,
    /// `https://api.example.com/v1/orders/7?x=1`, or a path alone.
    url: Address,
    /// A header of the request, as `name: value`; may be given again.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The listener that the request comes in by. Default: the first that is fit for the URL's scheme.
    #[arg(long)]
    listener: Option<String>,
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    let name = name
        .trim()
        .parse::<HeaderName>()
        .map_err(|error| error.to_string())?;
    let value = value
        .trim()
        .parse::<HeaderValue>()
        .map_err(|error| error.to_string())?;
    Ok((name, value))
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let (loaded, configuration) = match super::configuration(&self.path.config, &Metrics::new())
        {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        let views = &configuration.snapshot.listeners;
        let Some(view) = self.choose(views) else {
            eprintln!(
                "error: there is no listener {:?}",
                self.listener.unwrap_or_default()
            );
            return ExitCode::FAILURE;
        };
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let named = headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = self.url.host.as_deref().or(named).unwrap_or_default();
        let mut text = self.question(host, view);
        let normal = self.normalise(&view.listener.paths);
        let is_found = match &normal {
            Err(refusal) => {
                refused(&mut text, *refusal, view, &loaded);
                false
            }
            Ok(normal) => {
                if let Some(normal) = normal {
                    let _ = writeln!(text, "normal form of the path: {normal}");
                }
                let parts = RequestParts {
                    host,
                    path: normal.as_deref().unwrap_or(&self.url.path),
                    query: self.url.query.as_deref(),
                    method: &self.method,
                    headers: &headers,
                };
                let is_found = explain(&mut text, view, &parts, &loaded);
                elsewhere(&mut text, view, views, &parts);
                is_found
            }
        };
        super::print(&text);
        if is_found {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// The first line.
    fn question(&self, host: &str, view: &View) -> String {
        let Address { path, query, .. } = &self.url;
        let mark = if query.is_some() { "?" } else { "" };
        let query = query.as_deref().unwrap_or_default();
        let (method, listener) = (&self.method, &view.listener.name);
        format!("{method} {host}{path}{mark}{query} on listener {listener}\n")
    }

    /// What the path becomes before it is routed, where it becomes anything else.
    fn normalise(&self, rules: &PathRules) -> Result<Option<String>, PathRefusal> {
        if self.url.path == "*" && self.method == Method::OPTIONS {
            return Ok(None);
        }
        refuse_query(self.url.query.as_deref().unwrap_or_default())?;
        normalise_path(&self.url.path, rules)
    }

    fn choose<'s>(&self, views: &'s [View]) -> Option<&'s View> {
        match &self.listener {
            Some(name) => views.iter().find(|view| *view.listener.name == **name),
            None => {
                let wants_tls = self.url.scheme.as_deref() == Some("https");
                views
                    .iter()
                    .find(|view| view.listener.is_tls() == wants_tls)
                    .or(views.first())
            }
        }
    }
}

/// Writes why nobody gets the request. Writing to a String cannot fail.
fn refused(text: &mut String, refusal: PathRefusal, view: &View, loaded: &Loaded) {
    let code = Code::PathRefused;
    let status = code.status().as_u16();
    let _ = writeln!(text, "\nno route: {status} {}: {refusal}", code.slug());
    policies(text, &view.fallback, loaded);
}

/// Writes the explanation; true where a route wins.
fn explain(text: &mut String, view: &View, parts: &RequestParts<'_>, loaded: &Loaded) -> bool {
    if let Some((route, _)) = view.preflight(parts) {
        let whose = match route.span {
            Some(span) => format!("route {}{}", route.name, place(Some(span), loaded)),
            None => "the listener, as no route takes the method that it asks for".into(),
        };
        let _ = writeln!(text, "\na preflight, answered by the policies of {whose}");
        policies(text, route, loaded);
        return true;
    }
    let found = view.table.find(parts);
    let is_found = match &found {
        Lookup::Found(route, captures) => {
            let _ = writeln!(text, "\nroute {}{}", route.name, place(route.span, loaded));
            let _ = writeln!(text, "  action: {}", route.action.describe());
            for line in route.action.details() {
                let _ = writeln!(text, "  {line}");
            }
            if let Some(timeout) = route.timeout {
                let _ = writeln!(text, "  timeout: {timeout:?}");
            }
            let matched = view.table.routes().find(|(name, ..)| **name == *route.name);
            if let Some((_, matcher, _)) = matched {
                let _ = writeln!(text, "  path: {}", matcher.path());
                for (name, value) in matcher
                    .path()
                    .captures()
                    .iter()
                    .zip(captures.values(parts.path))
                {
                    let _ = writeln!(text, "    {name} = {value:?}");
                }
            }
            policies(text, route, loaded);
            true
        }
        Lookup::MethodNotAllowed(allowed) => {
            let _ = writeln!(
                text,
                "\nno route: 405 method_not_allowed, Allow: {}",
                allowed.allow()
            );
            policies(text, &view.fallback, loaded);
            false
        }
        Lookup::NotFound => {
            let _ = writeln!(text, "\nno route: 404 route_not_found");
            policies(text, &view.fallback, loaded);
            false
        }
    };
    let explanation = view.table.explain(parts);
    if !explanation.misses.is_empty() {
        let _ = writeln!(text, "\nnear misses");
        for miss in explanation.misses {
            let _ = writeln!(text, "  {}: {}", miss.name, miss.reason);
        }
    }
    is_found
}

/// Routes that match and that this listener does not have.
fn elsewhere(text: &mut String, view: &View, views: &[View], parts: &RequestParts<'_>) {
    let is_here = |wanted: &str| view.table.routes().any(|(name, ..)| name == wanted);
    let mut listeners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for other in views.iter().filter(|other| !std::ptr::eq(*other, view)) {
        for name in other.table.matching(parts).filter(|name| !is_here(name)) {
            listeners
                .entry(name)
                .or_default()
                .push(&other.listener.name);
        }
    }
    if listeners.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nwould match on another listener");
    for (name, listeners) in listeners.into_iter().take(MAX_MISSES) {
        let _ = writeln!(text, "  {name}: on {}", listeners.join(", "));
    }
}

fn policies(text: &mut String, route: &Route, loaded: &Loaded) {
    let is_forwarded = matches!(
        route.action.as_ref(),
        Action::Proxy(_) | Action::Aggregate(_)
    );
    let on = route.pipeline.origins().iter();
    let on: Vec<_> = on
        .filter(|origin| is_forwarded || !origin.is_for_upstream)
        .collect();
    if on.is_empty() {
        let _ = writeln!(text, "  policies: none");
    } else {
        let _ = writeln!(text, "  policies, in order:");
    }
    for origin in on {
        let (policy, scope) = (origin.policy, origin.scope.as_str());
        let place = place(Some(origin.span), loaded);
        let _ = writeln!(text, "    {policy} from the {scope}{place}");
    }
    let off = route.pipeline.off();
    if !off.is_empty() {
        let _ = writeln!(text, "  policies that are off:");
    }
    for origin in off {
        let (policy, scope) = (origin.policy, origin.scope.as_str());
        let place = place(Some(origin.span), loaded);
        let _ = writeln!(text, "    {policy} by the {scope}{place}");
    }
}

/// ` (file:line)`
fn place(span: Option<Span>, loaded: &Loaded) -> String {
    match span {
        None => String::new(),
        Some(span) => {
            let position = loaded.sources.position(span);
            format!(" ({}:{})", position.path, position.line)
        }
    }
}
