//! One exchange's way through an upstream: which endpoint, how it went, whether to try another.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, RetryType};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::Upstream;
use super::clock::Clock;
use super::connect::Turn;
use super::dial::{Call, Dial};
use super::endpoint::Endpoint;
use super::outcome::Outcome;
use crate::limits::Permit;
use crate::response::{Code, Fault, rescue};

/// How many endpoints one request may be tried on before the client is told.
const MAX_ATTEMPTS: u32 = 3;

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
    /// It is idempotent (RFC 9110 section 9.2.2).
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
    /// The end of the whole exchange, retries included.
    deadline: Option<Instant>,
    /// How long an endpoint must have been silent for the end of the whole exchange to be its own failure. `None` where
    /// the client has chosen the end.
    blamed_after: Option<Duration>,
    first_pick: Option<Instant>,
    /// Since when the endpoint of this try is the one that has to do something: connect, or answer.
    silent_since: Option<Instant>,
    /// Whether it has been told how this try went.
    is_told: bool,
    /// The places that it has taken.
    places: SmallVec<[Permit; 2]>,
    /// When the whole of the request had been sent.
    asked: Option<Instant>,
    /// When bytes of the response last came.
    heard: Option<Instant>,
    attempts: u32,
    upload: Upload,
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    lease: Option<Lease>,
    /// On HTTP/1.1, what became of asking for a connection.
    call: Option<Arc<Call>>,
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
}

/// One request in flight on an endpoint.
#[derive(Debug)]
struct Lease(Arc<Endpoint>);

