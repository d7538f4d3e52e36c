//! One endpoint and what is known of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pingora::upstreams::peer::HttpPeer;
use prometheus::IntGauge;

use super::handshake::Handshake;
use super::peer::PeerTemplate;
use super::spares::Spares;
use crate::discovery::Member;
use crate::observability::UpstreamMetrics;

/// One address of an upstream. The state is atomics: requests only ever read and count here.
#[derive(Debug)]
pub(super) struct Endpoint {
    member: Member,
    address: Box<str>,
    peer: HttpPeer,
    direct: HttpPeer,
    spares: Option<Arc<Spares>>,
    handshake: Option<Arc<Handshake>>,
    active: IntGauge,
    healthy_gauge: IntGauge,
    healthy: AtomicBool,
    /// Check results in a row that speak against the present state.
    contrary: AtomicU32,
}

impl Endpoint {
    pub(super) fn new(
        member: Member,
        template: &PeerTemplate,
        metrics: &UpstreamMetrics,
    ) -> Endpoint {
        let address: Box<str> = member.socket.text().into();
        let healthy_gauge = metrics.endpoint_healthy(&address);
        healthy_gauge.set(1);
        Endpoint {
            peer: template.peer(&member),
            direct: template.direct(&member),
            spares: template.spares(),
            handshake: template.handshake(&member),
            active: metrics.endpoint_active(&address),
            healthy_gauge,
            address,
            member,
            healthy: AtomicBool::new(true),
            contrary: AtomicU32::new(0),
        }
    }

    /// Is as healthy as another one at the same address.
    pub(super) fn take_after(&self, other: &Endpoint) {
        self.healthy.store(other.is_healthy(), Ordering::Relaxed);
        self.healthy_gauge.set(i64::from(other.is_healthy()));
    }

    /// It is chosen no more: connections that nobody uses are closed, those in use when their exchange is over.
    pub(super) fn depart(&self) {
        if let Some(spares) = &self.spares {
            spares.close();
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn weight(&self) -> u32 {
        self.member.weight
    }

    pub(super) fn is_at(&self, member: &Member) -> bool {
        self.member == *member
    }

    pub(super) fn member(&self) -> &Member {
        &self.member
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

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
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

    /// Takes in the result of one check; true where the state changed. Checks of one endpoint never overlap.
    pub(super) fn observe(&self, is_ok: bool, needed: u32) -> bool {
        if self.is_healthy() == is_ok {
            self.contrary.store(0, Ordering::Relaxed);
            return false;
        }
        if self.contrary.fetch_add(1, Ordering::Relaxed) + 1 < needed {
            return false;
        }
        self.contrary.store(0, Ordering::Relaxed);
        self.healthy.store(is_ok, Ordering::Relaxed);
        self.healthy_gauge.set(i64::from(is_ok));
        true
    }
}
