//! What the tree of a filter is like, before it is compiled.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{Def, Term};
use jaq_core::path::{Part, Path};

type Tree<'s> = Term<&'s str>;

/// What a tree has directly in it, definitions apart.
fn children<'t, 's>(tree: &'t Tree<'s>) -> Vec<&'t Tree<'s>> {
    match tree {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => Vec::new(),
        Term::Str(_, parts) => {
            let inner = parts.iter().filter_map(|part| match part {
                StrPart::Term(tree) => Some(tree),
                _ => None,
            });
            inner.collect()
        }
        Term::Arr(tree) => tree.iter().map(|tree| &**tree).collect(),
        Term::Obj(fields) => {
            let pairs = fields.iter();
            pairs
                .flat_map(|(name, value)| std::iter::once(name).chain(value))
                .collect()
        }
        Term::Neg(tree) | Term::Label(_, tree) | Term::Def(_, tree) => vec![&**tree],
        Term::BinOp(left, _, right) => vec![&**left, &**right],
        Term::Fold(_, source, _, arguments) => {
            std::iter::once(&**source).chain(arguments).collect()
        }
        Term::TryCatch(tree, otherwise) => {
            let otherwise = otherwise.iter().map(|tree| &**tree);
            std::iter::once(&**tree).chain(otherwise).collect()
        }
        Term::IfThenElse(branches, otherwise) => {
            let branches = branches
                .iter()
                .flat_map(|(condition, then)| [condition, then]);
            branches
                .chain(otherwise.iter().map(|tree| &**tree))
                .collect()
        }
        Term::Call(_, arguments) => arguments.iter().collect(),
        Term::Path(of, Path(parts)) => {
            let inner = parts.iter().flat_map(|(part, _)| match part {
                Part::Index(tree) => vec![tree],
                Part::Range(from, to) => from.iter().chain(to).collect(),
            });
            std::iter::once(&**of).chain(inner).collect()
        }
    }
}

fn definitions<'t, 's>(tree: &'t Tree<'s>) -> &'t [Def<&'s str>] {
    match tree {
        Term::Def(definitions, _) => definitions,
        _ => &[],
    }
}

/// How many are within each other, those of a definition wherever it is called among them. Of a path each step counts.
pub(super) fn depth(tree: &Tree<'_>) -> usize {
    let inner = children(tree).into_iter().map(depth).max().unwrap_or(0);
    let of_definitions: usize = definitions(tree).iter().map(|own| depth(&own.body)).sum();
    let steps = match tree {
        Term::Path(_, Path(parts)) => parts.len(),
        _ => 1,
    };
    inner + of_definitions + steps
}

/// The name of a definition that calls itself, which could go as deep as there is no stack for.
pub(super) fn recursive<'s>(tree: &Tree<'s>) -> Option<&'s str> {
    find(tree, &mut Vec::new())
}

/// `open` has the names and numbers of arguments of the definitions that the place is in.
fn find<'s>(tree: &Tree<'s>, open: &mut Vec<(&'s str, usize)>) -> Option<&'s str> {
    if let Term::Call(name, arguments) = tree
        && open.contains(&(name, arguments.len()))
    {
        return Some(name);
    }
    let in_bodies = definitions(tree).iter().find_map(|own| {
        open.push((own.name, own.args.len()));
        let found = find(&own.body, open);
        open.pop();
        found
    });
    in_bodies.or_else(|| children(tree).into_iter().find_map(|tree| find(tree, open)))
}
