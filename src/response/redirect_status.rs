//! The statuses that send a client elsewhere, as options have them.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A status that sends a client elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(StatusCode);

impl RedirectStatus {
    pub fn code(self) -> StatusCode {
        self.0
    }
}

impl Default for RedirectStatus {
    fn default() -> RedirectStatus {
        RedirectStatus(StatusCode::PERMANENT_REDIRECT)
    }
}

impl<'de> Deserialize<'de> for RedirectStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = RedirectStatus;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("301, 302, 303, 307 or 308")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RedirectStatus, E> {
        Ok(RedirectStatus(match number {
            301 => StatusCode::MOVED_PERMANENTLY,
            302 => StatusCode::FOUND,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            _ => return Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }))
    }
}

impl JsonSchema for RedirectStatus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [301, 302, 303, 307, 308] })
    }
}
