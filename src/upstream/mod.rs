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

//! # Responses of HTTP/1.1
//! The engine's parser is lenient, and tells nobody what it has repaired. Connections of HTTP/1.1 are therefore
//! opened (`dial.rs`), decrypted (`handshake.rs`) and kept (`spares.rs`) by this room, and lent to the engine for one
//! exchange each, behind a reader that lets nothing pass that is not exactly a response (`lent.rs`). The engine takes
//! them for clear text. Only connections of HTTP/2 and health checks leave TLS to the engine.

mod attempt;
mod balance;
mod clock;
mod config;
mod connect;
mod dial;
mod endpoint;
mod handshake;
mod health;
mod lent;
mod peer;
mod resolve;
mod spares;
mod tls;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::observability::{Metrics, UpstreamMetrics};
use crate::response::Code;
use crate::text::{Span, Subject};

pub use attempt::{Attempt, Failure, Replay, Verdict};
pub use balance::Balance;
pub use clock::{Clock, Stall, Timer};
pub use config::{Config, EndpointConfig, HealthConfig, Protocol, Timeouts, TlsConfig};
pub use spares::Room;

use balance::Available;
use endpoint::Endpoint;
use peer::PeerTemplate;
use resolve::Address;

/// A group of endpoints and everything that is known of them.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    balance: Balance,
    timeouts: Timeouts,
    protocol: Protocol,
    addresses: Box<[Address]>,
    template: PeerTemplate,
    health: Option<health::Checks>,
    available: ArcSwap<Available>,
    members: Mutex<Vec<Arc<Endpoint>>>,
    metrics: UpstreamMetrics,
}

impl Upstream {
    /// Compiles an upstream; `base` is the folder that its file paths are relative to. `None` after diagnostics.
    pub fn build(name: &str, config: &Config, context: &mut Build<'_>) -> Option<Arc<Upstream>> {
        let before = context.subject.error_count();
        let tls = match &config.tls {
            None => None,
            Some(tls) => tls::UpstreamTls::build(tls, context),
        };
        config.check(name, context.span, &mut context.subject);
        if context.subject.error_count() > before {
            return None;
        }
        let upstream = Arc::new(Upstream {
            name: name.into(),
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
            metrics: context.metrics.upstream(name),
        });
        upstream.adopt(resolve::without_names(&upstream.addresses));
        Some(upstream)
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

    pub fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// Resolves host names for the first time; call before traffic is let in. It waits for at most the
    /// resolver's own deadline and never fails: a name that does not resolve yet has no endpoints.
    pub async fn prepare(&self) {
        if self.addresses.iter().any(Address::is_name) {
            self.adopt(resolve::all(&self.addresses, &self.current()).await);
        }
    }

    /// Starts health checks and the refresh of host names. The tasks end when the upstream is dropped.
    pub fn watch(self: &Arc<Self>) {
        if self.health.is_some() {
            tokio::spawn(health::watch(Arc::downgrade(self)));
        }
        if self.addresses.iter().any(Address::is_name) {
            tokio::spawn(resolve::watch(Arc::downgrade(self)));
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
    fn adopt(&self, resolved: Vec<resolve::Resolved>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let adopted: Vec<Arc<Endpoint>> = resolved
            .into_iter()
            .map(|resolved| {
                let known = members.iter().find(|endpoint| endpoint.is_at(&resolved));
                known.cloned().unwrap_or_else(|| {
                    Arc::new(Endpoint::new(resolved, &self.template, &self.metrics))
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
    /// The upstream in the configuration.
    pub subject: Subject<'a>,
}

/// The upstream behind a background task, or `None` once it is no longer in use.
fn alive(upstream: &Weak<Upstream>) -> Option<Arc<Upstream>> {
    upstream.upgrade()
}
