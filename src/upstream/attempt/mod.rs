//! One exchange's way through an upstream: which endpoint, how it went, whether to try another.

mod affinity;
mod again;
mod hedged;
mod verdict;
mod waits;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::Error;
use pingora::upstreams::peer::HttpPeer;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::dial::{Call, Dial};
use super::endpoint::Endpoint;
use super::outcome::Probes;
use super::{Retry, Upstream};
use crate::limits::Permit;
use crate::response::Code;
use affinity::Affinity;
use again::Again;
pub use again::Unwanted;
use hedged::Hedged;

/// How an exchange broke.
#[derive(Debug)]
pub struct Failure<'e> {
    pub error: &'e Error,
    /// What the gateway itself broke it off for, where it did.
    pub raised: Option<Code>,
    /// Whether its connection had served others before.
    pub was_pooled: bool,
    pub replay: Replay,
}

/// Whether a request can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Its body is no longer at hand, or its response has begun.
    Never,
    /// Sending it twice could do something twice, so only where the first was certainly not looked at.
    IfUnprocessed,
    /// Sending it twice does nothing twice; see [`Retry::may_repeat`].
    Always,
}

/// What a request has to send behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    Nothing,
    Body,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pick again.
    Retry,
    /// Tell the client.
    GiveUp(Code),
}

/// The state of one exchange with an upstream over all of its attempts. Dropping it releases the endpoint.
#[derive(Debug)]
pub struct Attempt {
    upstream: Arc<Upstream>,
    /// What is sent again, where the route has it its own way.
    retry: Option<Arc<Retry>>,
    /// What is known of tries that have failed.
    again: Option<Box<Again>>,
    /// The end of the whole exchange, retries included.
    deadline: Option<Instant>,
    /// The end of this try, until there is a response.
    end: Option<Instant>,
    /// How long an endpoint must have been silent for the end of the whole exchange to be its own failure. `None` where
    /// the client has chosen the end.
    blamed_after: Option<Duration>,
    first_pick: Option<Instant>,
    /// Since when the endpoint of this try is the one that has to do something: connect, or answer.
    silent_since: Option<Instant>,
    /// When it was told how this try went.
    told: Option<Instant>,
    /// The places that it has taken.
    places: SmallVec<[Permit; 2]>,
    /// When the whole of the request had been sent, until there is a response; and whether it has been.
    asked: Option<Instant>,
    is_sent: bool,
    /// When bytes of the response last came.
    heard: Option<Instant>,
    attempts: u32,
    upload: Upload,
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    lease: Option<Lease>,
    /// On HTTP/1.1, what became of asking for a connection.
    call: Option<Arc<Call>>,
    /// Whether this try may go to a second endpoint as well.
    may_hedge: bool,
    hedged: Option<Hedged>,
    /// On HTTP/2, the exchange's own.
    clock: Option<Arc<Clock>>,
    /// The longest silence of a client that has not sent all of its request; `None` where either side may be
    /// silent, as in a call of gRPC, so that there is one limit for both.
    client_idle: Option<Duration>,
    /// Whether the rest of the request is what is being waited for.
    awaits_client: bool,
    /// Whether it has become a tunnel, in which neither side has to say anything.
    is_tunnel: bool,
    largest_part: Option<NonZeroU32>,
    affinity: Affinity,
}

/// One request in flight on an endpoint.
#[derive(Debug)]
pub(super) struct Lease {
    pub endpoint: Arc<Endpoint>,
    pub probes: Probes,
}

impl Lease {
    pub fn of(endpoint: Arc<Endpoint>, probes: Probes) -> Lease {
        endpoint.begin();
        Lease { endpoint, probes }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.end();
    }
}

impl Attempt {
    /// An exchange that may take as long as `limit`, with a client that may be silent for `client_idle` while it
    /// sends its request; `None` for as long as the upstream may.
    pub fn new(
        upstream: Arc<Upstream>,
        began: Instant,
        limit: Option<Duration>,
        client_idle: Option<Duration>,
    ) -> Attempt {
        let deadline = limit.map(|limit| began + limit);
        let stall = upstream.timeouts().idle.as_std();
        let clock = upstream.protocol().is_h2();
        Attempt {
            clock: clock.then(|| Clock::new(deadline, stall)),
            upstream,
            retry: None,
            again: None,
            deadline,
            end: None,
            blamed_after: None,
            first_pick: None,
            silent_since: None,
            told: None,
            places: SmallVec::new(),
            asked: None,
            is_sent: false,
            heard: None,
            attempts: 0,
            upload: Upload::Body,
            tried: SmallVec::new(),
            lease: None,
            call: None,
            may_hedge: false,
            hedged: None,
            client_idle,
            awaits_client: false,
            is_tunnel: false,
            largest_part: None,
            affinity: Affinity::default(),
        }
    }

    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The address of the endpoint that is or was last tried.
    pub fn endpoint(&self) -> Option<&str> {
        self.lease.as_ref().map(|lease| lease.endpoint.address())
    }

    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether the response ends where its connection does, so that it cannot be told whether that was all of it.
    pub fn is_until_close(&self) -> bool {
        let call = self.call.as_ref();
        call.is_some_and(|call| call.is_until_close())
    }

