//! What happens where a route's upstream cannot answer, and the route says who can; see [`Fallback`].
//!
//! A step that asks another upstream puts a new attempt in the place of the failed one, and the engine tries again. A
//! step that is a reply is remembered, and written where the failure would be.

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::heads::has_begun;
use super::{doors, error_of, record, timed};
use crate::actions::{Action, Answer, Fallback, Why};
use crate::response::{Code, Dialect, Reply};
use crate::upstream::{Attempt, Peer, Replay, Upload, Verdict};

/// Marks a response that is not what the route's own upstream would have answered, with the reason.
pub(super) const X_NORTHGATE_DEGRADED: HeaderName = HeaderName::from_static("x-northgate-degraded");

/// Why another than the route's own upstream answers, and who.
#[derive(Debug)]
pub(super) struct Degraded {
    /// The place of the step in the chain.
    step: usize,
    why: Why,
    /// As the client, the log and the metrics are told.
    pub(super) reason: HeaderValue,
    pub(super) answer: Box<str>,
}

impl Degraded {
    /// What was kept answers, though it is stale.
    pub(super) fn by_cache(reason: &str) -> Option<Degraded> {
        let reason = HeaderValue::try_from(reason).ok()?;
        Some(Degraded::told(reason, "stale copy".into()))
    }

    /// Of an exchange of the cache's, for the one that it was made for: that takes no step of its own.
    pub(super) fn told(reason: HeaderValue, answer: Box<str>) -> Degraded {
        Degraded {
            step: usize::MAX - 1,
            why: Why::Failure(Code::UpstreamUnhealthy),
            reason,
            answer,
        }
    }
}

/// What the next step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// There is an attempt on another upstream now.
    Upstream,
    /// See [`Exchange::fixed_reply`].
    Reply,
}

impl Exchange {
    /// The chain of the route, where it has one.
    fn fallback(&self) -> Option<&Fallback> {
        match &*self.route.action {
            Action::Proxy(proxy) if !proxy.fallback.is_empty() => Some(&proxy.fallback),
            _ => None,
        }
    }

    pub(super) fn has_fallback(&self) -> bool {
        self.fallback().is_some()
    }

    /// Where in the chain to go on, and whether another upstream can be asked now.
    fn next_step(&self, why: Why, can_be_sent: bool) -> Option<usize> {
        let is_late = self.attempt.as_ref().is_some_and(Attempt::is_late);
        let from = self.degraded.as_ref().map_or(0, |it| it.step + 1);
        // What was kept comes before everybody else.
        if self
            .filler
            .as_ref()
            .is_some_and(|filler| filler.has_spare())
        {
            return None;
        }
        self.fallback()?.next(from, why, can_be_sent && !is_late)
    }

    /// Takes the next step that is for this, if there is one.
    fn take_step(&mut self, request: &RequestHeader, why: Why, can_be_sent: bool) -> Option<Taken> {
        let index = self.next_step(why, can_be_sent)?;
        let route = self.route.clone();
        let Action::Proxy(proxy) = &*route.action else {
            return None;
        };
        let step = proxy.fallback.step(index)?;
        let (reason, answer) = (why.reason(), step.describe());
        route.metrics.count_fallback(&reason, &answer);
        self.degraded = Some(Box::new(Degraded {
            step: index,
            why,
            reason: HeaderValue::try_from(reason).ok()?,
            answer: answer.into(),
        }));
        let Answer::Upstream(upstream) = &step.answer else {
            return Some(Taken::Reply);
        };
        if let Why::Failure(code) = why {
            self.outcome = Some(code);
            self.blame_canary();
        }
        let mut attempt = self.attempt_on(upstream.clone(), request);
        if let Some(mut failed) = self.attempt.take() {
            record::observe_upstream(self, &failed, true);
            if proxy.bulkhead.is_some() && self.doors[0].is_none() {
                // The place of the route is for whatever upstream.
                attempt.inherit_place(&mut failed);
            }
        }
        // That of the route is still to be gone through where an open circuit was in the way before, or nobody at all.
        self.doors = [self.doors[0].take(), upstream.bulkhead().cloned()];
        self.attempt = Some(attempt);
        self.outcome = None;
        self.first_byte = None;
        self.upstream_status = None;
        Some(Taken::Upstream)
    }

