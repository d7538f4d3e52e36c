//! The inside of tables and arrays: serde asks for one key, value or element after the other.

use serde::de::value::U32Deserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned as TomlSpanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::super::problem::{Error, Segment};
use super::super::span::SPANNED;
use super::{Span, Value};

type Key<'i> = TomlSpanned<DeString<'i>>;

/// The entries of a table, less those that were left out.
pub(super) struct Entries<'r, 'i> {
    parent: Value<'r, 'i>,
    rest: <&'r DeTable<'i> as IntoIterator>::IntoIter,
    current: Option<(&'r Key<'i>, Value<'r, 'i>)>,
}

impl<'r, 'i> Entries<'r, 'i> {
    pub(super) fn new(parent: Value<'r, 'i>, table: &'r DeTable<'i>) -> Self {
        Entries {
            parent,
            rest: table.iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let parent = self.parent;
        let mut entries = self
            .rest
            .by_ref()
            .map(|(key, node)| (key, parent.beside(node)));
        let Some((key, value)) = entries.find(|(_, value)| !value.is_ignored()) else {
            return Ok(None);
        };
        self.current = Some((key, value));
        let span = parent.context.anchor.span(key.span());
        let read = seed.deserialize(KeyText {
            text: key.get_ref(),
            span,
        });
        read.map(Some)
            .map_err(|error| error.at(span).within(segment(key), value.id()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, value)) = self.current.take() else {
            return Err(serde::de::Error::custom(
                "a value was asked for before its key",
            ));
        };
        seed.deserialize(value)
            .map_err(|error| error.locate(value).within(segment(key), value.id()))
    }
}

pub(super) fn segment(key: &Key<'_>) -> Segment {
    Segment::Key(key.get_ref().to_string())
}

/// The elements of an array, less those that were left out.
pub(super) struct Elements<'r, 'i> {
    parent: Value<'r, 'i>,
    rest: std::iter::Enumerate<std::slice::Iter<'r, TomlSpanned<DeValue<'i>>>>,
}

impl<'r, 'i> Elements<'r, 'i> {
    pub(super) fn new(parent: Value<'r, 'i>, nodes: &'r DeArray<'i>) -> Self {
        Elements {
            parent,
            rest: nodes.iter().enumerate(),
        }
    }

    /// How many nobody asked for: a pair was wanted and three were given.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let parent = self.parent;
        let mut elements = self
            .rest
            .by_ref()
            .map(|(index, node)| (index, parent.beside(node)));
        let Some((index, value)) = elements.find(|(_, value)| !value.is_ignored()) else {
            return Ok(None);
        };
        let read = seed.deserialize(value);
        read.map(Some).map_err(|error| {
            error
                .locate(value)
                .within(Segment::Index(index), value.id())
        })
    }
}

/// A key as a value of its own, for maps with parsed or spanned keys.
pub(super) struct KeyText<'r> {
    text: &'r str,
    span: Span,
}

impl<'de> Deserializer<'de> for KeyText<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            SPANNED => visitor.visit_seq(Parts::new(self.span, self)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(super::choice::Word(self.text))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple map struct identifier ignored_any
    }
}

/// What `Spanned` asks for: source, start, end, and then the value itself.
pub(super) struct Parts<D> {
    numbers: std::array::IntoIter<u32, 3>,
    value: Option<D>,
}

impl<D> Parts<D> {
    pub(super) fn new(span: Span, value: D) -> Self {
        Parts {
            numbers: [span.source.0, span.start, span.end].into_iter(),
            value: Some(value),
        }
    }
}

impl<'de, D: Deserializer<'de, Error = Error>> SeqAccess<'de> for Parts<D> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if let Some(number) = self.numbers.next() {
            let number: U32Deserializer<Error> = number.into_deserializer();
            return seed.deserialize(number).map(Some);
        }
        self.value
            .take()
            .map(|value| seed.deserialize(value))
            .transpose()
    }
}
