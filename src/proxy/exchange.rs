//! One request and its response: the context that the engine carries from callback to callback.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING,
};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::aggregate::OfClient;
use super::batch::Side;
use super::bodies::Bodies;
use super::cache::Cached;
use super::collect::Asked;
use super::copying::{Copy, is_error};
use super::fallback::{Degraded, X_NORTHGATE_DEGRADED};
use super::heads::{is_final, take_request, take_response};
use super::kept::Kept;
use super::names::Names;
use super::timed::Seat;
use super::{admission, deadline, error_of, flag_retry, forwarding};
use crate::actions::{Action, Canary};
use crate::cache::Filler;
use crate::facts::{Facts, Scheme, View, host, host_header};
use crate::identity::oidc::OwnCookies;
use crate::limits::Bulkhead;
use crate::listener::{Connection, Pace, Rest};
use crate::observability::AccessLog;
use crate::response::{Code, Dialect, Reply};
use crate::routing::{self, Lookup, RequestParts, Route, Snapshot};
use crate::upstream::{Attempt, Upstream, Verdict, grpc_status};

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
    /// Where it makes no work any more.
    pub(super) rest: Option<Rest>,
    /// The fallback until a route is found, so that there is always one.
    pub(super) route: Arc<Route>,
    pub(super) facts: Facts,
    pub(super) names: Names,
    /// The gateway's own cookies, until they are out of the request; `None` where it has no cookie at all.
    pub(super) own_cookies: Option<Arc<OwnCookies>>,
    /// The upstream that it is for and who watches that, where that was to be known before it was asked.
    pub(super) chosen: Option<(Arc<Upstream>, Option<Arc<Canary>>)>,
    pub(super) attempt: Option<Attempt>,
    /// Of the route and the upstream, where the attempt has to come through one.
    pub(super) doors: [Option<Arc<Bulkhead>>; 2],
    pub(super) bodies: Bodies,
    /// When it is worth to come again, where a body was refused and that is known.
    pub(super) again: Option<Duration>,
    pub(super) is_grpc: bool,
    /// Where the engine's session is while a [`Timed`](super::timed) one is in its place.
    pub(super) seat: Option<Arc<Seat>>,
    /// What of the request's body is kept while there is no such session.
    pub(super) kept: Option<Box<Kept>>,
    pub(super) began: Instant,
    pub(super) first_byte: Option<Duration>,
    /// What the upstream answered, whatever the client was told.
    pub(super) upstream_status: Option<StatusCode>,
    /// How slow the client may still be with its body, and when the last part of it came.
    pub(super) pace: Option<(Pace, Instant)>,
    /// What is copied for the route's mirror, where this is one of its sample.
    pub(super) copy: Option<Box<Copy>>,
    /// Who watches how the upstream does, until that is known.
    pub(super) canary: Option<Arc<Canary>>,
    /// Why a step of the route's fallback answers, once one does.
    pub(super) degraded: Option<Box<Degraded>>,
    /// The status of a response that a step of the fallback is to answer in the place of.
    pub(super) falls_for: Option<StatusCode>,
    /// What the cache has done about it, where its route has one.
    pub(super) cached: Option<Box<Cached>>,
    /// What takes in the response, where this is an exchange of the cache's own, which has no client.
    pub(super) filler: Option<Arc<Filler>>,
    /// Where it is told how it has ended, where this is an exchange for a part of an aggregation.
    pub(super) part: Option<Arc<Asked>>,
    /// Where this is an exchange for a part: what the client has sent, which policies look at, and what they write of it.
    pub(super) of_client: Option<Arc<OfClient>>,
    /// How the parts have ended, where its route puts some together.
    pub(super) parts: Option<Box<str>>,
    /// Where it is a batch, or a call of one.
    pub(super) batch: Option<Box<Side>>,
    /// What the log says of a reply of the gateway's own.
    pub(super) cause: Option<Cow<'static, str>>,
    /// The failure that the gateway reported, or noticed too late to report.
    pub(super) outcome: Option<Code>,
}

impl Exchange {
    pub(super) fn new(snapshot: &Snapshot) -> Exchange {
        let facts = Facts::new(std::net::Ipv4Addr::UNSPECIFIED.into(), Scheme::Http);
        let mut exchange = Exchange::on(snapshot.fallback.clone(), facts);
        exchange.access_log = snapshot.access_log.clone();
        exchange
    }

    pub(super) fn on(route: Arc<Route>, facts: Facts) -> Exchange {
        Exchange {
            access_log: None,
            connection: None,
            rest: None,
            route,
            facts,
            names: Names::default(),
            own_cookies: None,
            chosen: None,
            attempt: None,
            doors: [None, None],
            bodies: Bodies::default(),
            again: None,
            is_grpc: false,
            seat: None,
            kept: None,
            began: Instant::now(),
            first_byte: None,
            upstream_status: None,
            pace: None,
            copy: None,
            canary: None,
            degraded: None,
            falls_for: None,
            cached: None,
            filler: None,
            part: None,
            of_client: None,
            parts: None,
            batch: None,
            cause: None,
            outcome: None,
        }
    }

