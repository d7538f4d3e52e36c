//! The configuration as written: all files of it, with the place of everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::de::IgnoredAny;

use super::GatewayConfig;
use super::archive::absolute;
use super::kept::Running;
use crate::text::{
    self, Broken, Diagnostics, Fingerprint, Name, Named, Read, Section, SourceId, Sources, Span,
    Spanned, Table, give_way,
};
use crate::{admin, cache, identity, limits, listener, policies, routing, stores, upstream};

/// Named objects of one kind.
pub type Objects<T> = BTreeMap<Name, Named<T>>;

/// Everything that the files say. The fingerprints are of what is said in its folder, which paths are relative to.
#[derive(Debug, Default)]
pub struct Document {
    pub gateway: Option<Section<GatewayConfig>>,
    pub admin: Option<Section<admin::Config>>,
    pub identity: Option<Section<identity::Config>>,
    pub cache: Option<Section<cache::Config>>,
    pub plans: Objects<limits::PlanConfig>,
    pub consumers: Objects<identity::ConsumerConfig>,
    pub stores: Objects<stores::Config>,
    pub listeners: Objects<listener::Config<policies::Config>>,
    pub upstreams: Objects<upstream::Config>,
    pub routes: Objects<routing::Config>,
    /// Routes that say what the routes of their names say that run, with their places. They were not read.
    pub kept: BTreeMap<Name, Span>,
    pub broken: BrokenObjects,
}

/// Objects with mistakes of shape, as far as they can be read.
#[derive(Debug, Default)]
pub struct BrokenObjects {
    pub listeners: Vec<Broken<IgnoredAny>>,
    pub upstreams: Vec<Broken<IgnoredAny>>,
    pub routes: Vec<Broken<routing::Reach>>,
}

impl Document {
    /// Reads one file into the document and gives the patterns that it includes.
    pub(super) fn read(
        &mut self,
        source: SourceId,
        sources: &Sources,
        running: &Running<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Spanned<String>> {
        let text = sources.text(source);
        let folder = absolute(sources.folder(source));
        let is_known = |name: &Name, says: Fingerprint| running.has(name, || says.within(&folder));
        let take = |sections: &mut Sections, table: Table<'_, '_>| sections.take(table, &is_known);
        let read = text::read(diagnostics, source, text, &OBJECTS, take);
        let mut read = read.unwrap_or_default();
        read.place(&folder);
        once(&mut self.gateway, read.gateway, "gateway", diagnostics);
        once(&mut self.admin, read.admin, "admin", diagnostics);
        once(&mut self.identity, read.identity, "identity", diagnostics);
        once(&mut self.cache, read.cache, "cache", diagnostics);
        add(&mut self.plans, read.plans, "plan", diagnostics);
        add(&mut self.consumers, read.consumers, "consumer", diagnostics);
        add(&mut self.stores, read.stores, "store", diagnostics);
        add(&mut self.listeners, read.listeners, "listener", diagnostics);
        add(&mut self.upstreams, read.upstreams, "upstream", diagnostics);
        for route in read
            .routes
            .extract_if(.., |route| self.kept.contains_key(&route.name.value))
        {
            let first = self.kept.get(&route.name.value).copied();
            twice(
                "route",
                &route.name,
                first.unwrap_or(route.name.span),
                diagnostics,
            );
        }
        add(&mut self.routes, read.routes, "route", diagnostics);
        for (step, name) in read.known.into_iter().enumerate() {
            give_way(step);
            let other = self.routes.get(&name.value).map(|route| route.name.span);
            match other.or_else(|| self.kept.get(&name.value).copied()) {
                Some(first) => twice("route", &name, first, diagnostics),
                None => drop(self.kept.insert(name.value, name.span)),
            }
        }
        let BrokenObjects {
            listeners,
            upstreams,
            routes,
        } = read.broken;
        self.broken.listeners.extend(listeners);
        self.broken.upstreams.extend(upstreams);
        self.broken.routes.extend(routes);
        read.include.unwrap_or_default()
    }
}

pub(super) const OBJECTS: [&str; 6] = [
    "plans",
    "consumers",
    "stores",
    "listeners",
    "upstreams",
    "routes",
];

/// What one file says.
#[derive(Default)]
struct Sections {
    include: Option<Vec<Spanned<String>>>,
    gateway: Option<Section<GatewayConfig>>,
    admin: Option<Section<admin::Config>>,
    identity: Option<Section<identity::Config>>,
    cache: Option<Section<cache::Config>>,
    plans: Vec<Named<limits::PlanConfig>>,
    consumers: Vec<Named<identity::ConsumerConfig>>,
    stores: Vec<Named<stores::Config>>,
    listeners: Vec<Named<listener::Config<policies::Config>>>,
    upstreams: Vec<Named<upstream::Config>>,
    routes: Vec<Named<routing::Config>>,
    known: Vec<Spanned<Name>>,
    broken: BrokenObjects,
}

impl Sections {
    /// `table` is the file, or a piece of it.
    fn take(&mut self, mut table: Table<'_, '_>, is_known: &impl Fn(&Name, Fingerprint) -> bool) {
        let [plans, consumers, stores, listeners, upstreams, routes] = OBJECTS;
        self.include = self.include.take().or(table.take("include"));
        self.gateway = self.gateway.take().or(table.section("gateway"));
        self.admin = self.admin.take().or(table.section("admin"));
        self.identity = self.identity.take().or(table.section("identity"));
        self.cache = self.cache.take().or(table.section("cache"));
        self.plans.extend(table.objects(plans));
        self.consumers.extend(table.objects(consumers));
        self.stores.extend(table.objects(stores));
        let broken = &mut self.broken;
        sort(
            table.all_objects(listeners, |_, _| false),
            &mut self.listeners,
            &mut broken.listeners,
        );
        sort(
            table.all_objects(upstreams, |_, _| false),
            &mut self.upstreams,
            &mut broken.upstreams,
        );
        let known = sort(
            table.all_objects(routes, is_known),
            &mut self.routes,
            &mut broken.routes,
        );
        self.known.extend(known);
        table.finish();
    }

