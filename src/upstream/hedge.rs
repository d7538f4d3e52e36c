//! Hedging: where an endpoint does not begin to answer soon, the request goes to another one as well, and whoever answers
//! first is the one that is heard (Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013). It takes a few more requests to
//! cut off the slowest answers.
//!
//! It is for requests that may be sent twice and have no body, on connections of HTTP/1.1, which are ours: the engine
//! holds one connection ([`Lent`](super::lent)), and does not notice that there is another behind it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::StatusCode;
use pingora::upstreams::peer::Peer;
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::Upstream;
use super::attempt::Lease;
use super::balance::Wish;
use super::connect::{Turn, open};
use super::dial::Call;
use super::endpoint::Endpoint;
use super::lent::Wire;
use super::outcome::Outcome;
use super::spares::Spares;
use crate::limits::Permit;
use crate::response::{Code, rescue};

/// What the second endpoint may have said before it is heard.
const FIRST_PART: usize = 8 * 1024;

/// Whom else to ask, and when.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub upstream: Arc<Upstream>,
    pub wish: Wish,
    /// Those that are not asked, the first one among them.
    pub tried: SmallVec<[Arc<Endpoint>; 2]>,
    /// From when the whole of the request has been sent.
    pub after: Duration,
    /// The end of the whole exchange.
    pub deadline: Option<Instant>,
    pub largest_part: usize,
}

/// A try that may be hedged, until its response has begun.
pub(super) struct Hedge {
    plan: Plan,
    /// As it went to the first endpoint.
    request: Vec<u8>,
    race: Race,
    /// How the first endpoint has left it, while the second one is still to be heard.
    end_of_first: Option<io::Result<()>>,
    /// What the second one has said and the engine has not been given yet.
    ahead: Vec<u8>,
    given: usize,
}

enum Race {
    /// The request is being sent.
    Still,
    Waiting(Pin<Box<Sleep>>),
    /// It has gone to the second endpoint. One task, which ends with this.
    Running(JoinSet<Option<Second>>),
    Over,
}

/// A second endpoint that has begun to answer.
pub(super) struct Second {
    pub wire: Wire,
    pub spares: Arc<Spares>,
    pub first_part: Vec<u8>,
    pub won: Won,
}

/// What the exchange is to know of the endpoint that has answered first.
#[derive(Debug)]
pub(super) struct Won {
    pub turn: Turn,
    pub asked: Instant,
    /// The first endpoint had failed by then, and was not only slow.
    pub is_first_gone: bool,
    /// For the exchange to take over.
    lease: Mutex<Option<Lease>>,
}

impl Hedge {
    pub(super) fn new(plan: Plan) -> Hedge {
        Hedge {
            plan,
            request: Vec::new(),
            race: Race::Still,
            end_of_first: None,
            ahead: Vec::new(),
            given: 0,
        }
    }

    /// A part of the request goes out.
    pub(super) fn note(&mut self, part: &[u8]) {
        self.request.extend_from_slice(part);
    }

    /// Whether the second endpoint is being asked.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.race, Race::Running(_))
    }

    /// The first endpoint will say nothing more, and how that came.
    pub(super) fn first_ended(&mut self, end: io::Result<()>) {
        self.end_of_first = Some(end);
    }

    pub(super) fn has_first(&self) -> bool {
        self.end_of_first.is_none()
    }

    /// Nobody has answered: what there is to be said of the first endpoint.
    pub(super) fn into_end_of_first(mut self) -> Option<io::Result<()>> {
        self.end_of_first.take()
    }

    /// The first endpoint has nothing to say for now. Gives the second one as soon as that has answered, and nothing where
    /// there is none, or it has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, call: &Call) -> Poll<Option<Second>> {
        loop {
            match &mut self.race {
                Race::Still => {
                    let sleep = tokio::time::sleep(self.plan.after);
                    self.race = Race::Waiting(Box::pin(sleep));
                }
                Race::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.race = self.begin(call);
                }
                Race::Running(task) => {
                    let joined = ready!(task.poll_join_next(cx));
                    self.race = Race::Over;
                    let second = joined.and_then(Result::ok).flatten();
                    let metrics = self.plan.upstream.metrics();
                    metrics.count_hedge(if second.is_some() { "won" } else { "failed" });
                    return Poll::Ready(second);
                }
                Race::Over => return Poll::Ready(None),
            }
        }
    }

    /// Takes over what the second one has said.
    pub(super) fn hear(&mut self, first_part: Vec<u8>) {
        self.ahead = first_part;
    }

    /// Gives the engine some of it. True once that was all; nothing where there is nothing.
    pub(super) fn read(&mut self, buffer: &mut ReadBuf<'_>) -> Option<bool> {
        if self.ahead.is_empty() {
            return None;
        }
        let rest = self.ahead.get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.given += count;
        Some(self.given == self.ahead.len())
    }

    /// Asks another endpoint, if there is one, and it may be asked.
    fn begin(&mut self, call: &Call) -> Race {
        let now = Instant::now();
        let plan = &self.plan;
        let upstream = &plan.upstream;
        let place = match upstream.bulkhead() {
            None => None,
            // Whoever waits for a place comes before.
            Some(bulkhead) => match bulkhead.enter_if_free() {
                Some(place) => Some(place),
                None => return Race::Over,
            },
        };
        let wish = Wish { now, ..plan.wish };
        let Ok((endpoint, probes)) = upstream.pick(&wish, &plan.tried) else {
            return Race::Over;
        };
        if !upstream.budget.spend_on_hedge(now) {
            upstream.metrics().count_stopped_retry("budget");
            return Race::Over;
        }
        call.hedge(endpoint.clone());
        let lease = Lease::of(endpoint, probes);
        let request = std::mem::take(&mut self.request);
        let mut task = JoinSet::new();
        task.spawn(ask(plan.clone(), request, lease, place));
        Race::Running(task)
    }
}

