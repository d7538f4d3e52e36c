//! Values with a short and a long form: `"10.0.0.5:8002"` or `{ address = "10.0.0.5:8002", weight = 2 }`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};

use super::secret::PRIVATE;

/// A type whose short form is a string, read by its `FromStr`, and whose long form is a table.
///
/// serde's `untagged` would do the same but lose every position inside the table. The `FromStr` error is a
/// predicate, "must be …, got …". With these two impls the type is read like any other:
/// ```ignore
/// impl<'de> Deserialize<'de> for Endpoint {
///     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
///         shorthand(deserializer)
///     }
/// }
/// impl JsonSchema for Endpoint {
///     fn schema_name() -> Cow<'static, str> { "Endpoint".into() }
///     fn json_schema(generator: &mut SchemaGenerator) -> Schema { shorthand_schema::<Self>(generator) }
/// }
/// ```
pub trait Shorthand: FromStr<Err: fmt::Display> + From<Self::Long> {
    /// The table: a struct that derives `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Long: DeserializeOwned + JsonSchema;

    /// What messages and the schema say of both forms: `an address such as "10.0.0.5:8002" or a table`.
    const EXPECTED: &'static str;
}

/// The reader recognises this name and gives a table as a newtype, so that the long form is read with all of the
/// reader's checks. Another deserializer sees only the long form.
pub(super) const SHORTHAND: &str = "$northgate::Shorthand";

/// The body of a [`Shorthand`] type's `deserialize`.
pub fn shorthand<'de, D: Deserializer<'de>, T: Shorthand>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(SHORTHAND, Either(PhantomData))
}

/// As [`shorthand`], for what may hold a secret by mistake: no problem of it shows the value or its line.
pub fn private_shorthand<'de, D: Deserializer<'de>, T: Shorthand>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(PRIVATE, Either(PhantomData))
}

/// The body of a [`Shorthand`] type's `json_schema`.
pub fn shorthand_schema<T: Shorthand>(generator: &mut SchemaGenerator) -> Schema {
    let long = generator.subschema_for::<T::Long>();
    json_schema!({ "anyOf": [{ "type": "string" }, long], "description": T::EXPECTED })
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Shorthand> Visitor<'de> for Either<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, table: D) -> Result<T, D::Error> {
        T::Long::deserialize(table).map(T::from)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::{Diagnostics, Sources, Table};
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Endpoint {
        port: u16,
        weight: u32,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct EndpointTable {
        port: u16,
        weight: u32,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("must be a port such as \":80\"")]
    struct NotAPort;

    impl FromStr for Endpoint {
        type Err = NotAPort;

        fn from_str(text: &str) -> Result<Self, NotAPort> {
            let port = text
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or(NotAPort)?;
            Ok(Endpoint { port, weight: 1 })
        }
    }

    impl From<EndpointTable> for Endpoint {
        fn from(table: EndpointTable) -> Self {
            Endpoint {
                port: table.port,
                weight: table.weight,
            }
        }
    }

    impl Shorthand for Endpoint {
        type Long = EndpointTable;
        const EXPECTED: &'static str = "a port such as \":80\" or a table";
    }

    impl<'de> Deserialize<'de> for Endpoint {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            shorthand(deserializer)
        }
    }

    impl JsonSchema for Endpoint {
        fn schema_name() -> Cow<'static, str> {
            "Endpoint".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            shorthand_schema::<Self>(generator)
        }
    }

    fn check(value: &str, expected: Result<&[(u16, u32)], &[&str]>) {
        let text = format!("endpoints = {value}");
        let mut sources = Sources::new();
        let mut diagnostics = Diagnostics::new();
        let source = sources.add("a.toml", text.as_str());
        let mut table = Table::parse(&mut diagnostics, source, &text).expect("good syntax");
        let endpoints = table.take::<Vec<Endpoint>>("endpoints");
        let found: Vec<_> = diagnostics
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    sources.position(one.span.expect("a place")).column,
                    one.message
                )
            })
            .collect();
        match expected {
            Ok(expected) => {
                assert_eq!(found, Vec::<String>::new());
                let endpoints = endpoints
                    .expect("no problem")
                    .into_iter()
                    .map(|one| (one.port, one.weight));
                assert_eq!(endpoints.collect::<Vec<_>>(), expected);
            }
            Err(expected) => assert_eq!(found, expected),
        }
    }

    #[test]
    fn both_forms() {
        check(
            "[\":80\", { port = 81, weight = 2 }]",
            Ok(&[(80, 1), (81, 2)]),
        );
    }

    #[test]
    fn problems_inside_the_table_keep_their_place() {
        check(
            "[\"80\", 7, { port = \"x\", wieght = 2 }, { port = 1 }]",
            Err(&[
                "14 endpoints[0] must be a port such as \":80\"",
                "20 endpoints[1] must be a port such as \":80\" or a table, got 7",
                "32 endpoints[2].port must be a whole number from 0 to 65535, got \"x\"",
                "37 endpoints[2]: unknown key \"wieght\", did you mean \"weight\"?",
                "51 endpoints[3]: missing key \"weight\"",
            ]),
        );
    }

    #[test]
    fn schema_is_either() {
        let schema = schemars::schema_for!(Endpoint);
        assert_eq!(
            schema
                .get("anyOf")
                .and_then(|any| any.as_array())
                .map(Vec::len),
            Some(2)
        );
    }
}
