//! serde's `Deserializer` over the parsed TOML tree. It knows the place of everything and can leave values out.

mod access;
mod choice;

use std::collections::HashMap;

use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned as TomlSpanned;
use toml::de::DeValue;

use self::access::{Elements, Entries, Parts};
use super::Span;
use super::invalid::quoted;
use super::problem::Error;
use super::secret::PRIVATE;
use super::setting::SETTING;
use super::shorthand::SHORTHAND;
use super::span::{Anchor, SPANNED};
use super::wording::{listed, one_of};

/// A value of the tree, by its address: the tree is borrowed for as long as ids of it live, and spans would not
/// do, since a table made by dotted keys has the span of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

/// What one try at an object shares: where its text begins, and the values that earlier tries found bad.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) anchor: Anchor,
    /// With the key that was probably meant, where the bad thing was the key.
    pub(super) ignored: HashMap<NodeId, Option<&'static str>>,
}

/// One value to read, with the try it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'r, 'i> {
    pub(super) context: &'r Context,
    pub(super) node: &'r TomlSpanned<DeValue<'i>>,
}

impl<'r, 'i> Value<'r, 'i> {
    pub(super) fn id(self) -> NodeId {
        NodeId(std::ptr::from_ref(self.node).addr())
    }

    pub(super) fn span(self) -> Span {
        self.context.anchor.span(self.node.span())
    }

    fn is_ignored(self) -> bool {
        // Almost every object is good, and then this is the whole cost.
        !self.context.ignored.is_empty() && self.context.ignored.contains_key(&self.id())
    }

    fn beside(self, node: &'r TomlSpanned<DeValue<'i>>) -> Self {
        Value { node, ..self }
    }

    fn entries(self) -> impl Iterator<Item = (&'r str, Self)> {
        let table = self.node.get_ref().as_table();
        table
            .into_iter()
            .flatten()
            .map(move |(key, node)| (key.get_ref().as_ref(), self.beside(node)))
    }

    /// Whether `key` is in this table but left out, or stands there under a wrong name that was left out.
    pub(super) fn has_ignored_key(self, key: &str) -> bool {
        self.entries().any(
            |(name, value)| match self.context.ignored.get(&value.id()) {
                Some(meant) => name == key || *meant == Some(key),
                None => false,
            },
        )
    }

    /// Whether anything below was left out. The tree's depth is bounded by `nesting`, so recursion is safe.
    pub(super) fn holds_ignored(self) -> bool {
        if self.context.ignored.is_empty() {
            return false;
        }
        let holds = |value: Self| value.is_ignored() || value.holds_ignored();
        match self.node.get_ref() {
            DeValue::Array(elements) => elements.iter().any(|node| holds(self.beside(node))),
            DeValue::Table(table) => table.values().any(|node| holds(self.beside(node))),
            _ => false,
        }
    }

    fn wrong(self, expected: impl Into<String>) -> Error {
        Error::wrong(expected, shown(self.node.get_ref()))
    }
}

/// A value as a message quotes it.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text).to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Datetime(date) => visitor.visit_string(date.to_string()),
            DeValue::Integer(number) => {
                let (text, radix) = (number.as_str(), number.radix());
                if let Ok(number) = i64::from_str_radix(text, radix) {
                    visitor.visit_i64(number)
                } else if let Ok(number) = u64::from_str_radix(text, radix) {
                    visitor.visit_u64(number)
                } else {
                    Err(self.wrong("a whole number of at most 64 bits"))
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(self.wrong("a number")),
            },
            DeValue::Array(nodes) => {
                let mut elements = Elements::new(self, nodes);
                let value = visitor.visit_seq(&mut elements)?;
                match elements.remaining() {
                    0 => Ok(value),
                    more => Err(Error::invalid_length(
                        nodes.len(),
                        &format!("an array of {}", nodes.len() - more).as_str(),
                    )),
                }
            }
            DeValue::Table(table) => visitor.visit_map(Entries::new(self, table)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.get_ref() {
            DeValue::Datetime(date) => Err(Error::invalid_type(
                Unexpected::Other(&format!("the date {date}")),
                &visitor,
            )),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, self.node.get_ref()) {
            (SETTING, DeValue::String(word)) if word == "off" => visitor.visit_none(),
            (SETTING, DeValue::Boolean(false)) => {
                let read = visitor.visit_newtype_struct(self);
                read.map_err(|error| error.or_off().help("to switch it off, write \"off\""))
            }
            (SETTING, _) => visitor.visit_newtype_struct(self).map_err(Error::or_off),
            (SHORTHAND, DeValue::Table(_)) => visitor.visit_newtype_struct(self),
            (SHORTHAND, _) => self.deserialize_any(visitor),
            (PRIVATE, DeValue::Table(_)) => {
                visitor.visit_newtype_struct(self).map_err(Error::private)
            }
            (PRIVATE, DeValue::String(text)) => visitor.visit_str(text).map_err(Error::private),
            (PRIVATE, _) => Err(Error::invalid_type(Unexpected::Unit, &visitor).private()),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            SPANNED => visitor.visit_seq(Parts::new(self.span(), self)),
            _ => self.deserialize_any(visitor),
        }
    }

    /// Derived structs would take an array as their fields in order; in a configuration that is an accident.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node.get_ref() {
            DeValue::Table(table) => visitor.visit_map(Entries::new(self, table)),
            DeValue::Boolean(false) => Err(self
                .wrong("a table")
                .help("to do without it, remove the key")),
            _ if fields.is_empty() => Err(self.wrong("a table")),
            _ => Err(self
                .wrong("a table")
                .help(format!("its keys are {}", listed(fields, "and")))),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.get_ref() {
            DeValue::String(text) => Err(self
                .wrong("an array")
                .help(format!("write [{}]", quoted(text)))),
            _ => self.deserialize_any(visitor),
        }
    }

    /// A choice is a word, or a table whose only key is the word.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node.get_ref() {
            DeValue::String(word) => visitor.visit_enum(choice::Word(word)),
            DeValue::Table(table) if table.len() == 1 => match table.iter().next() {
                Some((key, node)) => visitor.visit_enum(choice::Tagged {
                    key,
                    content: self.beside(node),
                }),
                None => Err(self.wrong(one_of(variants))),
            },
            DeValue::Table(table) => {
                let expected = format!("a table with one key, {}", one_of(variants));
                let got = match table.len() {
                    0 => "an empty table".to_owned(),
                    many => format!("{many} keys"),
                };
                Err(Error::wrong(expected, got))
            }
            _ => Err(self.wrong(one_of(variants))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple map
        identifier
    }
}
