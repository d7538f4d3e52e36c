//! `[upstreams.NAME]` as written.

use std::collections::{BTreeMap, HashMap};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::health::HealthConfig;
use super::{
    Balance, BreakerConfig, OutlierConfig, RetryConfig, StickyConfig, SubsetConfig, ZonesConfig,
};
use crate::discovery;
use crate::limits::{GradientConfig, QueueConfig};
use crate::text::{
    Bounded, Duration, ENGINE_OWNED, EndpointAddress, HeaderName, Host, Ratio, Secret, Shorthand,
    Span, Spanned, Subject, is_engine_owned, shorthand, shorthand_schema,
};

/// A group of endpoints that serve the same thing.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["endpoints"] }, { "required": ["discovery"] }]))]
pub struct Config {
    /// Where to send requests: `"host:port"` or `{ address = "host:port", weight = 2 }`. A host name is resolved
    /// at start and again every ten seconds; each of its addresses is an endpoint. `"unix:/path"` is a Unix
    /// socket. Either this or `discovery` must be there.
    pub endpoints: Option<Spanned<Vec<Spanned<EndpointConfig>>>>,
    /// Who knows where to send requests, instead of `endpoints`. Its last answer stays in use while it does not answer,
    /// and is kept in `gateway.state_dir` for a start in that time.
    pub discovery: Option<Spanned<discovery::Config>>,
    /// How an endpoint is chosen. Default `"round_robin"`.
    #[serde(default)]
    pub balance: Balance,
    /// Sessions that stay with an endpoint, by a cookie. Default: they do not.
    pub sticky: Option<Spanned<StickyConfig>>,
    /// Endpoints of the local zone come first. Default: zones make no difference.
    pub zones: Option<ZonesConfig>,
    /// Only endpoints with certain labels are used. Default: all of them.
    pub subset: Option<Spanned<SubsetConfig>>,
    /// For how long an endpoint that is new, or healthy again, gets less than its share: a tenth at first, and more in
    /// proportion to the time. Where a key goes by its hash it makes no difference but for `max_load`. Default: it gets its share at once.
    pub slow_start: Option<Duration>,
    /// With a smaller part of the endpoints healthy than this (by weight), and no other priority that could take their
    /// requests, all of them are used: then many checks are more likely to be wrong than so many endpoints. `0.5` is
    /// what other proxies do. Default: never, so that nothing goes to an endpoint that is known to be down while another
    /// one is up, and 503 comes at once where none is.
    pub panic_threshold: Option<Ratio>,
    /// What the endpoints speak.
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Which requests are sent again, and when: by default those that have certainly done nothing yet, to another
    /// endpoint, and such as are idempotent where a kept connection was closed under them. A route may have it its own
    /// way.
    pub retry: Option<Spanned<RetryConfig>>,
    /// A header that tells the endpoints how many milliseconds a try may take, where that is limited: by `timeouts.per_try`,
    /// by the route's `timeout` or by the `grpc-timeout` of a caller. What clients send under its name is dropped. Calls of
    /// gRPC are told by `grpc-timeout` in any case. Default: none.
    pub deadline_header: Option<Spanned<HeaderName>>,
    /// Active health checks. Without them every endpoint counts as healthy.
    pub health: Option<Spanned<HealthConfig>>,
    /// Speaks TLS to the endpoints. Their certificates are verified.
    pub tls: Option<Spanned<TlsConfig>>,
    /// How many requests it may have at a time, over all endpoints; a WebSocket is one until it is closed. Beyond that
    /// they wait in `queue`, or get 503 `upstream_busy`. Default: as many as come.
    pub max_in_flight: Option<NonZeroU32>,
    /// Requests that wait for their turn where there are too many, the more important first (`criticality` of routes
    /// and plans). Default: none waits.
    pub queue: Option<Spanned<QueueConfig>>,
    /// Learns from how long answers take how many requests are good to have at a time, up to `max_in_flight`. Default:
    /// that is not learned.
    pub adaptive_concurrency: Option<Spanned<GradientConfig>>,
    /// Takes endpoints out for a while that do badly. Default: none is.
    pub outliers: Option<Spanned<OutlierConfig>>,
    /// Leaves the upstream alone for a while when too many tries on it fail or are slow: requests get 503 `circuit_open` at
    /// once. Default: it is asked however it does.
    pub breaker: Option<BreakerConfig>,
    /// The same for each endpoint by itself: while it is left alone, the others are asked. Default: none is left alone.
    pub endpoint_breaker: Option<BreakerConfig>,
}

