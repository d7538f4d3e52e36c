//! `as`: arrays of what is none, and scalars of other types.

use std::borrow::Cow;

use super::super::config::As;
use super::super::json::{Kind, Node, check, text_of};

/// `None` where it cannot be one.
pub(super) fn convert<'t>(to: As, mut node: Node<'t>) -> Option<Node<'t>> {
    match to {
        As::Json | As::Text | As::Base64 => Some(node),
        As::Array => Some(match node.kind() {
            Kind::Array => node,
            Kind::Null => Node::new("[]"),
            _ => Node::Array(vec![node]),
        }),
        As::First => Some(match node.elements() {
            Some(elements) if elements.is_empty() => Node::new("null"),
            Some(elements) => elements.swap_remove(0),
            None => node,
        }),
        As::String | As::Number | As::Boolean => scalar(to, node),
    }
}

fn scalar(to: As, node: Node<'_>) -> Option<Node<'_>> {
    let Node::Text(json) = node else { return None };
    let wanted = match to {
        As::String => Kind::Text,
        As::Number => Kind::Number,
        _ => Kind::Bool,
    };
    let kind = super::super::json::kind(&json);
    if kind == wanted {
        return Some(Node::Text(json));
    }
    match (kind, wanted) {
        (Kind::Number | Kind::Bool, Kind::Text) => Some(Node::string(&json)),
        (Kind::Text, Kind::Number | Kind::Bool) => {
            let text = text_of(&json)?;
            // What is written in the string is what there is without its quotes, if that is one.
            let inner = check(text.as_bytes(), 0).ok()?.to_owned();
            let is_wanted = super::super::json::kind(&inner) == wanted;
            is_wanted.then_some(Node::Text(Cow::Owned(inner)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_others() {
        let check = |to: As, json: &str, expected: Option<&str>| {
            let converted = convert(to, Node::new(json)).map(|node| node.to_json());
            assert_eq!(converted.as_deref(), expected, "{to:?} {json}");
        };
        check(As::Json, "{ }", Some("{ }"));
        check(As::Array, "[1]", Some("[1]"));
        check(As::Array, "{}", Some("[{}]"));
        check(As::Array, "null", Some("[]"));
        check(As::First, "[1, 2]", Some("1"));
        check(As::First, "[]", Some("null"));
        check(As::First, "{}", Some("{}"));
        check(As::String, "1.50", Some("\"1.50\""));
        check(As::String, "true", Some("\"true\""));
        check(As::String, "\"x\"", Some("\"x\""));
        check(As::String, "null", None);
        check(As::String, "[1]", None);
        check(
            As::Number,
            "\"12345678901234567890\"",
            Some("12345678901234567890"),
        );
        check(As::Number, "\" 7 \"", Some("7"));
        check(As::Number, "7", Some("7"));
        check(As::Number, "\"7x\"", None);
        check(As::Number, "\"0x7\"", None);
        check(As::Number, "\"\"", None);
        check(As::Number, "true", None);
        check(As::Boolean, "\"true\"", Some("true"));
        check(As::Boolean, "false", Some("false"));
        check(As::Boolean, "\"yes\"", None);
        check(As::Boolean, "1", None);
        check(As::Boolean, "\"[]\"", None);
    }
}
