//! A configuration as it runs: immutable, shared by all requests that began under it.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderName, Method};

use super::{Captures, Lookup, RequestParts, Route, Table};
use crate::actions::{Action, Canaries, Canary};
use crate::cache::{self, Cache, Rules};
use crate::identity::Directory;
use crate::identity::oidc::OwnCookies;
use crate::limits::{self, Overload};
use crate::listener::Listener;
use crate::observability::AccessLog;
use crate::policies::Reserved;
use crate::stores::Stores;
use crate::text::Fingerprint;
use crate::upstream::{Room, Upstream};

/// The name in logs and metrics of requests that no route matches.
pub const FALLBACK: &str = "-";

/// Everything that requests need. A reload makes a new one; requests in flight keep theirs.
#[derive(Debug)]
pub struct Snapshot {
    pub listeners: Box<[View]>,
    /// What a request has before its listener is known.
    pub fallback: Arc<Route>,
    /// In order of their names.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// For unused connections to upstreams.
    pub room: Arc<Room>,
    /// What proves who calls.
    pub identity: Arc<Directory>,
    /// What no client can send, on whichever route.
    pub reserved: Reserved,
    /// The headers that authenticators of any route look at.
    pub credential_headers: HashSet<HeaderName>,
    /// The cookies of logins, which no upstream gets, on whichever route; `None` where nobody can log in.
    pub own_cookies: Option<Arc<OwnCookies>>,
    pub stores: Arc<Stores>,
    /// Where counts are kept, from one configuration to the next.
    pub limits: Arc<limits::Room>,
    /// What responses are kept in, from one configuration to the next, and how much of them from this one on.
    pub cache: Arc<Cache>,
    pub cache_settings: cache::Settings,
    /// Whether any route keeps what its upstream answers.
    pub has_caches: bool,
    /// Who refuses requests while there is too much to do, if anybody does.
    pub overload: Option<Overload>,
    /// Where exchanges are told of, if anywhere.
    pub access_log: Option<Arc<AccessLog>>,
    /// What the definitions say that all routes depend on; `None` where they depend on files as well.
    pub scopes: Option<Fingerprint>,
    /// What connections see whose listener is gone: what there was last. It goes with the last of them.
    gone: Vec<View>,
    /// By [`Listener::id`]: a place in `listeners`, or behind them in `gone`.
    places: Box<[Option<usize>]>,
}

impl Snapshot {
    /// A snapshot without an access log.
    pub fn new(
        listeners: Box<[View]>,
        fallback: Arc<Route>,
        upstreams: Box<[Arc<Upstream>]>,
        room: Arc<Room>,
    ) -> Snapshot {
        let mut snapshot = Snapshot {
            listeners,
            fallback,
            upstreams,
            room,
            identity: Arc::default(),
            reserved: Reserved::default(),
            credential_headers: HashSet::new(),
            own_cookies: None,
            stores: Arc::default(),
            limits: Arc::default(),
            cache: Arc::default(),
            cache_settings: cache::Settings::default(),
            has_caches: false,
            overload: None,
            access_log: None,
            scopes: None,
            gone: Vec::new(),
            places: Box::default(),
        };
        snapshot.number(0);
        snapshot.reserve();
        let has_caches = snapshot.rules().next().is_some();
        snapshot.has_caches = has_caches;
        snapshot
    }

    /// What requests on connections of this listener see.
    pub fn view(&self, listener: &Listener) -> Option<&View> {
        let place = (*self.places.get(listener.id)?)?;
        let gone = place.checked_sub(self.listeners.len());
        match gone {
            None => self.listeners.get(place),
            Some(gone) => self.gone.get(gone),
        }
    }

