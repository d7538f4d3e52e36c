//! `[identity.introspection.NAME]`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::mapping::MappingConfig;
use crate::identity::{Capacity, ClientConfig, Url};
use crate::text::{Bounded, Duration, Secret, Spanned};

/// A server that is asked about tokens (RFC 7662).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IntrospectionConfig")]
pub struct Config {
    /// The introspection endpoint.
    pub url: Spanned<Url>,
    /// By what name the gateway is known there.
    pub client_id: Box<str>,
    /// What proves it.
    pub client_secret: Spanned<Secret>,
    /// How it is proven: `"basic"`, in the `Authorization` header, or `"post"`, in the form. Default `"basic"`.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// The `iss` that an active token must have. Default: not looked at, since many servers do not say it here.
    pub issuer: Option<Box<str>>,
    /// One of these must be among the `aud` of an active token. Default: not looked at.
    #[serde(default)]
    pub audiences: Vec<Box<str>>,
    /// Which members of the answer say who calls. The subject is `sub` or, where that is not there, `client_id`.
    #[serde(default)]
    pub claims: MappingConfig,
    /// For how long an active token is not asked about again; never beyond its `exp`. A token that is revoked is let
    /// in for so long. Default `"1m"`.
    #[serde(default = "minute")]
    pub remember: Duration,
    /// For how long a token that is not active is not asked about again. Default `"10s"`.
    #[serde(default = "ten_seconds")]
    pub remember_refused: Duration,
    /// How many active tokens are remembered, from 1,000 to 100,000,000, and beside them an eighth of that of others.
    /// Those that were not shown for longest are forgotten first. Default 100,000.
    #[serde(default = "hundred_thousand")]
    pub remembered: Capacity,
    /// How many questions may be on their way to the server, from 1 to 10,000. What comes beyond that waits for as
    /// long as `client.timeout`, and then counts as not answered. Default 64.
    #[serde(default = "sixty_four")]
    pub concurrent: Bounded<1, 10_000>,
    /// What becomes of a request whose token cannot be asked about: `"refuse"` with 503, or `"allow_cached"`, which
    /// goes by the last answer as long as the token has not expired, and else refuses. Default `"refuse"`.
    #[serde(default)]
    pub on_server_down: OnServerDown,
    /// For how long after `remember` an answer is gone by with `on_server_down = "allow_cached"`. Default `"10m"`.
    #[serde(default = "ten_minutes")]
    pub allow_cached_for: Duration,
    /// How the server is asked.
    #[serde(default)]
    pub client: ClientConfig,
}

/// How the gateway proves to the server who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    #[default]
    Basic,
    Post,
}

/// What to do where the server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnIntrospectionDown")]
pub enum OnServerDown {
    #[default]
    Refuse,
    AllowCached,
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn hundred_thousand() -> Capacity {
    Capacity::new(100_000)
}

fn sixty_four() -> Bounded<1, 10_000> {
    Bounded::new(64).expect("it is within the bounds")
}