impl Lease {
    fn of(endpoint: Arc<Endpoint>) -> Lease {
        endpoint.begin();
        Lease(endpoint)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.end();
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
            deadline,
            blamed_after: None,
            first_pick: None,
            silent_since: None,
            is_told: false,
            places: SmallVec::new(),
            asked: None,
            heard: None,
            attempts: 0,
            upload: Upload::Body,
            tried: SmallVec::new(),
            lease: None,
            call: None,
            client_idle,
            awaits_client: false,
            is_tunnel: false,
            largest_part: None,
        }
    }

    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The address of the endpoint that is or was last tried.
    pub fn endpoint(&self) -> Option<&str> {
        self.lease.as_ref().map(|lease| lease.0.address())
    }

    pub fn attempts(&self) -> u32 {
        self.attempts
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

    /// Gives back the places that it has: nothing more is asked of the upstream.
    pub fn leave(&mut self) {
        self.places.clear();
    }

    /// Has responses of HTTP/1.1 read in parts of so many bytes at most, where that is said.
    pub fn read_in_parts(&mut self, largest: Option<NonZeroU32>) {
        self.largest_part = largest;
    }

    /// Chooses the next endpoint.
    pub fn pick(&mut self, upload: Upload) -> Result<Box<HttpPeer>, Code> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Code::UpstreamTimeout);
        }
        self.first_pick.get_or_insert(now);
        self.silent_since = Some(now);
        self.is_told = false;
        self.asked = None;
        let endpoint = self.upstream.pick(&self.tried)?;
        let mut peer = Box::new(endpoint.peer().clone());
        let mut limit = self.upstream.timeouts().connect.as_std();
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(now);
            let cap = |timeout: &mut Option<Duration>| {
                *timeout = timeout.map(|timeout| timeout.min(left))
            };
            cap(&mut peer.options.connection_timeout);
            cap(&mut peer.options.total_connection_timeout);
            cap(&mut peer.options.write_timeout);
            limit = limit.min(left);
        }
        if let Some((dial, call)) = Dial::to(&endpoint, now, limit, self.largest_part) {
            peer.options.custom_l4 = Some(dial);
            self.call = Some(call);
            if upload == Upload::Nothing {
                // The watch keeps the time of the header, which is all that is written.
                peer.options.write_timeout = None;
            }
        }
        self.lease = Some(Lease::of(endpoint));
        self.attempts += 1;
        self.upload = upload;
        Ok(peer)
    }

    /// A connection is there and the header of the request is about to be sent on it.
    pub fn connected(&mut self) {
        self.silent_since = None;
        self.sending(Instant::now());
    }

    /// Bytes of the response or of a tunnel have moved: the idle clock starts again. False where the whole
    /// exchange has taken longer than it may.
    pub fn moved(&mut self, now: Instant) -> bool {
        self.awaits_client = false;
        self.heard = Some(now);
        self.silent_since = None;
        self.allow(now, self.upstream.timeouts().idle.as_std())
    }

    /// The header of a response has come, other than an interim one; of a call of gRPC, with its status where it ends
    /// with that.
    pub fn answered(&mut self, now: Instant, status: StatusCode, grpc: Option<u8>) {
        let asked = self.asked.take();
        let time = asked.map(|asked| now.saturating_duration_since(asked));
        self.tell(now, Outcome::answered(status, grpc, time));
    }

    /// Nothing moves until then, for a reason of the gateway's own. False as for [`Attempt::moved`], where that is later
    /// than the whole exchange may take.
    pub fn pausing(&mut self, until: Instant) -> bool {
        self.allow(until, self.upstream.timeouts().idle.as_std())
    }

    /// From now on the client may be silent for no longer than this. Says nothing where either side may be silent.
    pub fn limit_client(&mut self, silence: Duration) {
        if let Some(idle) = &mut self.client_idle {
            *idle = silence;
        }
    }

    /// A part of the request has been sent, and more is to come. False as for [`Attempt::moved`].
    pub fn sending(&mut self, now: Instant) -> bool {
        if self.is_tunnel {
            return self.moved(now);
        }
        match self.client_idle {
            // Once there is a response, what its two sides wait for is their own business.
            Some(silence) if self.heard.is_none() => {
                self.awaits_client = true;
                self.allow(now, silence)
            }
            _ => self.allow(now, self.upstream.timeouts().idle.as_std()),
        }
    }

    /// The whole request has been sent; the clock for the first byte starts. False as for [`Attempt::moved`].
    pub fn sent(&mut self, now: Instant) -> bool {
        self.awaits_client = false;
        let timeouts = self.upstream.timeouts();
        let silence = match self.heard {
            None => timeouts.first_byte,
            Some(_) => timeouts.idle,
        };
        let silence = silence.as_std();
        self.asked = Some(now);
        self.silent_since = Some(now);
        self.allow(now, silence)
    }

    /// The connection has become a tunnel (101): it may live on as long as it is not silent.
    pub fn upgraded(&mut self, now: Instant) {
        self.deadline = None;
        self.is_tunnel = true;
        self.upload = Upload::Body;
        self.moved(now);
    }

    /// Whether the whole exchange has taken longer than it may.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The exchange is over and its connection may serve others.
    pub fn finished(&mut self) {
        if let Some(turn) = self.turn() {
            turn.lift();
        }
    }

    /// The connection could not be made. Nothing has been sent, so any request may go to another endpoint.
    pub fn failed_to_connect(&mut self, error: &Error) -> Verdict {
        let code = self.code(error);
        self.count(code);
        if let Some(lease) = &self.lease {
            self.tried.push(lease.0.clone());
        }
        let has_another = self.attempts < MAX_ATTEMPTS
            && !self.is_late()
            && self.upstream.pick(&self.tried).is_ok();
        if has_another {
            Verdict::Retry
        } else {
            Verdict::GiveUp(code)
        }
    }

    /// The exchange broke. It is tried again where the upstream says that it has not looked at the request
    /// (RFC 9113 section 8.7), or where a pooled connection had been closed under it.
    pub fn failed_in_exchange(&mut self, failure: &Failure<'_>) -> Verdict {
        let code = failure.raised.unwrap_or_else(|| self.code(failure.error));
        self.count(code);
        let kind = failure.error.etype();
        let is_unprocessed =
            *kind == ErrorType::H2Error && matches!(failure.error.retry, RetryType::Decided(true));
        let was_spare = self.call.as_ref().is_some_and(|call| call.was_spare());
        let is_stale = (failure.was_pooled || was_spare)
            && code == Code::UpstreamReset
            && matches!(
                kind,
                ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
            );
        let can_retry = match failure.replay {
            Replay::Never => false,
            Replay::IfUnprocessed => is_unprocessed,
            Replay::Always => is_unprocessed || is_stale,
        };
        if can_retry && self.attempts < MAX_ATTEMPTS && !self.is_late() {
            Verdict::Retry
        } else {
            Verdict::GiveUp(code)
        }
    }

    /// Counts a failure where it is the upstream's: a client that leaves says nothing about it.
    fn count(&mut self, code: Code) {
        if code.fault() != Fault::Upstream {
            return;
        }
        self.upstream.metrics().count_failure(code.slug());
        let now = Instant::now();
        if self.is_told {
            // That a client has not taken all of a response in time is not the endpoint's failure.
            if !self.is_late() {
                self.tell(now, Outcome::broken_off(code));
            }
        } else if !self.is_late() || self.was_silent(now) {
            self.tell(now, Outcome::failed(code));
        }
    }

    fn tell(&mut self, now: Instant, outcome: Outcome) {
        self.is_told = true;
        if let Some(lease) = &self.lease {
            self.upstream.learn(&lease.0, now, &outcome);
        }
    }

    /// Whether the endpoint has let enough of the exchange's time pass in silence for the end of that to be its failure.
    /// Clients could otherwise make any endpoint fail, by being in a hurry or by taking their time.
    fn was_silent(&self, now: Instant) -> bool {
        match (self.blamed_after, self.silent_since) {
            (Some(needed), Some(since)) => now.saturating_duration_since(since) >= needed,
            _ => false,
        }
    }

    /// What an engine error means, given what is known of the deadlines.
    pub fn code(&self, error: &Error) -> Code {
        if self.call.as_ref().is_some_and(|call| call.is_refused()) {
            Code::UpstreamProtocol
        } else if self.is_late() {
            Code::UpstreamTimeout
        } else if !self.has_fired() {
            rescue(error)
        } else if self.awaits_client && !self.is_stalled() {
            Code::RequestTimeout
        } else {
            Code::UpstreamTimeout
        }
    }

    /// Whether a deadline of this exchange has ended it, whatever the engine makes of the end.
    fn has_fired(&self) -> bool {
        let turn = self.turn().is_some_and(Turn::has_fired);
        let clock = self.clock.as_ref().is_some_and(|clock| clock.has_fired());
        turn || clock || self.is_stalled()
    }

    fn turn(&self) -> Option<&Turn> {
        self.call.as_ref()?.turn()
    }

    fn is_stalled(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| clock.is_stalled())
    }

    fn allow(&self, now: Instant, silence: Duration) -> bool {
        if let Some(turn) = self.turn() {
            turn.wait(now, silence, self.deadline);
        }
        if let Some(clock) = &self.clock {
            clock.restart(now, silence);
        }
        self.deadline.is_none_or(|deadline| now < deadline)
    }
}
