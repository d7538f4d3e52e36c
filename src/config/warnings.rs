//! What is allowed and probably not meant.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use super::document::Document;
use super::kept;
use crate::actions::Action;
use crate::routing::{Route, Snapshot, Table};
use crate::text::Diagnostics;

/// `before` is what runs, of which routes are kept.
pub(super) fn of_unused(
    document: &Document,
    before: Option<&Snapshot>,
    diagnostics: &mut Diagnostics,
) {
    let named = document.routes.values();
    let named = named.filter_map(|route| Some(route.config.upstream.as_ref()?.as_str()));
    let views = before.map_or(&[][..], |before| &before.listeners);
    let views = views.iter().take(usize::from(!document.kept.is_empty()));
    let kept = views.flat_map(|view| kept::routes(document, view));
    let kept = kept.filter_map(|(_, _, route)| match &*route.action {
        Action::Proxy(proxy) => Some(proxy.upstream.name()),
        _ => None,
    });
    let used: HashSet<&str, RandomState> = named.chain(kept).collect();
    // A route that names an upstream that is not there was probably meant for one of the unused; what routes with
    // mistakes name is not known.
    let is_known = document.broken.routes.is_empty()
        && used
            .iter()
            .all(|name| document.upstreams.contains_key(*name));
    if is_known {
        for (name, upstream) in &document.upstreams {
            if !used.contains(name.as_str()) {
                diagnostics.warning(upstream.name.span, format!("no route uses upstream {name}"));
            }
        }
    }
    if document.routes.is_empty() && document.kept.is_empty() && !diagnostics.has_errors() {
        diagnostics.warning(None, "there is no route: every request will get 404");
    }
}

pub(super) fn of_shadows<'t>(
    tables: impl Iterator<Item = &'t Table<Arc<Route>>>,
    document: &Document,
    diagnostics: &mut Diagnostics,
) {
    let mut told = BTreeSet::new();
    for table in tables {
        let shadows = table.shadowed();
        if shadows.is_empty() {
            continue;
        }
        let place = |name: &str| {
            let broken = || document.broken.routes.iter().find(|it| **it.name == *name);
            let read = document.routes.get(name).map(|it| it.name.span);
            let kept = || document.kept.get(name).copied();
            read.or_else(kept).or_else(|| Some(broken()?.name.span))
        };
        for shadow in shadows {
            if let (Some(span), Some(by)) = (place(shadow.name), place(shadow.by))
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
