//! Upstreams: groups of endpoints that serve the same thing.
//!
//! In: endpoints from configuration (and later from discovery), what health checks see, what attempts meet.
//! Out: an [`Attempt`], which gives the engine a peer, learns how it went and says whether to try another, and
//! whose deadlines it keeps. This room must never know routes, policies or replies: it reports
//! [`Code`]s and leaves what to tell the client to others. It is the only user of `HttpPeer`.
//!
//! # What is chosen from
//! Selection reads one immutable set of the endpoints that are available now (`balance.rs`); health changes build
//! a new set beside it. So a pick costs one atomic load and one atomic add, whatever the state of the others.
//!
//! # Deadlines
//! Pingora has one timeout per read and none for a whole exchange. HTTP/1.1 connections are therefore opened by
//! this room and watched (`connect.rs`): the exchange moves the watch's deadline as it goes (first byte, then
//! idle, never past the route's whole-exchange deadline), and a connection whose deadline passes is shut down,
//! whatever it was waiting for. HTTP/2 connections carry many exchanges, so there each exchange has a clock of its
//! own (`clock.rs`), which whoever reads the client for the engine keeps beside the reading; an exchange that is
//! too late resets its own stream alone. The engine knows one wait that nothing can interrupt: a part of an upload
//! that an HTTP/2 upstream leaves no room for. It is limited by `idle` from one move to the next, so the
//! whole-exchange deadline can be passed there by as much.

//! # Capacity
//! An upstream may have a limit of requests in flight (`capacity.rs`), fixed or learned. What keeps to it are the places
//! of a [`Bulkhead`], which whoever opens an attempt takes before the first pick and lets the attempt
//! [hold](Attempt::hold).
//!
//! # Responses of HTTP/1.1
//! The engine's parser is lenient, and tells nobody what it has repaired. Connections of HTTP/1.1 are therefore
//! opened (`dial.rs`), decrypted (`handshake.rs`) and kept (`spares.rs`) by this room, and lent to the engine for one
//! exchange each, behind a reader that lets nothing pass that is not exactly a response (`lent.rs`). The engine takes
//! them for clear text. Only connections of HTTP/2 and health checks leave TLS to the engine.

mod attempt;
mod balance;
mod capacity;
mod clock;
mod config;
mod connect;
mod dial;
mod endpoint;
mod handshake;
mod health;
mod lent;
mod outcome;
mod peer;
mod resolve;
mod spares;
mod tls;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::task::JoinSet;

use crate::discovery::Member;
use crate::limits::{self, Bulkhead};
use crate::observability::{Metrics, UpstreamMetrics};
use crate::response::Code;
use crate::text::{Fingerprint, Span, Subject};

pub use attempt::{Attempt, Failure, Replay, Upload, Verdict};
pub use balance::Balance;
pub use clock::{Clock, Stall, Timer};
pub use config::{Config, EndpointConfig, HealthConfig, Protocol, Timeouts, TlsConfig};
pub use outcome::grpc_status;
pub use spares::Room;

use balance::Available;
use capacity::Capacity;
use endpoint::Endpoint;
use peer::PeerTemplate;
use resolve::Address;

/// A group of endpoints and everything that is known of them.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    definition: Definition,
    balance: Balance,
    timeouts: Timeouts,
    protocol: Protocol,
    addresses: Box<[Address]>,
    template: PeerTemplate,
    health: Option<health::Checks>,
    available: ArcSwap<Available>,
    members: Mutex<Vec<Arc<Endpoint>>>,
    /// Health checks and the refresh of host names.
    tasks: Mutex<JoinSet<()>>,
    /// How many requests it may have at a time, where that is limited.
    capacity: Option<Capacity>,
    metrics: UpstreamMetrics,
}

/// What tells an upstream from another of its name: what is written, and what stands in the files of its TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Definition {
    written: Fingerprint,
    tls: Option<u64>,
}

