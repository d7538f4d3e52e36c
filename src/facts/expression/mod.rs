//! Expressions over the facts of a request, in CEL (<https://cel.dev>): `identity.claims.tenant == path.tenant`.
//!
//! They are read, checked and compiled when the configuration is: unknown names, functions that do not exist, types
//! that can never fit and an answer of the wrong type are problems of the configuration, with their place. What only a
//! request can show (a claim that is absent, or is a number where text was meant) is an error of the evaluation, and
//! whoever asks has to take that for a refusal. By CEL's rule `||` and `&&` need not know both sides: an error on one
//! is forgotten where the other decides.
//!
//! # Names
//! | | type | |
//! |---|---|---|
//! | `identity.subject`, `.consumer`, `.plan`, `.credential`, `.authenticator`, `.provider` | `string` | absent where there is none; the first three and the last of an anonymous caller too |
//! | `identity.scopes`, `.roles`, `.groups` | `list(string)` | absent for an anonymous caller |
//! | `identity.claims` | `map` | `identity.claims.tenant`, `identity.claims["https://a.example/role"]` |
//! | `request.method`, `.scheme`, `.id` | `string` | |
//! | `request.host` | `string` | in lower case, without a port |
//! | `request.path` | `string` | in the form that is routed and forwarded, not decoded |
//! | `request.headers` | by name alone | `request.headers["x-tenant"]`; lines of one name with `, ` between them; absent where one is not visible ASCII |
//! | `request.query` | by name alone | decoded; absent where it is not UTF-8 or stands there twice, since nobody knows which one an upstream takes |
//! | `path` | by name alone | `path.tenant`: the route's parameter, percent-decoded; absent where that is not UTF-8 |
//! | `client.ip` | `string` | |
//! | `client.certificate` | by name alone | `subject`, `issuer`, `serial`, `fingerprint`, `not_after`: `string`; `dns`, `uri`, `email`, `ip`: `list(string)` |
//! | `parts.PART.status`, `.headers`, `.body` | `int`, by name alone, anything | of an aggregation: what a part has answered; absent where it has not |
//!
//! `has(NAME)` tells whether something is there: `has(identity.claims.tenant)`, `has(client.certificate)`.
//!
//! # Operators and functions
//! `||`, `&&`, `!`, `a ? b : c`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `+`, `-`, `*`, `/`, `%`, `a[b]`, `a.b`;
//! `a.startsWith(b)`, `a.endsWith(b)`, `a.contains(b)`, `a.matches("regex")` with a literal that is compiled once,
//! `a.lowerAscii()`, `size(a)`, `int(a)`, `uint(a)`, `double(a)`, `string(a)`; of lists and maps `a.all(x, …)`,
//! `a.exists(x, …)`, `a.exists_one(x, …)` and `a.filter(x, …)`. There is no `map`, no `type`, and there are no bytes.
//!
//! # Bounds
//! An expression has at most 4 KiB and is at most 16 brackets and 32 operators deep. What it could cost is counted
//! before it runs: lists from a request count for 1,024 elements and text for 64 KiB, and what could take more than
//! 50,000 steps or make more than 1 MiB of anything is refused (a loop over a list in a loop over a list is). What is
//! larger than that in a request has no value there.

mod chain;
mod check;
mod functions;
mod lower;
mod parse;
mod parts;
mod token;
mod typing;
mod values;
mod variables;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use cel::common::ast::IdedExpr;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelUInt};
use cel::common::value::Val;
use cel::{Context, ExecutionError, Value};
use http::HeaderName;
use thiserror::Error;

use self::check::Checked;
use self::variables::{Bindings, Slot};
use super::{Gathered, PartField, Variables, View};
use crate::text::{Spanned, Subject};

/// The longest expression, in bytes.
const LONGEST: usize = 4096;

/// A compiled expression whose answer is a `T`.
pub struct Expression<T> {
    source: Box<str>,
    root: IdedExpr,
    slots: Box<[Slot]>,
    answer: PhantomData<fn() -> T>,
}

/// What an expression can answer with.
pub trait Answer: Sized {
    /// What such an answer is called.
    const NAME: &'static str;
    #[doc(hidden)]
    const TYPES: &'static [AnswerType];
    #[doc(hidden)]
    fn of(value: &dyn Val) -> Option<Self>;
}

