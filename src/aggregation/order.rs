//! Who waits for whom in a configuration, and what is wrong with that.

use super::config::As;
use super::graph::{Cycle, Graph};
use super::json::{self, Kind};
use super::plan::{Contract, Part};
use crate::facts::{Key, PartField, What};
use crate::text::{Span, Subject};

/// As many as may come one after the other.
const DEEPEST: usize = 8;

/// Who waits for whom, where nobody waits for itself.
pub(super) fn graph(parts: &[Part], places: &[Span], subject: &mut Subject<'_>) -> Option<Graph> {
    check_fields(parts, places, subject)?;
    let needs = parts
        .iter()
        .map(|part| part.fields().map(|field| field.part).collect());
    let name = |part: &usize| parts.get(*part).map_or("", Part::name);
    let place = |part: Option<&usize>| part.and_then(|part| places.get(*part).copied());
    match Graph::new(needs.collect()) {
        Ok(graph) if graph.depth() <= DEEPEST => Some(graph),
        Ok(graph) => {
            let deepest = (0..parts.len()).max_by_key(|part| graph.level(*part));
            let what = format!(
                "is the end of {} parts that wait for each other; there may be {DEEPEST}",
                graph.depth()
            );
            let mut subject = subject.key(deepest.as_ref().map_or("", name));
            subject.error(place(deepest.as_ref())?, what);
            None
        }
        Err(Cycle(ring)) => {
            let first = ring.first();
            let mut names: Vec<&str> = ring.iter().map(name).collect();
            let what = match *names {
                [_] => "names itself, and would wait for its own answer".to_owned(),
                [first, ..] => {
                    names.push(first);
                    format!("waits for itself: {}", names.join(" → "))
                }
                [] => return None,
            };
            let mut subject = subject.key(first.map_or("", name));
            let problem = subject.error(place(first)?, what);
            for part in ring.iter().skip(1) {
                problem.also(place(Some(part))?, name(part));
            }
            None
        }
    }
}

/// Finds fields that can never be there. `None` after diagnostics.
fn check_fields(parts: &[Part], places: &[Span], subject: &mut Subject<'_>) -> Option<()> {
    let before = subject.error_count();
    for (part, place) in parts.iter().zip(places) {
        let mut subject = subject.key(part.name());
        for field in part.fields() {
            let Some(other) = parts.get(field.part) else {
                continue;
            };
            if let Some(what) = impossible(field, other) {
                subject.error(*place, what);
            }
        }
    }
    (subject.error_count() == before).then_some(())
}

/// Why a part can never have such a field.
fn impossible(field: &PartField, part: &Part) -> Option<String> {
    let What::Body(path) = &field.what else {
        return None;
    };
    let (first, name) = (path.first()?, part.name());
    let wanted = format!("`parts.{name}.body{first}`");
    if let As::Text | As::Base64 = part.shape().taken_for() {
        return Some(format!(
            "names {wanted}, and `{name}` is taken for text, which has no fields"
        ));
    }
    let Contract::Default(default) = part.contract() else {
        return None;
    };
    let kind = json::kind(default);
    let fits = match first {
        Key::Field(_) => kind == Kind::Object,
        Key::Index(_) => kind == Kind::Array,
    };
    (!fits).then(|| {
        format!(
            "names {wanted}, and the default of `{name}` is {}",
            kind.as_str()
        )
    })
}
