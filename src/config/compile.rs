//! From a document to what runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::changes::Kind;
use super::document::Document;
use super::kept::{self, Running, Stale};
use super::last_good::{self, Origin};
use super::listeners::{self, Group};
use super::load::{Files, Loaded, base, load, load_on};
use super::plans::{classes, overload, plans};
use super::quarantine::{Quarantine, Quarantined};
use super::routes::{self, Upstreams};
use super::tables::{fallback, pipelines, table};
use super::{GatewayConfig, SandboxConfig, caching, warnings};
use crate::admin;
use crate::cache::Cache;
use crate::facts::Variables;
use crate::identity::{self, Directory};
use crate::limits;
use crate::observability::{AccessLogConfig, Metrics};
use crate::policies::{Layer, References, Scope};
use crate::routing::{FALLBACK, Route, Snapshot, Table, View};
use crate::stores::Stores;
use crate::text::{Diagnostics, Sources, Span, Subject, give_way};
use crate::upstream::{self, Room, Upstream};

/// A configuration that can run.
#[derive(Debug)]
pub struct Configuration {
    pub files: Files,
    pub snapshot: Snapshot,
    pub settings: Settings,
    /// What the files said. `None` where that is too much to be kept.
    pub archive: Option<Archive>,
    pub origin: Origin,
    /// What has mistakes and is not served.
    pub quarantined: Vec<Quarantined>,
}

/// What concerns the process and not a request.
#[derive(Clone, Debug)]
pub struct Settings {
    pub workers: Option<usize>,
    pub drain_delay: std::time::Duration,
    pub shutdown_grace: std::time::Duration,
    pub upgrade_timeout: std::time::Duration,
    pub keepalive_pool: usize,
    pub watch: bool,
    /// Where the configuration is kept once it serves; `None` where it is not kept.
    pub state_dir: Option<PathBuf>,
    pub access_log: Option<AccessLogConfig>,
    /// `None` where it is switched off.
    pub sandbox: Option<SandboxConfig>,
    pub admin: Option<Arc<admin::Admin>>,
}

/// Resolves and compiles. `None` where there are errors; warnings alone do not stop it.
pub fn compile(loaded: &mut Loaded, metrics: &Metrics) -> Option<Configuration> {
    recompile(loaded, metrics, None)
}

/// As [`compile`], and takes over from what runs now (`before`) what is not defined otherwise than it was: listeners
/// and upstreams as they are, of changed listeners the counts, of changed upstreams what is known of endpoints
/// that stay.
pub fn recompile(
    loaded: &mut Loaded,
    metrics: &Metrics,
    before: Option<&Snapshot>,
) -> Option<Configuration> {
    // Everything was read, so that nothing can be stale.
    compile_on(loaded, metrics, before).unwrap_or(None)
}

/// Loads the files and compiles them beside what runs, as [`recompile`] does, and in much less time where little has
/// changed: routes that say what they said are not even read. So the document lacks them.
pub fn reload(
    path: &Path,
    metrics: &Metrics,
    before: &Snapshot,
) -> (Loaded, Option<Configuration>) {
    let mut loaded = load_on(path, &Running::of(before));
    if let Ok(compiled) = compile_on(&mut loaded, metrics, Some(before)) {
        return (loaded, compiled);
    }
    drop(loaded);
    let mut loaded = load(path);
    let compiled = recompile(&mut loaded, metrics, Some(before));
    (loaded, compiled)
}

