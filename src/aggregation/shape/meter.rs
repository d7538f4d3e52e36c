//! Filters of jq with a meter in them: whatever they do costs steps, and there are only so many.
//!
//! The crate has no limit of its own. But a filter is a tree before it is compiled, and in that tree there is a place for a
//! step wherever something can happen again and again: behind all that gives several values, in front of all that is called.
//! A step that is one too many ends the run by what ends a program of jq, which nothing in it can catch.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

/// Passes a value on, for one step.
pub(super) const TICK: &str = "!tick";
/// Passes a value on into a definition or a loop, for one step; for many where that is what is changed, since then each is
/// within the one before, on the stack.
pub(super) const ENTER: &str = "!enter";
/// Passes a value on, for as many steps as there is in it.
pub(super) const WEIGH: &str = "!weigh";
/// Adds, for as many steps as that makes larger.
pub(super) const ADD: &str = "!add";
/// Multiplies, for as many steps as that makes larger.
pub(super) const MULTIPLY: &str = "!multiply";

/// What a variable is called that nobody else can have.
const OPERAND: &str = "$!operand";

/// What is implemented in the crate and looks at no more of a value than its outside.
const SHALLOW: [&str; 10] = [
    "error_empty",
    "first",
    "key_values",
    "keys_unsorted",
    "last",
    "length",
    "limit",
    "path",
    "path_value",
    "skip",
];

pub(super) type Tree<'s> = Term<&'s str>;

/// The definition with a meter in it.
pub(super) fn metered_definition<'s>(own: Def<&'s str>, natives: &[&str]) -> Def<&'s str> {
    Def {
        body: entered(metered(own.body, natives)),
        ..own
    }
}

/// The tree with a meter in it. `natives` are the names of what is implemented in the crate.
pub(super) fn metered<'s>(tree: Tree<'s>, natives: &[&str]) -> Tree<'s> {
    let inner = |tree: Tree<'s>| metered(tree, natives);
    let boxed = |tree: Box<Tree<'s>>| Box::new(metered(*tree, natives));
    match tree {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => tree,
        Term::Arr(None) => tree,
        Term::Str(format, parts) => {
            let parts = parts.into_iter().map(|part| match part {
                StrPart::Term(tree) => StrPart::Term(weighed(inner(tree))),
                part => part,
            });
            Term::Str(format, parts.collect())
        }
        Term::Arr(Some(tree)) => weighed(Term::Arr(Some(Box::new(counted(inner(*tree)))))),
        Term::Obj(fields) => {
            let fields = fields.into_iter().map(|(name, value)| match (name, value) {
                (name, None) => (name, None),
                (name @ (Term::Str(..) | Term::Var(_)), Some(value)) => {
                    (name, Some(counted(inner(value))))
                }
                (name, Some(value)) => (counted(inner(name)), Some(counted(inner(value)))),
            });
            weighed(Term::Obj(fields.collect()))
        }
        Term::Neg(tree) => Term::Neg(boxed(tree)),
        Term::BinOp(left, operator, right) => operation(inner(*left), operator, inner(*right)),
        Term::Label(name, tree) => Term::Label(name, boxed(tree)),
        Term::Fold(name, source, pattern, arguments) => {
            let source = Box::new(counted(inner(*source)));
            let arguments = arguments.into_iter().map(|tree| entered(inner(tree)));
            Term::Fold(name, source, pattern, arguments.collect())
        }
        Term::TryCatch(tree, otherwise) => Term::TryCatch(boxed(tree), otherwise.map(boxed)),
        Term::IfThenElse(branches, otherwise) => {
            let branches = branches
                .into_iter()
                .map(|(condition, then)| (counted(inner(condition)), inner(then)));
            Term::IfThenElse(branches.collect(), otherwise.map(boxed))
        }
        Term::Def(definitions, tree) => {
            let definitions = definitions.into_iter();
            let definitions = definitions.map(|own| metered_definition(own, natives));
            Term::Def(definitions.collect(), boxed(tree))
        }
        Term::Call(name, arguments) => {
            let is_deep = natives.contains(&name) && !SHALLOW.contains(&name);
            let pass = if is_deep { weighed } else { counted };
            let arguments = arguments.into_iter().map(|tree| pass(inner(tree)));
            let call = Term::Call(name, arguments.collect());
            match is_deep {
                true => pipe(Term::Call(WEIGH, Vec::new()), call),
                false => call,
            }
        }
        Term::Path(of, Path(parts)) => {
            let mut tree = inner(*of);
            for (part, optional) in parts {
                let counts = |tree| counted(inner(tree));
                let part = match part {
                    Part::Index(index) => Part::Index(counts(index)),
                    Part::Range(from, to) => Part::Range(from.map(counts), to.map(counts)),
                };
                tree = Term::Path(Box::new(tree), Path(vec![(part, optional)]));
                tree = counted(tree);
            }
            tree
        }
    }
}

fn operation<'s>(left: Tree<'s>, operator: BinaryOp<&'s str>, right: Tree<'s>) -> Tree<'s> {
    let binary = |left, operator, right| Term::BinOp(Box::new(left), operator, Box::new(right));
    match operator {
        BinaryOp::Pipe(_) => binary(left, operator, led(right)),
        BinaryOp::Comma => binary(left, operator, right),
        BinaryOp::Alt | BinaryOp::Or | BinaryOp::And => binary(counted(left), operator, right),
        BinaryOp::Math(Math::Add) => Term::Call(ADD, vec![counted(left), counted(right)]),
        BinaryOp::Math(Math::Mul) => Term::Call(MULTIPLY, vec![counted(left), counted(right)]),
        BinaryOp::Math(_) | BinaryOp::Cmp(_) => binary(weighed(left), operator, weighed(right)),
        BinaryOp::Assign | BinaryOp::UpdateAlt => weighed(binary(left, operator, counted(right))),
        BinaryOp::Update => weighed(binary(left, operator, led(right))),
        BinaryOp::UpdateMath(math) => {
            let named = match math {
                Math::Add => ADD,
                Math::Mul => MULTIPLY,
                math => return weighed(binary(left, BinaryOp::UpdateMath(math), weighed(right))),
            };
            // As the language defines it: `right as $operand | left |= . + $operand`.
            let change = Term::Call(named, vec![Term::Id, Term::Var(OPERAND)]);
            let update = weighed(binary(left, BinaryOp::Update, change));
            let bind = BinaryOp::Pipe(Some(Pattern::Var(OPERAND)));
            binary(counted(right), bind, update)
        }
    }
}

fn pipe<'s>(left: Tree<'s>, right: Tree<'s>) -> Tree<'s> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

/// One step for each value that comes out.
fn counted(tree: Tree<'_>) -> Tree<'_> {
    pipe(tree, Term::Call(TICK, Vec::new()))
}

/// As many steps as there is in each value that comes out.
fn weighed(tree: Tree<'_>) -> Tree<'_> {
    pipe(tree, Term::Call(WEIGH, Vec::new()))
}

/// One step for each value that goes in. It leaves a call where it ends its definition, so that it takes no stack.
fn led(tree: Tree<'_>) -> Tree<'_> {
    pipe(Term::Call(TICK, Vec::new()), tree)
}

fn entered(tree: Tree<'_>) -> Tree<'_> {
    pipe(Term::Call(ENTER, Vec::new()), tree)
}
