//! The configuration as written: all files of it, with the place of everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::de::IgnoredAny;

use super::GatewayConfig;
use super::archive::absolute;
use crate::text::{
    self, Broken, Diagnostics, Fingerprint, Name, Named, Section, SourceId, Sources, Spanned, Table,
};
use crate::{admin, listener, policies, routing, upstream};

/// Named objects of one kind.
pub type Objects<T> = BTreeMap<Name, Named<T>>;

/// Everything that the files say. The fingerprints are of what is said in its folder, which paths are relative to.
#[derive(Debug, Default)]
pub struct Document {
    pub gateway: Option<Section<GatewayConfig>>,
    pub admin: Option<Section<admin::Config>>,
    pub listeners: Objects<listener::Config<policies::Config>>,
    pub upstreams: Objects<upstream::Config>,
    pub routes: Objects<routing::Config>,
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
        diagnostics: &mut Diagnostics,
    ) -> Vec<Spanned<String>> {
        let text = sources.text(source);
        let read = text::read(diagnostics, source, text, &OBJECTS, Sections::take);
        let mut read = read.unwrap_or_default();
        read.place(&absolute(sources.folder(source)));
        once(&mut self.gateway, read.gateway, "gateway", diagnostics);
        once(&mut self.admin, read.admin, "admin", diagnostics);
        add(&mut self.listeners, read.listeners, "listener", diagnostics);
        add(&mut self.upstreams, read.upstreams, "upstream", diagnostics);
        add(&mut self.routes, read.routes, "route", diagnostics);
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

pub(super) const OBJECTS: [&str; 3] = ["listeners", "upstreams", "routes"];

/// What one file says.
#[derive(Default)]
struct Sections {
    include: Option<Vec<Spanned<String>>>,
    gateway: Option<Section<GatewayConfig>>,
    admin: Option<Section<admin::Config>>,
    listeners: Vec<Named<listener::Config<policies::Config>>>,
    upstreams: Vec<Named<upstream::Config>>,
    routes: Vec<Named<routing::Config>>,
    broken: BrokenObjects,
}

impl Sections {
    /// `table` is the file, or a piece of it.
    fn take(&mut self, mut table: Table<'_, '_>) {
        let [listeners, upstreams, routes] = OBJECTS;
        self.include = self.include.take().or(table.take("include"));
        self.gateway = self.gateway.take().or(table.section("gateway"));
        self.admin = self.admin.take().or(table.section("admin"));
        let broken = &mut self.broken;
        self.listeners
            .extend(table.objects_and_broken(listeners, &mut broken.listeners));
        self.upstreams
            .extend(table.objects_and_broken(upstreams, &mut broken.upstreams));
        self.routes
            .extend(table.objects_and_broken(routes, &mut broken.routes));
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
    for object in read {
        let name = &object.name;
        match objects.entry(name.value.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(entry) => {
                diagnostics
                    .error(name.span, format!("{kind} {name} is defined twice"))
                    .also(entry.get().name.span, "first defined here");
            }
        }
    }
}
