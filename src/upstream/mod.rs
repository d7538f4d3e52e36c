//! Upstreams: groups of endpoints that serve the same thing.
//!
//! In: endpoints from configuration or discovery, what health checks see, what attempts meet.
//! Out: an [`Attempt`], which gives the engine a peer, learns how it went and says whether to try another, and
//! whose deadlines it keeps. This room must never know routes, policies or replies: it reports
//! [`Code`](crate::response::Code)s and leaves what to tell the client to others. It is the only user of `HttpPeer`.
//!
//! # What is chosen from
//! Selection reads one immutable set of the endpoints that are available now (`balance/`); whatever is told of
//! endpoints builds a new set beside it. So a pick costs an atomic load and, taking turns, an atomic add, whatever the
//! state of the others.
//!
//! # Who is among them
//! Each try tells once how it has gone (`outcome.rs`); nobody else tells. Checks (`health/`), ejection (`outliers.rs`) and
//! breakers (`breaker.rs`) each keep of that what they need, in atomics and in windows of one word a bucket (`window.rs`),
//! and say that something has to be decided. `availability.rs` decides it, in one task of the upstream that time wakes as
//! well, so that everybody comes back whether or not there are requests. A breaker that is half-open lets in so many probes
//! at a time; a probe's place is given back when its try is dropped, whatever became of it.
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

//! # Tries
//! A request that came to nothing is sent again where the upstream's [`Retry`] or the route's wants that, where nothing can
//! be done twice by it, and where the upstream's budget has room (`retry/`): one for all of its routes, so that a failing
//! upstream gets little more than clients ask for. What certainly was no work for the upstream costs nothing unless it fails
//! again. `attempt/again.rs` puts these together; whoever drives the attempt waits as it says, and has a body sent from its
//! beginning or not at all. One that takes its time may go to a second endpoint as well (`hedge.rs`), behind the back of the
//! engine.
//!
//! # Capacity
//! An upstream may have a limit of requests in flight (`capacity.rs`), fixed or learned. What keeps to it are the places
//! of a [`Bulkhead`], which whoever opens an attempt takes before the first pick and lets the attempt
//! [hold](Attempt::hold).
//!
//! # Responses of HTTP/1.1
//! The engine's parser is lenient, and tells nobody what it has repaired. Connections of HTTP/1.1 are therefore
//! opened (`dial.rs`), decrypted (`handshake.rs`) and kept (`spares.rs`) by this room, and lent to the engine for one
//! exchange each, behind a reader that lets nothing pass that is not exactly a response (`lent.rs`). The engine takes
//! them for clear text. Requests of the gateway's own go the same way (`client.rs`). Only connections of HTTP/2 and
//! health checks leave TLS to the engine.

mod attempt;
mod availability;
mod balance;
mod breaker;
mod breaker_config;
mod capacity;
mod choosing;
mod client;
mod clock;
mod config;
mod connect;
mod departed;
mod dial;
mod endpoint;
mod guards;
mod handshake;
mod health;
mod hedge;
mod lent;
mod outcome;
mod outlier_config;
mod outliers;
mod peer;
mod pick;
mod report;
mod resolve;
mod retry;
mod spares;
mod tls;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderName;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::discovery::{self, Discovery, Member};
use crate::limits::{self, Bulkhead};
use crate::observability::{Metrics, UpstreamMetrics};
use crate::text::{Fingerprint, Span, Subject};

pub use attempt::{Attempt, Failure, Replay, Unwanted, Upload, Verdict};
pub use balance::{
    Balance, HashConfig, Idle, SameSite, Sticky, StickyConfig, SubsetConfig, SubsetFallback,
    ZonesConfig,
};
pub use breaker_config::BreakerConfig;
pub use choosing::{Asked, Choice, Shown};
pub use client::Heard;
pub use clock::{Clock, Stall, Timer};
pub use config::{Config, EndpointConfig, Protocol, Timeouts, TlsConfig};
pub use health::{HealthConfig, HealthPath, StatusRange};
pub use outcome::grpc_status;
pub use outlier_config::OutlierConfig;
pub use report::{BreakerReport, NoBreaker, Order, OutReport};
pub use retry::{BackoffConfig, Condition, Reason, Retry, RetryConfig, Stop};
pub use spares::Room;

use balance::{Available, Rules, Tag};
use capacity::Capacity;
use departed::Departed;
use endpoint::Endpoint;
use guards::Guards;
use peer::PeerTemplate;
use resolve::Address;
use retry::Budget;

/// An endpoint as the engine is told of it, for one try.
pub type Peer = Box<pingora::upstreams::peer::HttpPeer>;

