//! Compiling listeners, and telling which of them can share a routing table.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Document, Objects};
use super::load::base;
use crate::facts::Variables;
use crate::listener::{self, Listener};
use crate::observability::Metrics;
use crate::policies::{self, Layer, Scope};
use crate::routing;
use crate::text::{BindAddress, Diagnostics, Name, Sources, Span};

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
    sources: &Sources,
    metrics: &Metrics,
    diagnostics: &mut Diagnostics,
) -> (Vec<Compiled>, Vec<Group>) {
    let mut compiled = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<(Option<usize>, Vec<&Name>), usize> = BTreeMap::new();
    let mut bound: BTreeMap<String, Span> = BTreeMap::new();
    for (id, (name, (place, config))) in document.listeners.iter().enumerate() {
        refuse_shared_address(config, place.span, &mut bound, diagnostics);
        let folder = base(sources, place.span.source);
        let listener = Listener::build(
            name,
            id,
            &config.value,
            &folder,
            metrics.listener(name),
            diagnostics,
        );
        // What makes a table: policies of the listener's own, and the routes that name listeners.
        let has_policies = config.policies != policies::Config::default();
        let key = (has_policies.then_some(id), named_by(&document.routes, name));
        let group = *known.entry(key).or_insert_with(|| {
            let layer = Layer::build(
                &config.policies,
                Scope::Listener,
                Variables::Shared,
                diagnostics,
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
        compiled.extend(listener.map(|listener| Compiled {
            listener: Arc::new(listener),
            group,
        }));
    }
    (compiled, groups)
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
        .filter(|(_, (_, config))| names(config))
        .map(|(name, _)| name)
        .collect()
}

fn refuse_shared_address(
    config: &listener::Config<policies::Config>,
    span: Span,
    bound: &mut BTreeMap<String, Span>,
    diagnostics: &mut Diagnostics,
) {
    if matches!(&config.bind, BindAddress::Socket(socket) if socket.port() == 0) {
        return;
    }
    if let Some(first) = bound.insert(config.bind.to_string(), span) {
        diagnostics
            .error(span, format!("two listeners are bound to {}", config.bind))
            .also(first, "the other one");
    }
}