    /// What there is to be sent behind the header; with a tunnel, what comes from the client.
    pub fn upload(&self) -> Upload {
        self.upload
    }

    /// From the first choice of an endpoint to the last that was heard of the upstream, or to `now` where the
    /// exchange has failed. `None` where it never came to a choice.
    pub fn spent(&self, now: Instant, has_failed: bool) -> Option<Duration> {
        let end = if has_failed {
            now
        } else {
            self.heard.unwrap_or(now)
        };
        Some(end.saturating_duration_since(self.first_pick?))
    }

    /// The clock that whoever reads the client must keep: on HTTP/2, where there is nobody else to keep it.
    pub fn clock(&self) -> Option<&Arc<Clock>> {
        self.clock.as_ref()
    }

    /// Watches the upload of the try that begins, from outside: see `Clock::watch_upload`.
    pub fn watch_upload(&self, engine: mpsc::Sender<Bytes>) {
        if let Some(clock) = &self.clock {
            tokio::spawn(clock.clone().watch_upload(engine));
        }
    }

    /// The end of the whole exchange, where it has one.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The end of the whole exchange is the route's, so many after its beginning, and not the client's: an endpoint that
    /// lets half of it pass in silence has failed, and one that was asked late has not.
    pub fn limited_by_route(&mut self, limit: Duration) {
        self.blamed_after = Some(limit / 2);
    }

    /// Has this place until its end.
    pub fn hold(&mut self, place: Permit) {
        self.places.push(place);
    }

    /// Takes over the first of the places that `failed` has.
    pub fn inherit_place(&mut self, failed: &mut Attempt) {
        if !failed.places.is_empty() {
            self.places.push(failed.places.remove(0));
        }
    }

    /// Gives back the places that it has: nothing more is asked of the upstream.
    pub fn leave(&mut self) {
        self.places.clear();
    }

    /// Has responses of HTTP/1.1 read in parts of so many bytes at most, where that is said.
    pub fn read_in_parts(&mut self, largest: Option<NonZeroU32>) {
        self.largest_part = largest;
    }

    /// Has requests sent again as the route has it.
    pub fn retry_as(&mut self, retry: Option<Arc<Retry>>) {
        self.retry = retry;
    }

    /// When a request is sent again.
    pub fn retry(&self) -> &Retry {
        self.retry.as_deref().unwrap_or(&self.upstream.retry)
    }

    /// Chooses the next endpoint.
    pub fn pick(&mut self, upload: Upload) -> Result<Box<HttpPeer>, Code> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Code::UpstreamTimeout);
        }
        if self.first_pick.is_none() {
            self.first_pick = Some(now);
            self.upstream.budget.request(now);
        } else {
            self.forget_try(now);
        }
        self.silent_since = Some(now);
        self.told = None;
        self.asked = None;
        self.is_sent = false;
        let (endpoint, probes) = self.choose(now)?;
        let timeouts = self.upstream.timeouts();
        self.end = timeouts.per_try.map(|limit| now + limit.as_std());
        let mut peer = Box::new(endpoint.peer().clone());
        let mut limit =
            timeouts.connect.as_std() + timeouts.tls.map_or(Duration::ZERO, |it| it.as_std());
        if let Some(end) = self.ends_at() {
            let left = end.saturating_duration_since(now);
            let cap = |timeout: &mut Option<Duration>| {
                *timeout = timeout.map(|timeout| timeout.min(left))
            };
            cap(&mut peer.options.connection_timeout);
            cap(&mut peer.options.total_connection_timeout);
            cap(&mut peer.options.write_timeout);
            limit = limit.min(left);
        }
        let hedge = self.plan_hedge(&endpoint, now);
        if let Some((dial, call)) = Dial::to(&endpoint, now, limit, self.largest_part, hedge) {
            peer.options.custom_l4 = Some(dial);
            self.call = Some(call);
            if upload == Upload::Nothing {
                // The watch keeps the time of the header, which is all that is written.
                peer.options.write_timeout = None;
            }
        }
        self.lease = Some(Lease::of(endpoint, probes));
        self.attempts += 1;
        self.upload = upload;
        Ok(peer)
    }
}