    /// There is no upstream to begin with: the first step that is for that, or why there is nobody. `None` to go on to an
    /// upstream.
    pub(super) fn begin_elsewhere(&mut self, request: &RequestHeader) -> Option<Reply> {
        let code = Code::UpstreamUnhealthy;
        let taken = self.take_step(request, Why::Failure(code), true);
        if taken == Some(Taken::Upstream) {
            return None;
        }
        self.outcome = Some(code);
        let reply = self.fixed_reply(request);
        Some(reply.unwrap_or_else(|| Reply::failure(code)))
    }

    /// The reply of the step that was taken last, where it is one.
    pub(super) fn fixed_reply(&self, request: &RequestHeader) -> Option<Reply> {
        let degraded = self.degraded.as_ref()?;
        let Answer::Reply(reply) = &self.fallback()?.step(degraded.step)?.answer else {
            return None;
        };
        let dialect = Dialect::of(request.headers.get(CONTENT_TYPE));
        Some(match (dialect, degraded.why) {
            (Dialect::Problem, _) => reply.reply(self.view(request)),
            // A caller of gRPC can make nothing of a document.
            (Dialect::Grpc, Why::Failure(code)) => Reply::failure(code),
            (Dialect::Grpc, Why::Status(_)) => Reply::failure(Code::UpstreamUnhealthy),
        })
    }

    /// A response with this status has come. An error where something else is to answer in its place.
    pub(super) fn accept(&mut self, session: &Session, status: StatusCode) -> Result<()> {
        // It has been processed: only what may be done twice may be asked of somebody else.
        let can_be_sent = || self.replay(session) == Replay::Always;
        let has_step =
            self.has_fallback() && self.next_step(Why::Status(status), can_be_sent()).is_some();
        if !has_step {
            return Ok(());
        }
        self.falls_for = Some(status);
        Err(error_of(Code::UpstreamUnhealthy))
    }
}

/// Past the bulkheads, as [`doors::enter`]; or to another upstream, or the reply, where there is no way past them.
pub(super) async fn enter(session: &Session, exchange: &mut Exchange) -> Option<Reply> {
    loop {
        let refused = doors::enter(exchange).await?;
        let code = refused.code.unwrap_or(Code::Internal);
        let request = session.req_header();
        match exchange.take_step(request, Why::Failure(code), true) {
            Some(Taken::Upstream) => {}
            Some(Taken::Reply) => {
                exchange.outcome = Some(code);
                return exchange.fixed_reply(request).or(Some(refused));
            }
            None => return Some(refused),
        }
    }
}

/// Chooses an endpoint of the upstream that a step asks, or of the next one's. `failed` is why the one before could
/// not be had, if it was tried.
pub(super) async fn pick(
    session: &mut Session,
    exchange: &mut Exchange,
    upload: Upload,
    mut failed: Option<Code>,
) -> Result<Peer> {
    loop {
        if let Some(code) = failed {
            // Whatever has been sent before, it was decided that it can be sent again.
            let can_be_sent = exchange.replay(session) != Replay::Never;
            let request = session.req_header();
            let taken = exchange.take_step(request, Why::Failure(code), can_be_sent);
            if taken != Some(Taken::Upstream) {
                return Err(exchange.give_up(code));
            }
            timed::unseat(session, exchange);
        }
        if exchange.has_doors()
            && let Some(refused) = doors::enter(exchange).await
        {
            failed = refused.code.or(Some(Code::Internal));
            continue;
        }
        timed::seat(session, exchange);
        match exchange.pick(session, upload) {
            Ok(peer) => return Ok(peer),
            Err(code) => failed = Some(code),
        }
    }
}

/// What to do after a failure, where it would be to tell the client.
pub(super) fn reconsider(
    session: &mut Session,
    exchange: &mut Exchange,
    verdict: Verdict,
    can_be_sent: bool,
) -> Verdict {
    let status = exchange.falls_for.take();
    let why = match (status, verdict) {
        (Some(status), _) => Why::Status(status),
        (None, Verdict::GiveUp(code)) => Why::Failure(code),
        (None, Verdict::Retry) => return verdict,
    };
    if !exchange.has_fallback() || has_begun(session.as_ref()) {
        return verdict;
    }
    match exchange.take_step(session.req_header(), why, can_be_sent) {
        Some(Taken::Upstream) => {
            timed::unseat(session, exchange);
            Verdict::Retry
        }
        _ => verdict,
    }
}
