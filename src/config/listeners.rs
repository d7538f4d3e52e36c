//! Compiling listeners, and telling which of them can share a routing table.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Document, Objects};
use super::load::base;
use super::quarantine::Quarantine;
use crate::facts::Variables;
use crate::listener::{self, Listener};
use crate::observability::Metrics;
use crate::policies::{self, Layer, References, Scope};
use crate::routing::{self, Snapshot};
use crate::text::{BindAddress, Diagnostics, Name, Spanned, Subject};

/// A listener, its policies over the gateway's, and the table that it uses.
pub(super) struct Compiled {
    pub(super) listener: Arc<Listener>,
    pub(super) group: usize,
}

/// Listeners whose requests see the same routes under the same policies.
pub(super) struct Group {
    pub(super) layer: Layer,
    /// Names of the listeners in it.
    pub(super) members: Vec<Name>,
}

pub(super) fn compile(
    document: &Document,
    gateway: &Layer,
    references: References<'_>,
    metrics: &Metrics,
    before: Option<&Snapshot>,
    quarantine: &mut Quarantine,
    diagnostics: &mut Diagnostics,
) -> (Vec<Compiled>, Vec<Group>) {
    let mut compiled = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<(Option<usize>, Vec<&Name>), usize> = BTreeMap::new();
    refuse_shared_addresses(document, diagnostics);
    let mut subjects = Subject::new(diagnostics, "listeners");
    let ids = ids(document, before);
    for ((name, object), id) in document.listeners.iter().zip(ids) {
        let config = &object.config;
        let mut subject = subjects.key(name);
        let errors = subject.error_count();
        let folder = base(references.sources, object.name.span.source);
        let listener = Listener::build(
            name,
            id,
            &config.value,
            before.and_then(|before| before.listener(name)),
            listener::Build {
                base: &folder,
                metrics: metrics.listener(name),
                subject: &mut subject,
            },
        );
        // What makes a table: policies of the listener's own, and the routes that name listeners.
        let has_policies = config.policies != policies::Config::default();
        let key = (has_policies.then_some(id), named_by(&document.routes, name));
        let group = *known.entry(key).or_insert_with(|| {
            let layer = Layer::build(
                &config.policies,
                Scope::Listener,
                Variables::Shared,
                references,
                &mut subject,
            );
            groups.push(Group {
                layer: layer.over(gateway),
                members: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.members.push(name.clone());
        }
        let errors = subject.error_count() - errors;
        if errors > 0 && quarantine.contain_listener(name, errors, before) {
            continue;
        }
        compiled.extend(listener.map(|listener| Compiled { listener, group }));
    }
    (compiled, groups)
}

/// A number for each listener: the one that it had before, or one that nobody has.
fn ids(document: &Document, before: Option<&Snapshot>) -> Vec<usize> {
    let known = |name: &Name| Some(before?.listener(name)?.id);
    let mut free = before.map_or(0, Snapshot::next_id)..;
    let names = document.listeners.keys();
    names
        .filter_map(|name| known(name).or_else(|| free.next()))
        .collect()
}

/// The routes that are only on some listeners, this one among them.
fn named_by<'d>(routes: &'d Objects<routing::Config>, listener: &Name) -> Vec<&'d Name> {
    let names = |config: &routing::Config| {
        config
            .listeners
            .iter()
            .any(|named| named.value == *listener)
    };
    routes
        .iter()
        .filter(|(_, route)| names(&route.config))
        .map(|(name, _)| name)
        .collect()
}

/// The kernel would refuse the second of them, at start and after everything else was found good.
fn refuse_shared_addresses(document: &Document, diagnostics: &mut Diagnostics) {
    let listeners = document.listeners.iter();
    let mut bound: Vec<(Option<&Name>, &Spanned<BindAddress>)> = listeners
        .map(|(name, object)| (Some(name), &object.config.bind))
        .collect();
    bound.extend(
        document
            .admin
            .iter()
            .map(|admin| (None, &admin.config.bind)),
    );
    for (index, (name, bind)) in bound.iter().enumerate() {
        let mut earlier = bound.iter().take(index);
        if let Some((other, taken)) = earlier.find(|(_, other)| other.overlaps(bind)) {
            let other = match other {
                Some(listener) => format!("listeners.{listener}"),
                None => "admin".to_owned(),
            };
            let what = format!(
                "{} is taken by {other}, which is bound to {}",
                bind.value, taken.value
            );
            let mut root = Subject::new(diagnostics, name.map_or("admin", |_| "listeners"));
            let mut owner = match name {
                Some(name) => root.key(name),
                None => root,
            };
            owner
                .key("bind")
                .error(bind.span, what)
                .also(taken.span, "bound here");
        }
    }
}
