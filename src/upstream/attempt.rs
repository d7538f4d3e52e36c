//! One exchange's way through an upstream: which endpoint, how it went, whether to try another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use smallvec::SmallVec;

use super::Upstream;
use super::connect::Turn;
use super::endpoint::Endpoint;
use crate::response::{Code, rescue};

/// How many endpoints one request may be tried on before the client is told.
const MAX_ATTEMPTS: u32 = 3;

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
    began: Instant,
    attempts: u32,
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    lease: Option<Lease>,
    turn: Option<Turn>,
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
    /// An exchange that begins now and may take as long as `limit`.
    pub fn new(upstream: Arc<Upstream>, began: Instant, limit: Option<Duration>) -> Attempt {
        Attempt {
            upstream,
            deadline: limit.map(|limit| began + limit),
            began,
            attempts: 0,
            tried: SmallVec::new(),
            lease: None,
            turn: None,
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

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Chooses the next endpoint.
    pub fn pick(&mut self) -> Result<Box<HttpPeer>, Code> {
        if self.is_late() {
            return Err(Code::UpstreamTimeout);
        }
        self.turn = None;
        let endpoint = self.upstream.pick(&self.tried)?;
        let mut peer = Box::new(endpoint.peer().clone());
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let cap = |timeout: &mut Option<Duration>| {
                *timeout = timeout.map(|timeout| timeout.min(left))
            };
            cap(&mut peer.options.connection_timeout);
            cap(&mut peer.options.total_connection_timeout);
            cap(&mut peer.options.read_timeout);
        }
        self.lease = Some(Lease::of(endpoint));
        self.attempts += 1;
        Ok(peer)
    }

    /// A connection is there and the request is about to be sent on it. Until its first bytes have gone, the
    /// client's own deadlines bound the wait.
    pub fn connected(&mut self, digest: Option<&Digest>) {
        self.turn = digest.and_then(Turn::begin);
    }

    /// Bytes have moved in either direction: the idle clock starts again. False where the whole exchange has
    /// taken longer than it may.
    pub fn moved(&self, now: Instant) -> bool {
        self.allow(now, self.upstream.timeouts().idle.as_std())
    }

    /// The whole request has been sent; the clock for the first byte starts.
    /// False as for [`Attempt::moved`].
    pub fn sent(&self, now: Instant) -> bool {
        self.allow(now, self.upstream.timeouts().first_byte.as_std())
    }

    /// The connection has become a tunnel (101): it may live on as long as it is not silent.
    pub fn upgraded(&mut self, now: Instant) {
        self.deadline = None;
        self.moved(now);
    }

    /// Whether the whole exchange has taken longer than it may.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The exchange is over and its connection may serve others.
    pub fn finished(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.lift();
        }
    }

    /// The connection could not be made. Nothing has been sent, so any request may go to another endpoint.
    pub fn failed_to_connect(&mut self, error: &Error) -> Verdict {
        let code = self.code(error);
        self.upstream.metrics().count_failure(code.slug());
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

    /// The exchange broke. It is tried again only where it broke because a pooled connection had been closed
    /// under it and the request `can_repeat` (it is idempotent and its body is still at hand).
    pub fn failed_in_exchange(
        &mut self,
        error: &Error,
        was_pooled: bool,
        can_repeat: bool,
    ) -> Verdict {
        let code = self.code(error);
        self.upstream.metrics().count_failure(code.slug());
        let is_stale_connection = was_pooled
            && matches!(
                error.etype(),
                ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
            )
            && code == Code::UpstreamReset;
        if is_stale_connection && can_repeat && self.attempts < MAX_ATTEMPTS && !self.is_late() {
            Verdict::Retry
        } else {
            Verdict::GiveUp(code)
        }
    }

    /// What an engine error means, given what is known of the deadlines.
    pub fn code(&self, error: &Error) -> Code {
        let has_fired = self.turn.as_ref().is_some_and(Turn::has_fired);
        if has_fired || self.is_late() {
            Code::UpstreamTimeout
        } else {
            rescue(error)
        }
    }

    fn allow(&self, now: Instant, silence: Duration) -> bool {
        let until = now + silence;
        if let Some(turn) = &self.turn {
            turn.set_deadline(self.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        self.deadline.is_none_or(|deadline| now < deadline)
    }
}
