//! Parts of a whole: `0.5` or `"50%"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// More than nothing, up to all: a number such as `0.5`, or a percentage such as `"50%"`. Exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000;

impl Ratio {
    pub const ALL: Ratio = Ratio(WHOLE);

    /// `None` for 0, and for more than 100.
    pub const fn percent(percent: u32) -> Option<Ratio> {
        match percent {
            1..=100 => Some(Ratio(percent * (WHOLE / 100))),
            _ => None,
        }
    }

    pub fn of_number(number: f64) -> Option<Ratio> {
        let millionths = (number * f64::from(WHOLE)).round();
        // What is no number is in no range.
        let is_part = (1.0..=f64::from(WHOLE)).contains(&millionths);
        is_part.then_some(Ratio(millionths as u32))
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Between 1 and 1,000,000.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `part` is as much of `whole` as this, or more. Nothing is no part of nothing.
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * u128::from(WHOLE) >= u128::from(whole) * u128::from(self.0)
    }

    /// So much of that, rounded down.
    pub fn of(self, whole: usize) -> usize {
        let part = whole as u128 * u128::from(self.0) / u128::from(WHOLE);
        usize::try_from(part).unwrap_or(whole)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.as_f64() * 100.0)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Part)
    }
}

struct Part;

impl Visitor<'_> for Part {
    type Value = Ratio;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of the whole such as 0.5 or \"50%\"")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Ratio, E> {
        Ratio::of_number(number).ok_or_else(|| wrong(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Ratio, E> {
        match number {
            1 => Ok(Ratio::ALL),
            _ => Err(wrong(number)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Ratio, E> {
        match number {
            1 => Ok(Ratio::ALL),
            _ => Err(wrong(number)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ratio, E> {
        let number = text.strip_suffix('%');
        // Digits and a point alone: the machine's reader takes "inf" and "1e1" as well.
        let is_plain = |text: &&str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        let number = number.filter(is_plain).and_then(|it| it.parse().ok());
        let ratio = number.and_then(|percent: f64| Ratio::of_number(percent / 100.0));
        ratio.ok_or_else(|| wrong(super::quoted(text)))
    }
}

fn wrong<E: Error>(got: impl fmt::Display) -> E {
    E::custom(format_args!(
        "must be more than 0 and at most 1, such as 0.5 or \"50%\", got {got}"
    ))
}

impl JsonSchema for Ratio {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "number", "exclusiveMinimum": 0, "maximum": 1 },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::json;
    use super::*;

    #[test]
    fn numbers_and_percentages_are_parts() {
        let check = |written: &str, expected: Option<u32>| {
            let read = json::<Ratio>(written);
            assert_eq!(
                read.as_ref().ok().map(|read| read.millionths()),
                expected,
                "{written}"
            );
            if let Err(error) = read {
                assert!(error.contains("0.5 or \"50%\""), "{error}");
            }
        };
        check("0.5", Some(500_000));
        check("1", Some(WHOLE));
        check("1.0", Some(WHOLE));
        check("\"50%\"", Some(500_000));
        check("\"100%\"", Some(WHOLE));
        check("\"0.1%\"", Some(1000));
        check("0.000001", Some(1));
        for wrong in [
            "0", "0.0", "-0.5", "1.01", "2", "50", "\"50\"", "\"0%\"", "\"101%\"", "\"%\"",
            "\"-5%\"", "\"inf%\"", "\"1e1%\"", "\"5 %\"", "true", "[]",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn parts_are_compared_exactly() {
        let half = Ratio::percent(50).unwrap();
        for (part, whole, expected) in [
            (0, 0, false),
            (1, 2, true),
            (10, 20, true),
            (9, 20, false),
            (u64::MAX, u64::MAX, true),
            (0, 5, false),
        ] {
            assert_eq!(half.is_reached(part, whole), expected, "{part} of {whole}");
        }
        assert_eq!((half.of(5), half.of(1), Ratio::ALL.of(7)), (2, 0, 7));
        assert_eq!(half.to_string(), "50%");
    }
}
