//! What the gateway is doing, in words for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::routing::Snapshot;

/// Such as "serving on 2 listeners, 52 routes".
pub(super) fn serving(snapshot: &Snapshot) -> String {
    let listeners = snapshot.listeners.len();
    // Listeners share tables.
    let tables = snapshot.listeners.iter();
    let tables: BTreeMap<_, _> = tables
        .map(|view| (Arc::as_ptr(&view.table), view.table.routes().count()))
        .collect();
    let routes: usize = tables.into_values().sum();
    format!(
        "serving on {}, {}",
        counted(listeners, "listener"),
        counted(routes, "route")
    )
}

/// Such as "draining, 12 connections".
pub(super) fn draining(snapshot: &Snapshot) -> String {
    let open = snapshot.listeners.iter();
    let open = open.map(|view| view.listener.metrics.connections.get().max(0));
    let open = usize::try_from(open.sum::<i64>()).unwrap_or_default();
    format!("draining, {}", counted(open, "connection"))
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{compile, load_text};
    use crate::observability::Metrics;

    #[test]
    fn what_listeners_share_is_counted_once() {
        let check = |listeners: &str, routes: usize, expected: &str| {
            let mut text = listeners.to_owned();
            for number in 0..routes {
                text.push_str(&format!(
                    "[routes.r{number}]\nmatch = {{ path = '/{number}' }}\nrespond = {{ body = '' }}\n"
                ));
            }
            let mut loaded = load_text("status.toml", &text);
            let compiled = compile(&mut loaded, &Metrics::new()).expect("a configuration");
            assert_eq!(serving(&compiled.snapshot), expected);
            assert_eq!(draining(&compiled.snapshot), "draining, 0 connections");
        };
        let one = "[listeners.a]\nbind = '[::1]:1'\n";
        check(one, 1, "serving on 1 listener, 1 route");
        let two = format!("{one}[listeners.b]\nbind = '[::1]:2'\n");
        check(&two, 52, "serving on 2 listeners, 52 routes");
    }
}
