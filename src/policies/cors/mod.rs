//! `cors`: which sites' scripts may read the responses, by the Fetch standard (<https://fetch.spec.whatwg.org/#cors-protocol>).
//!
//! ```toml
//! [listeners.public.policies.cors]
//! origins = ["https://app.example.com", "https://*.example.com", { regex = "https://pr-[0-9]+\\.example\\.dev" }]
//! headers = ["authorization", "content-type"]
//! expose = ["etag"]
//! credentials = true
//! max_age = "10m"
//! ```
//!
//! # Preflights
//! An `OPTIONS` with `Origin` and `Access-Control-Request-Method` is a preflight. It belongs to the route that takes
//! the method *it asks for*, so that a route with `methods = ["POST"]` needs no second one for `OPTIONS`, and the
//! `cors` of that route answers it: 204 for an origin that is allowed, 403 `origin_denied` for any other. No upstream
//! sees it. Where no route takes the method, the `cors` of the listener answers, and the request that follows gets
//! its 404 or 405 in a form that the script can read. A route whose `cors` is `"off"`, or that has none, treats its
//! preflights like any other `OPTIONS`. A preflight does not have the headers of the request that it is for: routes
//! that are told apart by those headers must have the same `cors`.
//!
//! # Other requests
//! The response to an allowed origin gets `Access-Control-Allow-Origin`, `-Allow-Credentials` and `-Expose-Headers`,
//! also where the gateway itself answers with a failure. Every other origin gets none of them, and its request is
//! forwarded all the same: CORS tells browsers what a script may read, and keeps nobody out. All
//! `Access-Control-*` of the upstream are replaced. `Vary: Origin` is there whenever the response depends on it,
//! whether the request had an origin or not; otherwise a shared cache would give one site's leave to another.
//!
//! # Origins
//! Scheme, host and port all count; a port that is the scheme's own is left out, as browsers do. `https://*.example.com`
//! is any number of labels, but neither `https://example.com` nor `https://evilexample.com`. Regular expressions must
//! match the whole origin, in any case of its letters. The origin `null`, which every sandboxed frame has, is allowed only where it is listed as
//! `"null"`. With `credentials`, neither `"*"` nor `"null"` is taken: any site could act as the user then.
//!
//! Patterns that are too wide are refused with `credentials`, and warned of without. That is a wildcard right below a
//! domain that everybody registers names under, `https://*.com` or `https://*.co.uk`; and an expression that matches
//! one of some strangers: `http` and `https` origins under several top-level domains, with a port and without, an
//! address, and origins made of the hosts in the expression, with more glued before the registered name
//! (`https://strangerexample.com`), another letter for a dot, or another domain behind. These find the common mistakes
//! and prove nothing: an expression that passes may still let in somebody who is not meant, and so may a wildcard below a
//! host whose subdomains are given to anybody, such as `https://*.github.io`. Prefer origins that are written out.

mod origins;
mod strangers;

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use super::vary::vary_on;
use super::{BuildScope, Hooks, OnPreflight, OnResponse};
use crate::facts::View;
use crate::response::{Code, Reply};
use crate::text::{self, Duration, Invalid, MethodName, ParsedText, Spanned, parsed_text};

pub use origins::OriginPattern;
use origins::Origins;

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The longest that any browser keeps the answer to a preflight.
const LONGEST_MAX_AGE: Duration = Duration::from_secs(86_400);

/// Which sites' scripts may read the responses.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sites: `"https://app.example.com"`, all below a host as `"https://*.example.com"`,
    /// `{ regex = "…" }`, `"null"`, or every site as `"*"`.
    pub origins: Spanned<Vec<Spanned<OriginPattern>>>,
    /// The methods that scripts may use. Default: whichever the route takes.
    #[serde(default)]
    pub methods: Vec<MethodName>,
    /// The headers that scripts may send; `"*"` for whichever they ask for. Default: those that need no leave
    /// (`accept`, `accept-language`, `content-language`, and the `content-type` of a form).
    #[serde(default)]
    pub headers: Vec<FieldName>,
    /// The response headers that scripts may read; `"*"` for all. Default: those that need no leave
    /// (`cache-control`, `content-language`, `content-length`, `content-type`, `expires`, `last-modified`, `pragma`).
    #[serde(default)]
    pub expose: Vec<Spanned<FieldName>>,
    /// Whether browsers may send cookies and other credentials along. Default: no.
    #[serde(default)]
    pub credentials: bool,
    /// How long browsers may keep the answer to a preflight; at most `"1d"`. Default: nothing is said, and browsers
    /// keep it for five seconds.
    pub max_age: Option<Spanned<Duration>>,
    /// Whether sites on the public Internet may reach this gateway on a private network, for browsers that ask.
    /// Default: no.
    #[serde(default)]
    pub private_network: bool,
}

