//! How much may be remembered.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// How many of something are remembered: from 1,000, below which it could just as well not be, to 100,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(u32);

const LEAST: u32 = 1_000;
const MOST: u32 = 100_000_000;

impl Capacity {
    /// For defaults in the program.
    pub const fn new(number: u32) -> Capacity {
        assert!(number >= LEAST && number <= MOST, "not within its bounds");
        Capacity(number)
    }

    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u32(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = Capacity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Capacity, E> {
        let within = u32::try_from(number).ok();
        let within = within.filter(|number| (LEAST..=MOST).contains(number));
        let capacity = within.map(Capacity);
        capacity.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Capacity, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl JsonSchema for Capacity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Capacity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_included() {
        let read = |text: &str| {
            serde_json::from_str::<Capacity>(text)
                .ok()
                .map(Capacity::get)
        };
        assert_eq!(read("1000"), Some(1_000));
        assert_eq!(read("100000000"), Some(100_000_000));
        for wrong in [
            "0",
            "999",
            "100000001",
            "-1000",
            "18446744073709551615",
            "1e4",
            "\"1000\"",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
