//! `northgate explain`

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::ConfigPath;
use crate::config::Loaded;
use crate::observability::Metrics;
use crate::routing::{Lookup, RequestParts, Route, View};
use crate::text::Span;

/// Tell which route a request would get, why others would not, and what applies to it.
///
/// Exits with 0 where a route wins, with 1 where none does or the configuration has errors.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    path: ConfigPath,
    method: Method,
    /// `https://api.example.com/v1/orders/7?x=1`, or a path alone.
    url: Uri,
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
        let parts = RequestParts {
            host: self
                .url
                .authority()
                .map(|authority| authority.as_str())
                .or(named)
                .unwrap_or_default(),
            path: self.url.path(),
            query: self.url.query(),
            method: &self.method,
            headers: &headers,
        };
        let mut text = String::new();
        let is_found = explain(&mut text, view, &parts, &loaded);
        super::print(&text);
        if is_found {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn choose<'s>(&self, views: &'s [View]) -> Option<&'s View> {
        match &self.listener {
            Some(name) => views.iter().find(|view| *view.listener.name == **name),
            None => {
                let wants_tls = self.url.scheme_str() == Some("https");
                views
                    .iter()
                    .find(|view| view.listener.is_tls() == wants_tls)
                    .or(views.first())
            }
        }
    }
}

/// Writes the explanation; true where a route wins. Writing to a String cannot fail.
fn explain(text: &mut String, view: &View, parts: &RequestParts<'_>, loaded: &Loaded) -> bool {
    let _ = writeln!(
        text,
        "{} {}{} on listener {}",
        parts.method, parts.host, parts.path, view.listener.name
    );
    let found = view.table.find(parts);
    let is_found = match &found {
        Lookup::Found(route, captures) => {
            let _ = writeln!(text, "\nroute {}{}", route.name, place(route.span, loaded));
            let _ = writeln!(text, "  action: {}", route.action.describe());
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

fn policies(text: &mut String, route: &Route, loaded: &Loaded) {
    let origins = route.pipeline.origins();
    if origins.is_empty() {
        let _ = writeln!(text, "  policies: none");
        return;
    }
    let _ = writeln!(text, "  policies, in order:");
    for origin in origins {
        let _ = writeln!(
            text,
            "    {} from the {}{}",
            origin.policy,
            origin.scope.as_str(),
            place(Some(origin.span), loaded)
        );
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
