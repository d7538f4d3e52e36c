//! The configuration as written: all files of it, with the place of everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::GatewayConfig;
use crate::text::{Diagnostics, Name, SourceId, Spanned, Table};
use crate::{admin, listener, policies, routing, upstream};

/// Named objects of one kind, with the places of their names and of themselves.
pub type Objects<T> = BTreeMap<Name, (Spanned<Name>, Spanned<T>)>;

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
        let Some(mut table) = Table::parse(diagnostics, source, text) else {
            return Vec::new();
        };
        let include = table.take("include").unwrap_or_default();
        let gateway = table.take("gateway");
        let admin = table.take("admin");
        let listeners = table.objects("listeners");
        let upstreams = table.objects("upstreams");
        let routes = table.objects("routes");
        table.finish();
        once(&mut self.gateway, gateway, "gateway", diagnostics);
        once(&mut self.admin, admin, "admin", diagnostics);
        add(&mut self.listeners, listeners, "listener", diagnostics);
        add(&mut self.upstreams, upstreams, "upstream", diagnostics);
        add(&mut self.routes, routes, "route", diagnostics);
        include
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

fn add<T>(
    objects: &mut Objects<T>,
    read: Vec<(Spanned<Name>, Spanned<T>)>,
    kind: &str,
    diagnostics: &mut Diagnostics,
) {
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
