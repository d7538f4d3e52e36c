//! The end of an exchange: one access record, one metrics update, everything released.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::Version;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use super::exchange::Exchange;
use super::heads::final_status;
use crate::facts::host;
use crate::identity::Identity;
use crate::limits::Taken;
use crate::listener::Connection;
use crate::observability::{AccessRecord, Decision, unix_time};
use crate::response::Code;
use crate::upstream::Attempt;

/// Says what happened, once.
pub(super) fn finish(session: &Session, exchange: &mut Exchange, error: Option<&Error>) {
    let now = Instant::now();
    if exchange.is_own() {
        return finish_own(exchange, error.is_some());
    }
    let total = now - exchange.began;
    let request = session.req_header();
    let status = final_status(session.as_ref()).map_or(0, |status| status.as_u16());
    let (received, sent) = (
        session.body_bytes_read() as u64,
        session.body_bytes_sent() as u64,
    );
    let code = exchange.outcome;
    let slug = code.map_or("", Code::slug);
    exchange
        .route
        .metrics
        .observe(&request.method, status, slug, total);
    exchange.route.metrics.count_bytes(received, sent);
    if let Some(cached) = &exchange.cached {
        let metrics = &exchange.route.metrics;
        metrics.count_cached(cached.word, cached.age, sent);
    }
    let mut upstream_time = None;
    // What a fallback has answered is not what the mirror is compared with.
    exchange.end_copy(error.is_none() && exchange.degraded.is_none());
    exchange.blame_canary();
    if let Some(attempt) = &exchange.attempt {
        upstream_time = observe_upstream(exchange, attempt, error.is_some());
    }
    if let Some(attempt) = exchange.attempt.as_mut().filter(|_| error.is_none()) {
        attempt.finished();
    }
    if let Some(log) = &exchange.access_log {
        let cause = match exchange.refusal() {
            Some(refusal) => Some(Cow::Borrowed(refusal.reason)),
            None => match &exchange.cause {
                Some(cause) => Some(Cow::Borrowed(&**cause)),
                None => error.map(|error| Cow::Owned(error.to_string())),
            },
        };
        let attempt = exchange.attempt.as_ref();
        let degraded = exchange.degraded.as_ref();
        let identity = exchange.facts.identity.as_deref();
        let exceeded = exchange.facts.taken.exceeded();
        let told = exchange.cached.as_ref().and_then(|it| it.told.as_deref());
        let said = |text: &'_ str| !text.is_empty();
        log.append(&AccessRecord {
            time: unix_time(now).saturating_sub(total),
            listener: exchange
                .connection
                .as_ref()
                .map_or("", |connection| &connection.listener.name),
            route: &exchange.route.name,
            consumer: identity.and_then(Identity::consumer),
            subject: identity.map(|identity| &*identity.subject),
            credential: identity.and_then(|identity| identity.credential.as_deref()),
            authenticator: identity.map(|identity| identity.authenticator),
            certificate: exchange
                .facts
                .certificate
                .as_ref()
                .map(|certificate| certificate.subject()),
            client: exchange
                .connection
                .is_some()
                .then_some(exchange.facts.client),
            method: request.method.as_str(),
            host: host(request),
            path: request.uri.path(),
            protocol: protocol(request.version),
            status,
            bytes_in: received,
            bytes_out: sent,
            total,
            upstream_time: upstream_time.or(told.and_then(|told| told.time)),
            first_byte: exchange.first_byte,
            upstream: attempt
                .map(|attempt| attempt.upstream().name())
                .or(told.map(|told| &*told.upstream).filter(|it| said(it))),
            endpoint: attempt
                .and_then(|attempt| attempt.endpoint())
                .or(told.map(|told| &*told.endpoint).filter(|it| said(it))),
            attempts: attempt
                .map(|attempt| attempt.attempts())
                .or(told.map(|told| told.attempts))
                .unwrap_or(0),
            retried: attempt.and_then(|attempt| attempt.retried().0),
            retry_stop: attempt.and_then(|attempt| attempt.retried().1),
            hedge: attempt.and_then(|attempt| attempt.hedged()),
            cache: exchange.cached.as_ref().map(|it| it.word),
            parts: exchange.parts.as_deref(),
            span_id: exchange.facts.trace.span_id(),
            code: code.map(Code::slug),
            fault: code.map(|code| code.fault().as_str()),
            flag: code.map(Code::flag),
            cause: cause.as_deref(),
            degraded: degraded.and_then(|it| it.reason.to_str().ok()),
            fallback: degraded.map(|it| &*it.answer),
            limit: exceeded.map(|it| it.limit),
            limit_rule: exceeded.map(|it| it.rule),
            limit_decision: exceeded.map(|it| match it.is_shadow {
                false => Decision::Refused.as_str(),
                true => Decision::Shadow.as_str(),
            }),
            request_id: exchange.facts.request_id.as_bytes(),
            trace_id: exchange.facts.trace.trace_id(),
        });
    }
    exchange.attempt = None;
    exchange.facts.taken = Taken::default();
    exchange.rest = None;
    if let Some(connection) = exchange.connection.take() {
        let is_old = exchange.is_on_old(&connection);
        if error.is_some_and(is_slow_read) {
            connection.read_too_slowly();
        } else if !connection.is_h2() && !exchange.is_call() {
            // Those of HTTP/2 are counted when they are told to go.
            let requests_left = session.downstream_session.get_keepalive_reuses_remaining();
            count_close(&connection, is_old, requests_left);
        }
        exchange.leave(&connection, now);
    }
}

/// An exchange whose task was aborted has had no end.
impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_own()
            && let Some(connection) = self.connection.take()
        {
            self.leave(&connection, Instant::now());
        }
    }
}

/// The end of an exchange of the gateway's own: what it did is told of the client's that it was made for.
fn finish_own(exchange: &mut Exchange, has_failed: bool) {
    exchange.end_copy(!has_failed && exchange.degraded.is_none());
    exchange.blame_canary();
    if let Some(mut attempt) = exchange.attempt.take() {
        observe_upstream(exchange, &attempt, has_failed);
        if !has_failed {
            attempt.finished();
        }
    }
    // It was never one of the connection's.
    exchange.connection = None;
    exchange.filler = None;
    if let Some(part) = exchange.part.take() {
        part.ends(exchange.outcome);
    }
}

/// Counts what an upstream has done, and says how long that took.
pub(super) fn observe_upstream(
    exchange: &Exchange,
    attempt: &Attempt,
    has_failed: bool,
) -> Option<Duration> {
    let answered = exchange.upstream_status.map_or(0, |status| status.as_u16());
    let spent = attempt.spent(Instant::now(), has_failed)?;
    attempt.upstream().metrics().observe(answered, spent);
    Some(spent)
}

/// Counts a connection that is closed with this response because it has served its turn.
fn count_close(connection: &Connection, is_old: bool, requests_left: Option<u32>) {
    let metrics = &connection.listener.metrics;
    if is_old {
        metrics.closed_age.inc();
    } else if requests_left == Some(0) {
        metrics.closed_requests.inc();
    }
}

/// Whether it was the client that did not take what it was sent.
fn is_slow_read(error: &Error) -> bool {
    *error.etype() == ErrorType::WriteTimedout && *error.esource() != ErrorSource::Upstream
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/?",
    }
}
