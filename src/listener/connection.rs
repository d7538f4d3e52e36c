//! One client connection: what is known of it, and its clock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rand::Rng;

use super::caps::Place;
use super::dated::Dating;
use super::{Drain, Handshake, Listener};
use crate::http1::Refusal;

/// No wait is being timed.
const UNTIMED: u64 = u64::MAX;
/// The wait for the rest of a header has begun, and nobody has looked at the clock yet: most headers come at once.
const BEGUN: u64 = u64::MAX - 1;

/// What a wait is for: the first request, of which no byte has come; the next; or the rest of one.
const FIRST: u8 = 0;
const NEXT: u8 = 1;
const REST: u8 = 2;

/// One client connection. The stream and the requests on it share it.
#[derive(Debug)]
pub struct Connection {
    pub listener: Arc<Listener>,
    /// The end of the listener as it was when the connection was accepted.
    pub drain: Arc<Drain>,
    /// `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether what the peer says of other hops is believed.
    pub is_from_hop: bool,
    /// Empty without TLS, and where the handshake has no consequences for requests.
    handshake: OnceLock<Box<Handshake>>,
    peer_header: HeaderValue,
    peer_element: Box<str>,
    opened: Instant,
    retires_at: Instant,
    is_h2: AtomicBool,
    /// What the wait is for.
    awaited: AtomicU8,
    /// Whether the client did not take a response in time.
    is_slow_reader: AtomicBool,
    /// Requests in flight on it.
    active: AtomicU32,
    /// Whether it has left HTTP/1.1 for another protocol.
    is_switched: AtomicBool,
    /// The rule that its last request broke.
    refusal: OnceLock<Refusal>,
    pub(super) dating: Dating,
    /// Milliseconds after `opened` at which the present wait for a request must have ended.
    wait_ends: AtomicU64,
    _place: Place,
}

/// A request that is in flight and makes no work.
#[derive(Debug)]
pub struct Rest(Arc<Connection>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.listener.metrics.passive_requests.dec();
    }
}

impl Connection {
    /// A connection of which it is known whose it is. Until requests are awaited on it, whoever sets it up keeps
    /// the time.
    pub(super) fn new(
        place: Place,
        peer: Option<SocketAddr>,
        drain: Arc<Drain>,
    ) -> Arc<Connection> {
        let listener = place.listener().clone();
        let opened = Instant::now();
        let age = listener.timeouts.max_connection_age.as_std();
        Arc::new(Connection {
            peer,
            is_from_hop: listener.trusts(peer_ip(peer)),
            handshake: OnceLock::new(),
            peer_header: address_header(peer_ip(peer)),
            peer_element: address_element(peer_ip(peer)),
            opened,
            retires_at: opened + age.mul_f64(rand::rng().random_range(0.9..=1.1)),
            listener,
            drain,
            _place: place,
            is_h2: AtomicBool::new(false),
            awaited: AtomicU8::new(FIRST),
            is_slow_reader: AtomicBool::new(false),
            active: AtomicU32::new(0),
            is_switched: AtomicBool::new(false),
            refusal: OnceLock::new(),
            dating: Dating::default(),
            wait_ends: AtomicU64::new(UNTIMED),
        })
    }

    /// The TLS handshake is over.
    pub(super) fn settle(&self, handshake: Option<Handshake>) {
        if let Some(handshake) = handshake {
            // There is one handshake per connection.
            let _ = self.handshake.set(Box::new(handshake));
        }
    }

