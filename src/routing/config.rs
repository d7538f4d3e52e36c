//! `[routes.NAME]` as written.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use super::matcher::{Matcher, MatcherBuilder};
use super::path::{PathError, PathProblem, PathTemplate};
use super::value_condition::ValueCondition;
use crate::actions::{
    BatchConfig, FallbackConfig, MirrorConfig, RedirectConfig, RespondConfig, RewriteConfig,
    SplitConfig, some_upstream,
};
use crate::aggregation;
use crate::limits::{Criticality, QueueConfig};
use crate::policies;
use crate::text::{
    Duration, Headers, HostPattern, MethodName, Name, Several, Span, Spanned, Subject, quoted,
};
use crate::upstream::RetryConfig;

/// What a request must be like, and what happens to it then. Exactly one action: `upstream`, `split`, `aggregate`,
/// `batch`, `redirect` or `respond`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which requests. A route matches where everything in here does.
    pub r#match: Spanned<MatchConfig>,
    /// The listeners that it is on. Default: all.
    #[serde(default)]
    pub listeners: Vec<Spanned<Name>>,
    /// Forwards to this upstream.
    #[serde(default, deserialize_with = "some_upstream")]
    pub upstream: Option<Spanned<Name>>,
    /// Forwards to one of several upstreams: by weight, and to the same one for the same caller.
    pub split: Option<Box<Spanned<SplitConfig>>>,
    /// What answers where the upstream cannot: one step, or several of which the first that is for the failure and
    /// can be taken is. Each marks its response with `X-Northgate-Degraded` and the reason, which the access log has as
    /// `degraded`, beside the step, `fallback`. Default: the client is told.
    pub fallback: Option<Box<Several<FallbackConfig>>>,
    /// Sends copies of requests to another upstream, whose answers no client sees.
    pub mirror: Option<Box<Spanned<MirrorConfig>>>,
    /// What the upstream is asked for instead.
    pub rewrite: Option<Spanned<RewriteConfig>>,
    /// Answers with what several upstreams say, as one JSON document.
    pub aggregate: Option<Box<Spanned<aggregation::Config>>>,
    /// Runs a client's list of GET calls to the gateway's own routes as if they had come one by one.
    pub batch: Option<Box<Spanned<BatchConfig>>>,
    /// Sends the client elsewhere.
    pub redirect: Option<Box<Spanned<RedirectConfig>>>,
    /// Answers with fixed content.
    pub respond: Option<Box<Spanned<RespondConfig>>>,
    /// Serves what logins at this provider of `identity.oidc` need, beside its `callback_url`; see the policy `oidc`.
    pub login: Option<Box<Spanned<Name>>>,
    /// For the whole exchange, from the complete header on: finding out who calls, waits of limits, the upstream with
    /// its retries, or a login; 504 beyond it. A connection that became a WebSocket is exempt. Default: none, only the
    /// own timeouts of whoever is waited for.
    pub timeout: Option<Spanned<Duration>>,
    /// Which requests are sent again, and when, in the place of what the upstream has for that; the budget is the upstream's
    /// in any case. Default: as the upstream has it.
    pub retry: Option<Box<Spanned<RetryConfig>>>,
    /// How much its requests matter where there is not room for all: `"low"`, `"normal"`, `"high"` or `"critical"`. The
    /// more important come first in queues, and the less important are refused first where the gateway has too much to
    /// do (`gateway.overload`). Default `"normal"`.
    #[serde(default)]
    pub criticality: Criticality,
    /// How many of its requests may be with the upstream at a time; a WebSocket is one until it is closed. Beyond that
    /// they wait in `queue`, or get 503 `route_busy`. Default: as many as come.
    pub max_in_flight: Option<Spanned<NonZeroU32>>,
    /// Requests that wait for their turn where there are too many. Default: none waits.
    pub queue: Option<Box<Spanned<QueueConfig>>>,
    /// Policies of this route; each replaces that of the listener or the gateway.
    #[serde(default)]
    pub policies: policies::Config,
}

impl Config {
    /// Every upstream that it names.
    pub fn upstreams(&self) -> impl Iterator<Item = &Spanned<Name>> {
        let split = self.split.iter().flat_map(|split| split.to.iter());
        let fallback = self.fallback.iter().flat_map(|steps| steps.iter());
        let one = self.upstream.iter();
        let parts = self.aggregate.iter().flat_map(|it| it.parts.values());
        one.chain(split.map(|branch| &branch.upstream))
            .chain(parts.map(|part| &part.upstream))
            .chain(self.mirror.iter().map(|mirror| &mirror.upstream))
            .chain(fallback.filter_map(|step| step.upstream.as_ref()))
    }

