//! Checks an expression, and makes of it what the crate evaluates: names have become slots, and macros loops.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr,
    MapExpr, SelectExpr, operators,
};

use super::chain::{Step, chain_of, literal_text};
use super::functions::{Pattern, Takes, sign, signature};
use super::lower::{self, ided};
use super::parse::{Call, Kind, Loop, LoopKind, Node};
use super::typing::{Type, binary};
use super::values::{LONGEST_TEXT, MOST_VALUES};
use super::variables::{Slot, Variable, named};
use super::{Answer, AnswerType, ExpressionError, Problem};
use crate::facts::Variables;

/// How many steps a request may cost. One takes about a tenth of a microsecond.
const MOST_STEPS: u64 = 50_000;
/// How large a value may become that an expression makes, in bytes.
const LARGEST: u64 = 1 << 20;

const TEXT: u64 = LONGEST_TEXT as u64;
const VALUES: u64 = MOST_VALUES as u64;

pub(super) struct Checked {
    pub(super) root: IdedExpr,
    pub(super) slots: Box<[Slot]>,
}

pub(super) fn check<T: Answer>(
    node: &Node,
    text: &str,
    variables: Variables<'_>,
) -> Result<Checked, ExpressionError> {
    let mut checker = Checker {
        text,
        variables,
        bound: Vec::new(),
        slots: Vec::new(),
    };
    let part = checker.part(node)?;
    let fits = T::TYPES.iter().any(|wanted| match wanted {
        AnswerType::Bool => part.of == Type::Bool,
        AnswerType::Number => part.of.is_number(),
        AnswerType::Text => part.of == Type::Text,
    });
    if !fits && part.of != Type::Dyn {
        return Err(wrong_type(node, T::NAME, &part.of));
    }
    if part.steps > MOST_STEPS {
        return Err(
            ExpressionError::new(node.at.clone(), Problem::Steps(part.steps))
                .help("loops over lists of a request cannot be nested"),
        );
    }
    Ok(Checked {
        root: part.expr,
        slots: checker.slots.into(),
    })
}

struct Checker<'a> {
    text: &'a str,
    variables: Variables<'a>,
    /// The names of loops that the place is in, the innermost last, with the size of what they stand for.
    bound: Vec<(Box<str>, Type, u64)>,
    slots: Vec<Slot>,
}

/// A part that has been checked.
struct Part {
    expr: IdedExpr,
    of: Type,
    /// How many parts are evaluated at most for it.
    steps: u64,
    /// How large its value is at most, in bytes.
    size: u64,
}

impl Part {
    fn new(expr: Expr, of: Type, steps: u64, size: u64) -> Part {
        Part {
            expr: ided(expr),
            of,
            steps,
            size,
        }
    }
}

type Checks = Result<Part, ExpressionError>;

