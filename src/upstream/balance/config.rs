//! How endpoints are chosen, as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::facts::KeyBy;
use crate::text::{Bounded, Shorthand, Span, Spanned, Subject, nearest, quoted, shorthand};

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Balance {
    /// In turn, as often as the weights say and spread evenly (smooth weighted round robin, as in nginx).
    #[default]
    RoundRobin,
    /// Of two random endpoints the one with fewer requests in flight for its weight (power of two choices).
    LeastRequest,
    /// Of two random endpoints the one that answers sooner, by what it has been taking of late and the requests that
    /// it has in flight (peak EWMA).
    Ewma,
    /// Any, as often as the weights say.
    Random,
    /// Always the same one for the same key.
    Hash(HashConfig),
}

/// `balance = { hash = "header:x-user-id" }`: requests with the same key go to the same endpoint on every gateway, and
/// to another one only while that is not available. Those without a key go to any.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashConfig {
    /// What is the key: `"header:NAME"`, `"cookie:NAME"`, `"claim:NAME"`, `"path:NAME"`, `"client"`, which is its address,
    /// `"consumer"`, which is a stranger's address as well, or `"credential"`.
    pub hash: Spanned<KeyBy>,
    /// How many times its share of the requests in flight an endpoint may have, from 1.05 to 10: beyond that, keys
    /// of its own go elsewhere, so that no favourite is too much for it. Default: as many as come.
    pub max_load: Option<Spanned<f64>>,
}

const NAMES: [(&str, Balance); 4] = [
    ("round_robin", Balance::RoundRobin),
    ("least_request", Balance::LeastRequest),
    ("ewma", Balance::Ewma),
    ("random", Balance::Random),
];

/// What is no way to choose an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be \"round_robin\", \"least_request\", \"ewma\", \"random\" or a table such as {{ hash = \"header:x-user-id\" }}, got {}{}", quoted(.got), .near.map(|near| format!(", did you mean {near:?}?")).unwrap_or_default())]
pub struct UnknownBalance {
    got: Box<str>,
    near: Option<&'static str>,
}

impl FromStr for Balance {
    type Err = UnknownBalance;

    fn from_str(text: &str) -> Result<Balance, UnknownBalance> {
        let found = NAMES.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, balance)| balance).ok_or_else(|| {
            let near = nearest(text, NAMES.iter().map(|(name, _)| *name));
            let got = text.into();
            UnknownBalance { got, near }
        })
    }
}

impl From<HashConfig> for Balance {
    fn from(hash: HashConfig) -> Balance {
        Balance::Hash(hash)
    }
}

impl Shorthand for Balance {
    type Long = HashConfig;
    const EXPECTED: &'static str =
        "a name such as \"least_request\", or a table such as { hash = \"header:x-user-id\" }";
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Balance, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let hash = generator.subschema_for::<HashConfig>();
        let names: Vec<Schema> = [
            "In turn, as often as the weights say and spread evenly (smooth weighted round robin, as in nginx).",
            "Of two random endpoints the one with fewer requests in flight for its weight (power of two choices).",
            "Of two random endpoints the one that answers sooner, by what it has been taking of late and the requests that it has in flight (peak EWMA).",
            "Any, as often as the weights say.",
        ]
        .into_iter()
        .zip(NAMES)
        .map(|(what, (name, _))| json_schema!({ "type": "string", "const": name, "description": what }))
        .collect();
        json_schema!({ "oneOf": names.into_iter().chain([hash]).collect::<Vec<_>>() })
    }
}

/// Which zone is near.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZonesConfig {
    /// The zone that this gateway is in. Requests go to endpoints that say `zone = "…"` of the same name, as long as
    /// enough of them are available: with less than 72 % of them (by weight) what they cannot take goes to the others.
    pub local: Box<str>,
    /// With fewer available endpoints than this in the local zone, zones make no difference. Default 1.
    #[serde(default = "one")]
    pub at_least: Bounded<1, 1000>,
}

fn one() -> Bounded<1, 1000> {
    Bounded::new(1).expect("1 is between 1 and 1000")
}

/// Which of the endpoints are used.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubsetConfig {
    /// Labels that an endpoint must have, each with this value.
    pub labels: Spanned<BTreeMap<String, String>>,
    /// What there is to choose from while no available endpoint has them. Default `"none"`.
    #[serde(default)]
    pub fallback: SubsetFallback,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetFallback {
    /// Nothing: requests get 503 `upstream_unhealthy`.
    #[default]
    None,
    /// All endpoints.
    Any,
}

/// Reports what the types do not say of `balance`.
pub(in crate::upstream) fn check(balance: &Balance, subject: &mut Subject<'_>) {
    let Balance::Hash(hash) = balance else {
        return;
    };
    if let Some(load) = &hash.max_load
        && !(1.05..=10.0).contains(&load.value)
    {
        let what = format!("must be from 1.05 to 10, got {}", load.value);
        subject.key("max_load").error(load.span, what);
    }
    if let Some(name) = hash.hash.credential() {
        let what = format!("must not be the credential {name} itself");
        let mut subject = subject.key("hash");
        let problem = subject.error(hash.hash.span, what);
        problem.help("write hash = \"consumer\", which is who was proven to call");
    }
}

pub(in crate::upstream) fn check_subset(subset: &Spanned<SubsetConfig>, subject: &mut Subject<'_>) {
    if subset.labels.is_empty() {
        let span: Span = subset.labels.span;
        let mut subject = subject.key("labels");
        let problem = subject.error(span, "is empty: every endpoint has no labels");
        problem.help("write labels = { version = \"v2\" }, or remove subset");
    }
}