/// A header's name, or `"*"`.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldName {
    Any,
    One(text::HeaderName),
}

impl FromStr for FieldName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<FieldName, Invalid> {
        match text {
            "*" => Ok(FieldName::Any),
            name => name.parse().map(FieldName::One),
        }
    }
}

impl ParsedText for FieldName {
    const EXPECTED: &'static str = "a header name such as \"x-request-id\"";
}

parsed_text!(
    FieldName,
    "string",
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "The name of an HTTP header, or \"*\" for every one."
);

/// Grants and denies. All that does not depend on the request is made at load.
#[derive(Debug)]
pub struct Policy {
    /// `None` for every site.
    origins: Option<Origins>,
    methods: Grant,
    headers: Grant,
    expose: Option<HeaderValue>,
    has_credentials: bool,
    max_age: Option<HeaderValue>,
    has_private_network: bool,
    vary: Option<HeaderValue>,
    preflight_vary: HeaderValue,
}

/// What is said of methods or headers in the answer to a preflight.
#[derive(Debug)]
enum Grant {
    Nothing,
    These(HeaderValue),
    /// Whatever was asked for.
    Asked,
}

impl super::Policy for Policy {
    const NAME: &'static str = "cors";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        let origins = build_origins(config, scope);
        let expose = build_expose(config, scope);
        let max_age = build_max_age(config, scope);
        let methods = config.methods.iter().map(|method| method.0.as_str());
        let is_any = config.headers.contains(&FieldName::Any);
        let vary = ["Origin"].into_iter().filter(|_| origins.is_some());
        let asked = [
            "Access-Control-Request-Method",
            "Access-Control-Request-Headers",
            "Access-Control-Request-Private-Network",
        ];
        let asked = asked
            .into_iter()
            .take(2 + usize::from(config.private_network));
        let policy = Policy {
            methods: joined(methods).map_or(Grant::Asked, Grant::These),
            headers: match joined(names(&config.headers)) {
                _ if is_any => Grant::Asked,
                None => Grant::Nothing,
                Some(names) => Grant::These(names),
            },
            expose,
            has_credentials: config.credentials,
            max_age,
            has_private_network: config.private_network,
            vary: joined(vary.clone()),
            preflight_vary: joined(vary.chain(asked))?,
            origins,
        };
        (scope.subject.error_count() == before).then_some(policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_preflight(self.clone());
        hooks.on_response(self.clone());
    }
}

/// `None` for every site.
fn build_origins(config: &Config, scope: &mut BuildScope<'_>) -> Option<Origins> {
    let mut subject = scope.subject.key("origins");
    let origins = &config.origins.value;
    if origins.is_empty() {
        subject
            .error(config.origins.span, "is empty, which allows nobody")
            .help("write cors = \"off\" to say nothing of CORS");
    }
    let place = |wanted: &OriginPattern| {
        let index = origins.iter().position(|one| one.value == *wanted)?;
        Some((index, origins.get(index)?.span))
    };
    let (any, null) = (OriginPattern::Any, OriginPattern::Exact("null".into()));
    let any = place(&any);
    if let Some((index, span)) = any.filter(|_| origins.len() > 1) {
        let mut subject = subject.index(index);
        subject.error(span, "is every origin, and stands beside others");
    }
    for (index, span) in any
        .into_iter()
        .chain(place(&null))
        .filter(|_| config.credentials)
    {
        let mut subject = subject.index(index);
        subject
            .error(
                span,
                "is any site's, which credentials = true must not be for",
            )
            .help("name the origins that may act as the user");
    }
    let built = Origins::build(origins, config.credentials, &mut subject);
    any.is_none().then_some(built)
}

