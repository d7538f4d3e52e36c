//! The functions that an expression can call, and the environment of the crate that has them.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::common::types::{self, CelBool, CelString};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};

use super::parse::{Call, LOOPS};
use super::typing::Type;
use super::{ExpressionError, Problem};
use crate::text::{RegexError, RegexPattern, nearest};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    /// Text, a list or a map.
    Sized,
    /// Text or a number.
    Number,
    /// Text, a number, true or false.
    Scalar,
    /// A pattern in quotes.
    Pattern,
}

impl Takes {
    pub(super) fn allows(self, of: &Type) -> bool {
        let is_number = matches!(of, Type::Int | Type::Uint | Type::Double);
        match (self, of) {
            (_, Type::Dyn) => true,
            (Takes::Pattern, _) => false,
            (Takes::Sized, Type::List(_) | Type::Map(_)) => true,
            (Takes::Scalar, Type::Bool) => true,
            (Takes::Number | Takes::Scalar, _) if is_number => true,
            (_, of) => *of == Type::Text,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Takes::Text | Takes::Pattern => "string",
            Takes::Sized => "string, list or map",
            Takes::Number => "string or a number",
            Takes::Scalar => "string, bool or a number",
        }
    }
}

pub(super) struct Function {
    pub(super) name: &'static str,
    /// What it is called on, `a.f()`.
    pub(super) target: Option<Takes>,
    pub(super) arguments: &'static [Takes],
    pub(super) answer: Type,
}

const fn method(name: &'static str, arguments: &'static [Takes], answer: Type) -> Function {
    Function {
        name,
        target: Some(Takes::Text),
        arguments,
        answer,
    }
}

const fn function(name: &'static str, arguments: &'static [Takes], answer: Type) -> Function {
    Function {
        name,
        target: None,
        arguments,
        answer,
    }
}

pub(super) const MATCHES: &str = "matches";
const LOWER: &str = "lowerAscii";

pub(super) static FUNCTIONS: [Function; 11] = [
    method("contains", &[Takes::Text], Type::Bool),
    method("startsWith", &[Takes::Text], Type::Bool),
    method("endsWith", &[Takes::Text], Type::Bool),
    method(MATCHES, &[Takes::Pattern], Type::Bool),
    method(LOWER, &[], Type::Text),
    Function {
        name: "size",
        target: Some(Takes::Sized),
        arguments: &[],
        answer: Type::Int,
    },
    function("size", &[Takes::Sized], Type::Int),
    function("int", &[Takes::Number], Type::Int),
    function("uint", &[Takes::Number], Type::Uint),
    function("double", &[Takes::Number], Type::Double),
    function("string", &[Takes::Scalar], Type::Text),
];

/// The function of that name that a call means.
pub(super) fn signature(call: &Call) -> Result<&'static Function, ExpressionError> {
    let fail = |problem| ExpressionError::new(call.name_at.clone(), problem);
    let name = &*call.function;
    let named = || FUNCTIONS.iter().filter(|function| function.name == name);
    if named().next().is_none() {
        let functions = FUNCTIONS.iter().map(|function| function.name);
        let known = functions.chain(LOOPS.iter().map(|(name, _)| *name));
        let error = fail(Problem::UnknownFunction(name.into()));
        return Err(match nearest(name, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    let is_method = call.target.is_some();
    let Some(function) = named().find(|function| function.target.is_some() == is_method) else {
        let style = if is_method {
            "as `f(a)`"
        } else {
            "on a value, `a.f(b)`"
        };
        return Err(fail(Problem::CallStyle(name.into(), style)));
    };
    match (function.arguments.len(), call.arguments.len()) {
        (wanted, got) if wanted == got => Ok(function),
        (0, got) => Err(fail(Problem::Arguments(name.into(), "no argument", got))),
        (_, got) => Err(fail(Problem::Arguments(name.into(), "1 argument", got))),
    }
}

/// How an operator is written, by the crate's name for it.
pub(super) fn sign(operator: &str) -> &str {
    match operator {
        operators::IN => "in",
        operators::INDEX => "[]",
        operators::CONDITIONAL => "?:",
        _ => operator.trim_matches('_'),
    }
}

/// All functions; one for all expressions.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::default().with_optional_support(false).with_stdlib();
        let pattern = PATTERN.to_owned();
        let text = || types::STRING_TYPE;
        env.add_member_overload(
            MATCHES,
            "string_matches_pattern",
            text(),
            vec![pattern],
            matches,
        )
        .and_then(|()| env.add_member_overload(LOWER, "string_lower", text(), vec![], lower))
        .expect("the standard library has neither");
        Arc::new(env)
    });
    ENVIRONMENT.clone()
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = arguments
        .first()
        .and_then(|text| text.downcast_ref::<CelString>());
    let pattern = arguments
        .get(1)
        .and_then(|pattern| pattern.downcast_ref::<Pattern>());
    match (text, pattern) {
        (Some(text), Some(pattern)) => {
            let is_match = pattern.0.is_match(text.inner().as_bytes());
            Ok(CowVal::owned(CelBool::from(is_match)))
        }
        _ => Err(ExecutionError::function_error(MATCHES, "arguments")),
    }
}

pub(super) fn lower<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = arguments
        .first()
        .and_then(|text| text.downcast_ref::<CelString>());
    let text = text.ok_or_else(|| ExecutionError::function_error(LOWER, "arguments"))?;
    Ok(CowVal::owned(CelString::from(
        text.inner().to_ascii_lowercase(),
    )))
}

/// A compiled pattern, which only `matches` can do something with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(RegexPattern);

static PATTERN: types::Type = types::Type::new_unspecified_type("pattern");

impl Pattern {
    /// CEL looks for a match anywhere in the text.
    pub(super) fn new(source: &str) -> Result<Pattern, RegexError> {
        // Alone first, so that an error says which byte of what was written is to blame.
        RegexPattern::new(source)?;
        RegexPattern::new(&format!("(?s:.*)(?:{source})(?s:.*)")).map(Pattern)
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &types::Type {
        &PATTERN
    }

    fn cel_type() -> &'static types::Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
