//! `[upstreams.NAME]` as written.

use std::num::NonZeroU16;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Balance;
use crate::text::{
    Duration, EndpointAddress, Secret, Shorthand, Spanned, shorthand, shorthand_schema,
};

/// A group of endpoints that serve the same thing.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to send requests: `"host:port"` or `{ address = "host:port", weight = 2 }`. A host name is resolved
    /// at start and again every ten seconds; each of its addresses is an endpoint. `"unix:/path"` is a Unix
    /// socket.
    pub endpoints: Vec<EndpointConfig>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// What the endpoints speak.
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Active health checks. Without them every endpoint counts as healthy.
    pub health: Option<HealthConfig>,
    /// Speaks TLS to the endpoints. Their certificates are verified.
    pub tls: Option<Spanned<TlsConfig>>,
}

/// One endpoint of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConfig {
    pub address: EndpointAddress,
    pub weight: NonZeroU16,
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
    weight: NonZeroU16,
}

impl From<LongEndpoint> for EndpointConfig {
    fn from(LongEndpoint { address, weight }: LongEndpoint) -> Self {
        EndpointConfig { address, weight }
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

fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

impl std::str::FromStr for EndpointConfig {
    type Err = <EndpointAddress as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(EndpointConfig {
            address: text.parse()?,
            weight: one(),
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
    /// For the connection, TLS included. Default `"2s"`.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response. Default `"30s"`.
    pub first_byte: Duration,
    /// The longest silence inside a request, a response, an event stream or a WebSocket. Default `"60s"`.
    pub idle: Duration,
    /// How long an unused connection is kept for the next request. Default `"60s"`.
    pub keepalive: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            keepalive: Duration::from_secs(60),
        }
    }
}

/// Active health checks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The path to GET; any status from 200 to 299 is healthy. Without it, a connection that can be opened is.
    pub http: Option<HealthPath>,
    /// Between two checks of an endpoint; each wait is shortened or lengthened by up to a tenth, so that nodes
    /// do not check in step. Default `"5s"`.
    #[serde(default = "five_seconds")]
    pub interval: Duration,
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct HealthPath(Box<str>);

impl HealthPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HealthPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<HealthPath, Self::Error> {
        let is_path = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
        if is_path {
            Ok(HealthPath(text.into()))
        } else {
            Err("must be a path such as \"/healthz\"")
        }
    }
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The name that the endpoint's certificate must be for, sent as SNI. Default: the host of its address.
    pub sni: Option<Box<str>>,
    /// PEM file with the authorities to trust instead of the system's.
    pub ca: Option<Spanned<PathBuf>>,
    /// Shown to endpoints that ask for one.
    pub client_certificate: Option<Spanned<CertificateConfig>>,
    /// Talks to an endpoint whoever it is: anybody on the way can read and change everything. `check` warns.
    pub insecure_skip_verify: bool,
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    pub cert: PathBuf,
    pub key: Secret,
}
