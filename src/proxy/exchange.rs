//! One request and its response: the context that the engine carries from callback to callback.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::bodies::Bodies;
use super::names::Names;
use super::timed::Seat;
use super::{client_address, error_of, flag_retry, forwarding, h2_request, strict, target};
use crate::actions::Action;
use crate::facts::{Facts, Scheme, View, host};
use crate::listener::{Connection, End, Pace, connection_of};
use crate::observability::AccessLog;
use crate::response::{Code, Dialect, Reply};
use crate::routing::{Lookup, RequestParts, Route, Snapshot};
use crate::upstream::{Attempt, Replay, Verdict};

/// About how many headers the gateway and its policies add to a message. More make the engine's map grow twice, and
/// room that is not used makes it a larger one than it need be.
const ADDED_TO_REQUEST: usize = 8;
const ADDED_TO_RESPONSE: usize = 4;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// One request and its response.
pub struct Exchange {
    /// Of the snapshot that it began under, which is let go once there is a route: a stream may live for days.
    pub(super) access_log: Option<Arc<AccessLog>>,
    pub(super) connection: Option<Arc<Connection>>,
    /// The fallback until a route is found, so that there is always one.
    pub(super) route: Arc<Route>,
    pub(super) facts: Facts,
    names: Names,
    pub(super) attempt: Option<Attempt>,
    pub(super) bodies: Bodies,
    pub(super) is_grpc: bool,
    /// Where the engine's session is while a [`Timed`](super::timed) one is in its place.
    pub(super) seat: Option<Arc<Seat>>,
    pub(super) began: Instant,
    pub(super) first_byte: Option<Duration>,
    /// What the upstream answered, whatever the client was told.
    pub(super) upstream_status: Option<StatusCode>,
    /// How slow the client may still be with its body, and when the last part of it came.
    pace: Option<(Pace, Instant)>,
    /// The failure that the gateway reported, or noticed too late to report.
    pub(super) outcome: Option<Code>,
}

impl Exchange {
    pub(super) fn new(snapshot: &Snapshot) -> Exchange {
        Exchange {
            access_log: snapshot.access_log.clone(),
            connection: None,
            route: snapshot.fallback.clone(),
            facts: Facts::new(std::net::Ipv4Addr::UNSPECIFIED.into(), Scheme::Http),
            names: Names::default(),
            attempt: None,
            bodies: Bodies::default(),
            is_grpc: false,
            seat: None,
            began: Instant::now(),
            first_byte: None,
            upstream_status: None,
            pace: None,
            outcome: None,
        }
    }

    pub(super) fn view<'a>(&'a self, request: &'a RequestHeader) -> View<'a> {
        View {
            facts: &self.facts,
            request,
        }
    }

    /// From a request's complete header to its action. A reply, or `None` to go on to an upstream.
    pub(super) fn begin(&mut self, session: &mut Session, snapshot: &Snapshot) -> Option<Reply> {
        let connection = session.digest().and_then(connection_of)?.clone();
        connection.exchange_began();
        set_limits(session, &connection);
        tidy(session, &connection);
        let request = session.req_header();
        self.names = Names::of(&request.headers, &connection);
        forwarding::identify(&mut self.facts, self.names, &connection, request);
        let checked = check(session, self.names, &connection);
        if checked.is_err()
            && let Some(view) = snapshot.view(&connection.listener)
        {
            self.route = view.fallback.clone();
        }
        self.connection = Some(connection);
        let refusal = checked.err();
        refusal.or_else(|| self.dispatch(session.req_header(), snapshot))
    }

    /// Finds the route and starts its action.
    fn dispatch(&mut self, request: &RequestHeader, snapshot: &Snapshot) -> Option<Reply> {
        let connection = self.connection.as_ref()?;
        let view = snapshot.view(&connection.listener)?;
        let parts = RequestParts {
            host: host(request).unwrap_or_default(),
            path: request.uri.path(),
            query: request.uri.query(),
            method: &request.method,
            headers: &request.headers,
        };
        if let Some((route, captures)) = view.preflight(&parts) {
            self.route = route.clone();
            self.facts.captures = captures.into_ranges();
            self.facts.is_preflight = true;
            return self.route.pipeline.preflight(self.view(request));
        }
        match view.table.find(&parts) {
            Lookup::Found(route, captures) => {
                self.route = route.clone();
                self.facts.captures = captures.into_ranges();
            }
            Lookup::MethodNotAllowed(allowed) => {
                self.route = view.fallback.clone();
                return self.unless_answered(request, Reply::method_not_allowed(&allowed.allow()));
            }
            Lookup::NotFound => {
                self.route = view.fallback.clone();
                return self.unless_answered(request, Reply::failure(Code::RouteNotFound));
            }
        }
        if let ControlFlow::Break(reply) = self.route.pipeline.request(self.view(request)) {
            return Some(reply);
        }
        let Action::Proxy(proxy) = &*self.route.action else {
            return self.route.action.reply(self.view(request));
        };
        let asked = self
            .names
            .has_grpc_timeout
            .then(|| forwarding::grpc_timeout(request));
        let limit = match (self.route.timeout, asked.flatten()) {
            (Some(route), Some(client)) => Some(route.min(client)),
            (route, client) => route.or(client),
        };
        // Both sides of a call of gRPC may have nothing to say for a while, the client before it has ended its part.
        self.is_grpc = Dialect::of(request.headers.get(CONTENT_TYPE)) == Dialect::Grpc;
        let client_idle =
            (!self.is_grpc).then(|| connection.listener.timeouts.request_body_idle.as_std());
        let upstream = proxy.upstream.clone();
        self.attempt = Some(Attempt::new(upstream, self.began, limit, client_idle));
        None
    }

