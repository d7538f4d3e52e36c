//! What is known of values before there is a request.

use std::fmt;

use cel::common::ast::operators;

/// What is known of a value before there is a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Anything: what a claim is, only a request shows.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    List(Box<Type>),
    /// Its keys are text.
    Map(Box<Type>),
}

impl Type {
    pub(super) fn texts() -> Type {
        Type::List(Box::new(Type::Text))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double)
    }

    /// Whether values of both can be equal.
    pub(super) fn fits(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(own), Type::List(other)) | (Type::Map(own), Type::Map(other)) => {
                own.fits(other)
            }
            _ => self == other || (self.is_number() && other.is_number()),
        }
    }

    /// What is known of a value that is one or the other.
    pub(super) fn or(self, other: Type) -> Type {
        if self == other { self } else { Type::Dyn }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Dyn => "dyn",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::Text => "string",
            Type::List(of) => return write!(f, "list({of})"),
            Type::Map(of) => return write!(f, "map(string, {of})"),
        })
    }
}

/// What an operator of two operands gives; `None` where it takes no such operands.
pub(super) fn binary(operator: &str, left: &Type, right: &Type) -> Option<Type> {
    match operator {
        operators::LOGICAL_AND | operators::LOGICAL_OR => {
            let is_truth = left.fits(&Type::Bool) && right.fits(&Type::Bool);
            is_truth.then_some(Type::Bool)
        }
        operators::EQUALS | operators::NOT_EQUALS => left.fits(right).then_some(Type::Bool),
        operators::IN => {
            let fits = match right {
                Type::Dyn => true,
                Type::List(element) => left.fits(element),
                Type::Map(_) => left.fits(&Type::Text),
                _ => false,
            };
            fits.then_some(Type::Bool)
        }
        operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => {
            let is_ordered =
                |of: &Type| of.is_number() || matches!(of, Type::Text | Type::Bool | Type::Dyn);
            (is_ordered(left) && is_ordered(right) && left.fits(right)).then_some(Type::Bool)
        }
        _ => arithmetic(operator, left, right),
    }
}

/// Both operands are of one type, and so is the result.
fn arithmetic(operator: &str, left: &Type, right: &Type) -> Option<Type> {
    let known = if *left == Type::Dyn { right } else { left };
    let takes = match known {
        Type::Dyn | Type::Int | Type::Uint => true,
        Type::Double => operator != operators::MODULO,
        Type::Text | Type::List(_) => operator == operators::ADD,
        Type::Map(_) | Type::Bool | Type::Null => false,
    };
    let fits = match (left, right) {
        (Type::Dyn, _) | (_, Type::Dyn) => true,
        (Type::List(_), Type::List(_)) => true,
        _ => left == right,
    };
    let of = match (left, right) {
        (Type::List(left), Type::List(right)) => {
            Type::List(Box::new((**left).clone().or((**right).clone())))
        }
        _ => known.clone(),
    };
    (takes && fits).then_some(of)
}
