//! What all values written as text share: how they are read from a configuration, and how a schema shows them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

use super::secret::PRIVATE;

/// A value that is written as a string. Its `FromStr` error is a predicate: "must be …, got …".
///
/// Implement it with `parsed_text!`, which adds `Deserialize` and `JsonSchema`.
pub trait ParsedText: FromStr<Err: fmt::Display> {
    /// What messages call it when not even a string was given.
    const EXPECTED: &'static str;

    /// What to make of a bare number; by default it is the wrong type. The error is a predicate, too.
    fn from_number(number: i64) -> Option<Result<Self, Self::Err>> {
        let _ = number;
        None
    }
}

/// Implements `Deserialize` and `JsonSchema` for a [`ParsedText`]. The pattern is for editors, and may be laxer
/// than `FromStr`, never stricter.
macro_rules! parsed_text {
    ($name:ident, $kinds:tt, $pattern:expr, $description:expr) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::parsed::deserialize(deserializer)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": $kinds, "pattern": $pattern, "description": $description })
            }
        }
    };
}

pub(crate) use parsed_text;

/// Reads a [`ParsedText`] from a string, or from a number where it takes one.
pub fn deserialize<'de, D: Deserializer<'de>, T: ParsedText>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Text(PhantomData))
}

/// As [`deserialize`], for what may be a secret by mistake: no problem of it shows the value or its line. The error of
/// its `FromStr` must not tell the value either.
pub fn deserialize_private<'de, D: Deserializer<'de>, T: ParsedText>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(PRIVATE, Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: ParsedText> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match T::from_number(number) {
            Some(read) => read.map_err(E::custom),
            None => Err(E::invalid_type(
                serde::de::Unexpected::Signed(number),
                &self,
            )),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(
                serde::de::Unexpected::Unsigned(number),
                &self,
            )),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One line of a primitive's table: what it prints as, or the beginning of its complaint.
    pub(in super::super) fn check<T>(text: &str, expected: Result<&str, &str>)
    where
        T: ParsedText + fmt::Display + fmt::Debug + PartialEq,
    {
        match (text.parse::<T>(), expected) {
            (Ok(value), Ok(expected)) => {
                assert_eq!(value.to_string(), expected, "{text:?}");
                let again = expected.parse::<T>().map_err(|error| error.to_string());
                assert_eq!(
                    again.as_ref(),
                    Ok(&value),
                    "what is printed reads as the same value"
                );
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected, "{text:?}"),
            (read, expected) => panic!(
                "{text:?}: {:?}, not {expected:?}",
                read.map_err(|error| error.to_string())
            ),
        }
    }

    /// Reads a value as the JSON it would be in, so that wrong types can be tried without a document.
    pub(in super::super) fn json<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn schemas_name_type_and_pattern() {
        let schema = schemars::schema_for!(super::super::Duration);
        assert_eq!(schema.get("type"), Some(&serde_json::json!("string")));
        assert!(schema.get("pattern").is_some());
    }
}
