//! What `request_headers` and `response_headers` share: an ordered set of edits to a header.

use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use super::BuildScope;
use super::authentication::is_read;
use crate::facts::{Template, Variables, View};
use crate::text::{ENGINE_OWNED, HeaderPattern, Headers, Span, Spanned, Subject, is_engine_owned};

/// Edits to a header: first `remove`, then `set`, then `add`.
///
/// Values may name facts of the request: `{path.NAME}`, `{client.ip}`, `{request.id}`, `{request.method}`,
/// `{request.scheme}`, `{request.host}`, `{request.path}`, `{request.query}`, `{trace.id}`, `{identity.subject}`,
/// `{identity.CLAIM}` and, of a verified client certificate, `{client.certificate.FIELD}`: `subject` and `issuer`
/// (RFC 4514), `serial`, `fingerprint` (SHA-256), `dns`, `uri`, `email` and `ip` (alternative names, with commas
/// between them), `not_after`, and `der` (base64). Their text is visible ASCII whatever a certificate holds.
///
/// Where a fact is absent (nobody is identified, there is no certificate) the header is not sent at all. Under
/// `set`, nothing that the client sent by that name reaches the upstream either way.
///
/// Of a request, nothing reaches the upstream either that the client sent by another spelling of a name under
/// `remove`, `set` or `add`, with something else for `-` or `_`: `x_user_id` and `x.user.id` for `x-user-id`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Replaces every value of the header.
    pub set: Headers<Spanned<String>>,
    /// Adds a value and keeps those that are there.
    pub add: Headers<Spanned<String>>,
    /// Removes the header; `x-internal-*` removes all that begin so.
    pub remove: Vec<Spanned<HeaderPattern>>,
}

/// Compiled edits.
#[derive(Debug)]
pub(super) struct Edits {
    remove: Box<[http::HeaderName]>,
    remove_patterns: Box<[HeaderPattern]>,
    set: Box<[(http::HeaderName, Value)]>,
    add: Box<[(http::HeaderName, Value)]>,
    /// Those that say who the client is, and nothing that the client has sent beside it.
    proofs: Box<[http::HeaderName]>,
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
        let before = scope.subject.error_count();
        let mut remove = Vec::new();
        let mut remove_patterns = Vec::new();
        for (index, pattern) in config.remove.iter().enumerate() {
            match &pattern.value {
                HeaderPattern::Exact(name) if is_engine_owned(name) => {
                    let mut list = scope.subject.key("remove");
                    refuse(name, pattern.span, &mut list.index(index));
                }
                HeaderPattern::Exact(name) => remove.push(name.clone()),
                prefix => remove_patterns.push(prefix.clone()),
            }
        }
        let set = compile(&config.set, scope.variables, &mut scope.subject.key("set"));
        let add = compile(&config.add, scope.variables, &mut scope.subject.key("add"));
        let proofs: Vec<_> = proofs(&add).collect();
        let mut list = scope.subject.key("add");
        for (name, text) in config.add.iter() {
            if proofs.contains(&&***name) {
                list.key(name.as_str())
                    .warning(text.span, "keeps what the client itself says by that name")
                    .help("write it under set");
            }
        }
        // Credentials come to the gateway by those names on other routes.
        let reserved = self::proofs(&set).filter(|name| !is_read(name, scope.identity));
        let reserved: Box<[_]> = reserved.cloned().collect();
        (scope.subject.error_count() == before).then_some(Edits {
            proofs: reserved,
            remove: remove.into(),
            remove_patterns: remove_patterns.into(),
            set,
            add,
        })
    }

    /// The headers that are set, added or removed.
    pub(super) fn names(&self) -> impl Iterator<Item = HeaderPattern> {
        let set = self.set.iter().chain(&self.add).map(|(name, _)| name);
        let exact = self.remove.iter().chain(set).cloned();
        let patterns = self.remove_patterns.iter().cloned();
        exact.map(HeaderPattern::Exact).chain(patterns)
    }

    /// The headers by which upstreams are told who the client is. Those that credentials are read from are not among
    /// them: they may be written, as a token for the upstream is, but other routes have to get what clients send.
    pub(super) fn proofs(&self) -> impl Iterator<Item = http::HeaderName> {
        self.proofs.iter().cloned()
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
                    && !is_engine_owned(name)
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

/// Those that say who the client is.
fn proofs(edits: &[(http::HeaderName, Value)]) -> impl Iterator<Item = &http::HeaderName> {
    let is_proof = |value: &Value| match value {
        Value::Static(_) => false,
        Value::Template(template) => template.names_the_caller(),
    };
    let proofs = edits.iter().filter(move |(_, value)| is_proof(value));
    proofs.map(|(name, _)| name)
}

fn compile(
    edits: &Headers<Spanned<String>>,
    variables: Variables<'_>,
    table: &mut Subject<'_>,
) -> Box<[(http::HeaderName, Value)]> {
    let mut compiled = Vec::with_capacity(edits.len());
    for (name, text) in edits.iter() {
        let mut subject = table.key(name.as_str());
        if is_engine_owned(name) {
            refuse(name, name.span, &mut subject);
            continue;
        }
        let Some(template) = Template::build(text, variables, &mut subject) else {
            continue;
        };
        let value = match template.as_static().map(HeaderValue::from_str) {
            None => Value::Template(template),
            Some(Ok(value)) => Value::Static(value),
            Some(Err(_)) => {
                subject.error(text.span, "is not allowed in a header value");
                continue;
            }
        };
        compiled.push(((***name).clone(), value));
    }
    compiled.into()
}

fn refuse(name: &http::HeaderName, span: Span, subject: &mut Subject<'_>) {
    let problem = subject.error(span, ENGINE_OWNED);
    if name == http::header::HOST {
        problem.help(
            "to change the host that the upstream sees, write rewrite = { host = \"…\" } in the route",
        );
    }
}
