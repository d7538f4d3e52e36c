//! JSON that is being changed: a tree down to where it is looked into, and text from there on.

use std::borrow::Cow;
use std::collections::HashMap;

use super::look::{self, Kind};

/// A value. Costs nothing until it is opened, and then one pass over its text and about 50 bytes for each thing in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'t> {
    /// As it is written.
    Text(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    /// Names are as they are written, with their quotes. Each is there once.
    Object(Vec<(Cow<'t, str>, Node<'t>)>),
}

/// An object with more names is not searched from its beginning for each of them.
const FEW: usize = 16;

impl<'t> Node<'t> {
    /// `json` has been checked.
    pub fn new(json: &'t str) -> Node<'t> {
        Node::Text(Cow::Borrowed(json))
    }

    /// Text as a value.
    pub fn string(text: &str) -> Node<'t> {
        Node::Text(Cow::Owned(written(text)))
    }

    pub fn kind(&self) -> Kind {
        match self {
            Node::Text(json) => look::kind(json),
            Node::Array(_) => Kind::Array,
            Node::Object(_) => Kind::Object,
        }
    }

    /// Its elements. `None` where it is no array.
    pub fn elements(&mut self) -> Option<&mut Vec<Node<'t>>> {
        if let Node::Text(json) = self {
            *self = match json {
                Cow::Borrowed(json) => Node::Array(look::elements(json)?.map(Node::new).collect()),
                Cow::Owned(json) => {
                    let own = |it: &str| Node::Text(Cow::Owned(it.to_owned()));
                    Node::Array(look::elements(json)?.map(own).collect())
                }
            };
        }
        match self {
            Node::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Its names and values. `None` where it is no object.
    pub fn members(&mut self) -> Option<&mut Vec<(Cow<'t, str>, Node<'t>)>> {
        if let Node::Text(json) = self {
            let members = match json {
                Cow::Borrowed(json) => {
                    let members = look::members(json)?;
                    let lent = |(name, value)| (Cow::Borrowed(name), Node::new(value));
                    members.map(lent).collect()
                }
                Cow::Owned(json) => {
                    let own = |it: &str| Cow::Owned(it.to_owned());
                    let members = look::members(json)?;
                    members
                        .map(|(name, value)| (own(name), Node::Text(own(value))))
                        .collect()
                }
            };
            *self = Node::Object(last_of_each(members));
        }
        match self {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The value of this name. `None` where there is none, or it is no object.
    pub fn member(&mut self, name: &str) -> Option<&mut Node<'t>> {
        let members = self.members()?.iter_mut();
        let mut named = members.filter(|(own, _)| look::is_name(own, name));
        named.next().map(|(_, value)| value)
    }

    /// Takes the value of this name out of the object.
    pub fn remove(&mut self, name: &str) -> Option<Node<'t>> {
        let members = self.members()?;
        let place = members
            .iter()
            .position(|(own, _)| look::is_name(own, name))?;
        Some(members.remove(place).1)
    }

    /// Puts a value under this name, in the place of what is there, or else at the end. `None` where it is no object.
    pub fn insert(&mut self, name: &str, value: Node<'t>) -> Option<()> {
        if let Some(there) = self.member(name) {
            *there = value;
            return Some(());
        }
        self.members()?.push((Cow::Owned(written(name)), value));
        Some(())
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Text(json) => out.extend_from_slice(json.as_bytes()),
            Node::Array(elements) => {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    element.write(out);
                }
                out.push(b']');
            }
            Node::Object(members) => {
                out.push(b'{');
                write_members(members, out);
                out.push(b'}');
            }
        }
    }

    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        // All that it is made of is text.
        String::from_utf8(out).unwrap_or_default()
    }

    /// The same, of which nothing is lent.
    pub fn into_owned(self) -> Node<'static> {
        match self {
            Node::Text(json) => Node::Text(Cow::Owned(json.into_owned())),
            Node::Array(elements) => {
                Node::Array(elements.into_iter().map(Node::into_owned).collect())
            }
            Node::Object(members) => {
                let own = |(name, value): (Cow<'t, str>, Node<'t>)| {
                    (Cow::Owned(name.into_owned()), value.into_owned())
                };
                Node::Object(members.into_iter().map(own).collect())
            }
        }
    }
}