    /// A reply of the gateway's own, unless a policy has another.
    fn unless_answered(&self, request: &RequestHeader, reply: Reply) -> Option<Reply> {
        match self.route.pipeline.request(self.view(request)) {
            ControlFlow::Break(reply) => Some(reply),
            ControlFlow::Continue(()) => Some(reply),
        }
    }

    /// Whether it is the last on its connection, because that is too old or its listener drains.
    pub(super) fn is_last(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|it| self.is_on_old(it) || it.drain.has_begun())
    }

    /// Whether the connection has been used for as long as it may be.
    pub(super) fn is_on_old(&self, connection: &Connection) -> bool {
        self.began >= connection.retires_at()
    }

    /// What tells a call of gRPC over HTTP/2 that the grace is over.
    pub(super) fn end_of_call(&self) -> Option<End> {
        let connection = self.connection.as_ref();
        let connection = connection.filter(|it| self.is_grpc && it.is_h2())?;
        Some(End::of(connection.drain.clone()))
    }

    /// Whether the grace is over, so that what fails now has failed for that.
    pub(super) fn is_over(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.drain.is_over())
    }

    /// Ends the exchange's way to an upstream before it began.
    pub(super) fn give_up(&mut self, code: Code) -> Box<Error> {
        self.outcome = Some(code);
        error_of(code)
    }

    /// Turns the client's request, of which `upstream_request` is a copy, into the upstream's.
    pub(super) fn prepare(
        &mut self,
        request: &RequestHeader,
        upstream_request: &mut RequestHeader,
    ) -> Result<()> {
        let (Some(connection), Some(attempt)) = (&self.connection, &self.attempt) else {
            return Err(error_of(Code::Internal));
        };
        let view = self.view(request);
        let mut parts = take_request(upstream_request);
        parts.headers.reserve(ADDED_TO_REQUEST);
        let pipeline = &self.route.pipeline;
        forwarding::write(view, self.names, connection, pipeline, &mut parts.headers);
        if request.version == Version::HTTP_10 {
            forwarding::name_host(&mut parts.headers, attempt.endpoint());
        }
        if attempt.upstream().protocol().is_h2() {
            forwarding::allow_trailers(request, &mut parts.headers);
        }
        if let Action::Proxy(proxy) = &*self.route.action
            && let Some(rewrite) = &proxy.rewrite
            && rewrite.apply(&mut parts, view).is_none()
        {
            return Err(self.give_up(Code::PathRefused));
        }
        pipeline.upstream_request(&mut parts.headers, view);
        *upstream_request = parts.into();
        // An attempt sends the body from its beginning, whatever an earlier one has sent of it.
        let bodies = self.route.pipeline.request_body(view);
        self.bodies.request = bodies;
        Ok(())
    }

    /// The header of an upstream's response has come; makes it the client's.
    pub(super) fn received(
        &mut self,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        let is_upgrade = response.status == StatusCode::SWITCHING_PROTOCOLS;
        // An interim response promises a real one and is none: it stops no clock.
        if is_upgrade || !response.status.is_informational() {
            let now = Instant::now();
            self.first_byte.get_or_insert(now - self.began);
            self.upstream_status = Some(response.status);
            if is_upgrade {
                // Nobody who did not ask for it could make anything of what follows.
                let asked = request.version == Version::HTTP_11
                    && request.headers.contains_key(http::header::UPGRADE);
                if !asked {
                    return Err(self.give_up(Code::UpstreamProtocol));
                }
                if let Some(connection) = &self.connection {
                    connection.switched();
                }
            }
            if let Some(attempt) = &mut self.attempt {
                if is_upgrade {
                    attempt.upgraded(now);
                } else {
                    attempt.moved(now);
                }
            }
        }
        let mut parts = take_response(response);
        if !is_upgrade {
            forwarding::strip_hop_by_hop(&mut parts.headers);
        }
        if parts.status == StatusCode::NO_CONTENT {
            // RFC 9110 section 8.6; a client could take what follows on the connection for the content.
            parts.headers.remove(CONTENT_LENGTH);
        }
        if request.version == Version::HTTP_10 {
            // A client of HTTP/1.0 knows no chunks (RFC 9112 section 6.1); the end of the connection ends the body.
            parts.headers.remove(TRANSFER_ENCODING);
        }
        self.finish(request, &mut parts);
        if is_upgrade {
            // What passes from now on are the bytes of a tunnel, and no bodies.
            self.bodies = Bodies::default();
        } else if !parts.status.is_informational() && self.route.pipeline.changes_bodies() {
            self.open_response(request, &mut parts)?;
        }
        *response = parts.into();
        Ok(())
    }

    /// Lets the policies decide which of them the body of an upstream's response will pass through.
    fn open_response(
        &mut self,
        request: &RequestHeader,
        response: &mut http::response::Parts,
    ) -> Result<()> {
        let view = self.view(request);
        let was_encoded = response.headers.contains_key(CONTENT_ENCODING);
        let bodies = self.route.pipeline.response_body(response, view);
        self.bodies.response = bodies.map_err(|code| self.give_up(code))?;
        let headers = &mut response.headers;
        let is_given_coding = !was_encoded && headers.contains_key(CONTENT_ENCODING);
        let is_h2 = |attempt: &Attempt| attempt.upstream().protocol().is_h2();
        self.bodies.may_be_bodiless = is_given_coding
            && request.method != Method::HEAD
            && self.attempt.as_ref().is_some_and(is_h2);
        let lacks_framing = !self.bodies.response.is_empty()
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING);
        if lacks_framing && request.version != Version::HTTP_10 && request.method != Method::HEAD {
            // The engine adds it only before this, and takes it out for HTTP/2.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(())
    }

    /// What every response gets, whoever made it: the policies' hooks, then the ids of the request.
    pub(super) fn finish(&self, request: &RequestHeader, response: &mut http::response::Parts) {
        // In one step: each of the headers below would otherwise find the map full in turn.
        response.headers.reserve(ADDED_TO_RESPONSE);
        let view = self.view(request);
        self.route.pipeline.response(&mut response.headers, view);
        response
            .headers
            .insert(X_REQUEST_ID, self.facts.request_id.header());
        response
            .headers
            .insert(X_TRACE_ID, self.facts.trace.trace_id_header());
    }

    /// A part of the request's body has gone up; `ends` where it was the last.
    pub(super) fn sent(&mut self, bytes: usize, ends: bool) -> Result<()> {
        let now = Instant::now();
        if !ends {
            self.keep_pace(now, bytes);
        }
        let is_in_time = match &mut self.attempt {
            Some(attempt) if ends => attempt.sent(now),
            Some(attempt) => attempt.sending(now),
            None => true,
        };
        self.in_time(is_in_time)
    }

    /// A client that sends its body slowly may be silent for less and less of the time.
    fn keep_pace(&mut self, now: Instant, bytes: usize) {
        let (Some(attempt), Some(connection), None) =
            (&mut self.attempt, &self.connection, self.first_byte)
        else {
            return;
        };
        let listener = &connection.listener;
        let (pace, since) = self.pace.get_or_insert_with(|| {
            let window = listener.timeouts.request_body_idle.as_std();
            let pace = Pace::new(listener.limits.request_body_min_rate, window);
            (pace, self.began)
        });
        // What took longer than the client may be silent was no silence of the client's: somebody would have cut it
        // off. It was the upstream that took no more.
        let waited = Some(now - *since).filter(|waited| *waited <= pace.left());
        pace.moved(waited.unwrap_or_default(), bytes as u64);
        *since = now;
        attempt.limit_client(pace.left());
    }

    /// Shows a part of the request's body to the policies that look at it.
    pub(super) async fn see(&mut self, part: Option<&Bytes>, ends: bool) -> Result<()> {
        let seen = self.bodies.see_request(part, ends).await;
        // As an error of the client's side it makes the engine cancel the upstream's stream; as any other it would
        // only stop sending, and wait for a response to half a request.
        seen.map_err(|code| self.give_up(code).into_down())
    }

    /// Takes a part of the response's body through the policies that change it.
    pub(super) fn pass(&mut self, part: &mut Option<Bytes>, ends: bool) -> Result<()> {
        let passed = self.bodies.pass_response(part, ends);
        passed.map_err(|code| self.give_up(code))
    }

    /// A part of the response's body has come down.
    pub(super) fn moved(&mut self) -> Result<()> {
        let now = Instant::now();
        let is_in_time = self
            .attempt
            .as_mut()
            .is_none_or(|attempt| attempt.moved(now));
        self.in_time(is_in_time)
    }

    fn in_time(&mut self, is_in_time: bool) -> Result<()> {
        if is_in_time {
            return Ok(());
        }
        Err(self.give_up(Code::UpstreamTimeout))
    }

    /// Puts a verdict on a failed attempt.
    pub(super) fn judge(&mut self, error: Box<Error>, verdict: Verdict) -> Box<Error> {
        self.outcome = match verdict {
            Verdict::Retry => None,
            Verdict::GiveUp(code) => Some(code),
        };
        flag_retry(error, verdict)
    }
}

