//! Routes that a reload need not compile again, because what is written is what runs.
//!
//! Most reloads change one object of thousands. A route that says what it said, of which nothing else has changed
//! that it depends on, is taken over as it is: its definition is parsed, for its fingerprint, and no more. Where the
//! rest has changed after all (the gateway's or a listener's section, or its upstream), everything is read anew: that
//! is [`Stale`].

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use super::document::Document;
use super::routes::Upstreams;
use crate::routing::{Matcher, Route, Snapshot, View};
use crate::text::{Fingerprint, Name};

type ByName<'s, T> = HashMap<&'s str, T, RandomState>;

/// What the routes say that run, and can be taken over. They are on every listener, so the first has them all.
#[derive(Default)]
pub(super) struct Running<'s> {
    written: ByName<'s, Fingerprint>,
}

impl<'s> Running<'s> {
    pub(super) fn of(before: &'s Snapshot) -> Running<'s> {
        let tables = before.listeners.iter().take(1).map(|view| &view.table);
        let routes = tables
            .filter(|_| before.scopes.is_some())
            .flat_map(|table| table.routes());
        let written = |(name, _, route): (&'s str, _, &'s Arc<Route>)| Some((name, route.written?));
        Running {
            written: routes.filter_map(written).collect(),
        }
    }

    pub(super) fn has(&self, name: &Name, says: impl FnOnce() -> Fingerprint) -> bool {
        let written = self.written.get(name.as_str());
        written.is_some_and(|written| *written == says())
    }
}

/// Routes that were not read have to be read after all.
#[derive(Debug)]
pub(super) struct Stale;

/// What the routes depend on that are not read: everything about the gateway, its
/// listeners, identities and plans.
pub(super) fn scopes(document: &Document) -> Fingerprint {
    let gateway = document.gateway.as_ref();
    let gateway = gateway.map(|section| ("gateway", section.fingerprint));
    let listeners = document.listeners.values();
    let listeners = listeners.map(|listener| (listener.name.as_str(), listener.fingerprint));
    let identity = ("identity", identities(document));
    let plans = document.plans.values();
    let plans = plans.map(|plan| (plan.name.as_str(), plan.fingerprint));
    let plans = ("plans", Fingerprint::of_all(plans));
    let others = [identity, plans];
    Fingerprint::of_all(gateway.into_iter().chain(others).chain(listeners))
}

/// Everything that is said about identities, and the stores that they may be kept in.
pub(super) fn identities(document: &Document) -> Fingerprint {
    let section = document.identity.as_ref();
    let section = section.map(|section| ("identity", section.fingerprint));
    let consumers = document.consumers.values();
    let consumers = consumers.map(|consumer| (consumer.name.as_str(), consumer.fingerprint));
    let stores = document.stores.values();
    let stores = stores.map(|store| (store.name.as_str(), store.fingerprint));
    let stores = ("stores", Fingerprint::of_all(stores));
    Fingerprint::of_all(section.into_iter().chain([stores]).chain(consumers))
}

/// Whether the routes that were not read can be taken over: `scopes` is what they would depend on now.
pub(super) fn check(
    document: &Document,
    before: Option<&Snapshot>,
    scopes: Option<Fingerprint>,
    upstreams: &Upstreams,
) -> Result<(), Stale> {
    if document.kept.is_empty() {
        return Ok(());
    }
    let before = before.filter(|before| scopes.is_some() && before.scopes == scopes);
    let views = before.map_or(&[][..], |before| &before.listeners);
    let is_same = |upstream: &Arc<crate::upstream::Upstream>| {
        let now = upstreams.get(upstream.name()).and_then(Option::as_ref);
        now.is_some_and(|now| Arc::ptr_eq(now, upstream))
    };
    let is_kept = |route: &Arc<Route>| route.action.upstreams().all(is_same);
    let routes = views.iter().take(1).flat_map(|view| view.table.routes());
    let kept = routes.filter(|(name, _, _)| document.kept.contains_key(*name));
    let mut usable = 0;
    for (_, _, route) in kept {
        if !is_kept(route) {
            return Err(Stale);
        }
        usable += 1;
    }
    match usable == document.kept.len() {
        true => Ok(()),
        false => Err(Stale),
    }
}

/// Those of the routes of a listener that are taken over.
pub(super) fn routes<'v>(
    document: &'v Document,
    view: &'v View,
) -> impl Iterator<Item = (&'v str, &'v Matcher, &'v Arc<Route>)> {
    let routes = view.table.routes();
    routes.filter(|(name, _, _)| document.kept.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Loaded, compile, load, recompile, reload};
    use super::*;
    use crate::observability::Metrics;
    use crate::routing::Snapshot;

    const START: &str = r#"
[gateway]
policies.response_headers.set = { x-g = "1" }
[listeners.public]
bind = "127.0.0.1:0"
[listeners.other]
bind = "127.0.0.1:1"
policies.request_headers.set = { x-l = "1" }
[upstreams.one]
endpoints = ["127.0.0.1:2"]
[upstreams.two]
endpoints = ["127.0.0.1:3"]
[routes.a]
match = { path = "/a" }
upstream = "one"
[routes.b]
match = { path = "/b/{id}", hosts = ["b.test"] }
upstream = "two"
policies.request_headers.set = { x-b = "{path.id}" }
[routes.c]
match = { path = "/c" }
redirect = { to = "/a" }
[routes.d]
match = { path = "/d" }
respond = { status = 200 }
listeners = ["other"]
[routes.e]
match = { path = "/e" }
respond = { status = 200 }
policies.ip_access = { allow = ["10.0.0.0/8", { file = "networks" }] }
"#;

    struct Site {
        folder: tempfile::TempDir,
        metrics: Metrics,
        before: Snapshot,
    }

    impl Site {
        fn new() -> Site {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("networks"), "192.0.2.0/24\n").unwrap();
            std::fs::write(folder.path().join("a.toml"), START).unwrap();
            let metrics = Metrics::new();
            let mut loaded = load(&folder.path().join("a.toml"));
            let compiled = compile(&mut loaded, &metrics);
            let said = loaded.diagnostics.render(&loaded.sources, false);
            let before = compiled.expect(&said).snapshot;
            Site {
                folder,
                metrics,
                before,
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("a.toml")
        }

        /// Reloads this text and asserts that all comes out as if everything were read; gives the routes that were
        /// not read, and those that are the same objects as before.
        fn reload(&self, text: &str) -> (String, String, String) {
            std::fs::write(self.path(), text).unwrap();
            let (loaded, compiled) = reload(&self.path(), &self.metrics, &self.before);
            let mut whole = load(&self.path());
            let expected = recompile(&mut whole, &self.metrics, Some(&self.before));
            let said = |loaded: &Loaded| loaded.diagnostics.render(&loaded.sources, false);
            assert_eq!(said(&loaded), said(&whole), "{text}");
            let shown = |snapshot: &Snapshot| shown(snapshot);
            let (now, expected) = (
                compiled.map(|it| it.snapshot),
                expected.map(|it| it.snapshot),
            );
            assert_eq!(
                now.as_ref().map(shown),
                expected.as_ref().map(shown),
                "{text}"
            );
            let kept: Vec<&str> = loaded.document.kept.keys().map(Name::as_str).collect();
            let same = now.as_ref().map(|now| same(&self.before, now));
            (
                kept.join(" "),
                same.unwrap_or_default().join(" "),
                said(&loaded),
            )
        }
    }

    /// All that can be told of the routes of all listeners.
    fn shown(snapshot: &Snapshot) -> Vec<String> {
        let views = snapshot.listeners.iter();
        let routes = views.flat_map(|view| {
            let listener = &view.listener.name;
            let routes = view.table.routes();
            routes.map(move |(name, matcher, route)| {
                let origins = route.pipeline.origins().iter();
                let origins: Vec<_> = origins.map(|it| (it.policy, it.scope.as_str())).collect();
                let action = route.action.describe();
                let written = route.written;
                format!("{listener} {name} {matcher:?} {action} {origins:?} {written:?}")
            })
        });
        routes.collect()
    }

    fn same(before: &Snapshot, now: &Snapshot) -> Vec<String> {
        let views = before.listeners.iter().zip(&now.listeners);
        let mut same = Vec::new();
        for (before, now) in views {
            for (name, _, route) in now.table.routes() {
                let is_same =
                    |(old, _, it): (&str, _, &Arc<Route>)| old == name && Arc::ptr_eq(it, route);
                if before.table.routes().any(is_same) {
                    same.push(name.to_owned());
                }
            }
        }
        same
    }

    #[test]
    fn what_has_not_changed_is_taken_over() {
        let site = Site::new();
        // `d` is not on all listeners, and what `e` does stands in a file.
        let (kept, same, _) = site.reload(START);
        assert_eq!((&*kept, &*same), ("a b c", "a b c a b c"));
        let (kept, same, _) = site.reload(&format!(
            "\n# moved\n{}",
            START.replace("to = \"/a\"", "to = \"/b\"")
        ));
        assert_eq!((&*kept, &*same), ("a b", "a b a b"));
        let added = "[routes.ab]\nmatch = { path = \"/ab\" }\nupstream = \"two\"\n";
        let (kept, same, _) = site.reload(&format!("{START}{added}"));
        assert_eq!((&*kept, &*same), ("a b c", "a b c a b c"));
        let (kept, _, _) = site.reload(&START.replace("[routes.c]", "[routes.f]"));
        assert_eq!(kept, "a b");
    }

    #[test]
    fn what_it_depends_on_must_be_the_same() {
        let site = Site::new();
        for (old, new) in [
            ("x-g = \"1\"", "x-g = \"2\""),
            ("x-l = \"1\"", "x-l = \"2\""),
            ("127.0.0.1:2", "127.0.0.1:4"),
            (
                "[upstreams.two]",
                "[upstreams.three]\nendpoints = [\"127.0.0.1:9\"]\n[upstreams.two]",
            ),
            ("bind = \"127.0.0.1:1\"", "bind = \"127.0.0.1:5\""),
            (
                "[listeners.other]",
                "[listeners.third]\nbind = \"127.0.0.1:6\"\n[listeners.other]",
            ),
        ] {
            let (kept, same, _) = site.reload(&START.replace(old, new));
            let is_none_of_theirs = new.starts_with("[upstreams.");
            assert_eq!(kept.is_empty(), !is_none_of_theirs, "{new}");
            assert_eq!(same.is_empty(), !is_none_of_theirs, "{new}");
        }
    }

    #[test]
    fn mistakes_are_told_as_ever() {
        let site = Site::new();
        let twice = "[routes.x]\nmatch = { path = \"/a\" }\nredirect = { to = \"/c\" }\n";
        let (kept, _, said) = site.reload(&format!("{START}{twice}"));
        assert_eq!(kept, "a b c");
        assert!(
            said.contains("a.toml:31:9: warning: route x never gets"),
            "{said}"
        );
        let (_, _, said) = site.reload(&START.replace("upstream = \"two\"", "upstream = \"tow\""));
        assert!(said.contains("there is no upstream \"tow\""), "{said}");
        // What nobody wants any more that routes still use.
        let (_, _, said) = site.reload(&START.replace("[upstreams.one]", "[upstreams.eins]"));
        assert!(said.contains("there is no upstream \"one\""), "{said}");
        let other = site.folder.path().join("more.toml");
        std::fs::write(
            other,
            "[routes.a]\nmatch = { path = \"/a\" }\nupstream = \"one\"\n",
        )
        .unwrap();
        let (_, _, said) = site.reload(&format!("include = [\"more.toml\"]\n{START}"));
        assert!(said.contains("route a is defined twice"), "{said}");
    }
}