impl Drop for Hedge {
    fn drop(&mut self) {
        if self.is_running() {
            self.plan.upstream.metrics().count_hedge("lost");
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hedge = formatter.debug_struct("Hedge");
        hedge
            .field("plan", &self.plan)
            .field("is_running", &self.is_running());
        hedge.finish_non_exhaustive()
    }
}

impl Won {
    /// Once.
    pub(super) fn take(&self) -> Option<Lease> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.take()
    }
}

/// Why a second endpoint is not heard.
enum Lost {
    Failed(Code),
    /// It has failed in a response, which the first one may do better than.
    Answered(StatusCode),
    /// The connection was closed while it was not in use.
    Stale,
}

/// Sends the request to this endpoint, and waits for the first of the response. Where that is good the first one's place is
/// the second's from then on, and that of its own is free.
async fn ask(
    plan: Plan,
    request: Vec<u8>,
    mut lease: Lease,
    _place: Option<Permit>,
) -> Option<Second> {
    let asked = Instant::now();
    let endpoint = lease.endpoint.clone();
    let spares = endpoint.spares()?.clone();
    let lost = match first_part(&plan, &endpoint, &spares, &request, asked).await {
        Ok((wire, turn, first_part)) => {
            return Some(Second {
                wire,
                spares,
                first_part,
                won: Won {
                    turn,
                    asked,
                    is_first_gone: false,
                    lease: Mutex::new(Some(lease)),
                },
            });
        }
        Err(lost) => lost,
    };
    let now = Instant::now();
    let outcome = match lost {
        Lost::Answered(status) => Outcome::answered(status, None, Some(now - asked)),
        // The end of the exchange is not its failure: it was asked late.
        Lost::Failed(code) if plan.deadline.is_none_or(|deadline| now < deadline) => {
            plan.upstream.metrics().count_failure(code.slug());
            Outcome::failed(code)
        }
        Lost::Failed(_) | Lost::Stale => return None,
    };
    plan.upstream
        .learn(&endpoint, &mut lease.probes, now, &outcome);
    None
}

/// On a connection that is kept, or a new one where there is none.
async fn first_part(
    plan: &Plan,
    endpoint: &Endpoint,
    spares: &Spares,
    request: &[u8],
    asked: Instant,
) -> Result<(Wire, Turn, Vec<u8>), Lost> {
    let timeouts = plan.upstream.timeouts();
    let of_try = timeouts.per_try.map(|limit| asked + limit.as_std());
    let end = [plan.deadline, of_try].into_iter().flatten().min();
    let kept = spares.take(asked);
    let was_kept = kept.is_some();
    let wire = match kept {
        Some(wire) => wire,
        None => {
            let limit =
                timeouts.connect.as_std() + timeouts.tls.map_or(Duration::ZERO, |it| it.as_std());
            let left = end.map(|end| end.saturating_duration_since(asked));
            let limit = left.map_or(limit, |left| left.min(limit));
            let tls = endpoint.handshake().map(|it| &**it);
            let opened = open(endpoint.peer().address(), tls, limit).await;
            let (transport, watch) = opened.map_err(|error| Lost::Failed(rescue(&error)))?;
            Wire::new(transport, watch)
        }
    };
    match talk(plan, wire, request, end).await {
        // Who works on it, and who has closed before, cannot be told apart, so it is not sent once more.
        Err(Lost::Failed(Code::UpstreamReset)) if was_kept => Err(Lost::Stale),
        talked => talked,
    }
}

async fn talk(
    plan: &Plan,
    mut wire: Wire,
    request: &[u8],
    end: Option<Instant>,
) -> Result<(Wire, Turn, Vec<u8>), Lost> {
    let turn = Turn::begin_on(wire.watch());
    let silence = plan.upstream.timeouts().first_byte.as_std();
    turn.wait(Instant::now(), silence, end);
    let mut part = vec![0; plan.largest_part.clamp(STATUS_LINE, FIRST_PART)];
    let mut filled = 0;
    let stream = wire.stream();
    let talking = async {
        stream.write_all(request).await?;
        stream.flush().await?;
        while filled < STATUS_LINE {
            match stream.read(&mut part[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    };
    let talked: io::Result<()> = talking.await;
    match talked {
        Ok(()) => {}
        Err(_) if turn.has_fired() => return Err(Lost::Failed(Code::UpstreamTimeout)),
        Err(_) => return Err(Lost::Failed(Code::UpstreamReset)),
    }
    part.truncate(filled);
    match status(&part) {
        None => Err(Lost::Failed(Code::UpstreamProtocol)),
        Some(status) if Outcome::answered(status, None, None).is_failure() => {
            Err(Lost::Answered(status))
        }
        Some(_) => Ok((wire, turn, part)),
    }
}

/// How much of a response there must be to know its status: `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;

/// What a response begins with; whether it is one is seen by whoever reads it whole.
fn status(part: &[u8]) -> Option<StatusCode> {
    let digits = part.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_seen_early() {
        for (part, expected) in [
            ("HTTP/1.1 200", Some(200)),
            ("HTTP/1.0 503 Busy\r\n", Some(503)),
            ("HTTP/1.1 20x OK", None),
            ("HTTP/2.0 200 OK", None),
            ("SSH-2.0-OpenSSH", None),
            ("HTTP/1.1 20", None),
        ] {
            let status = status(part.as_bytes()).map(|status| status.as_u16());
            assert_eq!(status, expected, "{part}");
        }
    }
}