impl Checker<'_> {
    fn part(&mut self, node: &Node) -> Checks {
        let part = match &node.kind {
            Kind::Literal(literal) => Ok(literal_part(literal)),
            Kind::Name(_) | Kind::Select(..) => self.chain(node),
            Kind::Has(of, field, at) => self.has(node, of, field, at),
            Kind::Call(call) => self.call(node, call),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Loop(own) => self.loop_over(own),
        }?;
        match part.size <= LARGEST {
            true => Ok(part),
            false => Err(ExpressionError::new(
                node.at.clone(),
                Problem::Size(part.size),
            )),
        }
    }

    /// A name, or a chain of fields, the beginning of which may be a variable.
    fn chain(&mut self, node: &Node) -> Checks {
        if let Some((root, steps)) = chain_of(node)
            && self.bound(&root.name).is_none()
        {
            let named = named(&root, &steps, self.variables)?;
            let taken = steps.get(..named.steps).unwrap_or_default();
            let end = if taken.len() == steps.len() {
                node.at.end
            } else {
                taken.last().map_or(root.at.end, |step| step.at.end)
            };
            if named.variable == Variable::Certificate {
                let name = "client.certificate";
                let problem = Problem::Object(name.into());
                let help = format!("write `has({name})`, or a field of it");
                return Err(ExpressionError::new(root.at.start..end, problem).help(help));
            }
            let part = self.slot(root.at.start..end, named.variable, named.of);
            let rest = steps.get(named.steps..).unwrap_or_default();
            return match rest.first() {
                Some(step) => {
                    let problem = Problem::NoFields(part.of.to_string().into());
                    Err(ExpressionError::new(step.at.clone(), problem))
                }
                None => Ok(part),
            };
        }
        match &node.kind {
            Kind::Name(name) => {
                let (of, size) = self.bound(name).unwrap_or((Type::Dyn, TEXT));
                Ok(Part::new(Expr::Ident(name.to_string()), of, 1, size))
            }
            Kind::Select(of, field, at) => self.select(of, field, at, false),
            _ => Err(ExpressionError::new(
                node.at.clone(),
                Problem::Expected("a value"),
            )),
        }
    }

    fn select(&mut self, of: &Node, field: &str, at: &Range<usize>, test: bool) -> Checks {
        let operand = self.part(of)?;
        let type_of = match operand.of {
            Type::Dyn => Type::Dyn,
            Type::Map(values) => *values,
            other => {
                let problem = Problem::NoFields(other.to_string().into());
                return Err(ExpressionError::new(at.clone(), problem));
            }
        };
        let select = SelectExpr {
            operand: Box::new(operand.expr),
            field: field.to_owned(),
            test,
        };
        let type_of = if test { Type::Bool } else { type_of };
        Ok(Part::new(
            Expr::Select(select),
            type_of,
            operand.steps + 1,
            operand.size,
        ))
    }

    fn has(&mut self, node: &Node, of: &Node, field: &str, at: &Range<usize>) -> Checks {
        let chain = chain_of(of).filter(|(root, _)| self.bound(&root.name).is_none());
        let Some((root, mut steps)) = chain else {
            return self.select(of, field, at, true);
        };
        steps.push(Step {
            name: field.into(),
            at: at.clone(),
        });
        let named = named(&root, &steps, self.variables)?;
        match steps.get(named.steps) {
            None => {
                let variable = Variable::Has(Box::new(named.variable));
                Ok(self.slot(node.at.clone(), variable, Type::Bool))
            }
            Some(step) => {
                let problem = Problem::NoFields(named.of.to_string().into());
                Err(ExpressionError::new(step.at.clone(), problem))
            }
        }
    }

    /// The type and the size of what a loop has bound to a name.
    fn bound(&self, name: &str) -> Option<(Type, u64)> {
        let mut bound = self.bound.iter().rev();
        let found = bound.find(|(own, ..)| **own == *name);
        found.map(|(_, of, size)| (of.clone(), *size))
    }

    fn slot(&mut self, at: Range<usize>, variable: Variable, of: Type) -> Part {
        let known = self.slots.iter().position(|slot| slot.variable == variable);
        let index = known.unwrap_or_else(|| {
            let name = self.text.get(at).unwrap_or_default().into();
            self.slots.push(Slot { name, variable });
            self.slots.len() - 1
        });
        let size = if of == Type::Bool { 1 } else { TEXT };
        Part::new(Expr::Ident(index.to_string()), of, 2, size)
    }

    fn call(&mut self, node: &Node, call: &Call) -> Checks {
        if let (operators::IN, [left, right]) = (&*call.function, &*call.arguments)
            && let Some(checked) = self.key_in(node, left, right)
        {
            return checked;
        }
        match (&*call.function, call.target.as_deref(), &*call.arguments) {
            (operators::INDEX, None, [of, index]) => match chain_of(node) {
                Some((root, _)) if self.bound(&root.name).is_none() => self.chain(node),
                _ => self.index(of, index),
            },
            (operator, None, [left, right]) if is_operator(operator) => {
                let (left, right) = (self.part(left)?, self.part(right)?);
                match binary(operator, &left.of, &right.of) {
                    Some(of) => Ok(operation(operator, of, [left, right])),
                    None => Err(operands(node, operator, &left.of, &right.of)),
                }
            }
            (operators::LOGICAL_NOT, None, [operand]) => {
                let part = self.part(operand)?;
                match part.of.fits(&Type::Bool) {
                    true => Ok(operation(operators::LOGICAL_NOT, Type::Bool, [part])),
                    false => Err(wrong_type(operand, "bool", &part.of)),
                }
            }
            (operators::NEGATE, None, [operand]) => {
                let part = self.part(operand)?;
                match part.of {
                    Type::Int | Type::Double | Type::Dyn => {
                        Ok(operation(operators::NEGATE, part.of.clone(), [part]))
                    }
                    _ => Err(wrong_type(operand, "int or double", &part.of)),
                }
            }
            (operators::CONDITIONAL, None, [condition, yes, no]) => {
                let part = self.part(condition)?;
                if !part.of.fits(&Type::Bool) {
                    return Err(wrong_type(condition, "bool", &part.of));
                }
                let (yes, no) = (self.part(yes)?, self.part(no)?);
                let of = yes.of.clone().or(no.of.clone());
                Ok(operation(operators::CONDITIONAL, of, [part, yes, no]))
            }
            _ => self.function(call),
        }
    }

    /// `"x-tenant" in request.headers`: asks for one name, and not for all that there are. `None` for anything else.
    fn key_in(&mut self, node: &Node, left: &Node, right: &Node) -> Option<Checks> {
        let (root, mut steps) = chain_of(right)?;
        let names: Vec<&str> = steps.iter().map(|step| &*step.name).collect();
        let is_meant = matches!(
            (&*root.name, &*names),
            ("request", ["headers" | "query"]) | ("identity", ["claims"])
        );
        if !is_meant || self.bound(&root.name).is_some() {
            return None;
        }
        steps.push(Step {
            name: literal_text(left)?.into(),
            at: left.at.clone(),
        });
        Some(named(&root, &steps, self.variables).map(|named| {
            let variable = Variable::Has(Box::new(named.variable));
            self.slot(node.at.clone(), variable, Type::Bool)
        }))
    }

    fn index(&mut self, of: &Node, index: &Node) -> Checks {
        let (of_part, index_part) = (self.part(of)?, self.part(index)?);
        let (wanted, type_of) = match &of_part.of {
            Type::Dyn => (Type::Dyn, Type::Dyn),
            Type::List(element) => (Type::Int, (**element).clone()),
            Type::Map(value) => (Type::Text, (**value).clone()),
            other => return Err(wrong_type(of, "a list or a map", other)),
        };
        if !index_part.of.fits(&wanted) {
            return Err(wrong_type(index, &wanted.to_string(), &index_part.of));
        }
        Ok(operation(operators::INDEX, type_of, [of_part, index_part]))
    }

    fn function(&mut self, call: &Call) -> Checks {
        let function = signature(call)?;
        let target = match (call.target.as_deref(), function.target) {
            (Some(node), Some(takes)) => Some(self.argument(node, takes)?),
            _ => None,
        };
        let mut arguments = Vec::new();
        for (node, takes) in call.arguments.iter().zip(function.arguments) {
            arguments.push(self.argument(node, *takes)?);
        }
        let (steps, size) = totals(arguments.iter().chain(&target));
        let expr = Expr::Call(CallExpr {
            func_name: function.name.to_owned(),
            target: target.map(|target| Box::new(target.expr)),
            args: arguments.into_iter().map(|part| part.expr).collect(),
        });
        Ok(Part::new(expr, function.answer.clone(), steps, size))
    }

    fn argument(&mut self, node: &Node, takes: Takes) -> Checks {
        if takes == Takes::Pattern {
            return self.pattern(node);
        }
        let part = self.part(node)?;
        match takes.allows(&part.of) {
            true => Ok(part),
            false => Err(wrong_type(node, takes.name(), &part.of)),
        }
    }

    fn pattern(&mut self, node: &Node) -> Checks {
        let fail = |problem| ExpressionError::new(node.at.clone(), problem);
        let source = literal_text(node).ok_or_else(|| fail(Problem::PatternNotLiteral))?;
        let pattern = Pattern::new(source).map_err(|error| fail(Problem::Pattern(error)))?;
        Ok(self.slot(node.at.clone(), Variable::Pattern(pattern), Type::Text))
    }

    fn list(&mut self, elements: &[Node]) -> Checks {
        let mut parts = Vec::new();
        for element in elements {
            parts.push(self.part(element)?);
        }
        let types = parts.iter().map(|part| part.of.clone());
        let of = types.reduce(Type::or).unwrap_or(Type::Dyn);
        let (steps, size) = totals(&parts);
        let elements = parts.into_iter().map(|part| part.expr).collect();
        let list = Expr::List(ListExpr::new(elements));
        Ok(Part::new(list, Type::List(Box::new(of)), steps, size))
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Checks {
        let mut parts = Vec::new();
        for (key, value) in entries {
            let key_part = self.part(key)?;
            if !key_part.of.fits(&Type::Text) {
                return Err(wrong_type(key, "string", &key_part.of));
            }
            parts.push((key_part, self.part(value)?));
        }
        let types = parts.iter().map(|(_, value)| value.of.clone());
        let of = types.reduce(Type::or).unwrap_or(Type::Dyn);
        let (steps, size) = totals(parts.iter().flat_map(|(key, value)| [key, value]));
        let entry = |(key, value): (Part, Part)| IdedEntryExpr {
            id: 0,
            expr: EntryExpr::MapEntry(MapEntryExpr {
                key: key.expr,
                value: value.expr,
                optional: false,
            }),
        };
        let entries = parts.into_iter().map(entry).collect();
        let map = Expr::Map(MapExpr { entries });
        Ok(Part::new(map, Type::Map(Box::new(of)), steps, size))
    }

    fn loop_over(&mut self, own: &Loop) -> Checks {
        let range = self.part(&own.range)?;
        let element = match &range.of {
            Type::Dyn => Type::Dyn,
            Type::List(element) => (**element).clone(),
            Type::Map(_) => Type::Text,
            other => return Err(wrong_type(&own.range, "a list or a map", other)),
        };
        let turns = match &own.range.kind {
            Kind::List(elements) => elements.len() as u64,
            _ => VALUES,
        };
        let bound = (own.variable.clone(), element.clone(), range.size);
        self.bound.push(bound);
        let body = self.part(&own.body);
        self.bound.pop();
        let body = body?;
        if !body.of.fits(&Type::Bool) {
            return Err(wrong_type(&own.body, "bool", &body.of));
        }
        let (of, size) = match own.kind {
            LoopKind::Filter => (Type::List(Box::new(element)), range.size),
            _ => (Type::Bool, 1),
        };
        // The accumulator, the condition and the binding of each turn.
        let turn = body.steps.saturating_add(4);
        let steps = range.steps.saturating_add(turns.saturating_mul(turn));
        let expr = lower::over(own.kind, &own.variable, range.expr, body.expr);
        Ok(Part::new(expr, of, steps, size))
    }
}