    /// The listener that clients come in by under this name, or came in by last.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        let mut views = self.listeners.iter().chain(&self.gone);
        let found = views.find(|view| *view.listener.name == *name);
        found.map(|view| &view.listener)
    }

    /// A [`Listener::id`] that none has, and from which on none has had.
    pub fn next_id(&self) -> usize {
        self.places.len()
    }

    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        let found = self.upstreams.binary_search_by(|it| it.name().cmp(name));
        self.upstreams.get(found.ok()?)
    }

    /// How routes keep what their upstreams answer, those that do.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rules>> {
        let routes = self.listeners.iter().flat_map(|view| view.table.routes());
        routes.filter_map(|(_, _, route)| route.pipeline.cache())
    }

    /// The guarded branches of all routes, each with the weight that it has now.
    pub fn canaries(&self) -> Canaries {
        let routes = self.listeners.iter().flat_map(|view| view.table.routes());
        let guarded = routes.filter_map(|(_, _, route)| match &*route.action {
            Action::Proxy(proxy) => Some(proxy.canaries()),
            _ => None,
        });
        let name = |canary: &Canary| (canary.route.clone(), canary.upstream.clone());
        let canaries = guarded.flatten();
        let named = canaries.map(|(canary, weight)| (name(canary), (canary.clone(), weight)));
        named.collect()
    }

    /// It is served from now on, in the place of the one `before`: the metrics have its guarded branches and no others.
    pub fn show_canaries(&self, before: Option<&Snapshot>) {
        let now = self.canaries();
        for (name, (canary, _)) in before.map(Snapshot::canaries).unwrap_or_default() {
            if !now.contains_key(&name) {
                canary.hide();
            }
        }
        for (canary, _) in now.values() {
            canary.show();
        }
    }

    /// Whether clients come in under this name, or are still there that did.
    pub fn has_view_of(&self, name: &str) -> bool {
        let mut views = self.listeners.iter().chain(&self.gone);
        views.any(|view| *view.listener.name == *name)
    }

    /// Keeps what connections see whose listeners were there before and are not any more. Of those that go only now
    /// some may still be about to come in.
    pub fn follow(&mut self, before: &Snapshot) {
        let in_use = before.gone.iter().filter(|it| it.listener.is_in_use());
        let views = before.listeners.iter().chain(in_use);
        let is_gone = |view: &&View| {
            let mut now = self.listeners.iter().map(|it| it.listener.id);
            !now.any(|id| id == view.listener.id)
        };
        self.gone = views.filter(is_gone).cloned().collect();
        self.number(before.next_id());
        self.reserve();
    }

    /// Takes over who calls are proven by. Where a definition has mistakes, its cookies are not known, and browsers may
    /// still have those of `before`.
    pub fn identify(&mut self, identity: Arc<Directory>, before: Option<&Snapshot>) {
        let mut own = OwnCookies::default();
        for provider in identity.oidc.each() {
            own.add(provider.core().cookies());
        }
        let before = before.and_then(|before| before.own_cookies.as_ref());
        before.into_iter().for_each(|before| own.extend(before));
        self.own_cookies = (!own.is_empty()).then(|| Arc::new(own));
        self.identity = identity;
    }

    /// Collects the headers of all routes, also of those that were taken over from before.
    fn reserve(&mut self) {
        let mut tables: Vec<&Arc<Table<Arc<Route>>>> = Vec::new();
        for view in self.listeners.iter().chain(&self.gone) {
            // Listeners share tables, which may have tens of thousands of routes.
            if !tables.iter().any(|table| Arc::ptr_eq(table, &view.table)) {
                tables.push(&view.table);
            }
        }
        for table in tables {
            for (_, _, route) in table.routes() {
                self.reserved.add(&route.pipeline);
                for name in route.pipeline.credential_headers() {
                    if !self.credential_headers.contains(name) {
                        self.credential_headers.insert(name.clone());
                    }
                }
            }
        }
    }

    /// Numbers are not used twice: of connections that have one it is not known when the last of them is gone.
    fn number(&mut self, used: usize) {
        let views = || self.listeners.iter().chain(&self.gone);
        let ids = views().map(|view| view.listener.id + 1).max().unwrap_or(0);
        let mut places = vec![None; ids.max(used)];
        for (place, view) in views().enumerate() {
            places[view.listener.id] = Some(place);
        }
        self.places = places.into();
    }
}

/// What requests on one listener see.
#[derive(Clone, Debug)]
pub struct View {
    pub listener: Arc<Listener>,
    /// The routes on it. Listeners that inherit the same policies share a table.
    pub table: Arc<Table<Arc<Route>>>,
    /// The route of requests that no route matches: it has the listener's policies and no action.
    pub fallback: Arc<Route>,
}

impl View {
    /// The route that answers a preflight of CORS, and what its path captured. `None` for any other request, and
    /// for a preflight that is to be treated like any other request.
    ///
    /// A preflight asks for a method, and whether that may be used is for the route to say that takes it: one that
    /// takes only `POST` would never see its preflights otherwise. Where a route takes the method and its policies
    /// answer no preflights, no other route answers in its stead: it would give leave that the route denies.
    pub fn preflight(&self, request: &RequestParts<'_>) -> Option<(&Arc<Route>, Captures)> {
        if *request.method != Method::OPTIONS || !request.headers.contains_key(ORIGIN) {
            return None;
        }
        let wanted = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let method = Method::from_bytes(wanted.as_bytes()).ok()?;
        let wanted = RequestParts {
            method: &method,
            ..*request
        };
        let (route, captures) = match self.table.find(&wanted) {
            Lookup::Found(route, captures) => (route, captures),
            Lookup::MethodNotAllowed(_) | Lookup::NotFound => (&self.fallback, Captures::default()),
        };
        route
            .pipeline
            .answers_preflights()
            .then_some((route, captures))
    }
}