impl Upstream {
    /// Compiles an upstream; `base` is the folder that its file paths are relative to. `None` after diagnostics.
    ///
    /// One that is defined as it was before is the one that was before, with everything that is known of it. It has
    /// no endpoints and no series until it is taken into service ([`Upstream::prepare`]).
    pub fn build(name: &str, config: &Config, context: &mut Build<'_>) -> Option<Arc<Upstream>> {
        let errors = context.subject.error_count();
        let tls = match &config.tls {
            None => None,
            Some(tls) => tls::UpstreamTls::build(tls, context),
        };
        config.check(name, context.span, &mut context.subject);
        let capacity = Capacity::build(name, config, context);
        if context.subject.error_count() > errors {
            return None;
        }
        let definition = Definition {
            written: context.written,
            tls: tls.as_ref().map(|tls| tls.fingerprint),
        };
        if let Some(before) = context.before.filter(|it| it.definition == definition) {
            return Some(before.clone());
        }
        Some(Arc::new(Upstream {
            name: name.into(),
            definition,
            balance: config.balance,
            timeouts: config.timeouts.clone(),
            protocol: config.protocol,
            addresses: config
                .endpoints
                .iter()
                .map(|endpoint| Address::of(endpoint))
                .collect(),
            template: PeerTemplate::new(name, config, tls, context.room),
            health: config
                .health
                .as_ref()
                .map(|health| health::Checks::new(health, config)),
            available: ArcSwap::from_pointee(Available::default()),
            members: Mutex::default(),
            tasks: Mutex::default(),
            capacity,
            metrics: context.metrics.upstream(name),
        }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where requests come in one at a time while there are too many; `None` where they are not limited.
    pub fn bulkhead(&self) -> Option<&Arc<Bulkhead>> {
        self.capacity.as_ref().map(Capacity::bulkhead)
    }

    pub fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// Takes it into service, in place of the one that had its name `before`: endpoints that stay are as healthy as
    /// they were, and host names have the addresses that they had until they are resolved. Names of which nothing is
    /// known are waited for, as long as the resolver has: one that does not resolve has no endpoints yet.
    pub async fn prepare(self: &Arc<Self>, before: Option<&Upstream>) {
        let known = before.map_or_else(Vec::new, |before| before.current());
        let addresses = resolve::without_resolver(&self.addresses, &known);
        let is_known = resolve::has_all(&self.addresses, &addresses);
        self.adopt_with(addresses, &known);
        if !is_known {
            self.adopt(resolve::all(&self.addresses, &self.current()).await);
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.health.is_some() {
            tasks.spawn(health::watch(Arc::downgrade(self)));
        }
        if self.addresses.iter().any(Address::is_name) {
            tasks.spawn(resolve::watch(Arc::downgrade(self), is_known));
        }
    }

    /// Takes it out of service: `now` has come in its place, if any has. Requests in flight go on with what is known.
    /// It is checked and resolved no more, and series of endpoints that are gone end.
    pub fn retire(&self, now: Option<&Upstream>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
        let kept = now.map_or_else(Vec::new, |now| now.current());
        for gone in self.current() {
            if !kept.iter().any(|it| it.address() == gone.address()) {
                self.metrics.forget_endpoint(gone.address());
            }
        }
    }

    /// How many endpoints there are and how many of them are available.
    pub fn count(&self) -> (usize, usize) {
        let members = self.current();
        (
            members.len(),
            members
                .iter()
                .filter(|endpoint| endpoint.is_healthy())
                .count(),
        )
    }

    /// Each endpoint's address and whether it is healthy, for the admin listener.
    pub fn endpoints(&self) -> Vec<(String, bool)> {
        self.current()
            .iter()
            .map(|endpoint| (endpoint.address().to_owned(), endpoint.is_healthy()))
            .collect()
    }

    fn current(&self) -> Vec<Arc<Endpoint>> {
        self.members
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over a new set of resolved addresses. An endpoint that was there before keeps its state.
    fn adopt(&self, resolved: Vec<Member>) {
        self.adopt_with(resolved, &[]);
    }

    /// As [`Upstream::adopt`]; endpoints that are new here, but among those `known` elsewhere, are as healthy as
    /// those.
    fn adopt_with(&self, resolved: Vec<Member>, known_elsewhere: &[Arc<Endpoint>]) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let adopted: Vec<Arc<Endpoint>> = resolved
            .into_iter()
            .map(|resolved| {
                let known = members.iter().find(|endpoint| endpoint.is_at(&resolved));
                known.cloned().unwrap_or_else(|| {
                    let endpoint = Endpoint::new(resolved, &self.template, &self.metrics);
                    let mut elsewhere = known_elsewhere.iter();
                    // Without checks nothing would ever find it healthy again.
                    if let Some(known) = elsewhere.find(|it| it.address() == endpoint.address())
                        && self.health.is_some()
                    {
                        endpoint.take_after(known);
                    }
                    Arc::new(endpoint)
                })
            })
            .collect();
        for gone in members
            .iter()
            .filter(|known| !adopted.iter().any(|kept| kept.address() == known.address()))
        {
            self.metrics.forget_endpoint(gone.address());
        }
        *members = adopted;
        self.available.store(Arc::new(Available::of(&members)));
    }

    /// Builds the available set anew after a health change.
    fn refresh(&self) {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.available.store(Arc::new(Available::of(&members)));
    }

    fn pick(&self, tried: &[Arc<Endpoint>]) -> Result<Arc<Endpoint>, Code> {
        let available = self.available.load();
        available
            .pick(self.balance, tried)
            .ok_or(Code::UpstreamUnhealthy)
    }
}

/// What compiling an upstream needs from around it.
pub struct Build<'a> {
    /// Where its name stands.
    pub span: Span,
    pub base: &'a std::path::Path,
    pub metrics: &'a Metrics,
    /// For unused connections.
    pub room: &'a Arc<Room>,
    /// Where it is counted what is in flight.
    pub limits: &'a limits::Room,
    /// What is written of it.
    pub written: Fingerprint,
    /// The upstream that has this name now.
    pub before: Option<&'a Arc<Upstream>>,
    /// The upstream in the configuration.
    pub subject: Subject<'a>,
}

/// The upstream behind a background task, or `None` once it is no longer in use.
fn alive(upstream: &Weak<Upstream>) -> Option<Arc<Upstream>> {
    upstream.upgrade()
}
