//! Values of which there may be one or a list: `fallback = { … }` or `fallback = [{ … }, { … }]`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::Spanned;
use super::shorthand::SHORTHAND;

/// One table, or an array of such, each with its place. `T` is a struct that derives `Deserialize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Several<T>(Vec<Spanned<T>>);

impl<T> std::ops::Deref for Several<T> {
    type Target = [Spanned<T>];

    fn deref(&self) -> &[Spanned<T>] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SHORTHAND, OneOrSeveral(PhantomData))
    }
}

struct OneOrSeveral<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrSeveral<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, or an array of tables")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, table: D) -> Result<Several<T>, D::Error> {
        Ok(Several(vec![Spanned::deserialize(table)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Several<T>, A::Error> {
        let mut several = Vec::new();
        while let Some(one) = elements.next_element()? {
            several.push(one);
        }
        Ok(Several(several))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("SeveralOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Diagnostics, Sources, Table};
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Step {
        port: u16,
    }

    fn check(value: &str, expected: Result<&[u16], &[&str]>) {
        let text = format!("steps = {value}");
        let mut sources = Sources::new();
        let mut diagnostics = Diagnostics::new();
        let source = sources.add("a.toml", text.as_str());
        let mut table = Table::parse(&mut diagnostics, source, &text).expect("good syntax");
        let steps = table.take::<Several<Step>>("steps");
        let found: Vec<_> = diagnostics
            .iter()
            .map(|one| {
                let place = sources.position(one.span.expect("a place"));
                format!("{} {}", place.column, one.message)
            })
            .collect();
        match expected {
            Ok(expected) => {
                assert_eq!(found, Vec::<String>::new());
                let steps = steps.expect("no problem");
                let ports: Vec<u16> = steps.iter().map(|step| step.port).collect();
                assert_eq!(ports, expected);
            }
            Err(expected) => assert_eq!(found, expected),
        }
    }

    #[test]
    fn one_or_a_list() {
        check("{ port = 1 }", Ok(&[1]));
        check("[{ port = 1 }, { port = 2 }]", Ok(&[1, 2]));
        check("[]", Ok(&[]));
    }

    #[test]
    fn problems_have_their_place() {
        check(
            "[{ port = 1 }, { prot = 2 }, {}]",
            Err(&[
                "26 steps[1]: unknown key \"prot\", did you mean \"port\"?",
                "38 steps[2]: missing key \"port\"",
            ]),
        );
        check(
            "7",
            Err(&["9 steps must be a table, or an array of tables, got 7"]),
        );
    }
}
