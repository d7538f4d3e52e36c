//! Things that can be switched off: `compression = "off"`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

/// `"off"`, or a value. Absence is something else, an `Option` around it: then the wider scope decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<T> {
    Off,
    On(T),
}

impl<T> Setting<T> {
    pub fn as_ref(&self) -> Setting<&T> {
        match self {
            Setting::Off => Setting::Off,
            Setting::On(value) => Setting::On(value),
        }
    }

    /// The value, unless switched off.
    pub fn on(self) -> Option<T> {
        match self {
            Setting::Off => None,
            Setting::On(value) => Some(value),
        }
    }
}

/// The reader recognises this name and answers with none for `"off"`. Another deserializer sees only the value.
pub(super) const SETTING: &str = "$northgate::Setting";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SETTING, OffOr(PhantomData))
    }
}

struct OffOr<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OffOr<T> {
    type Value = Setting<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or \"off\"")
    }

    fn visit_none<E>(self) -> Result<Setting<T>, E> {
        Ok(Setting::Off)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Setting<T>, D::Error> {
        T::deserialize(deserializer).map(Setting::On)
    }
}

impl<T: JsonSchema> JsonSchema for Setting<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Setting_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("{}::Setting<{}>", module_path!(), T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "off", "description": "Switched off here." }, on] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Reading is tested where the reader is, in `object` and `reader`.

    #[test]
    fn schema_is_either() {
        let schema = schemars::schema_for!(Setting<bool>);
        assert_eq!(
            schema.get("anyOf").and_then(|any| any[0].get("const")),
            Some(&serde_json::json!("off"))
        );
    }

    #[test]
    fn off_has_no_value() {
        assert_eq!(Setting::On(1).on(), Some(1));
        assert_eq!(Setting::<u8>::Off.as_ref().on(), None);
    }
}