fn compile_on(
    loaded: &mut Loaded,
    metrics: &Metrics,
    before: Option<&Snapshot>,
) -> Result<Option<Configuration>, Stale> {
    let Loaded {
        sources,
        document,
        diagnostics,
        files,
    } = loaded;
    let on_error = document.gateway.as_ref().map(|it| it.config.on_error);
    let mut quarantine = Quarantine::new(on_error.unwrap_or_default(), document, before);
    // A document with errors of shape has holes; resolving it would report names as unknown that are only bad.
    if quarantine.is_broken(diagnostics) {
        return Ok(None);
    }
    if document.listeners.is_empty() && document.broken.listeners.is_empty() {
        diagnostics
            .error(None, "there is no listener")
            .help("add [listeners.public] with bind = \"0.0.0.0:8080\"");
    }
    let written = document.gateway.as_ref();
    let folder = written.map(|gateway| base(sources, gateway.config.span.source));
    let option = written.and_then(|gateway| gateway.config.state_dir.as_deref());
    let state_dir = last_good::folder(option, &folder.unwrap_or_default());
    let gateway = written.map(|it| it.config.value.clone());
    let gateway = gateway.unwrap_or_default();
    gateway.check(&mut Subject::new(diagnostics, "gateway"));
    let stores = stores(document, sources, metrics, before, diagnostics);
    let identity = identities(document, sources, (metrics, &stores), before, diagnostics);
    let limits = before.map_or_else(
        || Arc::new(limits::Room::new(metrics)),
        |before| before.limits.clone(),
    );
    let cache = before.map_or_else(|| Cache::new(metrics), |before| before.cache.clone());
    let plans = plans(document, diagnostics);
    let references = References {
        sources,
        identity: &identity,
        limits: &limits,
        cache: &cache,
        plans: &plans,
        stores: &stores,
        allows_faults: gateway.allow_fault_injection,
    };
    let gateway_layer = Layer::build(
        &gateway.policies,
        Scope::Gateway,
        Variables::Shared,
        references,
        &mut Subject::new(diagnostics, "gateway"),
    );
    let (listeners, groups) = listeners::compile(
        document,
        &gateway_layer,
        references,
        metrics,
        before,
        &mut quarantine,
        diagnostics,
    );
    if listeners.is_empty() && quarantine.is_on() {
        diagnostics.error(None, "every listener has mistakes");
    }
    let room = before.map_or_else(
        || Room::new(gateway.keepalive_pool.get() as usize),
        |before| before.room.clone(),
    );
    let upstreams = compile_upstreams(
        document,
        sources,
        metrics,
        (&room, &limits, state_dir.as_deref(), before),
        &mut quarantine,
        diagnostics,
    );
    let routes = routes::compile(
        document,
        &upstreams,
        references,
        (metrics, before),
        &mut quarantine,
        diagnostics,
    );
    let reads_files = gateway_layer.reads_files || groups.iter().any(|it| it.layer.reads_files);
    let reads_files = reads_files || identity.written.is_none();
    let scopes = (!reads_files).then(|| kept::scopes(document));
    kept::check(document, before, scopes, &upstreams)?;
    warnings::of_unused(document, before, diagnostics);
    warnings::of_unused_plans(document, diagnostics);
    let admin = document.admin.as_ref().and_then(|section| {
        let config = &section.config;
        admin::Admin::build(config, &base(sources, config.span.source), diagnostics)
    });
    if quarantine.is_broken(diagnostics) {
        return Ok(None);
    }
    // Routes that are taken over are on all listeners, and these are those that were.
    let kept_of = |group: &Group| {
        let views = before.map_or(&[][..], |before| &before.listeners);
        let mut of_group = views
            .iter()
            .filter(|view| group.members.iter().any(|it| **it == *view.listener.name));
        let view = of_group.next().filter(|_| !document.kept.is_empty());
        let kept = view.map(|view| kept::routes(document, view));
        kept.into_iter().flatten().collect::<Vec<_>>()
    };
    let beside = (state_dir.as_deref(), &*stores);
    let caching = caching::settings(document, sources, beside, diagnostics);
    let overload = overload(&gateway, before, metrics);
    let classes = classes(&plans);
    let fallback_metrics = Arc::new(metrics.route(FALLBACK));
    let mut told = BTreeSet::new();
    let tables: Vec<Shared> = groups
        .iter()
        .map(|group| {
            let load = (classes.as_ref(), overload.as_ref());
            let routes = pipelines(
                (group, &cache),
                load,
                &routes,
                &mut quarantine,
                &mut told,
                diagnostics,
            );
            Shared {
                table: Arc::new(table(routes, &kept_of(group))),
                fallback: Arc::new(fallback(&group.layer, overload.as_ref(), &fallback_metrics)),
            }
        })
        .collect();
    if quarantine.is_broken(diagnostics) {
        return Ok(None);
    }
    warnings::of_shadows(
        tables.iter().map(|shared| &*shared.table),
        document,
        diagnostics,
    );
    warnings::of_open_routes(tables.iter().map(|shared| &*shared.table), diagnostics);
    let every = tables.iter().map(|shared| &*shared.table);
    warnings::of_logins(every, document, &identity, diagnostics);
    let views = listeners
        .into_iter()
        .map(|compiled| {
            let Shared { table, fallback } = &tables[compiled.group];
            View {
                listener: compiled.listener,
                table: table.clone(),
                fallback: fallback.clone(),
            }
        })
        .collect();
    let mut snapshot = Snapshot::new(
        views,
        Arc::new(fallback(&gateway_layer, None, &fallback_metrics)),
        upstreams.into_values().flatten().collect(),
        room,
    );
    snapshot.scopes = scopes;
    let quarantined = quarantine.into_objects();
    let before = before.filter(|_| !quarantined.is_empty());
    if let Some(before) = before {
        // What a route with mistakes tells its upstream is not known, and its upstream may still believe it.
        snapshot.reserved.extend(&before.reserved);
    }
    snapshot.identify(identity, before);
    snapshot.stores = stores;
    snapshot.limits = limits;
    snapshot.cache = cache;
    snapshot.cache_settings = caching;
    snapshot.overload = overload;
    Ok(Some(Configuration {
        files: files.clone(),
        snapshot,
        settings: settings(gateway, admin, state_dir),
        archive: archive(sources, diagnostics),
        origin: Origin::Files,
        quarantined,
    }))
}

