//! `routes.NAME.aggregate` as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use super::statuses::Statuses;
use crate::text::{
    Bounded, ByteSize, Duration, Headers, Invalid, MethodName, Name, Setting, Shorthand, Spanned,
    shorthand, shorthand_schema,
};
use crate::upstream::RetryConfig;

/// Answers with what several upstreams say, as one JSON document.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AggregateConfig")]
pub struct Config {
    /// How long all of it may take. What is there by then is sent; filters of parts that still run count as late, and that of the
    /// whole, which comes last, has up to half a second more. Default `"2s"`.
    #[schemars(with = "Option<Duration>")]
    pub timeout: Option<Spanned<Duration>>,
    /// What is asked for, by name: up to 32 parts. One that names another, as `{parts.profile.body.cart_id}`, waits for it;
    /// all others are asked at once.
    #[schemars(with = "BTreeMap<Name, PartConfig>")]
    pub parts: BTreeMap<Spanned<Name>, Spanned<PartConfig>>,
    /// The whole answer, any value. A string that is nothing but `{parts.NAME}` is what was made of that part, and one that is
    /// nothing but `{parts.NAME.body.FIELD}` is that, of whatever type; what is absent is `null`. Default: an object with
    /// each part where it lands.
    pub response: Option<serde_json::Value>,
    /// A filter of jq that makes the answer of that object.
    #[schemars(with = "Option<String>")]
    pub jq: Option<Spanned<String>>,
    /// Whether the answer goes out as its parts come, once all are there that are `required`: a slow part that is not then holds
    /// back none of the others. What is missing is said at the end of the answer, which is never to be stored. Not with `response`,
    /// `jq`, `merge` and parts at `"."`. Default: no.
    #[schemars(with = "Option<bool>")]
    pub stream: Option<Spanned<bool>>,
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// How much of anything there may be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AggregateLimits")]
pub struct LimitsConfig {
    /// The largest body of a part, up to `"16MiB"`; one that is larger has failed. As much is kept for each part of a request
    /// until it is answered, text and Base64 as they are in JSON, and what is made of it up to `response_bytes`. So one request
    /// keeps this times the number of parts, which may be 256 MiB. Default `"1MiB"`.
    #[schemars(with = "Option<ByteSize>")]
    pub part_bytes: Option<Spanned<ByteSize>>,
    /// The largest answer, up to `"64MiB"`. Parts that do not fit any more have failed, those that are `required` last, and
    /// otherwise in the order of their names. Default `"4MiB"`.
    #[schemars(with = "Option<ByteSize>")]
    pub response_bytes: Option<Spanned<ByteSize>>,
    /// How deep the JSON of a part may be: arrays and objects within each other. 1 to 128. Default 64.
    pub depth: Option<Bounded<1, 128>>,
}

/// One part: what is asked for, what it means that there is no answer, and what is made of one.
///
/// Nothing of the client's request goes to the upstream but what is named here, what the route's policies send to upstreams, and
/// what any upstream is told of where it comes from: `X-Forwarded-*` and the like of a trusted hop, and `tracestate`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PartConfig")]
pub struct PartConfig {
    /// Which of its endpoints it is, where a key or a sticky session says so, is chosen by what the client has sent, and by what
    /// the part sends where the client has nothing of the kind. Parts begin no session.
    #[schemars(with = "Name")]
    pub upstream: Spanned<Name>,
    /// Default `"GET"`.
    #[schemars(with = "Option<MethodName>")]
    pub method: Option<Spanned<MethodName>>,
    /// Such as `"/carts/{parts.profile.body.cart_id}?limit={query.limit}"`. It may name parts that it waits for, path
    /// parameters as `{path.id}`, `{query.NAME}`, `{headers.NAME}` and facts of the request. Whatever stands there is
    /// percent-encoded.
    #[schemars(with = "String")]
    pub path: Spanned<String>,
    /// Parameters, which may name the same. One that names a header or a parameter that the client has not sent is left out.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Headers, like `query`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: Headers<Spanned<String>>,
    /// A body, any value, sent as `application/json`. A string that is nothing but `{parts.NAME.body.FIELD}` is that, of
    /// whatever type; what is absent is `null`.
    pub json: Option<serde_json::Value>,
    /// A body of text, sent as `text/plain; charset=utf-8` where `headers` names no other type. What it names stands in it as it
    /// is, escaped for no format: in JSON, XML or a form, what a client or another upstream has sent could say more than a
    /// value. For JSON write `json` instead, which escapes.
    #[schemars(with = "Option<String>")]
    pub body: Option<Spanned<String>>,
    /// How long its answer may take, from when it is asked, tries that fail included. Default: what is left of the whole.
    #[schemars(with = "Option<Duration>")]
    pub timeout: Option<Spanned<Duration>>,
    /// When it is asked again. Default: as the upstream has it.
    #[schemars(with = "Option<RetryConfig>")]
    pub retry: Option<Spanned<RetryConfig>>,
    /// For how long an answer is kept for whoever asks for the same: `"60s"`, or a table. What the request names of who calls
    /// and of the client is part of what is asked for.
    #[schemars(with = "Option<Setting<PartCache>>")]
    pub cache: Option<Setting<Spanned<PartCache>>>,
    /// A CEL expression: where it is false, the part is left out, and nothing is missing. It may name `parts.NAME.body`,
    /// `.status` and `.headers["NAME"]` of parts that it waits for.
    #[schemars(with = "Option<String>")]
    pub when: Option<Spanned<String>>,
    /// Whether there is no answer at all without it. Default: no.
    #[schemars(with = "Option<bool>")]
    pub required: Option<Spanned<bool>>,
    /// What stands for the answer where there is none, as it lands: nothing is made of it any more. Any value but null.
    pub default: Option<serde_json::Value>,
    /// Statuses that are an answer, such as `["2xx", "404"]`. With any other the part has failed. Default `["2xx"]`, but for
    /// 206.
    #[schemars(with = "Option<Vec<Statuses>>")]
    pub accept: Option<Spanned<Vec<Spanned<Statuses>>>>,
    /// What the body is taken for. Default `"json"`.
    #[schemars(with = "Option<As>")]
    pub r#as: Option<Spanned<As>>,
    /// A filter of jq that makes one value of the body, instead of `pick`, `drop`, `move`, `rename` and `flatten`.
    #[schemars(with = "Option<String>")]
    pub jq: Option<Spanned<String>>,
    /// The fields that are kept: `["id", "items[].price"]`. Fields of an array are those of each of its elements.
    #[schemars(with = "Option<Vec<String>>")]
    pub pick: Option<Spanned<Vec<Spanned<String>>>>,
    /// The fields that are left out.
    #[schemars(with = "Option<Vec<String>>")]
    pub drop: Option<Spanned<Vec<Spanned<String>>>>,
    /// Fields that go elsewhere in the part: `{ "user.address.city" = "city" }`. Not through arrays.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub r#move: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Fields that get another name where they are: `{ "items[].cost" = "price" }`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub rename: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Arrays of arrays that become one: `["groups", "orders[].lines"]`; `"."` is the whole.
    #[schemars(with = "Option<Vec<String>>")]
    pub flatten: Option<Spanned<Vec<Spanned<String>>>>,
    /// Where it lands in the answer: `"user.cart"`; `"."` puts the fields that it picks among those of the answer itself.
    /// Default: under its name.
    #[schemars(with = "Option<String>")]
    pub at: Option<Spanned<String>>,
    /// How it becomes one with what has landed there already. Default: nothing has.
    #[schemars(with = "Option<Merge>")]
    pub merge: Option<Spanned<Merge>>,
}

/// What a body is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum As {
    /// JSON of any kind. No body at all is null.
    #[default]
    Json,
    /// UTF-8 that becomes a string.
    Text,
    /// Any bytes, which become a string of Base64 (RFC 4648 section 4).
    Base64,
    /// JSON that becomes an array: what is none is its only element, and null is an empty one.
    Array,
    /// JSON, of which an array's first element counts: null where it is empty.
    First,
    /// A scalar that becomes a string.
    String,
    /// A number, or a string that is one.
    Number,
    /// True or false, or a string that is one.
    Boolean,
}

