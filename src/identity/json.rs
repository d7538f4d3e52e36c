//! JSON as it may stand in tokens and key sets: objects in which no name comes twice.
//!
//! RFC 8259 leaves open what a name that comes twice means, so that the one who checks a token and the one who uses it
//! may read different claims in it. RFC 7515 section 4 and RFC 7519 section 4 let a reader refuse such objects, and
//! this one does, at every depth.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Objects and arrays within each other. The deepest of real tokens have four.
const DEEPEST: usize = 16;

/// Reads one object and nothing else. The error never goes to a client.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { deeper: DEEPEST }.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::custom("is no object")),
    }
}

/// Reads one value that may hold this many levels of others.
struct Strict {
    deeper: usize,
}

impl Strict {
    fn within<E: Error>(&self) -> Result<Strict, E> {
        match self.deeper.checked_sub(1) {
            Some(deeper) => Ok(Strict { deeper }),
            None => Err(E::custom("is nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("is no finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(self.within()?)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.within()?)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("has a name twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_good: bool) {
        let read = parse_object(text.as_bytes());
        assert_eq!(read.is_ok(), is_good, "{text}: {read:?}");
        if let Ok(object) = read {
            let plain: Value = serde_json::from_str(text).expect("it was read before");
            assert_eq!(Value::Object(object), plain, "{text}");
        }
    }

    #[test]
    fn what_is_read_is_what_stands_there() {
        check("{}", true);
        check(
            r#"{"a":1,"b":-2,"c":1.5,"d":"x","e":[true,null,{"f":"\u00e4"}]}"#,
            true,
        );
        check("\t {\"a\" : 18446744073709551615}\n", true);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":2}"#, false);
        check(r#"{"a":{"b":1,"b":2}}"#, false);
        check(r#"{"a":[{"b":1,"b":2}]}"#, false);
        check(r#"{"a":1}{"b":2}"#, false);
        check(r#"{"a":1}x"#, false);
        check("{\"a\":1}\0", false);
        check("\u{feff}{}", false);
    }

    #[test]
    fn other_values_and_malformed_ones() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\n\"}",
            "/**/{}",
        ] {
            check(text, false);
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        check(&nested(DEEPEST - 1), true);
        check(&nested(DEEPEST), false);
        check(&nested(100_000), false);
    }
}
