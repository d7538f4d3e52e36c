//! The configuration as written: all files of it, with the place of everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::GatewayConfig;
use crate::text::{self, Diagnostics, Name, SourceId, Spanned, Table};
use crate::{admin, listener, policies, routing, upstream};

/// Named objects of one kind, with the places of their names and of themselves.
pub type Objects<T> = BTreeMap<Name, (Spanned<Name>, Box<Spanned<T>>)>;

type Named<T> = Vec<(Spanned<Name>, Box<Spanned<T>>)>;

/// Everything that the files say.
#[derive(Debug, Default)]
pub struct Document {
    pub gateway: Option<Spanned<GatewayConfig>>,
    pub admin: Option<Spanned<admin::Config>>,
    pub listeners: Objects<listener::Config<policies::Config>>,
    pub upstreams: Objects<upstream::Config>,
    pub routes: Objects<routing::Config>,
}

impl Document {
    /// Reads one file into the document and gives the patterns that it includes.
    pub(super) fn read(
        &mut self,
        source: SourceId,
        text: &str,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Spanned<String>> {
        let read = text::read(diagnostics, source, text, &OBJECTS, Sections::take);
        let read = read.unwrap_or_default();
        once(&mut self.gateway, read.gateway, "gateway", diagnostics);
        once(&mut self.admin, read.admin, "admin", diagnostics);
        add(&mut self.listeners, read.listeners, "listener", diagnostics);
        add(&mut self.upstreams, read.upstreams, "upstream", diagnostics);
        add(&mut self.routes, read.routes, "route", diagnostics);
        read.include.unwrap_or_default()
    }
}

const OBJECTS: [&str; 3] = ["listeners", "upstreams", "routes"];

/// What one file says.
#[derive(Default)]
struct Sections {
    include: Option<Vec<Spanned<String>>>,
    gateway: Option<Spanned<GatewayConfig>>,
    admin: Option<Spanned<admin::Config>>,
    listeners: Named<listener::Config<policies::Config>>,
    upstreams: Named<upstream::Config>,
    routes: Named<routing::Config>,
}

impl Sections {
    /// `table` is the file, or a piece of it.
    fn take(&mut self, mut table: Table<'_, '_>) {
        let [listeners, upstreams, routes] = OBJECTS;
        self.include = self.include.take().or(table.take("include"));
        self.gateway = self.gateway.take().or(table.take("gateway"));
        self.admin = self.admin.take().or(table.take("admin"));
        self.listeners.extend(table.objects(listeners));
        self.upstreams.extend(table.objects(upstreams));
        self.routes.extend(table.objects(routes));
        table.finish();
    }
}

/// A section that only one of the files may have.
fn once<T>(
    section: &mut Option<Spanned<T>>,
    read: Option<Spanned<T>>,
    name: &str,
    diagnostics: &mut Diagnostics,
) {
    let Some(read) = read else { return };
    match section {
        None => *section = Some(read),
        Some(first) => {
            diagnostics
                .error(read.span, format!("[{name}] stands in two files"))
                .also(first.span, "first here");
        }
    }
}

fn add<T>(objects: &mut Objects<T>, read: Named<T>, kind: &str, diagnostics: &mut Diagnostics) {
    for (name, object) in read {
        match objects.entry(name.value.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((name, object));
            }
            Entry::Occupied(entry) => {
                diagnostics
                    .error(name.span, format!("{kind} {name} is defined twice"))
                    .also(entry.get().0.span, "first defined here");
            }
        }
    }
}