/// The types of CEL that an answer may have.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerType {
    Bool,
    Number,
    Text,
}

impl Answer for bool {
    const NAME: &'static str = "true or false";
    const TYPES: &'static [AnswerType] = &[AnswerType::Bool];

    fn of(value: &dyn Val) -> Option<bool> {
        value.downcast_ref::<CelBool>().map(|truth| *truth.inner())
    }
}

/// Any number, also a whole one; never infinite or no number at all.
impl Answer for f64 {
    const NAME: &'static str = "a number";
    const TYPES: &'static [AnswerType] = &[AnswerType::Number];

    fn of(value: &dyn Val) -> Option<f64> {
        let int = || {
            value
                .downcast_ref::<CelInt>()
                .map(|number| *number.inner() as f64)
        };
        let uint = || {
            value
                .downcast_ref::<CelUInt>()
                .map(|number| *number.inner() as f64)
        };
        let double = value
            .downcast_ref::<CelDouble>()
            .map(|number| *number.inner());
        double
            .or_else(int)
            .or_else(uint)
            .filter(|number| number.is_finite())
    }
}

impl Answer for String {
    const NAME: &'static str = "text";
    const TYPES: &'static [AnswerType] = &[AnswerType::Text];

    fn of(value: &dyn Val) -> Option<String> {
        value
            .downcast_ref::<CelString>()
            .map(|text| text.inner().to_owned())
    }
}

impl<T: Answer> Expression<T> {
    pub fn compile(text: &str, variables: Variables<'_>) -> Result<Self, ExpressionError> {
        if text.len() > LONGEST {
            return Err(ExpressionError::new(
                0..text.len(),
                Problem::TooLong(text.len()),
            ));
        }
        let node = parse::parse(text)?;
        let Checked { root, slots } = check::check::<T>(&node, text, variables)?;
        Ok(Expression {
            source: text.into(),
            root,
            slots,
            answer: PhantomData,
        })
    }

    /// Compiles a value of the configuration. `None` after a diagnostic.
    pub fn build(
        text: &Spanned<String>,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Self> {
        match Expression::compile(&text.value, variables) {
            Ok(expression) => Some(expression),
            Err(error) => {
                subject.error(text.part(error.at), error.problem).help = error.help.map(Into::into);
                None
            }
        }
    }

    /// The answer for a request. An error is for the log, and is never to be taken for a yes.
    pub fn evaluate(&self, view: View<'_>) -> Result<T, EvaluationError> {
        self.gather(view.into())
    }

    /// As [`Expression::evaluate`], with what an aggregation's parts have answered.
    pub fn gather(&self, gathered: Gathered<'_>) -> Result<T, EvaluationError> {
        let bindings = Bindings {
            slots: &self.slots,
            gathered,
        };
        let mut context = Context::with_env(functions::environment());
        context.set_variable_resolver(&bindings);
        let value = Value::resolve_val(&self.root, &context);
        let value = value.map_err(|error| EvaluationError::of(error, &self.slots))?;
        T::of(value.as_ref()).ok_or(EvaluationError::Answer(T::NAME))
    }

    /// What of an aggregation's parts it names.
    pub fn parts(&self) -> impl Iterator<Item = &PartField> {
        self.slots.iter().filter_map(|slot| slot.variable.part())
    }

    /// The client's headers that it names.
    pub fn client_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.slots
            .iter()
            .filter_map(|slot| slot.variable.client_header())
    }

    /// Whether its answer can be another one for another caller.
    pub fn names_the_caller(&self) -> bool {
        self.slots.iter().any(|slot| slot.variable.is_of_caller())
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl<T> fmt::Debug for Expression<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// Why an expression cannot be compiled, and which of its bytes are to blame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct ExpressionError {
    pub at: Range<usize>,
    pub problem: Problem,
    /// What to write instead, for people.
    pub help: Option<Box<str>>,
}

impl ExpressionError {
    fn new(at: Range<usize>, problem: Problem) -> ExpressionError {
        ExpressionError {
            at,
            problem,
            help: None,
        }
    }

