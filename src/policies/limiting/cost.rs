//! What a request costs: `cost = 5`, `cost = 'request.method == "POST" ? 10 : 1'`, `response_cost = "x-cost"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::facts::{Expression, Variables, View};
use crate::text::{HeaderName, Invalid, Shorthand, Spanned, Subject, shorthand, shorthand_schema};

/// The most that one request can cost.
pub const MOST: u64 = 1_000_000;

/// What requests cost where nothing is said, and those for which an expression has no value.
const USUAL: u64 = 1;

/// A number, or an expression in CEL.
#[derive(Clone, Debug, PartialEq)]
pub enum CostConfig {
    Constant(u64),
    Expression(String),
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = CostConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {MOST} or an expression in CEL")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CostConfig, E> {
        Ok(CostConfig::Expression(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<CostConfig, E> {
        let cost = u64::try_from(number).ok().filter(|cost| *cost <= MOST);
        let wrong = || E::invalid_value(serde::de::Unexpected::Signed(number), &self);
        cost.map(CostConfig::Constant).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for CostConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CostConfig, D::Error> {
        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for CostConfig {
    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": MOST }, { "type": "string" }],
            "description": "A whole number, or an expression in CEL whose answer is a number.",
        })
    }
}

/// What a request costs, known before it goes on.
#[derive(Debug)]
pub enum Cost {
    Constant(u64),
    Expression(Box<Expression<f64>>),
}

impl Cost {
    /// `None` after a diagnostic.
    pub fn build(
        config: Option<&Spanned<CostConfig>>,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Cost> {
        let Some(config) = config else {
            return Some(Cost::Constant(USUAL));
        };
        match &config.value {
            CostConfig::Constant(cost) => Some(Cost::Constant(*cost)),
            CostConfig::Expression(text) => {
                let text = Spanned::new(text.clone(), config.span);
                let expression = Expression::build(&text, variables, subject)?;
                Some(Cost::Expression(Box::new(expression)))
            }
        }
    }

    pub fn of(&self, view: View<'_>) -> u64 {
        match self {
            Cost::Constant(cost) => *cost,
            Cost::Expression(expression) => evaluate(expression, view),
        }
    }
}

fn evaluate(expression: &Expression<f64>, view: View<'_>) -> u64 {
    match expression.evaluate(view) {
        // It is finite, and `as` stays within the bounds.
        Ok(cost) if cost >= 0.0 => (cost.ceil() as u64).min(MOST),
        Ok(_) | Err(_) => USUAL,
    }
}

/// A header of the response that says what the request has cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseCost {
    header: HeaderName,
    keep: bool,
}

/// The long form.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResponseCost")]
pub struct ResponseCostTable {
    /// The header, whose value is a whole number; what is none does not count, and what is over a million counts as a
    /// million. Several values are added up.
    header: HeaderName,
    /// Whether clients see it too. Default `false`.
    #[serde(default)]
    keep: bool,
}

impl From<ResponseCostTable> for ResponseCost {
    fn from(ResponseCostTable { header, keep }: ResponseCostTable) -> ResponseCost {
        ResponseCost { header, keep }
    }
}

impl FromStr for ResponseCost {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<ResponseCost, Invalid> {
        let header = text.parse()?;
        Ok(ResponseCost {
            header,
            keep: false,
        })
    }
}

impl Shorthand for ResponseCost {
    type Long = ResponseCostTable;
    const EXPECTED: &'static str = "a header such as \"x-cost\", or a table with it";
}

impl<'de> Deserialize<'de> for ResponseCost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ResponseCost, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for ResponseCost {
    fn schema_name() -> Cow<'static, str> {
        "ResponseCostOrHeader".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        shorthand_schema::<Self>(generator)
    }
}

impl ResponseCost {
    /// What the response says, if it does: of several values the sum.
    pub fn read(&self, headers: &HeaderMap) -> Option<u64> {
        let name: &http::HeaderName = &self.header;
        let lines = headers.get_all(name).iter();
        // Lines can be joined to one with commas (RFC 9110 section 5.3).
        let values = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let costs = values.filter_map(|value| whole(value.trim_ascii()));
        costs.reduce(|sum, cost| (sum + cost).min(MOST))
    }

    /// Takes the header out of a response, unless clients are to see it.
    pub fn hide(&self, headers: &mut HeaderMap) {
        if !self.keep {
            headers.remove::<&http::HeaderName>(&self.header);
        }
    }
}

/// A whole number of digits alone. What is over the most counts as that: who costs too much must not be free.
fn whole(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some((number * 10 + digit).min(MOST))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_whole_numbers() {
        let check =
            |value: &str, expected| assert_eq!(whole(value.as_bytes()), expected, "{value}");
        check("0", Some(0));
        check("17", Some(17));
        check("007", Some(7));
        check("1000000", Some(MOST));
        check("1000001", Some(MOST));
        check("99999999999999999999999", Some(MOST));
        check("", None);
        check("-1", None);
        check("+1", None);
        check("1.5", None);
        check(" 1", None);
        check("1, 2", None);
    }

    #[test]
    fn several_costs_are_added_up() {
        let cost: ResponseCost = "x-cost".parse().unwrap();
        let check = |lines: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-cost", http::HeaderValue::from_static(line));
            }
            assert_eq!(cost.read(&headers), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["none"], None);
        check(&["3"], Some(3));
        check(&["3", "0", "4"], Some(7));
        check(&["3, 4", "none", "5"], Some(12));
        check(&["999999", "2"], Some(MOST));
    }
}
