//! `health` as written.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

use super::status::StatusRange;
use crate::text::{
    Duration, Headers, Host, ParsedText, Span, Spanned, Subject, is_engine_owned, parsed_text,
    quoted,
};

/// Active health checks: by HTTP, by gRPC, or else by opening a connection, which includes TLS where that is spoken.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The path to GET.
    pub http: Option<HealthPath>,
    /// The service to ask `grpc.health.v1` for, such as `"shop.Orders"`; `""` is the server as a whole. Any answer but
    /// `SERVING` is unhealthy.
    pub grpc: Option<Box<str>>,
    /// Says that it is enough that a connection can be opened, which is so as well where neither `http` nor `grpc` is set.
    #[serde(default)]
    pub tcp: bool,
    /// With `http`: the statuses that are healthy. Default `["200-299"]`.
    #[serde(default = "success")]
    pub expected: Vec<StatusRange>,
    /// With `http`: what the first 64 KiB of the answer must contain; a longer one is unhealthy. Default: anything.
    pub body_contains: Option<Box<str>>,
    /// With `http`: what the answer must have in its JSON, by JSON pointer (RFC 6901): `{ "/status" = "UP" }`. Default:
    /// anything.
    #[serde(default)]
    pub body_json: BTreeMap<String, serde_json::Value>,
    /// The port to check instead of the endpoint's own. It says nothing of Unix sockets.
    pub port: Option<NonZeroU16>,
    /// The host that is asked for. Default: `tls.sni`, or else that of the endpoint's address. TLS is verified as for
    /// requests, whatever this says.
    pub host: Option<Spanned<Host>>,
    /// Sent with each check by HTTP or gRPC.
    #[serde(default)]
    pub headers: Headers<Box<str>>,
    /// `false` checks in clear text although requests are in TLS, for a `port` of its own. Default: as requests are.
    pub tls: Option<bool>,
    /// Between two checks of an endpoint; each wait is shortened or lengthened by up to a tenth, so that nodes
    /// do not check in step. Default `"5s"`.
    #[serde(default = "five_seconds")]
    pub interval: Duration,
    /// Between two checks of an endpoint that is unhealthy. Default: as `interval`.
    pub unhealthy_interval: Option<Duration>,
    /// For the whole check. Default `"1s"`.
    #[serde(default = "one_second")]
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy endpoint healthy. Default 2.
    #[serde(default = "two")]
    pub healthy_after: NonZeroU16,
    /// Failures in a row that make a healthy endpoint unhealthy. Default 3.
    #[serde(default = "three")]
    pub unhealthy_after: NonZeroU16,
}

impl HealthConfig {
    /// Reports what its parts cannot see.
    pub(in crate::upstream) fn check(&self, span: Span, has_tls: bool, subject: &mut Subject<'_>) {
        let kinds = [self.http.is_some(), self.grpc.is_some(), self.tcp];
        if kinds.into_iter().filter(|is_set| *is_set).count() > 1 {
            subject
                .error(span, "has more than one of http, grpc and tcp")
                .help("keep the one that says most of whether requests can be served");
        }
        if self.http.is_none() {
            for (key, is_set) in [
                ("expected", self.expected != success()),
                ("body_contains", self.body_contains.is_some()),
                ("body_json", !self.body_json.is_empty()),
            ] {
                if is_set {
                    let mut subject = subject.key(key);
                    subject
                        .error(
                            span,
                            "is about an answer of HTTP, and nothing is asked by HTTP",
                        )
                        .help("add http = \"/healthz\", or remove it");
                }
            }
        }
        if self.expected.is_empty() {
            let mut subject = subject.key("expected");
            subject
                .error(span, "is empty: nothing would be healthy")
                .help("remove it, or write expected = [\"200-299\"]");
        }
        for pointer in self.body_json.keys() {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let what = format!("{} is no JSON pointer", quoted(pointer));
                subject
                    .key("body_json")
                    .error(span, what)
                    .help(format!("write \"/{}\"", pointer.replace('.', "/")));
            }
        }
        if self.tls == Some(true) && !has_tls {
            subject
                .key("tls")
                .error(
                    span,
                    "checks speak TLS only where requests do, and the upstream has no tls",
                )
                .help("remove it, or add tls to the upstream");
        }
        self.check_headers(subject);
    }

    fn check_headers(&self, subject: &mut Subject<'_>) {
        let mut subject = subject.key("headers");
        for (name, value) in self.headers.iter() {
            let text = name.value.clone().into_inner();
            if text == http::header::HOST {
                subject
                    .error(name.span, "host is not set here")
                    .help("write health.host");
            } else if is_engine_owned(&text) {
                subject.error(name.span, format!("{text} is the gateway's own to set"));
            }
            if HeaderValue::from_str(value).is_err() {
                let what = format!("{} is no value of a header", quoted(value));
                subject.error(name.span, what);
            }
        }
    }
}

fn success() -> Vec<StatusRange> {
    vec![StatusRange::SUCCESS]
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn two() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(1)
}

fn three() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(2)
}

/// A path for health checks: it begins with `/` and fits a request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPath(Box<str>);

impl HealthPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a path is no good for health checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a path such as \"/healthz\", got {}", quoted(.got))]
pub struct InvalidHealthPath {
    got: Box<str>,
}

impl std::str::FromStr for HealthPath {
    type Err = InvalidHealthPath;

    fn from_str(text: &str) -> Result<HealthPath, InvalidHealthPath> {
        let is_path = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
        match is_path {
            true => Ok(HealthPath(text.into())),
            false => Err(InvalidHealthPath { got: text.into() }),
        }
    }
}

impl ParsedText for HealthPath {
    const EXPECTED: &'static str = "a path such as \"/healthz\"";
}

parsed_text!(
    HealthPath,
    "string",
    "^/",
    "The path that health checks GET."
);