    /// What the TLS handshake has settled, where that is of any consequence to requests.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.get().map(|handshake| &**handshake)
    }

    /// The connection is set up and its first request is awaited, for as long as the rest of this deadline.
    pub(super) fn await_requests(&self, is_h2: bool, deadline: Instant) {
        self.is_h2.store(is_h2, Ordering::Relaxed);
        self.awaited.store(FIRST, Ordering::Relaxed);
        self.wait_until(deadline);
    }

    /// When it has been used for as long as it may be; requests on it are then to be its last.
    pub fn retires_at(&self) -> Instant {
        self.retires_at
    }

    /// The peer's address as far as rules and logs go. Whoever can reach a Unix socket is on this machine.
    pub fn peer_ip(&self) -> IpAddr {
        peer_ip(self.peer)
    }

    /// The peer's address as a header value, made once for all requests.
    pub fn peer_header(&self) -> HeaderValue {
        self.peer_header.clone()
    }

    /// The peer as it is named in `Forwarded` (RFC 7239): `for=192.0.2.1`, and in quotes and brackets for IPv6.
    pub fn peer_element(&self) -> &str {
        &self.peer_element
    }

    /// The header of a request is complete.
    pub fn exchange_began(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.listener.metrics.active_requests.inc();
    }

    /// A response was complete at this instant; the wait for the next request begins.
    pub fn exchange_ended(&self, now: Instant) {
        self.listener.metrics.active_requests.dec();
        self.active.fetch_sub(1, Ordering::Relaxed);
        if self.is_h2() {
            self.wait_ends.store(UNTIMED, Ordering::Relaxed);
            return;
        }
        self.awaited.store(NEXT, Ordering::Relaxed);
        self.wait_until(now + self.listener.timeouts.keepalive.as_std());
    }

    /// A call of a batch that came on it is in flight, and is work like any request.
    pub fn call_began(&self) {
        self.listener.metrics.active_requests.inc();
    }

    /// It is no longer.
    pub fn call_ended(&self) {
        self.listener.metrics.active_requests.dec();
    }

    /// A request that is in flight makes no work any more: it has become a tunnel, or its client does not read the answer.
    /// Counted until what this gives is dropped.
    pub fn rest(self: &Arc<Self>) -> Rest {
        self.listener.metrics.passive_requests.inc();
        Rest(self.clone())
    }

    /// Whether a request on it is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// The response that switches protocols goes out: what follows is no longer HTTP/1.1.
    pub fn switched(&self) {
        self.is_switched.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_switched(&self) -> bool {
        self.is_switched.load(Ordering::Relaxed)
    }

    /// What the client sends breaks a rule. There is one at most, because it is the last that is read.
    pub(super) fn refuse(&self, refusal: Refusal) {
        // A later one is a consequence of the first.
        let _ = self.refusal.set(refusal);
    }

    /// The next response was made at this date, which is to be left as it is. For HTTP/1.1 alone.
    pub fn keep_date(&self, date: &HeaderValue) {
        if !self.is_h2() {
            self.dating.set(date);
        }
    }

    /// The rule that the request in flight has broken.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// The wait has ended without a request: counted by what was being waited for.
    pub(super) fn gave_up(&self) {
        let metrics = &self.listener.metrics;
        if self.awaited.load(Ordering::Relaxed) == NEXT {
            metrics.closed_idle.inc();
        } else {
            metrics.refused_timeout.inc();
        }
    }

    /// The client has not taken a response in time.
    pub fn read_too_slowly(&self) {
        if !self.is_slow_reader.swap(true, Ordering::Relaxed) {
            self.listener.metrics.closed_slow_read.inc();
        }
    }

    /// Whether the client has once not taken a response in time.
    pub fn is_slow_reader(&self) -> bool {
        self.is_slow_reader.load(Ordering::Relaxed)
    }

    /// Whether it carries many requests at a time.
    pub fn is_h2(&self) -> bool {
        self.is_h2.load(Ordering::Relaxed)
    }

    /// When the wait for a request must have ended; `None` while requests are in flight, and on HTTP/2 once there
    /// has been one: whoever serves the connection closes it then, in order to say goodbye. Asked whenever there is
    /// a wait.
    pub(super) fn wait_deadline(&self) -> Option<Instant> {
        if self.active.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let wait_ends = match self.wait_ends.load(Ordering::Relaxed) {
            UNTIMED => return None,
            BEGUN => {
                self.wait_until(Instant::now() + self.listener.timeouts.request_header.as_std());
                self.wait_ends.load(Ordering::Relaxed)
            }
            wait_ends => wait_ends,
        };
        Some(self.opened + Duration::from_millis(wait_ends))
    }

    /// Bytes have come. The first of a request on a connection that was idle start its header's time; a new
    /// connection's header has had its time since the start.
    pub(super) fn received(&self) {
        let is_waiting =
            self.active.load(Ordering::Relaxed) == 0 && !self.is_h2.load(Ordering::Relaxed);
        if is_waiting && self.awaited.swap(REST, Ordering::Relaxed) == NEXT {
            self.wait_ends.store(BEGUN, Ordering::Relaxed);
        }
    }

    /// Whether a part of a request's header has come, and the rest is awaited.
    pub fn is_in_header(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) == REST
    }

    fn wait_until(&self, deadline: Instant) {
        let wait = deadline.saturating_duration_since(self.opened);
        self.wait_ends.store(millis(wait), Ordering::Relaxed);
    }
}

pub(super) fn peer_ip(peer: Option<SocketAddr>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| {
        peer.ip().to_canonical()
    })
}

fn address_header(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("an address is ASCII")
}

fn address_element(address: IpAddr) -> Box<str> {
    match address {
        IpAddr::V4(address) => format!("for={address}").into(),
        IpAddr::V6(address) => format!("for=\"[{address}]\"").into(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).map_or(BEGUN - 1, |millis| millis.min(BEGUN - 1))
}