    fn help(mut self, help: impl Into<Box<str>>) -> ExpressionError {
        self.help = Some(help.into());
        self
    }
}

/// The ways in which an expression can be wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    #[error("is {0} bytes long; an expression has at most {LONGEST}")]
    TooLong(usize),
    #[error("no such character in CEL")]
    Character,
    #[error("text without an end")]
    UnclosedText,
    #[error("no such escape in CEL")]
    Escape,
    #[error("is no number that CEL has")]
    Number,
    #[error("`{0}` is a word that CEL keeps for itself")]
    Reserved(Box<str>),
    #[error("`=` is no operator; `==` compares")]
    SingleEquals,
    #[error("{0} is expected here")]
    Expected(&'static str),
    #[error("ends where {0} is expected")]
    Ends(&'static str),
    #[error("is nested too deeply")]
    TooDeep,
    #[error("`has` wants a field, `has(identity.claims.tenant)`")]
    HasOfNoField,
    #[error("the first argument names what the others are about: `identity.roles.exists(role, …)`")]
    LoopWithoutName,
    #[error("unknown name `{0}`")]
    UnknownName(Box<str>),
    #[error("`{0}` is no value by itself")]
    Object(Box<str>),
    #[error("unknown field `{0}`")]
    UnknownField(Box<str>),
    #[error("the route's path has no parameter `{0}`")]
    UnknownParameter(Box<str>),
    #[error(
        "`path.{0}` can be used only where the route is known, not in a policy that routes inherit"
    )]
    CaptureOutsideRoute(Box<str>),
    #[error("there is no part `{0}`")]
    UnknownPart(Box<str>),
    #[error("`{0}` can only be asked for by a name in quotes")]
    ByNameAlone(Box<str>),
    #[error("{0:?} is no header name")]
    HeaderName(Box<str>),
    #[error("unknown function `{0}`")]
    UnknownFunction(Box<str>),
    #[error("`{0}` is called {1}")]
    CallStyle(Box<str>, &'static str),
    #[error("`{0}` takes {1}, got {2}")]
    Arguments(Box<str>, &'static str, usize),
    #[error("must be {wanted}, is {got}")]
    Type { wanted: Box<str>, got: Box<str> },
    #[error("`{operator}` takes no {left} and {right}")]
    Operands {
        operator: Box<str>,
        left: Box<str>,
        right: Box<str>,
    },
    #[error("{0} has no fields")]
    NoFields(Box<str>),
    #[error("the pattern of `matches` is compiled once, so it must be text in quotes")]
    PatternNotLiteral,
    #[error("the pattern {0}")]
    Pattern(crate::text::RegexError),
    #[error("could take {0} steps for one request; there may be 50000")]
    Steps(u64),
    #[error("could make a value of {0} bytes; there may be 1048576")]
    Size(u64),
}

/// Why an expression has no answer for a request. It quotes the expression, and nothing of what the request holds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluationError {
    #[error("`{0}` has no value")]
    Absent(Box<str>),
    #[error("an element, a key or a field is absent")]
    NoSuchKey,
    #[error("`{function}` takes no {types}")]
    Types { function: Box<str>, types: Box<str> },
    #[error("`{0}` cannot convert the value")]
    Conversion(Box<str>),
    #[error("a number is too large, or divided by zero")]
    Arithmetic,
    #[error("the answer is not {0}")]
    Answer(&'static str),
    #[error("the types of values do not fit")]
    Other,
}

impl EvaluationError {
    fn of(error: ExecutionError, slots: &[Slot]) -> EvaluationError {
        match error {
            ExecutionError::UndeclaredReference(name) => {
                let slot = name.parse().ok().and_then(|index: usize| slots.get(index));
                EvaluationError::Absent(slot.map_or_else(|| "?".into(), |slot| slot.name.clone()))
            }
            ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => {
                EvaluationError::NoSuchKey
            }
            ExecutionError::NoSuchOverload(overload) => EvaluationError::Types {
                function: functions::sign(overload.function()).into(),
                types: overload.argument_types().join(" and ").into(),
            },
            ExecutionError::FunctionError { function, .. } => {
                EvaluationError::Conversion(function.into())
            }
            ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_)
            | ExecutionError::Overflow(..) => EvaluationError::Arithmetic,
            _ => EvaluationError::Other,
        }
    }
}