/// An exchange whose task was aborted has had no end.
impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.exchange_ended(Instant::now());
        }
    }
}

/// Tells the engine how long the client may be silent within its request, and may take none of its response.
fn set_limits(session: &mut Session, connection: &Connection) {
    let idle = connection.listener.timeouts.request_body_idle.as_std();
    session.set_read_timeout(Some(idle));
    if connection.is_h2() {
        // For one stream among others. What a whole connection takes is measured where the bytes leave.
        session.set_write_timeout(Some(idle));
    }
    session.set_total_drain_timeout(Some(super::DRAIN_DEADLINE));
}

/// Brings the request into the form that the engine has for others of the same meaning.
fn tidy(session: &mut Session, connection: &Connection) {
    if session.req_header().has_case() && session.req_header().raw_path_is_utf8() {
        let request = session.req_header_mut();
        *request = take_request(request).into();
    }
    if connection.is_h2() {
        h2_request::join_cookies(session.req_header_mut());
    } else if session.req_header().version == Version::HTTP_10 {
        // RFC 9110 section 15.2: to such a client an interim response would be the response.
        session.downstream_session.set_ignore_info_resp(true);
    }
}

/// Checks what holds for every request, whatever its route, and puts its path into the normal form.
fn check(session: &mut Session, names: Names, connection: &Connection) -> Result<(), Reply> {
    if let Some(refusal) = connection.refusal() {
        return Err(Reply::failure(refusal.code).closing());
    }
    let request = session.req_header();
    strict::check(request, names, &connection.listener.limits)
        .and_then(|()| h2_request::check(request, connection))
        .map_err(Reply::failure)
        .and_then(|()| client_address::check(connection, &request.headers))
        .and_then(|()| target::normalise(session.req_header_mut(), &connection.listener.paths))
        .map_err(Reply::closing)?;
    match is_misdirected(session.req_header(), connection) {
        // The connection is good for the hosts that it was made for.
        true => Err(Reply::failure(Code::Misdirected)),
        false => Ok(()),
    }
}