    pub(super) fn view<'a>(&'a self, request: &'a RequestHeader) -> View<'a> {
        View {
            facts: &self.facts,
            request,
        }
    }

    /// From a request's complete header to its route, and past the policies that look at it before it is known who
    /// calls. Where it goes on, it is with the reply that there is to be unless a policy has another.
    pub(super) fn begin(
        &mut self,
        session: &mut Session,
        snapshot: &Snapshot,
    ) -> ControlFlow<Reply, Option<Reply>> {
        let Some(connection) = self.enter(session) else {
            return ControlFlow::Break(Reply::failure(Code::Internal));
        };
        admission::set_limits(session, &connection);
        admission::tidy(session, &connection);
        let request = session.req_header();
        self.names = Names::of(&request.headers, &connection, &snapshot.reserved);
        admission::strip_reserved(session, self.names, &snapshot.reserved);
        let request = session.req_header();
        if let Some(own) = &snapshot.own_cookies
            && request.headers.contains_key(COOKIE)
        {
            self.own_cookies = Some(own.clone());
        }
        forwarding::identify(&mut self.facts, self.names, &connection, request);
        let checked = admission::check(session, self.names, &connection);
        let view = snapshot.view(&connection.listener);
        self.connection = Some(connection);
        let Some(view) = view else {
            return ControlFlow::Break(Reply::failure(Code::Internal));
        };
        if let Err(refusal) = checked {
            self.route = view.fallback.clone();
            return ControlFlow::Break(refusal);
        }
        let request = session.req_header();
        let planned = self.route(request, view)?;
        self.note(request, snapshot);
        self.route.pipeline.request(self.view(request))?;
        ControlFlow::Continue(planned)
    }