/// Nobody can write the name of an operator as that of a function.
fn is_operator(name: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.bytes().all(is_name_byte)
}

fn literal_part(literal: &LiteralValue) -> Part {
    let (of, size) = match literal {
        LiteralValue::Boolean(_) => (Type::Bool, 1),
        LiteralValue::Int(_) => (Type::Int, 8),
        LiteralValue::UInt(_) => (Type::Uint, 8),
        LiteralValue::Double(_) => (Type::Double, 8),
        LiteralValue::Null => (Type::Null, 1),
        LiteralValue::String(text) => (Type::Text, text.inner().len() as u64),
        LiteralValue::Bytes(bytes) => (Type::Dyn, bytes.inner().len() as u64),
    };
    Part::new(Expr::Literal(literal.clone()), of, 1, size)
}

fn operation<const N: usize>(operator: &str, of: Type, parts: [Part; N]) -> Part {
    let (steps, size) = totals(&parts);
    let expr = Expr::Call(CallExpr {
        func_name: operator.to_owned(),
        target: None,
        args: parts.into_iter().map(|part| part.expr).collect(),
    });
    let size = if of == Type::Bool { 1 } else { size };
    Part::new(expr, of, steps, size)
}

/// What is made of these parts costs all of them and is at most as large as all of them.
fn totals<'p>(parts: impl IntoIterator<Item = &'p Part>) -> (u64, u64) {
    parts.into_iter().fold((1, 8), |(steps, size), part| {
        (
            steps.saturating_add(part.steps),
            size.saturating_add(part.size),
        )
    })
}

fn wrong_type(node: &Node, wanted: &str, got: &Type) -> ExpressionError {
    let (wanted, got) = (wanted.into(), got.to_string().into());
    ExpressionError::new(node.at.clone(), Problem::Type { wanted, got })
}

fn operands(node: &Node, operator: &str, left: &Type, right: &Type) -> ExpressionError {
    let problem = Problem::Operands {
        operator: sign(operator).into(),
        left: left.to_string().into(),
        right: right.to_string().into(),
    };
    let error = ExpressionError::new(node.at.clone(), problem);
    let mixes = left.is_number() && right.is_number();
    match mixes {
        true => error.help("CEL converts no number by itself: write `int(…)` or `double(…)`"),
        false => error,
    }
}