/// A group of endpoints and everything that is known of them.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    definition: Definition,
    rules: Rules,
    timeouts: Timeouts,
    /// Where a route has it no other way.
    retry: Retry,
    budget: Arc<Budget>,
    deadline_header: Option<HeaderName>,
    protocol: Protocol,
    addresses: Box<[Address]>,
    /// Who knows the endpoints, where they are not written.
    discovery: Option<Arc<Discovery>>,
    template: PeerTemplate,
    health: Option<Arc<health::Checks>>,
    available: ArcSwap<Available>,
    /// Another available set is in its place.
    has_news: Arc<Notify>,
    /// Whether it has been taken into service, with the endpoints that it begins with.
    has_begun: AtomicBool,
    members: Mutex<Vec<Arc<Endpoint>>>,
    /// Endpoints that are gone, for a while.
    departed: Mutex<Departed>,
    guards: Guards,
    /// Health checks, the refresh of host names, the following of a registry, and what time moves on.
    tasks: Mutex<JoinSet<()>>,
    /// How many requests it may have at a time, where that is limited.
    capacity: Option<Capacity>,
    metrics: UpstreamMetrics,
}

/// What tells an upstream from another of its name: what is written, and what stands in the files of its TLS and
/// of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Definition {
    written: Fingerprint,
    tls: Option<u64>,
    /// The key of sticky sessions.
    sticky: Option<Tag>,
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
        let rules = Rules::build(name, config, context);
        let capacity = Capacity::build(name, config, context);
        let discovery = config.discovery.as_ref().and_then(|config| {
            let context = discovery::Build {
                name,
                base: context.base,
                state_dir: context.state_dir,
                metrics: context.metrics,
                subject: context.subject.key("discovery"),
            };
            Discovery::build(config, context)
        });
        if context.subject.error_count() > errors {
            return None;
        }
        let definition = Definition {
            written: context.written,
            tls: tls.as_ref().map(|tls| tls.fingerprint),
            sticky: rules.as_ref().and_then(Rules::fingerprint),
        };
        if let Some(before) = context.before.filter(|it| it.definition == definition) {
            return Some(before.clone());
        }
        Some(Arc::new(Upstream {
            name: name.into(),
            definition,
            rules: rules?,
            timeouts: config.timeouts.clone(),
            retry: match &config.retry {
                None => Retry::unsaid(),
                Some(retry) => Retry::of(retry),
            },
            budget: Budget::new(
                config
                    .retry
                    .as_deref()
                    .map_or_else(|| RetryConfig::default().share(), RetryConfig::share),
            ),
            deadline_header: config
                .deadline_header
                .as_ref()
                .map(|header| header.value.clone().into_inner()),
            protocol: config.protocol,
            addresses: config
                .endpoints
                .iter()
                .flat_map(|list| list.iter())
                .map(|endpoint| Address::of(endpoint))
                .collect(),
            discovery,
            template: PeerTemplate::new(name, config, tls, context.room),
            health: config
                .health
                .as_ref()
                .map(|health| health::Checks::new(health, config)),
            available: ArcSwap::from_pointee(Available::default()),
            has_news: Arc::default(),
            has_begun: AtomicBool::new(false),
            members: Mutex::default(),
            departed: Mutex::default(),
            tasks: Mutex::default(),
            capacity,
            guards: Guards::build(config, context.before.map(|it| &it.guards), Instant::now()),
            metrics: context.metrics.upstream(name),
        }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The header that its endpoints are told by how long a try may take.
    pub fn deadline_header(&self) -> Option<&HeaderName> {
        self.deadline_header.as_ref()
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
    /// known are waited for, as long as the resolver has: one that does not resolve has no endpoints yet. So is the
    /// first answer of a registry ([`discovery`]).
    pub async fn prepare(self: &Arc<Self>, before: Option<&Upstream>) {
        let known = before.map_or_else(Vec::new, |before| before.current());
        self.inherit(known.clone());
        if let Some(discovery) = &self.discovery {
            self.follow(discovery, before).await;
        } else {
            self.resolve(&known).await;
        }
        if self.health.is_some() {
            self.tasks().spawn(health::watch(Arc::downgrade(self)));
        }
        self.has_begun.store(true, Ordering::Relaxed);
        if self.guards.are_any() {
            let watch = availability::watch(Arc::downgrade(self));
            self.tasks().spawn(watch);
        }
        if let Some(window) = self.rules.slow_start {
            let watch = balance::watch_slow_start(Arc::downgrade(self), window);
            self.tasks().spawn(watch);
        }
    }

    async fn resolve(self: &Arc<Self>, known: &[Arc<Endpoint>]) {
        let addresses = resolve::without_resolver(&self.addresses, known);
        let is_known = resolve::has_all(&self.addresses, &addresses);
        self.adopt(addresses);
        if !is_known {
            self.adopt(resolve::all(&self.addresses, &self.current()).await);
        }
        if self.addresses.iter().any(Address::is_name) {
            let watch = resolve::watch(Arc::downgrade(self), is_known);
            self.tasks().spawn(watch);
        }
    }

    async fn follow(self: &Arc<Self>, discovery: &Arc<Discovery>, before: Option<&Upstream>) {
        let before = before.and_then(|before| before.discovery.as_ref());
        if let Some(set) = before.and_then(|before| discovery.follow_on(before)) {
            self.adopt(set);
        }
        let upstream = Arc::downgrade(self);
        let take = move |set| {
            if let Some(upstream) = alive(&upstream) {
                upstream.adopt(set);
            }
        };
        self.tasks().spawn(discovery.clone().run(take));
        discovery.begun().await;
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it out of service: `now` has come in its place, if any has. Requests in flight go on with what is known.
    /// It is checked and resolved no more, and series of endpoints that are gone end.
    pub fn retire(&self, now: Option<&Upstream>) {
        self.tasks().abort_all();
        if let Some(discovery) = &self.discovery {
            discovery.retire(now.and_then(|now| now.discovery.as_deref()));
        }
        let kept = now.map_or_else(Vec::new, |now| now.current());
        for gone in self.current() {
            if !kept.iter().any(|it| it.address() == gone.address()) {
                self.metrics.forget_endpoint(gone.address());
            }
        }
        self.forget_guards(now.map(|now| &now.guards));
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

    fn current(&self) -> Vec<Arc<Endpoint>> {
        self.members
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Who knows the endpoints and how that goes, where they are not written.
    pub fn discovery(&self) -> Option<discovery::Shown> {
        self.discovery.as_ref().map(|discovery| discovery.shown())
    }

    /// Takes over a new set of endpoints. One that was there before keeps its state, and one that comes back within a
    /// minute is as healthy as it was. One that is gone is not chosen any more: requests in flight go on to their end,
    /// connections that nobody uses are closed.
    fn adopt(&self, set: Vec<Member>) {
        let now = Instant::now();
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first =
            !self.has_begun.load(Ordering::Relaxed) || (members.is_empty() && departed.is_empty());
        let known: HashMap<&str, &Arc<Endpoint>> =
            members.iter().map(|it| (it.address(), it)).collect();
        let adopt = |member: Member| {
            let address = member.socket.text();
            let known = known.get(&*address);
            if let Some(same) = known.filter(|known| known.is_at(&member)) {
                same.say(member);
                return Arc::clone(same);
            }
            let endpoint = Endpoint::new(member, &self.template, &self.metrics);
            let endpoint = endpoint.chosen_by(&self.rules);
            let before = known.copied().or_else(|| departed.at(now, &address));
            match before {
                Some(before) => endpoint.choose_as(before),
                // The first that there are have nobody to leave requests to.
                None if !is_first => endpoint.warmth().begin(now),
                None => {}
            }
            let before = before.map(|before| &**before);
            Arc::new(endpoint.guarded(&self.guards, before, self.health.is_some(), now))
        };
        let adopted: Vec<Arc<Endpoint>> = set.into_iter().map(adopt).collect();
        adopted.iter().for_each(|it| departed.forget(it.address()));
        let kept: HashSet<&str> = adopted.iter().map(|it| it.address()).collect();
        let is_gone = |it: &&Arc<Endpoint>| !kept.contains(it.address());
        for gone in members.iter().filter(is_gone) {
            gone.depart();
            departed.remember(now, gone.clone());
            self.metrics.forget_endpoint(gone.address());
        }
        *members = adopted;
        self.settle(&members, now);
        self.build_available(&members, now);
        // Something may be due earlier than was known.
        self.guards.bell.notify_one();
        if let Some(checks) = &self.health {
            checks.news.notify_one();
        }
    }

    /// What is known of these counts for endpoints that come here.
    fn inherit(&self, known: Vec<Arc<Endpoint>>) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.inherit(Instant::now(), known);
    }
}

/// What compiling an upstream needs from around it.
pub struct Build<'a> {
    /// Where its name stands.
    pub span: Span,
    pub base: &'a std::path::Path,
    /// Where what registries say is kept, if it is.
    pub state_dir: Option<&'a std::path::Path>,
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
