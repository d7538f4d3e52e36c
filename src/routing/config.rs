//! `[routes.NAME]` as written.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Matcher, PathTemplate, ValueMatch};
use crate::actions::{RedirectConfig, RespondConfig, RewriteConfig};
use crate::policies;
use crate::text::{
    Diagnostics, Duration, HeaderName, HostPattern, Name, ParsedText, Shorthand, Span, Spanned,
    parsed_text, shorthand, shorthand_schema,
};

/// What a request must be like, and what happens to it then. Exactly one action: `upstream`, `redirect` or
/// `respond`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which requests. A route matches where everything in here does.
    pub r#match: Spanned<MatchConfig>,
    /// The listeners that it is on. Default: all.
    #[serde(default)]
    pub listeners: Vec<Spanned<Name>>,
    /// Forwards to this upstream.
    pub upstream: Option<Spanned<Name>>,
    /// What the upstream is asked for instead.
    pub rewrite: Option<Spanned<RewriteConfig>>,
    /// Sends the client elsewhere.
    pub redirect: Option<Spanned<RedirectConfig>>,
    /// Answers with fixed content.
    pub respond: Option<Spanned<RespondConfig>>,
    /// For the whole exchange with the upstream, retries included; 504 beyond it. A connection that became a
    /// WebSocket is exempt. Default: none, only the upstream's own timeouts.
    pub timeout: Option<Spanned<Duration>>,
    /// Policies of this route; each replaces that of the listener or the gateway.
    #[serde(default)]
    pub policies: policies::Config,
}

/// Which requests a route is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// `"api.example.com"` or `"*.example.com"`, which is any number of labels. Default: every host.
    pub hosts: Vec<HostPattern>,
    /// `/v1/orders/{id}`: a parameter is one whole segment. `/assets/{*rest}`: everything below, `/assets` itself
    /// included. Default: every path.
    pub path: Option<Spanned<String>>,
    /// Default: every method. `GET` includes `HEAD`.
    pub methods: Vec<MethodName>,
    /// Conditions on headers; one of a header's values must fulfil its condition.
    pub headers: BTreeMap<HeaderName, Spanned<ValueCondition>>,
    /// Conditions on query parameters, decoded.
    pub query: BTreeMap<String, Spanned<ValueCondition>>,
    /// A gRPC service, or one method of it; instead of `path` and `methods`.
    pub grpc: Option<Spanned<GrpcMatch>>,
}

/// Calls of a gRPC service.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcMatch {
    /// With its package: `shop.v1.Orders`.
    pub service: String,
    /// Default: every method.
    pub method: Option<String>,
}

/// A method in capitals, as HTTP has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodName(pub Method);

/// Why a method is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMethod {
    #[error("must be a method such as \"GET\", got {0:?}")]
    Malformed(Box<str>),
    #[error("must be in capitals, as methods are case-sensitive: write \"{0}\"")]
    Lowercase(Box<str>),
    #[error("must be a method that the gateway forwards; {0} is refused on every route")]
    NeverForwarded(Box<str>),
}

impl FromStr for MethodName {
    type Err = InvalidMethod;

    fn from_str(text: &str) -> Result<MethodName, InvalidMethod> {
        let capitals = text.to_ascii_uppercase();
        match Method::from_bytes(text.as_bytes()) {
            Ok(Method::CONNECT | Method::TRACE) => Err(InvalidMethod::NeverForwarded(text.into())),
            Ok(_) if capitals != text => Err(InvalidMethod::Lowercase(capitals.into())),
            Ok(method) => Ok(MethodName(method)),
            Err(_) => Err(InvalidMethod::Malformed(text.into())),
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl ParsedText for MethodName {
    const EXPECTED: &'static str = "a method such as \"GET\"";
}

parsed_text!(
    MethodName,
    "string",
    "^[A-Z0-9!#$%&'*+.^_`|~-]+$",
    "An HTTP method."
);

/// What a header or a query parameter must be: `"2"` or `{ regex = "…" }`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueCondition(ValueForm);

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueForm {
    /// Exactly this.
    Exact(String),
    /// Something that begins with this.
    Prefix(String),
    /// Something that this matches as a whole.
    Regex(String),
    /// `true`: it must be there; `false`: it must not.
    Present(bool),
}

impl FromStr for ValueCondition {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(ValueCondition(ValueForm::Exact(text.into())))
    }
}

impl From<ValueForm> for ValueCondition {
    fn from(form: ValueForm) -> Self {
        ValueCondition(form)
    }
}

impl Shorthand for ValueCondition {
    type Long = ValueForm;
    const EXPECTED: &'static str = "a value such as \"2\", or a table such as { prefix = \"2.\" }, { regex = \"2|3\" } or { present = true }";
}

impl<'de> Deserialize<'de> for ValueCondition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for ValueCondition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ValueCondition".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

impl MatchConfig {
    /// The compiled matcher. `None` after diagnostics.
    pub fn build(&self, span: Span, diagnostics: &mut Diagnostics) -> Option<Matcher> {
        let before = diagnostics.error_count();
        let mut matcher = match &self.grpc {
            None => Matcher::builder(),
            Some(grpc) => {
                if self.path.is_some() || !self.methods.is_empty() {
                    diagnostics
                        .error(
                            grpc.span,
                            "match has grpc beside path or methods; gRPC fixes both",
                        )
                        .help("remove path and methods");
                }
                Matcher::grpc(&grpc.service, grpc.method.as_deref()).unwrap_or_else(|error| {
                    diagnostics.error(grpc.span, format!("match.grpc: {error}"));
                    Matcher::builder()
                })
            }
        };
        if let Some(path) = &self.path {
            match PathTemplate::parse(&path.value) {
                Ok(template) => matcher = matcher.path(template),
                Err(error) => {
                    diagnostics.error(
                        path.span,
                        format!("match.path: {error}, got {:?}", path.value),
                    );
                }
            }
        }
        for host in &self.hosts {
            matcher = matcher.host(match host {
                HostPattern::Exact(name) => (&**name, false),
                HostPattern::Suffix(suffix) => (&**suffix, true),
            });
        }
        for method in &self.methods {
            matcher = matcher.method(method.0.clone());
        }
        for (name, condition) in &self.headers {
            if let Some(value) = condition.value.build(condition.span, diagnostics) {
                matcher = matcher.header((**name).clone(), value);
            }
        }
        for (name, condition) in &self.query {
            if let Some(value) = condition.value.build(condition.span, diagnostics) {
                matcher = matcher.query(name, value);
            }
        }
        if *self == MatchConfig::default() {
            diagnostics
                .warning(
                    span,
                    "match is empty: the route takes every request that no other route takes",
                )
                .help("if that is meant, write match = { path = \"/{*rest}\" }");
        }
        (diagnostics.error_count() == before).then(|| matcher.build())
    }
}

impl ValueCondition {
    fn build(&self, span: Span, diagnostics: &mut Diagnostics) -> Option<ValueMatch> {
        Some(match &self.0 {
            ValueForm::Exact(text) => ValueMatch::Exact(text.as_str().into()),
            ValueForm::Prefix(text) => ValueMatch::Prefix(text.as_str().into()),
            ValueForm::Present(is_there) => ValueMatch::Present(*is_there),
            ValueForm::Regex(source) => match ValueMatch::regex(source) {
                Ok(pattern) => pattern,
                Err(error) => {
                    diagnostics.error(span, error.to_string());
                    return None;
                }
            },
        })
    }
}
