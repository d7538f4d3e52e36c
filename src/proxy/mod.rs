//! The engine adapter: a thin `impl ProxyHttp` over the other rooms.
//!
//! In: sessions from the engine. Out: what the routes' pipelines and actions make of them. Each callback is one
//! call into a room; there is no `match` on policies here and no reading of configuration. The one reply function
//! is here as well, because only this room may hold a session.
//!
//! # What happens to a request
//! `request_filter` checks the request, gives it its ids, finds its route in the snapshot of that moment and either
//! replies or opens an attempt on an upstream. From there the engine calls back as the attempt goes on, and
//! whatever happens ends in `logging`, which writes the one access record.

mod admission;
mod affinity;
mod aggregate;
mod batch;
mod beside;
mod bodies;
mod bodiless;
mod cache;
mod client_address;
mod collect;
mod copying;
mod credentials;
mod deadline;
mod doors;
mod early_body;
mod ending;
mod engine;
mod exchange;
mod fallback;
mod forwarding;
mod h2_request;
mod heads;
mod hearing;
mod kept;
mod later;
mod multiplexed;
mod names;
mod own;
mod part_spans;
mod passing;
mod permission;
mod record;
mod reply;
mod retries;
mod sequential;
mod strict;
mod target;
mod timed;

#[cfg(test)]
mod fuzz;

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::sync::mpsc;

use crate::policies::Flow;
use crate::response::Code;
use crate::routing::Snapshot;
use crate::upstream::{Attempt, Failure, Replay, Upload, Verdict};

use cache::Answer;
use deadline::Deadline;
pub use engine::Engine;
use exchange::Exchange;

/// How long the rest of a refused request's body is read in order to keep its connection.
const DRAIN_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

/// What serves every request.
pub struct Proxy {
    snapshot: Arc<ArcSwap<Snapshot>>,
    fills: Arc<cache::Fills>,
}

