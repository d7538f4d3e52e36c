//! What `request_headers` and `response_headers` share: an ordered set of edits to a header.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use super::BuildScope;
use crate::facts::{Template, View};
use crate::text::{HeaderName, HeaderPattern, Spanned};

/// Edits to a header: first `remove`, then `set`, then `add`.
///
/// Values may name facts of the request: `{path.NAME}`, `{client.ip}`, `{request.id}`, `{request.method}`,
/// `{request.scheme}`, `{request.host}`, `{request.path}`, `{request.query}`, `{trace.id}`, `{identity.subject}`
/// and `{identity.CLAIM}`. Where a fact is absent (nobody is identified) the header is not sent at all.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Replaces every value of the header.
    pub set: BTreeMap<HeaderName, Spanned<String>>,
    /// Adds a value and keeps those that are there.
    pub add: BTreeMap<HeaderName, Spanned<String>>,
    /// Removes the header; `x-internal-*` removes all that begin so.
    pub remove: Vec<Spanned<HeaderPattern>>,
}

/// Headers that frame a message or belong to one connection. Editing them would break the message or the next
/// one on the connection, so the engine alone writes them.
const ENGINE_OWNED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Compiled edits.
#[derive(Debug)]
pub(super) struct Edits {
    remove: Box<[http::HeaderName]>,
    remove_patterns: Box<[HeaderPattern]>,
    set: Box<[(http::HeaderName, Value)]>,
    add: Box<[(http::HeaderName, Value)]>,
}

#[derive(Debug)]
enum Value {
    Static(HeaderValue),
    Template(Template),
}

impl Value {
    fn render(&self, view: View<'_>) -> Option<HeaderValue> {
        match self {
            Value::Static(value) => Some(value.clone()),
            Value::Template(template) => template.header_value(view),
        }
    }
}

impl Edits {
    pub(super) fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Edits> {
        let mut remove = Vec::new();
        let mut remove_patterns = Vec::new();
        for pattern in &config.remove {
            match &pattern.value {
                HeaderPattern::Exact(name) if is_engine_owned(name.as_str()) => {
                    refuse(name.as_str(), pattern.span, scope);
                }
                HeaderPattern::Exact(name) => remove.push(name.clone()),
                prefix => remove_patterns.push(prefix.clone()),
            }
        }
        let before = scope.diagnostics.error_count();
        let set = compile(&config.set, scope);
        let add = compile(&config.add, scope);
        (scope.diagnostics.error_count() == before).then_some(Edits {
            remove: remove.into(),
            remove_patterns: remove_patterns.into(),
            set,
            add,
        })
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap, view: View<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        if !self.remove_patterns.is_empty() {
            let is_removed = |name: &http::HeaderName| {
                self.remove_patterns
                    .iter()
                    .any(|pattern| pattern.matches(name))
                    && !is_engine_owned(name.as_str())
            };
            let names: SmallVec<[http::HeaderName; 4]> = headers
                .keys()
                .filter(|name| is_removed(name))
                .cloned()
                .collect();
            for name in names {
                headers.remove(name);
            }
        }
        for (name, value) in &self.set {
            match value.render(view) {
                Some(value) => headers.insert(name.clone(), value),
                // What cannot be said must not be said by somebody else either.
                None => headers.remove(name),
            };
        }
        for (name, value) in &self.add {
            if let Some(value) = value.render(view) {
                headers.append(name.clone(), value);
            }
        }
    }
}

fn compile(
    edits: &BTreeMap<HeaderName, Spanned<String>>,
    scope: &mut BuildScope<'_>,
) -> Box<[(http::HeaderName, Value)]> {
    let mut compiled = Vec::with_capacity(edits.len());
    for (name, text) in edits {
        if is_engine_owned(name.as_str()) {
            refuse(name.as_str(), text.span, scope);
            continue;
        }
        let template = match Template::compile(&text.value, scope.variables) {
            Ok(template) => template,
            Err(error) => {
                scope
                    .diagnostics
                    .error(text.span, format!("{name}: {error}"));
                continue;
            }
        };
        let value = match template.as_static().map(HeaderValue::from_str) {
            None => Value::Template(template),
            Some(Ok(value)) => Value::Static(value),
            Some(Err(_)) => {
                scope
                    .diagnostics
                    .error(text.span, format!("{name}: not allowed in a header value"));
                continue;
            }
        };
        compiled.push(((**name).clone(), value));
    }
    compiled.into()
}

fn is_engine_owned(name: &str) -> bool {
    ENGINE_OWNED.contains(&name)
}

fn refuse(name: &str, span: crate::text::Span, scope: &mut BuildScope<'_>) {
    let diagnostic = scope.diagnostics.error(
        span,
        format!("{name} belongs to the connection or the framing and cannot be edited"),
    );
    if name == "host" {
        diagnostic
            .help("to change the host that the upstream sees, write rewrite = { host = \"…\" }");
    }
}
