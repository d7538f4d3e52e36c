//! Values by header name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::{HeaderName, Spanned};

/// A table whose keys are header names. To TOML `X-Note` and `x-note` are two keys; to HTTP they are one, so that
/// one of two values would be lost, and the table is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers<V>(
    /// In order. Most have one or two entries, for which a map takes up a whole node of eleven.
    Box<[(Spanned<HeaderName>, V)]>,
);

impl<V> Default for Headers<V> {
    fn default() -> Self {
        Headers(Box::default())
    }
}

impl<V> Deref for Headers<V> {
    type Target = [(Spanned<HeaderName>, V)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Headers<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = Headers<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Headers<V>, A::Error> {
        let mut headers = BTreeMap::new();
        while let Some(name) = table.next_key_seed(NewName(&headers))? {
            headers.insert(name, table.next_value()?);
        }
        Ok(Headers(headers.into_iter().collect()))
    }
}

/// Reads a name that is not yet there. The check is in here because an error of a key is placed at the key.
struct NewName<'m, V>(&'m BTreeMap<Spanned<HeaderName>, V>);

impl<'de, V> DeserializeSeed<'de> for NewName<'_, V> {
    type Value = Spanned<HeaderName>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        let name = Spanned::<HeaderName>::deserialize(key)?;
        match self.0.contains_key(&name) {
            false => Ok(name),
            true => Err(D::Error::custom(
                "is written twice: upper and lower case are the same header",
            )),
        }
    }
}

impl<V: JsonSchema> JsonSchema for Headers<V> {
    fn inline_schema() -> bool {
        BTreeMap::<HeaderName, V>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<HeaderName, V>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        BTreeMap::<HeaderName, V>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<HeaderName, V>::json_schema(generator)
    }
}