impl Proxy {
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Proxy {
        Proxy {
            snapshot,
            fills: Arc::default(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// Boxed: the engine moves it from future to future.
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Box<Exchange> {
        Box::new(Exchange::new(&self.snapshot.load()))
    }

    /// No modules: compression and the like are policies.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> Result<bool> {
        if let Some(own) = own::begun(&session.downstream_session) {
            *exchange = own;
        }
        let reply = match exchange.is_own() {
            true => match exchange.rules_of_part() {
                Some(rules) => {
                    let answer = cache::answer(session, exchange, rules, &self.fills);
                    match Box::pin(answer).await? {
                        Answer::Written => return Ok(true),
                        Answer::Reply(reply) => Some(reply),
                        Answer::None => exchange.act(session.req_header(), None),
                    }
                }
                None => exchange.act(session.req_header(), None),
            },
            false => match exchange.begin(session, &self.snapshot.load()) {
                ControlFlow::Break(reply) => {
                    credentials::hide(session, exchange);
                    Some(reply)
                }
                ControlFlow::Continue(planned) => match admit(session, exchange).await? {
                    ControlFlow::Break(reply) => Some(reply),
                    ControlFlow::Continue(()) => match exchange.route.pipeline.cache() {
                        Some(rules) if planned.is_none() => {
                            let rules = rules.clone();
                            // Boxed, so that requests on other routes do not carry the size of this future.
                            let answer = cache::answer(session, exchange, rules, &self.fills);
                            match Box::pin(answer).await? {
                                Answer::Written => return Ok(true),
                                Answer::Reply(reply) => Some(reply),
                                Answer::None => exchange.act(session.req_header(), None),
                            }
                        }
                        _ => exchange.act(session.req_header(), planned),
                    },
                },
            },
        };
        let reply = match reply {
            // Boxed, as above.
            None if exchange.attempt.is_none() => {
                match Box::pin(later::answer(session, exchange, &self.fills)).await? {
                    Answer::Written => return Ok(true),
                    Answer::Reply(reply) => Some(reply),
                    Answer::None => None,
                }
            }
            None if exchange.has_doors() => fallback::enter(session, exchange).await,
            reply => reply,
        };
        match reply {
            None => Ok(false),
            // Boxed, so that requests that go on to an upstream do not carry the size of the reply's future.
            Some(reply) => Box::pin(reply::write(session, exchange, reply))
                .await
                .map(|()| true),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> Result<Box<HttpPeer>> {
        if let Some(wait) = exchange.attempt.as_mut().and_then(Attempt::take_wait) {
            // Boxed, so that first tries do not carry the size of this future.
            Box::pin(timed::wait(&mut session.downstream_session, wait)).await?;
        }
        let upload = match session.is_body_empty() {
            true => Upload::Nothing,
            false => Upload::Body,
        };
        if exchange.has_doors() {
            // Those of another upstream, for which the route's own was given up. Boxed, as above.
            return Box::pin(fallback::pick(session, exchange, upload, None)).await;
        }
        timed::seat(session, exchange);
        match exchange.pick(session, upload) {
            Ok(peer) => Ok(peer),
            Err(code) if exchange.has_fallback() => {
                Box::pin(fallback::pick(session, exchange, upload, Some(code))).await
            }
            Err(code) => Err(exchange.give_up(code)),
        }
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        exchange: &mut Box<Exchange>,
        error: Box<Error>,
    ) -> Box<Error> {
        let Some(attempt) = &mut exchange.attempt else {
            return error;
        };
        let replay = retries::replay(session, attempt.retry());
        let verdict = attempt.failed_to_connect(&error, replay);
        let can_be_sent = replay != Replay::Never;
        let verdict = fallback::reconsider(session, exchange, verdict, can_be_sent);
        exchange.judge(error, verdict)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        let Some(attempt) = &mut exchange.attempt else {
            return Ok(());
        };
        // Where there is no body there is no word of its end, or it says nothing new: the clock starts here. Over
        // HTTP/2 there is none for a body that has come to its end before, either.
        let is_whole = attempt.upload() == Upload::Nothing
            || (attempt.upstream().protocol().is_h2() && session.is_body_done());
        if is_whole {
            return exchange.sent(0, true);
        }
        attempt.connected();
        Ok(())
    }

    /// Called where an upload is about to begin on HTTP/2: `engine` wakes it.
    async fn custom_forwarding(
        &self,
        _: &mut Session,
        exchange: &mut Box<Exchange>,
        _: Option<mpsc::Sender<Bytes>>,
        engine: mpsc::Sender<Bytes>,
    ) -> Result<()> {
        if let Some(attempt) = &exchange.attempt {
            attempt.watch_upload(engine);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.prepare(session.req_header(), upstream_request)?;
        if let Some(filler) = &exchange.filler {
            filler.sends(&upstream_request.headers);
        }
        let is_seen = !exchange.bodies.request.is_empty() || exchange.copy.is_some();
        if !is_seen || !is_bodiless(session) {
            return Ok(());
        }
        if !exchange.bodies.request.is_empty() {
            // With the header the upstream has all of such a request, so what looks at bodies has its say before.
            Box::pin(exchange.see(None, true)).await?;
            exchange.bodies.request.clear();
        }
        exchange.copy_request(None, true);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        let attempt = exchange.attempt.as_ref();
        if attempt.is_some_and(|attempt| attempt.upload() == Upload::Body) {
            let bytes = body.as_ref().map_or(0, Bytes::len);
            exchange.sent(bytes, end_of_stream)?;
        }
        if !exchange.bodies.request.is_empty() {
            // Boxed, so that requests whose body nobody looks at do not carry the size of this future.
            Box::pin(exchange.see(body.as_ref(), end_of_stream)).await?;
        }
        // Behind those who may refuse it: a mirror gets no more of a request than the upstream does.
        if exchange.copy.is_some() {
            exchange.copy_request(body.as_ref(), end_of_stream);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.weigh(session, response)?;
        exchange.received(session, response)?;
        let request = session.req_header();
        if !request.method.is_safe() {
            cache::purge_after(exchange, &self.snapshot.load(), request, response);
        }
        if exchange.bodies.may_be_bodiless {
            session.downstream_modules_ctx = bodiless::modules();
        }
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // From here on only the upstream's `idle` counts, for both directions together.
            session.set_read_timeout(None);
        }
        let is_http_1_0 = session.req_header().version == http::Version::HTTP_10;
        if is_http_1_0 || exchange.is_last() {
            timed::close_after(session, exchange);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<Option<std::time::Duration>> {
        exchange.moved()?;
        if exchange.copy.is_some() {
            exchange.copy_response(body.as_ref());
        }
        exchange.pass(body, end_of_stream)
    }

    /// Trailers end a body whose last part did not say so. A body that has been changed has an end of its own to
    /// write, and then the engine has no place for trailers, which whoever passes a message on may discard (RFC
    /// 9110 section 6.5.1).
    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut http::HeaderMap,
        exchange: &mut Box<Exchange>,
    ) -> Result<Option<Bytes>> {
        let mut end = None;
        exchange.pass(&mut end, true).map(|_| end)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Box<Exchange>,
        client_reused: bool,
    ) -> Box<Error> {
        if exchange.is_over() {
            exchange.outcome.get_or_insert(Code::ShuttingDown);
        }
        let Some(attempt) = &mut exchange.attempt else {
            return error;
        };
        let failure = Failure {
            error: &error,
            raised: exchange.outcome,
            was_pooled: client_reused,
            replay: retries::replay(session, attempt.retry()),
        };
        let (verdict, can_be_sent) = match exchange.falls_for {
            // It is no failure of this try: it has answered, and something else is to answer in its place.
            Some(_) => (
                Verdict::GiveUp(Code::UpstreamUnhealthy),
                failure.replay == Replay::Always,
            ),
            None => (attempt.failed_in_exchange(&failure), failure.can_be_sent()),
        };
        let verdict = fallback::reconsider(session, exchange, verdict, can_be_sent);
        exchange.judge(error, verdict)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Box<Exchange>,
    ) -> FailToProxy {
        timed::unseat(session, exchange);
        reply::fail(session, exchange, error).await
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        exchange: &mut Box<Exchange>,
    ) {
        timed::unseat(session, exchange);
        record::finish(session, exchange, error);
        if error.is_some() {
            reply::hang_up(session).await;
        }
    }

    /// Failures are in the access log, with their cause; a second line each would only be noise to pay for.
    fn suppress_error_log(&self, _: &Session, _: &Box<Exchange>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Box<Exchange>,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Past everything that may refuse a request of the route: who calls, whether it may, and how often.
async fn admit(session: &mut Session, exchange: &mut Exchange) -> Result<Flow> {
    let passed = match exchange.route.pipeline.gate().is_open() {
        true => Ok(ControlFlow::Continue(())),
        // Boxed, so that other requests do not carry the size of this future.
        false => Box::pin(identify(session, exchange)).await,
    };
    // Before anything else sees the request, or is said about it.
    credentials::hide(session, exchange);
    if let ControlFlow::Break(reply) = passed? {
        return Ok(ControlFlow::Break(reply));
    }
    let request = session.req_header();
    if let ControlFlow::Break(reply) = exchange.authorize(request) {
        return Ok(ControlFlow::Break(reply));
    }
    Ok(match exchange.route.pipeline.limits_may_wait() {
        false => exchange.limit(request),
        // Boxed, as above.
        true => {
            let deadline = Deadline::of(exchange, request);
            let limited = Box::pin(deadline.keep(exchange.limit_later(request))).await;
            limited.unwrap_or_else(ControlFlow::Break)
        }
    })
}

/// Finds out who calls, by the request's header and, where somebody has to see it, its body. It takes no longer than the
/// whole exchange may.
async fn identify(session: &mut Session, exchange: &mut Exchange) -> Result<Flow> {
    let deadline = Deadline::of(exchange, session.req_header());
    let limit = exchange.route.pipeline.gate().body();
    if let (Some(limit), Some(connection)) = (limit, &exchange.connection) {
        let idle = connection.listener.timeouts.request_body_idle.as_std();
        match early_body::read(session, limit, deadline.within(idle)).await? {
            Ok(body) => exchange.facts.body = Some(body),
            Err(reply) => return Ok(ControlFlow::Break(reply)),
        }
    }
    let identified = deadline.keep(exchange.identify(session.req_header()));
    Ok(identified.await.unwrap_or_else(ControlFlow::Break))
}

/// Whether no body comes after the header. A length of many zeros is one, too, whatever the engine thinks of it.
fn is_bodiless(session: &mut Session) -> bool {
    let headers = &session.req_header().headers;
    let is_nothing =
        |length: &http::HeaderValue| length.to_str().is_ok_and(|it| it.parse::<u64>() == Ok(0));
    let says_so = headers.contains_key(CONTENT_LENGTH)
        && headers.get_all(CONTENT_LENGTH).iter().all(is_nothing)
        && !headers.contains_key(TRANSFER_ENCODING);
    says_so || session.is_body_empty()
}

/// An engine error that stands for a code; the exchange keeps the code itself.
fn error_of(code: Code) -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(code.status().as_u16()), code.slug())
}

/// The engine's flag for trying again.
fn flag_retry(mut error: Box<Error>, verdict: Verdict) -> Box<Error> {
    error.set_retry(verdict == Verdict::Retry);
    error
}