impl Config {
    /// Reports what its parts cannot see.
    pub(super) fn check(&self, name: &str, span: Span, subject: &mut Subject<'_>) {
        self.check_endpoints(span, subject);
        self.check_tries(span, subject);
        if let Some(health) = &self.health {
            health.check(health.span, self.tls.is_some(), &mut subject.key("health"));
        }
        if let Some(outliers) = &self.outliers {
            outliers.check(outliers.span, &mut subject.key("outliers"));
        }
        match (self.protocol, &self.tls) {
            (Protocol::H2, None) => {
                subject
                    .key("protocol")
                    .error(span, "\"h2\" is HTTP/2 over TLS, but tls is not set")
                    .help(format!(
                        "add [upstreams.{name}.tls], or write protocol = \"h2c\" for HTTP/2 without TLS"
                    ));
            }
            (Protocol::H2c, Some(tls)) => {
                subject
                    .key("protocol")
                    .error(tls.span, "\"h2c\" is HTTP/2 without TLS, but tls is set")
                    .help(format!(
                        "write protocol = \"h2\" in [upstreams.{name}], or remove tls"
                    ));
            }
            _ => {}
        }
    }

    fn check_tries(&self, span: Span, subject: &mut Subject<'_>) {
        if let Some(retry) = &self.retry {
            retry.check(&mut subject.key("retry"));
            if self.protocol.is_h2() {
                retry.refuse_hedge(&mut subject.key("retry"));
            }
        }
        if let Some(header) = &self.deadline_header
            && (is_engine_owned(header) || header.as_str() == "grpc-timeout")
        {
            let mut subject = subject.key("deadline_header");
            let what = match is_engine_owned(header) {
                true => ENGINE_OWNED,
                false => "is written in any case, in units of its own",
            };
            let problem = subject.error(header.span, what);
            problem.help("take a header of your own, such as \"x-request-timeout\"");
        }
        if self.timeouts.tls.is_some() && self.tls.is_none() {
            let mut timeouts = subject.key("timeouts");
            let mut subject = timeouts.key("tls");
            let problem = subject.error(span, "is for TLS, but tls is not set");
            problem.help("remove it, or add tls");
        }
    }

    fn check_endpoints(&self, span: Span, subject: &mut Subject<'_>) {
        let list = match (&self.endpoints, &self.discovery) {
            (Some(list), None) => list,
            (None, Some(_)) => return,
            (None, None) => {
                subject
                    .error(span, "needs endpoints or discovery")
                    .help("write endpoints = [\"10.0.0.5:8002\"]");
                return;
            }
            (Some(list), Some(discovery)) => {
                subject
                    .key("discovery")
                    .error(discovery.span, "is set, and so is endpoints")
                    .also(list.span, "the endpoints")
                    .help("remove one of the two");
                return;
            }
        };
        let mut endpoints = subject.key("endpoints");
        if list.is_empty() {
            endpoints
                .error(list.span, "is empty; an upstream needs at least one")
                .help("write endpoints = [\"10.0.0.5:8002\"]");
        }
        let mut known = HashMap::new();
        for (index, endpoint) in list.iter().enumerate() {
            if let Some(first) = known.insert(&endpoint.address, endpoint.span) {
                endpoints
                    .index(index)
                    .warning(endpoint.span, "is in the list twice")
                    .also(first, "first here")
                    .help("for a larger share, write { address = \"…\", weight = 2 }");
            }
        }
    }
}

/// One endpoint of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConfig {
    pub address: EndpointAddress,
    pub weight: NonZeroU16,
    pub priority: u8,
    pub zone: Option<Arc<str>>,
    pub labels: discovery::Labels,
}