fn build_expose(config: &Config, scope: &mut BuildScope<'_>) -> Option<HeaderValue> {
    let any = config
        .expose
        .iter()
        .position(|name| name.value == FieldName::Any);
    let Some(index) = any else {
        return joined(names(config.expose.iter().map(|name| &name.value)));
    };
    if config.credentials
        && let Some(name) = config.expose.get(index)
    {
        let mut subject = scope.subject.key("expose");
        let mut subject = subject.index(index);
        let what = "is a header called `*` to browsers where credentials = true";
        subject.error(name.span, what).help("name the headers");
    }
    Some(ANY)
}

fn build_max_age(config: &Config, scope: &mut BuildScope<'_>) -> Option<HeaderValue> {
    let max_age = config.max_age.as_ref()?;
    if max_age.value > LONGEST_MAX_AGE {
        let what = format!(
            "must be at most {LONGEST_MAX_AGE}, the longest that any browser keeps it, got {}",
            max_age.value
        );
        scope.subject.key("max_age").error(max_age.span, what);
    }
    Some(HeaderValue::from(max_age.as_std().as_secs()))
}

fn names<'c>(fields: impl IntoIterator<Item = &'c FieldName>) -> impl Iterator<Item = &'c str> {
    fields.into_iter().filter_map(|field| match field {
        FieldName::Any => None,
        FieldName::One(name) => Some(name.as_str()),
    })
}

/// A list as a header has it; `None` for an empty one.
fn joined<'c>(words: impl Iterator<Item = &'c str>) -> Option<HeaderValue> {
    let list = words.collect::<Vec<_>>().join(", ");
    let list = Some(list).filter(|list| !list.is_empty())?;
    Some(HeaderValue::try_from(list).expect("names and methods are tokens"))
}

impl OnPreflight for Policy {
    /// The headers are added to it like to any other response.
    fn on_preflight(&self, view: View<'_>) -> Reply {
        match self.allowed_origin(view.request) {
            Some(_) => Reply::content(StatusCode::NO_CONTENT, Vec::new(), Bytes::new()),
            None => Reply::failure(Code::OriginDenied),
        }
    }
}

impl OnResponse for Policy {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>) {
        remove_foreign(headers);
        let is_preflight = view.facts.is_preflight;
        let vary = match is_preflight {
            true => Some(&self.preflight_vary),
            false => self.vary.as_ref(),
        };
        if let Some(vary) = vary {
            vary_on(headers, vary);
        }
        let Some(origin) = self.allowed_origin(view.request) else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.has_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if is_preflight {
            self.grant(headers, &view.request.headers);
        } else if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

impl Policy {
    /// What the response may call the origin; `None` where that is not allowed.
    fn allowed_origin(&self, request: &RequestHeader) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else {
            return Some(ANY);
        };
        let mut written = request.headers.get_all(ORIGIN).iter();
        let origin = written.next().filter(|_| written.next().is_none())?;
        origins
            .contain(origin.to_str().ok()?)
            .then(|| origin.clone())
    }

    fn grant(&self, headers: &mut HeaderMap, asked: &HeaderMap) {
        let grants = [
            (
                &self.methods,
                ACCESS_CONTROL_REQUEST_METHOD,
                ACCESS_CONTROL_ALLOW_METHODS,
            ),
            (
                &self.headers,
                ACCESS_CONTROL_REQUEST_HEADERS,
                ACCESS_CONTROL_ALLOW_HEADERS,
            ),
        ];
        for (grant, wanted, name) in grants {
            let value = match grant {
                Grant::Nothing => None,
                Grant::These(value) => Some(value),
                Grant::Asked => asked.get(wanted),
            };
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        if let Some(max_age) = &self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        if self.has_private_network && asked.get(REQUEST_PRIVATE_NETWORK) == Some(&TRUE) {
            headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
    }
}

/// What an upstream says of CORS, which would be added to or contradict what is said here.
fn remove_foreign(headers: &mut HeaderMap) {
    let foreign: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
}