    /// Has the fingerprints tell the folder, too.
    fn place(&mut self, folder: &Path) {
        let place = |fingerprint: &mut Fingerprint| *fingerprint = fingerprint.within(folder);
        self.gateway
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.admin
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.identity
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.cache
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.plans
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.consumers
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.stores
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.listeners
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.upstreams
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
        self.routes
            .iter_mut()
            .for_each(|it| place(&mut it.fingerprint));
    }
}

/// A section that only one of the files may have.
fn once<T>(
    section: &mut Option<Section<T>>,
    read: Option<Section<T>>,
    name: &str,
    diagnostics: &mut Diagnostics,
) {
    let Some(read) = read else { return };
    match section {
        None => *section = Some(read),
        Some(first) => {
            diagnostics
                .error(read.config.span, format!("[{name}] stands in two files"))
                .also(first.config.span, "first here");
        }
    }
}

fn add<T>(
    objects: &mut Objects<T>,
    read: Vec<Named<T>>,
    kind: &str,
    diagnostics: &mut Diagnostics,
) {
    for (step, object) in read.into_iter().enumerate() {
        give_way(step);
        let name = &object.name;
        match objects.entry(name.value.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(entry) => {
                twice(kind, name, entry.get().name.span, diagnostics);
            }
        }
    }
}

/// Gives those that are known.
fn sort<T, P>(
    objects: Vec<Read<T, P>>,
    good: &mut Vec<Named<T>>,
    broken: &mut Vec<Broken<P>>,
) -> Vec<Spanned<Name>> {
    let mut known = Vec::new();
    for object in objects {
        match object {
            Read::Good(object) => good.push(object),
            Read::Known(name) => known.push(name),
            Read::Broken(object) => broken.push(object),
        }
    }
    known
}

fn twice(kind: &str, name: &Spanned<Name>, first: Span, diagnostics: &mut Diagnostics) {
    diagnostics
        .error(name.span, format!("{kind} {name} is defined twice"))
        .also(first, "first defined here");
}