/// Servers that several gateways keep what they share in.
fn stores(
    document: &Document,
    sources: &Sources,
    metrics: &Metrics,
    before: Option<&Snapshot>,
    diagnostics: &mut Diagnostics,
) -> Arc<Stores> {
    let before = before.map(|before| &*before.stores);
    let mut subject = Subject::new(diagnostics, "stores");
    let mut stores = Stores::default();
    for (name, store) in &document.stores {
        let folder = sources.folder(store.name.span.source);
        let (config, mut subject) = (&store.config.value, subject.key(name));
        stores.add(config, folder, (name, metrics), before, &mut subject);
    }
    Arc::new(stores)
}

/// What proves who calls.
fn identities(
    document: &Document,
    sources: &Sources,
    (metrics, stores): (&Metrics, &Stores),
    before: Option<&Snapshot>,
    diagnostics: &mut Diagnostics,
) -> Arc<Directory> {
    let consumers = document.consumers.iter().enumerate();
    let entries = consumers.map(|(step, (name, consumer))| {
        give_way(step);
        let place = consumer.name.span;
        let folder = sources.folder(place.source);
        identity::Entry::new(name, &consumer.config.value, place, folder)
    });
    let section = document.identity.as_ref();
    let span = section.map(|section| section.config.span);
    let Some(root) = span.or_else(|| sources.ids().next().map(Span::start_of)) else {
        // Nothing was read.
        return Arc::default();
    };
    let definitions = identity::Definitions {
        config: section.map(|section| &section.config.value),
        folder: sources.folder(root.source),
        root,
        entries: entries.collect(),
        metrics,
        stores,
        written: kept::identities(document),
    };
    Directory::build(&definitions, before.map(|it| &it.identity), diagnostics)
}

/// Nobody needs it as long as all goes well: where it cannot be made that is a warning.
fn archive(sources: &Sources, diagnostics: &mut Diagnostics) -> Option<Archive> {
    match Archive::of(sources) {
        Ok(archive) => Some(archive),
        Err(error) => {
            diagnostics.warning(None, format!("the configuration cannot be kept: {error}"));
            None
        }
    }
}

fn settings(
    gateway: GatewayConfig,
    admin: Option<admin::Admin>,
    state_dir: Option<PathBuf>,
) -> Settings {
    Settings {
        workers: gateway.workers.map(|workers| usize::from(workers.get())),
        drain_delay: gateway
            .drain_delay
            .map_or(std::time::Duration::ZERO, |delay| delay.as_std()),
        shutdown_grace: gateway.shutdown_grace.as_std(),
        upgrade_timeout: gateway.upgrade_timeout(),
        keepalive_pool: gateway.keepalive_pool.get() as usize,
        watch: gateway.watch,
        access_log: gateway.access_log.on(),
        sandbox: gateway.sandbox.on(),
        state_dir,
        admin: admin.map(Arc::new),
    }
}

fn compile_upstreams(
    document: &Document,
    sources: &Sources,
    metrics: &Metrics,
    (room, limits, state, before): (&Arc<Room>, &limits::Room, Option<&Path>, Option<&Snapshot>),
    quarantine: &mut Quarantine,
    diagnostics: &mut Diagnostics,
) -> Upstreams {
    let mut upstreams = Subject::new(diagnostics, "upstreams");
    let broken = document.broken.upstreams.iter();
    let mut compiled: Upstreams = broken.map(|it| (it.name.value.clone(), None)).collect();
    for (name, object) in &document.upstreams {
        let place = object.name.span;
        let folder = base(sources, place.source);
        let mut build = upstream::Build {
            span: place,
            base: &folder,
            state_dir: state,
            metrics,
            room,
            limits,
            written: object.fingerprint,
            before: before.and_then(|before| before.upstream(name)),
            subject: upstreams.key(name),
        };
        let errors = build.subject.error_count();
        let upstream = Upstream::build(name, &object.config.value, &mut build);
        let errors = build.subject.error_count() - errors;
        let is_good = errors == 0 || !quarantine.contain(Kind::Upstream, name, errors);
        let upstream = upstream.filter(|_| is_good);
        compiled.insert(name.clone(), upstream);
    }
    compiled
}

/// What the listeners of one group have in common.
struct Shared {
    table: Arc<Table<Arc<Route>>>,
    fallback: Arc<Route>,
}