/// Whether the request came by the TLS connection of a host with another certificate (RFC 9110 section 15.5.20).
fn is_misdirected(request: &RequestHeader, connection: &Connection) -> bool {
    let handshake = connection.handshake();
    handshake.is_some_and(|handshake| handshake.is_misdirected(host(request).unwrap_or_default()))
}

/// Takes a request's header apart, leaving an empty one.
///
/// The engine keeps the letter case of every HTTP/1.1 header name in a second map, which doubles the work of
/// copying and of every edit. Names are case-insensitive (RFC 9110 section 5.1), and HTTP/2 has only lower case;
/// so the second map is left behind here, and what goes upstream is in lower case whatever came in.
fn take_request(header: &mut RequestHeader) -> http::request::Parts {
    let empty = http::Request::new(()).into_parts().0;
    std::mem::replace(header, empty.into()).into()
}

/// Takes a response's header apart, leaving an empty one.
fn take_response(header: &mut ResponseHeader) -> http::response::Parts {
    let empty = http::Response::new(()).into_parts().0;
    std::mem::replace(header, empty.into()).into()
}

/// Whether the client has been sent more than interim responses.
pub(super) fn has_begun(session: &ServerSession) -> bool {
    final_status(session).is_some()
}

/// The status of the response that the client was sent, interim ones apart.
pub(super) fn final_status(session: &ServerSession) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    let is_final = !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
    is_final.then_some(status)
}

/// Whether the request can be sent again.
pub(super) fn replay(session: &Session) -> Replay {
    let session: &ServerSession = session.as_ref();
    if session.retry_buffer_truncated() || has_begun(session) {
        Replay::Never
    } else if session.req_header().method.is_idempotent() {
        Replay::Always
    } else {
        Replay::IfUnprocessed
    }
}
