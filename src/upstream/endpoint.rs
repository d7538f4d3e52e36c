//! One endpoint and what is known of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora::upstreams::peer::HttpPeer;
use prometheus::IntGauge;

use super::availability::Standing;
use super::balance::{Latency, Mark, Now, Rules, Tag, Warmth};
use super::breaker::{Probe, Shut};
use super::guards::{Guards, Watched};
use super::handshake::Handshake;
use super::outliers::Outlier;
use super::peer::PeerTemplate;
use super::spares::Spares;
use crate::discovery::Member;
use crate::observability::UpstreamMetrics;

/// One address of an upstream. The state is atomics: requests only ever read and count here.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// What is said of it; where it is never changes.
    member: ArcSwap<Member>,
    address: Box<str>,
    peer: HttpPeer,
    direct: HttpPeer,
    spares: Option<Arc<Spares>>,
    handshake: Option<Arc<Handshake>>,
    active: IntGauge,
    standing: Standing,
    warmth: Warmth,
    latency: Latency,
    /// With sticky sessions.
    mark: Option<Box<Mark>>,
}

impl Endpoint {
    pub(super) fn new(
        member: Member,
        template: &PeerTemplate,
        metrics: &UpstreamMetrics,
    ) -> Endpoint {
        let address: Box<str> = member.socket.text().into();
        Endpoint {
            peer: template.peer(&member),
            direct: template.direct(&member),
            spares: template.spares(),
            handshake: template.handshake(&member),
            active: metrics.endpoint_active(&address),
            standing: Standing::new(metrics.endpoint_healthy(&address)),
            address,
            member: ArcSwap::from_pointee(member),
            warmth: Warmth::warm(),
            latency: Latency::default(),
            mark: None,
        }
    }

    /// With what these rules look at.
    pub(super) fn chosen_by(self, rules: &Rules) -> Endpoint {
        let sticky = rules.sticky.as_ref();
        let mark = sticky.and_then(|sticky| sticky.mark(&self.address));
        Endpoint {
            mark: mark.map(Box::new),
            ..self
        }
    }

    /// Is as quick and as warm as another one at the same address.
    pub(super) fn choose_as(&self, other: &Endpoint) {
        self.latency.take_after(&other.latency);
        self.warmth.take_after(&other.warmth);
    }

    /// With what its upstream has to guard it with. It goes on where the one `before` at its address was, as far as
    /// something here finds out that it is well again.
    pub(super) fn guarded(
        self,
        guards: &Guards,
        before: Option<&Endpoint>,
        is_checked: bool,
        now: Instant,
    ) -> Endpoint {
        let before = before.map(|before| &before.standing);
        Endpoint {
            standing: self.standing.guarded(guards, before, is_checked, now),
            ..self
        }
    }

    /// It is chosen no more: connections that nobody uses are closed, those in use when their exchange is over.
    pub(super) fn depart(&self) {
        // Who comes back has most likely been started anew.
        self.warmth.note(false, Instant::now());
        if let Some(spares) = &self.spares {
            spares.close();
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// At least 1.
    pub(super) fn weight(&self) -> u32 {
        self.member.load().weight.max(1)
    }

    pub(super) fn priority(&self) -> u8 {
        self.member.load().priority
    }

    /// Whether that is the same endpoint, whatever is said of it.
    pub(super) fn is_at(&self, member: &Member) -> bool {
        self.member.load().is_same_place(member)
    }

    /// Says something else of it. Its state stays, and its connections.
    pub(super) fn say(&self, member: Member) {
        if **self.member.load() != member {
            self.member.store(Arc::new(member));
        }
    }

    pub(super) fn member(&self) -> Arc<Member> {
        self.member.load_full()
    }

    pub(super) fn warmth(&self) -> &Warmth {
        &self.warmth
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(super) fn latency_now(&self, now: Instant) -> Option<Duration> {
        self.latency.at(Now::of(now)).map(Duration::from_secs_f32)
    }

    /// What its sessions have, where they are sticky.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_deref()
    }

    pub(super) fn tag(&self) -> Option<Tag> {
        self.mark.as_ref().map(|mark| mark.tag)
    }

    /// What requests go to.
    pub(super) fn peer(&self) -> &HttpPeer {
        &self.peer
    }

    /// What the engine reaches without this room's connections, for checks.
    pub(super) fn direct(&self) -> &HttpPeer {
        &self.direct
    }

    /// Its unused connections, where they are ours to keep.
    pub(super) fn spares(&self) -> Option<&Arc<Spares>> {
        self.spares.as_ref()
    }

    /// How connections that are ours to keep become TLS, where they do.
    pub(super) fn handshake(&self) -> Option<&Arc<Handshake>> {
        self.handshake.as_ref()
    }

    /// Whether it can be chosen: neither checks nor ejection nor its breaker have taken it out.
    pub(super) fn is_healthy(&self) -> bool {
        self.standing.is_available()
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Leave for one request, as a probe where its breaker needs one.
    pub(super) fn enter(&self, now: Instant) -> Result<Option<Probe>, Shut> {
        match &self.standing.breaker {
            None => Ok(None),
            Some(breaker) => breaker.enter(now),
        }
    }

    pub(super) fn breaker(&self) -> Option<&Watched> {
        self.standing.breaker.as_ref()
    }

    pub(super) fn outlier(&self) -> Option<&Arc<Outlier>> {
        self.standing.outlier.as_ref()
    }

    /// Requests that it is serving now.
    pub(super) fn active(&self) -> i64 {
        self.active.get()
    }

    pub(super) fn begin(&self) {
        self.active.inc();
    }

    pub(super) fn end(&self) {
        self.active.dec();
    }
}
