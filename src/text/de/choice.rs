//! Enums: `"word"` for a variant without content, `{ word = content }` for one with.

use serde::de::{
    DeserializeSeed, Deserializer as _, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
};
use toml::Spanned as TomlSpanned;
use toml::de::DeString;

use super::super::problem::Error;
use super::Value;
use super::access::segment;

/// A plain word.
pub(super) struct Word<'r>(pub(super) &'r str);

impl<'de, 'r> EnumAccess<'de> for Word<'r> {
    type Error = Error;
    type Variant = Bare<'r>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Bare<'r>), Error> {
        let word: serde::de::value::StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, Bare(self.0)))
    }
}

/// The content of a plain word: none.
pub(super) struct Bare<'r>(&'r str);

impl Bare<'_> {
    fn lacks_content(&self) -> Error {
        let expected = format!("a table such as {{ {} = … }}", self.0);
        Error::wrong(expected, super::super::invalid::quoted(self.0).to_string())
    }
}

impl<'de> VariantAccess<'de> for Bare<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        Err(self.lacks_content())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(self.lacks_content())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(self.lacks_content())
    }
}

/// A table with one key.
pub(super) struct Tagged<'r, 'i> {
    pub(super) key: &'r TomlSpanned<DeString<'i>>,
    pub(super) content: Value<'r, 'i>,
}

impl<'de> EnumAccess<'de> for Tagged<'_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let word: serde::de::value::StrDeserializer<'_, Error> =
            self.key.get_ref().as_ref().into_deserializer();
        let span = self.content.context.anchor.span(self.key.span());
        Ok((
            seed.deserialize(word)
                .map_err(|error| error.chosen_by_key().at(span))?,
            self,
        ))
    }
}

impl Tagged<'_, '_> {
    /// No culprit: without its content the whole choice is void, so the next try leaves out all of it.
    fn locate(&self, error: Error) -> Error {
        error.locate(self.content).within(segment(self.key), None)
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let expected = format!("the plain word \"{}\"", self.key.get_ref());
        Err(Error::wrong(expected, "a table".to_owned()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.content)
            .map_err(|error| self.locate(error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.content
            .deserialize_seq(visitor)
            .map_err(|error| self.locate(error))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content
            .deserialize_struct("", fields, visitor)
            .map_err(|error| self.locate(error))
    }
}
