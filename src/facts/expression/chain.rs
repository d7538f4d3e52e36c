//! Chains of fields: `identity.claims["tenant"]`.

use std::ops::Range;

use cel::common::ast::{LiteralValue, operators};

use super::parse::{Kind, Node};

/// A name or a field that is asked for, `.name` or `["name"]`, and its place.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: Box<str>,
    pub(super) at: Range<usize>,
}

/// The text of a literal.
pub(super) fn literal_text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// A name and the fields that are asked for behind it, in points or in brackets: `a.b["c"]`. `None` for what begins
/// otherwise, or goes on otherwise.
pub(super) fn chain_of(node: &Node) -> Option<(Step, Vec<Step>)> {
    let mut steps = Vec::new();
    let mut node = node;
    loop {
        let of = match &node.kind {
            Kind::Name(name) => {
                let root = Step {
                    name: name.clone(),
                    at: node.at.clone(),
                };
                steps.reverse();
                return Some((root, steps));
            }
            Kind::Select(of, field, at) => {
                steps.push(Step {
                    name: field.clone(),
                    at: at.clone(),
                });
                of
            }
            Kind::Call(call) if &*call.function == operators::INDEX => match &*call.arguments {
                [of, index] => {
                    steps.push(Step {
                        name: literal_text(index)?.into(),
                        at: index.at.clone(),
                    });
                    of
                }
                _ => return None,
            },
            _ => return None,
        };
        node = of;
    }
}
