//! What is allowed and probably not meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::Document;
use crate::routing::{Route, Table};
use crate::text::{Diagnostics, Name, Span};

pub(super) fn of_unused(document: &Document, diagnostics: &mut Diagnostics) {
    let used: BTreeSet<&Name> = document
        .routes
        .values()
        .filter_map(|route| route.config.upstream.as_ref())
        .map(|named| &named.value)
        .collect();
    // A route that names an upstream that is not there was probably meant for one of the unused; what routes with
    // mistakes name is not known.
    let is_known = document.broken.routes.is_empty()
        && used
            .iter()
            .all(|name| document.upstreams.contains_key(*name));
    if is_known {
        for (name, upstream) in &document.upstreams {
            if !used.contains(name) {
                diagnostics.warning(upstream.name.span, format!("no route uses upstream {name}"));
            }
        }
    }
    if document.routes.is_empty() && !diagnostics.has_errors() {
        diagnostics.warning(None, "there is no route: every request will get 404");
    }
}

pub(super) fn of_shadows<'t>(
    tables: impl Iterator<Item = &'t Table<Arc<Route>>>,
    diagnostics: &mut Diagnostics,
) {
    let mut told = BTreeSet::new();
    for table in tables {
        let shadows = table.shadowed();
        if shadows.is_empty() {
            continue;
        }
        let places: BTreeMap<&str, Span> = table
            .routes()
            .filter_map(|(name, _, route)| Some((name, route.span?)))
            .collect();
        for shadow in shadows {
            if let (Some(&span), Some(&by)) = (places.get(shadow.name), places.get(shadow.by))
                && told.insert(shadow.name.to_owned())
            {
                let (name, by_name) = (shadow.name, shadow.by);
                diagnostics
                    .warning(
                        span,
                        format!("route {name} never gets a request: {by_name} always wins"),
                    )
                    .also(by, "this one wins")
                    .help(format!(
                        "{by_name} matches all that {name} does and comes first by name; give {name} a condition \
                         of its own, or remove it"
                    ));
            }
        }
    }
}