/// How a part becomes one with what others have put in its place. Where nothing has, because the others have failed, arrays and
/// fields stand for themselves, and `by` has nothing to add to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "PartMerge")]
pub enum Merge {
    /// Two arrays: its elements come behind those that are there.
    Concat,
    /// Two objects: its fields are added, where there are none of their names.
    Fields,
    /// Two arrays of objects: the fields of an element are added to those of the element that has the same value in this field.
    /// Elements that have no such counterpart are left out.
    By(String),
    /// As `by`, and elements that have no counterpart come behind the others.
    Union(String),
}

/// For how long an answer of a part is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartCache {
    /// Whatever the response says; where it is not given, as the response says.
    pub ttl: Option<Duration>,
    pub stale_while_revalidate: Option<Duration>,
    pub stale_if_error: Option<Duration>,
    pub collapse: Option<Setting<Duration>>,
}

/// The long form.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PartCacheTable")]
pub struct PartCacheTable {
    /// For how long an answer is fresh, whatever it says itself. It does not make storable what is not. Default: as the
    /// response says.
    pub ttl: Option<Duration>,
    /// For how long one is used that is stale, while a new one is fetched. Default: not at all.
    pub stale_while_revalidate: Option<Duration>,
    /// For how long one is used that is stale, where no new one can be had. Default: not at all.
    pub stale_if_error: Option<Duration>,
    /// How long who asks for what is being fetched already waits for that. Default `"5s"`.
    pub collapse: Option<Setting<Duration>>,
}

impl FromStr for PartCache {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<PartCache, Invalid> {
        let ttl = Some(text.parse()?);
        Ok(PartCache {
            ttl,
            ..PartCache::default()
        })
    }
}

impl From<PartCacheTable> for PartCache {
    fn from(table: PartCacheTable) -> PartCache {
        PartCache {
            ttl: table.ttl,
            stale_while_revalidate: table.stale_while_revalidate,
            stale_if_error: table.stale_if_error,
            collapse: table.collapse,
        }
    }
}

impl Shorthand for PartCache {
    type Long = PartCacheTable;

    const EXPECTED: &'static str = "a duration such as \"60s\", or a table";
}

impl<'de> Deserialize<'de> for PartCache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PartCache, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for PartCache {
    fn schema_name() -> Cow<'static, str> {
        "PartCache".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        shorthand_schema::<Self>(generator)
    }
}