    /// Whether it forwards anything.
    pub fn forwards(&self) -> bool {
        self.upstream.is_some() || self.split.is_some()
    }
}

/// What of a route says which requests are its own: enough for one that has mistakes elsewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct Reach {
    pub r#match: Spanned<MatchConfig>,
    #[serde(default)]
    pub listeners: Vec<Spanned<Name>>,
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
    pub headers: Headers<ValueCondition>,
    /// Conditions on query parameters, decoded.
    pub query: BTreeMap<String, ValueCondition>,
    /// A gRPC service, or one method of it; instead of `path` and `methods`.
    pub grpc: Option<Box<Spanned<GrpcMatch>>>,
}

/// Calls of a gRPC service.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcMatch {
    /// With its package: `shop.v1.Orders`.
    pub service: Spanned<String>,
    /// Default: every method.
    pub method: Option<Spanned<String>>,
}

impl MatchConfig {
    /// The compiled matcher. `None` after diagnostics.
    pub fn build(&self, span: Span, subject: &mut Subject<'_>) -> Option<Matcher> {
        let before = subject.error_count();
        let mut matcher = match &self.grpc {
            None => Matcher::builder(),
            Some(grpc) => {
                if self.path.is_some() || !self.methods.is_empty() {
                    subject
                        .error(
                            grpc.span,
                            "has grpc beside path or methods; gRPC fixes both",
                        )
                        .help("remove path and methods");
                }
                grpc.build(&mut subject.key("grpc"))
            }
        };
        if let Some(template) = self.template(subject) {
            matcher = matcher.path(template);
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
        for (name, condition) in self.headers.iter() {
            let mut table = subject.key("headers");
            if let Some(value) = condition.build(&mut table.key(name.as_str())) {
                matcher = matcher.header((***name).clone(), value);
            }
        }
        for (name, condition) in &self.query {
            let mut table = subject.key("query");
            if let Some(value) = condition.build(&mut table.key(name)) {
                matcher = matcher.query(name, value);
            }
        }
        if *self == MatchConfig::default() {
            subject
                .warning(
                    span,
                    "is empty: the route takes every request that no other route takes",
                )
                .help("if that is meant, write match = { path = \"/{*rest}\" }");
        }
        (subject.error_count() == before).then(|| matcher.build())
    }

    fn template(&self, subject: &mut Subject<'_>) -> Option<PathTemplate> {
        let path = self.path.as_ref()?;
        let mut subject = subject.key("path");
        match PathTemplate::parse(&path.value) {
            Ok(template) => {
                warn_of_foreign(path, &mut subject);
                Some(template)
            }
            Err(PathError { at, problem }) => {
                let what = format!("{problem}, got {}", quoted(&path.value));
                let report = subject.error(path.part(segment_at(&path.value, at)), what);
                if problem == PathProblem::NoLeadingSlash {
                    report.help(format!("write \"/{}\"", path.value));
                }
                None
            }
        }
    }
}

/// The rest of the segment from a byte on, of which there is at least one byte unless the text ends there.
fn segment_at(path: &str, at: usize) -> Range<usize> {
    let rest = path.get(at..).unwrap_or("");
    let length = rest.find('/').unwrap_or(rest.len());
    at..(at + length.max(1)).min(path.len())
}

/// Parameters as other routers write them are plain text here, and would match nothing that a client sends.
fn warn_of_foreign(path: &Spanned<String>, subject: &mut Subject<'_>) {
    let ours = |segment: &str, is_last: bool| match segment {
        "*" | "**" if is_last => Some("{*rest}".to_owned()),
        "*" => Some("{name}".to_owned()),
        _ => match segment.split_at_checked(1)? {
            (":", name) if !name.is_empty() => Some(format!("{{{name}}}")),
            _ => None,
        },
    };
    let mut at = 0;
    for segment in path.value.split('/') {
        let end = at + segment.len();
        if let Some(ours) = ours(segment, end == path.value.len()) {
            let what = format!("`{segment}` is matched as it stands and captures nothing");
            let span = path.part(at..end);
            subject
                .warning(span, what)
                .help(format!("for a parameter, write `{ours}`"));
        }
        at = end + 1;
    }
}

impl GrpcMatch {
    fn build(&self, subject: &mut Subject<'_>) -> MatcherBuilder {
        let method = self.method.as_ref();
        let built = Matcher::grpc(&self.service, method.map(|method| method.as_str()));
        built.unwrap_or_else(|error| {
            // The service comes first in the path, after its slash.
            let (key, written) = match method {
                Some(method) if error.at > 1 => ("method", method),
                _ => ("service", &self.service),
            };
            let what = format!("must be a plain name, got {}", quoted(written));
            subject.key(key).error(written.span, what);
            Matcher::builder()
        })
    }
}