    /// Finds the route. A preflight is answered at once; where there is no route, that is the reply.
    fn route(
        &mut self,
        request: &RequestHeader,
        view: &routing::View,
    ) -> ControlFlow<Reply, Option<Reply>> {
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
            let reply = self.route.pipeline.preflight(self.view(request));
            return ControlFlow::Break(reply.unwrap_or_else(|| Reply::failure(Code::Internal)));
        }
        let missed = match view.table.find(&parts) {
            Lookup::Found(route, captures) => {
                self.route = route.clone();
                self.facts.captures = captures.into_ranges();
                self.facts.criticality = route.criticality;
                return ControlFlow::Continue(None);
            }
            Lookup::MethodNotAllowed(allowed) => Reply::method_not_allowed(&allowed.allow()),
            Lookup::NotFound => Reply::failure(Code::RouteNotFound),
        };
        self.route = view.fallback.clone();
        ControlFlow::Continue(Some(missed))
    }

    /// Starts the route's action, unless there is a reply already. A reply, or `None` to go on to an upstream.
    pub(super) fn act(&mut self, request: &RequestHeader, planned: Option<Reply>) -> Option<Reply> {
        if planned.is_some() {
            return planned;
        }
        let Action::Proxy(proxy) = &*self.route.action else {
            return self.route.action.reply(self.view(request));
        };
        // Both sides of a call of gRPC may have nothing to say for a while, the client before it has ended its part.
        let is_grpc = Dialect::of(request.headers.get(CONTENT_TYPE)) == Dialect::Grpc;
        let chosen = self.chosen.take();
        let Some((upstream, canary)) = chosen.or_else(|| proxy.choose(self.view(request))) else {
            self.doors = [proxy.bulkhead.clone(), None];
            self.is_grpc = is_grpc;
            return self.begin_elsewhere(request);
        };
        let is_mirrored = proxy.mirror.is_some();
        self.is_grpc = is_grpc;
        self.doors = [proxy.bulkhead.clone(), upstream.bulkhead().cloned()];
        self.attempt = Some(self.attempt_on(upstream, request));
        self.canary = canary;
        if is_mirrored {
            self.sample(&request.headers);
        }
        None
    }

    /// An attempt on an upstream, with what is left of the time for the whole exchange.
    pub(super) fn attempt_on(&self, upstream: Arc<Upstream>, request: &RequestHeader) -> Attempt {
        let limit = deadline::limit(self, request);
        let idle =
            |connection: &Arc<Connection>| connection.listener.timeouts.request_body_idle.as_std();
        let client_idle = self.connection.as_ref().filter(|_| !self.is_grpc).map(idle);
        let mut attempt = Attempt::new(upstream, self.began, limit, client_idle);
        if let Some(limit) = limit.filter(|_| limit == self.route.timeout) {
            attempt.limited_by_route(limit);
        }
        if let Action::Proxy(proxy) = &*self.route.action {
            attempt.retry_as(proxy.retry.clone());
        }
        if self.filler.is_none() {
            attempt.read_in_parts(self.route.pipeline.largest_part(self.view(request)));
        }
        self.direct(request, &mut attempt);
        attempt
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
        if self.seat.is_some()
            && request.version == Version::HTTP_2
            && let Some(host) = host_header(request)
        {
            // For sessions that are not its own the engine believes a `Host` beside the authority.
            parts.headers.insert(HOST, host);
        }
        if request.version == Version::HTTP_10 {
            forwarding::name_host(&mut parts.headers, attempt.endpoint());
        }
        if attempt.upstream().protocol().is_h2() {
            forwarding::allow_trailers(request, &mut parts.headers);
        }
        if self.is_grpc || attempt.upstream().deadline_header().is_some() {
            deadline::tell(attempt, self.is_grpc, &mut parts.headers);
        }
        if let Action::Proxy(proxy) = &*self.route.action
            && let Some(rewrite) = &proxy.rewrite
            && rewrite.apply(&mut parts, view).is_none()
        {
            return Err(self.give_up(Code::PathRefused));
        }
        let of_client = self.of_client.as_ref().map_or(request, |it| &it.request);
        pipeline.upstream_request(&mut parts.headers, self.view(of_client));
        // An attempt sends the body from its beginning, whatever an earlier one has sent of it.
        let bodies = pipeline.request_body(view);
        self.bodies.request = bodies;
        if let Some(copy) = &mut self.copy {
            copy.begin(&parts);
        }
        *upstream_request = parts.into();
        Ok(())
    }

    /// The header of an upstream's response has come; makes it the client's.
    pub(super) fn received(
        &mut self,
        session: &Session,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        let request = session.req_header();
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
                    self.rest = Some(connection.rest());
                }
            }
            if let Some(attempt) = &mut self.attempt {
                let grpc = match self.is_grpc {
                    true => grpc_status(&response.headers),
                    false => None,
                };
                let time = attempt.answered(now, response.status, grpc);
                if let Some(canary) = self.canary.take() {
                    canary.observe(now, is_error(response.status, grpc), time);
                }
                if is_upgrade {
                    attempt.upgraded(now);
                } else {
                    attempt.moved(now);
                }
            }
            if let Some(copy) = &mut self.copy {
                copy.answered(response.status, &response.headers);
            }
            self.accept(session, response.status)?;
        }
        let mut parts = take_response(response);
        if is_upgrade {
            parts.headers.remove(X_NORTHGATE_DEGRADED);
        } else if self.filler.is_some() {
            super::cache::strip_hop_by_hop(&mut parts.headers);
        } else {
            forwarding::strip_hop_by_hop(&mut parts.headers);
        }
        if self.filler.is_some() {
            // The policies have their say whenever it is served.
            self.fill_begins();
            *response = parts.into();
            return Ok(());
        }
        if parts.status == StatusCode::NO_CONTENT {
            // RFC 9110 section 8.6; a client could take what follows on the connection for the content.
            parts.headers.remove(CONTENT_LENGTH);
        }
        if request.version == Version::HTTP_10 {
            // A client of HTTP/1.0 knows no chunks (RFC 9112 section 6.1); the end of the connection ends the body.
            parts.headers.remove(TRANSFER_ENCODING);
        }
        if is_final(parts.status) {
            self.mark_session(&mut parts.headers);
            if let Some(cached) = &self.cached {
                cached.tell(&mut parts);
            }
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
    pub(super) fn open_response(
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
    pub(super) fn finish(&mut self, request: &RequestHeader, response: &mut http::response::Parts) {
        let is_final = is_final(response.status);
        if is_final && self.route.pipeline.reads_costs() {
            let mut taken = std::mem::take(&mut self.facts.taken);
            let (pipeline, view) = (&self.route.pipeline, self.view(request));
            pipeline.cost(&response.headers, view, &mut taken);
            self.facts.taken = taken;
        }
        // In one step: each of the headers below would otherwise find the map full in turn.
        response.headers.reserve(ADDED_TO_RESPONSE);
        if let Some(degraded) = self.degraded.as_ref().filter(|_| is_final) {
            let reason = degraded.reason.clone();
            response.headers.insert(X_NORTHGATE_DEGRADED, reason);
        }
        let view = self.view(request);
        let pipeline = &self.route.pipeline;
        pipeline.response(&mut response.headers, view, is_final);
        let headers = &mut response.headers;
        headers.insert(X_REQUEST_ID, self.facts.request_id.header());
        headers.insert(X_TRACE_ID, self.facts.trace.trace_id_header());
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