/// An endpoint as a table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndpointTable")]
pub struct LongEndpoint {
    /// `"10.0.0.5:8002"`, `"[2001:db8::5]:8002"`, `"orders.internal:8002"` or `"unix:/run/orders.sock"`.
    address: EndpointAddress,
    /// The share of requests that it gets, relative to the others: 1 to 1000.
    #[serde(default = "one")]
    weight: Weight,
    /// Endpoints of a lower number come first; those of the next one get what they cannot take, as soon as less than
    /// 72 % of them (by weight) are healthy: 0 to 255. Default 0.
    #[serde(default)]
    priority: u8,
    /// Where it is, for `zones`.
    zone: Option<String>,
    /// What else there is to say of it, for `subset`.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl From<LongEndpoint> for EndpointConfig {
    fn from(long: LongEndpoint) -> Self {
        let labels = long.labels.into_iter();
        EndpointConfig {
            address: long.address,
            weight: NonZeroU16::new(long.weight.get()).unwrap_or(NonZeroU16::MIN),
            priority: long.priority,
            zone: long.zone.map(Arc::from),
            labels: labels
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

impl Shorthand for EndpointConfig {
    type Long = LongEndpoint;
    const EXPECTED: &'static str = "an address such as \"10.0.0.5:8002\", or a table such as { address = \"10.0.0.5:8002\", weight = 2 }";
}

impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for EndpointConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

/// Each unit of weight is a place in the order in which endpoints take turns, which bounds it.
type Weight = Bounded<1, 1000>;

fn one() -> Weight {
    Weight::new(1).expect("1 is between 1 and 1000")
}

impl std::str::FromStr for EndpointConfig {
    type Err = <EndpointAddress as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(EndpointConfig {
            address: text.parse()?,
            weight: NonZeroU16::MIN,
            priority: 0,
            zone: None,
            labels: discovery::Labels::default(),
        })
    }
}

/// What an upstream's endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1, over TLS where `tls` is set.
    #[default]
    #[serde(rename = "http/1.1")]
    Http11,
    /// HTTP/2 over TLS, agreed on by ALPN.
    H2,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// gRPC: HTTP/2, over TLS where `tls` is set, else by prior knowledge.
    Grpc,
}

impl Protocol {
    pub fn is_h2(self) -> bool {
        self != Protocol::Http11
    }
}

/// How long to wait for an upstream. None of these can be infinite.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the connection; the handshake of TLS included, unless `tls` is set. Default `"2s"`.
    pub connect: Duration,
    /// For the handshake of TLS by itself, behind `connect`. Default: it has what `connect` leaves to it.
    pub tls: Option<Duration>,
    /// From the end of the request to the first byte of the response. Default `"30s"`.
    pub first_byte: Duration,
    /// The longest silence inside a response, an event stream, a call of gRPC or a WebSocket, and the longest
    /// time in which the upstream takes nothing of a request that is being sent to it. Default `"60s"`.
    pub idle: Duration,
    /// For each try, from the choice of an endpoint to the header of the response, or from the end of the request where
    /// that comes later. Default: no more than `connect` and `first_byte` say.
    pub per_try: Option<Duration>,
    /// How long an unused connection is kept for the next request. Default `"60s"`.
    pub keepalive: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(2),
            tls: None,
            per_try: None,
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            keepalive: Duration::from_secs(60),
        }
    }
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The name that the endpoint's certificate must be for, sent as SNI. Default: the host of its address.
    #[serde(deserialize_with = "host")]
    #[schemars(with = "Option<Host>")]
    pub sni: Option<Box<str>>,
    /// PEM file with the authorities to trust instead of the system's.
    pub ca: Option<Spanned<PathBuf>>,
    /// Shown to endpoints that ask for one.
    pub client_certificate: Option<CertificateConfig>,
    /// Talks to an endpoint whoever it is: anybody on the way can read and change everything. `check` warns.
    pub insecure_skip_verify: bool,
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    Host::deserialize(deserializer).map(|host| Some(host.into_inner()))
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    pub cert: Spanned<PathBuf>,
    pub key: Spanned<Secret>,
}
