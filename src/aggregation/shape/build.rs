//! Compiling what is made of a part.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::path::{Path, Step};
use super::places::{Move, Rename};
use super::{As, Filter, Shape};
use crate::aggregation::config::PartConfig;
use crate::text::{Span, Spanned, Subject, quoted};

impl Shape {
    /// `None` after diagnostics.
    pub(in crate::aggregation) fn build(
        config: &PartConfig,
        subject: &mut Subject<'_>,
    ) -> Option<Shape> {
        let before = subject.error_count();
        check_kinds(config, subject);
        let mut fields = |key, own: &Option<Spanned<Vec<Spanned<String>>>>| {
            let own = own.as_ref()?;
            let paths = paths(own, &mut subject.key(key));
            Some(Fields::new(&paths))
        };
        let (pick, drop) = (fields("pick", &config.pick), fields("drop", &config.drop));
        let moves = moves(&config.r#move, &mut subject.key("move"));
        let renames = renames(&config.rename, &mut subject.key("rename"));
        let flatten = match &config.flatten {
            Some(own) => paths(own, &mut subject.key("flatten")),
            None => Vec::new(),
        };
        let filter = config.jq.as_ref().map(|text| {
            check_alone(config, text, subject);
            Filter::build(text, &mut subject.key("jq"))
        });
        (subject.error_count() == before).then(|| Shape {
            filter: filter.flatten(),
            pick,
            drop,
            moves,
            renames,
            flatten,
            r#as: config.r#as.as_ref().map_or(As::Json, |own| own.value),
        })
    }
}

impl Filter {
    /// Compiles a value of the configuration. `None` after a diagnostic.
    pub(in crate::aggregation) fn build(
        text: &Spanned<String>,
        subject: &mut Subject<'_>,
    ) -> Option<Filter> {
        match Filter::compile(&text.value) {
            Ok(filter) => Some(filter),
            Err(error) => {
                subject.error(text.span, error);
                None
            }
        }
    }
}

/// The simple forms that there are, and where.
fn simple(config: &PartConfig) -> impl Iterator<Item = (&'static str, Span)> {
    let first = |table: &BTreeMap<Spanned<String>, Spanned<String>>| {
        table.keys().next().map(|name| name.span)
    };
    let steps = [
        ("pick", config.pick.as_ref().map(|own| own.span)),
        ("drop", config.drop.as_ref().map(|own| own.span)),
        ("move", first(&config.r#move)),
        ("rename", first(&config.rename)),
        ("flatten", config.flatten.as_ref().map(|own| own.span)),
    ];
    let named = |(key, span): (&'static str, Option<Span>)| Some((key, span?));
    steps.into_iter().filter_map(named)
}

/// Says so where there are simple forms beside a filter, which can say all that they can.
fn check_alone(config: &PartConfig, text: &Spanned<String>, subject: &mut Subject<'_>) {
    for (key, span) in simple(config) {
        let what = "is of no use beside jq, which says what is made of the part";
        subject.key(key).error(span, what).also(text.span, "jq");
    }
}

/// What has no fields cannot be changed by them.
fn check_kinds(config: &PartConfig, subject: &mut Subject<'_>) {
    let is_text = |own: &&Spanned<As>| {
        matches!(
            own.value,
            As::Text | As::Base64 | As::String | As::Number | As::Boolean
        )
    };
    if let Some(own) = config.r#as.as_ref().filter(is_text) {
        for (key, span) in simple(config) {
            let what = "is for fields, and what the part is taken for has none";
            subject.key(key).error(span, what).also(own.span, "as");
        }
    }
}

fn paths(own: &Spanned<Vec<Spanned<String>>>, subject: &mut Subject<'_>) -> Vec<Path> {
    if own.is_empty() {
        subject.error(own.span, "is empty; name a field, or leave it out");
    }
    let mut paths: Vec<(Path, Span)> = Vec::with_capacity(own.len());
    for (index, text) in own.iter().enumerate() {
        let mut subject = subject.index(index);
        let Some(path) = path(text, &mut subject) else {
            continue;
        };
        if let Some((_, first)) = paths.iter().find(|(other, _)| *other == path) {
            let problem = subject.error(text.span, "is there twice");
            problem.also(*first, "first here");
        }
        paths.push((path, text.span));
    }
    paths.into_iter().map(|(path, _)| path).collect()
}

fn path(text: &Spanned<String>, subject: &mut Subject<'_>) -> Option<Path> {
    match Path::parse(&text.value) {
        Ok(path) => Some(path),
        Err(error) => {
            subject.error(text.span, error);
            None
        }
    }
}

/// Fields by names alone, one at least.
fn names(text: &Spanned<String>, subject: &mut Subject<'_>) -> Option<Box<[Box<str>]>> {
    let path = path(text, subject)?;
    match path.names() {
        Some(names) if !names.is_empty() => Some(names.into_iter().map(Into::into).collect()),
        _ => {
            let got = quoted(&text.value);
            let what = format!("must be a field that is in no array, got {got}");
            subject.error(text.span, what);
            None
        }
    }
}

fn moves(
    table: &BTreeMap<Spanned<String>, Spanned<String>>,
    subject: &mut Subject<'_>,
) -> Vec<Move> {
    let mut moves: Vec<(Move, Span)> = Vec::with_capacity(table.len());
    for (from, to) in table {
        let mut subject = subject.key(from);
        let source = names(&Spanned::new(from.value.clone(), from.span), &mut subject);
        let target = names(to, &mut subject);
        let (Some(source), Some(target)) = (source, target) else {
            continue;
        };
        for (other, span) in &moves {
            let overlap =
                |one: &[Box<str>], two: &[Box<str>]| one.starts_with(two) || two.starts_with(one);
            if overlap(&other.to, &target) {
                let what = format!("goes where another goes as well, to {}", quoted(&to.value));
                subject.error(to.span, what).also(*span, "the other");
            }
            if overlap(&other.from, &source) {
                let what = "is in what goes elsewhere as well, or has that in it";
                subject.error(from.span, what).also(*span, "the other");
            }
        }
        let it = Move {
            from: source,
            to: target,
        };
        moves.push((it, to.span));
    }
    moves.into_iter().map(|(it, _)| it).collect()
}

fn renames(
    table: &BTreeMap<Spanned<String>, Spanned<String>>,
    subject: &mut Subject<'_>,
) -> Vec<Rename> {
    let mut all: Vec<(Path, &Spanned<String>)> = Vec::with_capacity(table.len());
    for (from, name) in table {
        let mut subject = subject.key(from);
        let own = Spanned::new(from.value.clone(), from.span);
        let Some(path) = path(&own, &mut subject) else {
            continue;
        };
        let Some((Step::Field(_), at)) = path.steps().split_last() else {
            let what = format!("must be a field, got {}", quoted(&from.value));
            subject.error(from.span, what);
            continue;
        };
        let same = |(other, new): &&(Path, &Spanned<String>)| {
            let place = other.steps().split_last().map(|(_, at)| at);
            place == Some(at) && new.value == name.value
        };
        if let Some((_, first)) = all.iter().find(same) {
            let what = format!(
                "gets a name that another gets as well, {}",
                quoted(&name.value)
            );
            subject.error(name.span, what).also(first.span, "the other");
        }
        all.push((path, name));
    }
    Rename::group(all.iter().map(|(path, name)| (path, name.value.as_str())))
}
