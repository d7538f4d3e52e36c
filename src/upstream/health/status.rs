//! Statuses that are expected: `200`, `"200-299"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::text::quoted;

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

/// Why something is no such range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a status such as 200, or a range such as \"200-299\", got {}", quoted(.got))]
pub struct InvalidStatusRange {
    got: Box<str>,
}

impl StatusRange {
    /// 200 to 299.
    pub(super) const SUCCESS: StatusRange = StatusRange {
        first: 200,
        last: 299,
    };

    fn new(first: u16, last: u16) -> Option<StatusRange> {
        let is_range = (200..=599).contains(&first) && (first..=599).contains(&last);
        is_range.then_some(StatusRange { first, last })
    }

    pub fn contains(&self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl FromStr for StatusRange {
    type Err = InvalidStatusRange;

    fn from_str(text: &str) -> Result<StatusRange, InvalidStatusRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| text.parse().ok()).flatten()
        };
        let range = number(first)
            .zip(number(last))
            .and_then(|(first, last)| StatusRange::new(first, last));
        range.ok_or_else(|| InvalidStatusRange { got: text.into() })
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl Visitor<'_> for Written {
    type Value = StatusRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as 200, or a range such as \"200-299\"")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<StatusRange, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<StatusRange, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StatusRange, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for StatusRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 599 },
            { "type": "string", "pattern": "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_ends() {
        let check = |written: &str, expected: Option<(u16, u16)>| {
            let read: Result<StatusRange, _> = written.parse();
            assert_eq!(
                read.ok().map(|it| (it.first, it.last)),
                expected,
                "{written}"
            );
        };
        check("200", Some((200, 200)));
        check("200-299", Some((200, 299)));
        check("599", Some((599, 599)));
        for wrong in [
            "",
            "199",
            "600",
            "99",
            "2000",
            "299-200",
            "200-",
            "-200",
            "+200",
            "2xx",
            "200 - 299",
        ] {
            check(wrong, None);
        }
        let range: StatusRange = "200-204".parse().unwrap();
        let contains = |status: u16| range.contains(StatusCode::from_u16(status).unwrap());
        assert_eq!(
            [199, 200, 204, 205].map(contains),
            [false, true, true, false]
        );
    }
}