/// The members without the braces about them.
pub fn write_members(members: &[(Cow<'_, str>, Node<'_>)], out: &mut Vec<u8>) {
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        value.write(out);
    }
}

/// Text as JSON has it, in quotes.
pub fn written(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Of what is there twice, the last value, in the place of the first.
fn last_of_each<'t>(members: Vec<(Cow<'t, str>, Node<'t>)>) -> Vec<(Cow<'t, str>, Node<'t>)> {
    let are_different = |one: &str, other: &str| look::name_of(one) != look::name_of(other);
    let mut once: Vec<(Cow<'t, str>, Node<'t>)> = Vec::with_capacity(members.len());
    if members.len() <= FEW {
        for (name, value) in members {
            match once.iter_mut().find(|(own, _)| !are_different(own, &name)) {
                Some((_, there)) => *there = value,
                None => once.push((name, value)),
            }
        }
        return once;
    }
    let mut places: HashMap<String, usize> = HashMap::with_capacity(members.len());
    for (name, value) in members {
        let place = *places
            .entry(look::name_of(&name).into_owned())
            .or_insert(once.len());
        match once.get_mut(place) {
            Some((_, there)) => *there = value,
            None => once.push((name, value)),
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, change: impl Fn(&mut Node<'_>), expected: &str) {
        let mut node = Node::new(json);
        change(&mut node);
        assert_eq!(node.to_json(), expected, "{json}");
        let mut own = Node::new(json).into_owned();
        change(&mut own);
        assert_eq!(own.to_json(), expected, "{json}");
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let json = r#"{ "a": [1.0, 2e400 ], "\u0062": { "x" : "\u00e9" } }"#;
        check(json, |_| {}, json);
        check(
            json,
            |node| {
                node.members();
            },
            r#"{"a":[1.0, 2e400 ],"\u0062":{ "x" : "\u00e9" }}"#,
        );
        check(
            json,
            |node| {
                node.member("a").and_then(Node::elements);
            },
            r#"{"a":[1.0,2e400],"\u0062":{ "x" : "\u00e9" }}"#,
        );
    }

    #[test]
    fn names_are_found_put_and_taken() {
        let json = r#"{"a":1,"\u0062":2,"a":3}"#;
        check(
            json,
            |node| {
                node.members();
            },
            r#"{"a":3,"\u0062":2}"#,
        );
        check(json, |node| drop(node.remove("b")), r#"{"a":3}"#);
        check(json, |node| drop(node.remove("c")), r#"{"a":3,"\u0062":2}"#);
        let put = |name: &'static str| {
            move |node: &mut Node<'_>| {
                node.insert(name, Node::string("\"")).unwrap();
            }
        };
        check(json, put("a"), r#"{"a":"\"","\u0062":2}"#);
        check(json, put("q\""), r#"{"a":3,"\u0062":2,"q\"":"\""}"#);
        check(
            "[1]",
            |node| assert_eq!(node.insert("a", Node::string("")), None),
            "[1]",
        );
        check("\"x\"", |node| assert!(node.elements().is_none()), "\"x\"");
    }

    #[test]
    fn of_many_names_the_last_of_each_counts_too() {
        let members: Vec<_> = (0..100).map(|n| format!("\"{}\":{n}", n % 40)).collect();
        let json = format!("{{{}}}", members.join(","));
        let mut node = Node::new(&json);
        assert_eq!(node.members().map(|it| it.len()), Some(40));
        assert_eq!(
            node.member("7").map(|it| it.to_json()).as_deref(),
            Some("87")
        );
        assert_eq!(
            node.member("39").map(|it| it.to_json()).as_deref(),
            Some("79")
        );
    }
}
