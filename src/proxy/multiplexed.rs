//! One HTTP/2 connection of a client, from its preface to its end.
//!
//! The engine has such a loop as well; it drops idle connections without a word, knows no age, and does not say why
//! a connection ended. What is served on each stream is the engine's.
//!
//! # How a connection ends
//! When it was idle or is old, has carried its number of requests, or its listener drains, the client is told to go
//! (`GOAWAY`): what is in flight ends in peace, and what a client still asks for while the news travels is served.
//! Later requests are refused, and with the last stream the connection is closed. When the grace is over, calls of
//! gRPC end with a status and all other streams are reset. A client that does what no client
//! needs to do is cut off at once, and told why where it can still be told.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use pingora::Error;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::HttpProxy;
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Proxy;
use crate::listener::{Alarm, Allowance, Connection, Limits, Offence, watch_frames};

/// How long a client that was told to go may need to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long it may take to tell a client why it is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long requests may need to notice that their connection is gone, before they are dropped.
const DISPERSAL: Duration = Duration::from_secs(60);

/// What a client may send of a body before any of it was taken. The connection has room for as much of each of its streams:
/// uploads that wait, for their upstream or because they are slowed down, take it from no other. So `limits.streams` bounds
/// what a connection can make the gateway hold of bodies, which is 6 MiB as a rule; and this does where there are very many.
/// A stream has what the protocol gives it by itself (RFC 9113 section 6.9.2): anybody may open a connection, and with more a few
/// of them could take the memory of everybody.
const STREAM_WINDOW: u32 = 64 * 1024;
const LARGEST_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What is held of a response that the client has opened its windows for but does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may take back before they were even looked at (CVE-2023-44487).
const RESETS_BEFORE_ACCEPTED: usize = 20;
/// Streams that a client may get reset by what it sends on them, over the life of a connection (CVE-2025-8671).
const STREAM_ERRORS: usize = 200;
/// Requests that have to be refused for their form: so many at once, and one more each second.
const MALFORMED_REQUESTS: u32 = 32;
/// What the limits of a header do not count: 32 bytes for each field (RFC 9113 section 6.5.2), and the names and the
/// values of the pseudo-headers but `:path`.
const FIELD_OVERHEAD: u32 = 32;
const PSEUDO_HEADERS: usize = 1024;

/// Serves a connection until it is closed.
pub(super) async fn serve(
    engine: &Arc<HttpProxy<Proxy>>,
    stream: Stream,
    connection: Arc<Connection>,
    never: &watch::Receiver<bool>,
) {
    let listener = &connection.listener;
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let (stream, alarm) = watch_frames(stream, listener);
    let handshake = handshake(stream, Some(options(&listener.limits)));
    let h2 = match timeout(listener.timeouts.request_header.as_std(), handshake).await {
        Ok(Ok(h2)) => h2,
        Ok(Err(error)) => return count(&error, &connection),
        Err(_) => return listener.metrics.refused_timeout.inc(),
    };
    let now = Instant::now();
    Multiplexed {
        engine: engine.clone(),
        requests_left: listener.limits.requests_per_connection.get(),
        ends: connection.retires_at().into(),
        connection,
        h2,
        digest,
        alarm,
        never: never.clone(),
        streams: JoinSet::new(),
        idle_since: now,
        next_look: now,
        malformed: Allowance::new(MALFORMED_REQUESTS, 1),
        stage: Stage::Serving,
    }
    .run()
    .await;
}

fn options(limits: &Limits) -> H2Options {
    let text = limits.header_bytes.as_usize() + limits.uri_bytes.as_usize() + PSEUDO_HEADERS;
    let overhead = u32::from(limits.headers.get()).saturating_mul(FIELD_OVERHEAD);
    let window = STREAM_WINDOW.saturating_mul(limits.streams.get());
    let mut options = default_h2_options();
    options
        // Above what the limits allow, so that it is the gateway that says what was too large.
        .max_header_list_size(
            u32::try_from(text)
                .unwrap_or(u32::MAX)
                .saturating_add(overhead),
        )
        .max_concurrent_streams(limits.streams.get())
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window.min(LARGEST_CONNECTION_WINDOW))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_BEFORE_ACCEPTED)
        .max_local_error_reset_streams(Some(STREAM_ERRORS));
    options
}

/// Counts a connection that the gateway had to break off. That a client broke off is nothing to count.
fn count(error: &Error, connection: &Connection) {
    let metrics = &connection.listener.metrics;
    let cause = error.cause.as_ref();
    let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
        return;
    };
    match cause.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) if cause.is_library() => metrics.closed_h2_flood.inc(),
        Some(_) if cause.is_library() => metrics.closed_h2_protocol.inc(),
        _ => {}
    }
}

/// Looks at the drain whenever the connection has been polled, which it is when that changes.
fn is(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    poll_fn(move |_| {
        if condition() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

/// Looks at the alarm whenever the connection has been polled.
fn raised(alarm: &Alarm) -> impl Future<Output = Offence> {
    poll_fn(|_| alarm.offence().map_or(Poll::Pending, Poll::Ready))
}

struct Multiplexed {
    engine: Arc<HttpProxy<Proxy>>,
    connection: Arc<Connection>,
    h2: h2::server::Connection<Stream, Bytes>,
    digest: Arc<Digest>,
    alarm: Alarm,
    never: watch::Receiver<bool>,
    /// One task for each request in flight.
    streams: JoinSet<()>,
    /// When the last request ended, or the connection began.
    idle_since: Instant,
    /// When it is too old.
    ends: Instant,
    /// When to look next whether it is idle, or old, or gone.
    next_look: Instant,
    requests_left: u32,
    malformed: Allowance,
    stage: Stage,
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// The client has been told to go, and may not have heard of it yet.
    Leaving,
    /// It has had the time to hear of it.
    Left,
}

/// What to do after an event.
enum Then {
    GoOn,
    Close,
    CutOff(Reason),
    /// The grace is over.
    End,
}

impl Multiplexed {
    async fn run(mut self) {
        self.look();
        let tick = sleep_until(self.next_look);
        tokio::pin!(tick);
        let drain = self.connection.drain.clone();
        let mut silence = drain.silence();
        loop {
            let is_serving = self.stage == Stage::Serving;
            let has_carried = self.requests_left
                < self
                    .connection
                    .listener
                    .limits
                    .requests_per_connection
                    .get();
            let then = tokio::select! {
                biased;
                () = is(|| drain.has_begun()), if is_serving && has_carried => self.leave(None),
                // A client that has only just come would hear that it should go before it has asked for anything.
                () = poll_fn(|cx| silence.poll(cx)), if is_serving && !has_carried => self.leave(None),
                () = is(|| drain.is_over()) => Then::End,
                accepted = HttpSession::from_h2_conn(&mut self.h2, self.digest.clone()) => {
                    self.accepted(accepted)
                }
                // Behind the branch that reads, since it is reading that raises it.
                offence = raised(&self.alarm) => self.offended(offence),
                Some(_) = self.streams.join_next() => self.stream_ended(),
                () = &mut tick => self.look(),
            };
            match then {
                Then::GoOn => {}
                Then::Close => break,
                Then::CutOff(reason) => break self.cut_off(reason).await,
                Then::End => break self.end().await,
            }
            if tick.deadline() != self.next_look {
                tick.as_mut().reset(self.next_look);
            }
        }
        self.disperse().await;
    }

    fn accepted(&mut self, accepted: Result<Option<H2Accept>, Box<Error>>) -> Then {
        match accepted {
            Ok(Some(H2Accept::Session(session))) => self.begin(session),
            // It has been answered or reset.
            Ok(Some(H2Accept::Rejected)) if self.malformed.take() => Then::GoOn,
            Ok(Some(H2Accept::Rejected)) => self.offended(Offence::Flood),
            Ok(None) => Then::Close,
            Err(error) => {
                match self.alarm.offence() {
                    Some(offence) => self.count(offence),
                    None => count(&error, &self.connection),
                }
                Then::Close
            }
        }
    }

    fn begin(&mut self, mut session: HttpSession) -> Then {
        if self.stage == Stage::Left {
            session.shutdown_with_reason(Reason::REFUSED_STREAM);
            return Then::GoOn;
        }
        let (engine, never) = (self.engine.clone(), self.never.clone());
        self.streams.spawn(async move {
            let session = ServerSession::new_http2(session);
            engine.process_new_http(session, &never).await;
        });
        self.requests_left = self.requests_left.saturating_sub(1);
        if self.requests_left == 0 && self.stage == Stage::Serving {
            let metrics = &self.connection.listener.metrics;
            return self.leave(Some(metrics.closed_requests.clone()));
        }
        Then::GoOn
    }

    fn offended(&mut self, offence: Offence) -> Then {
        self.count(offence);
        Then::CutOff(match offence {
            Offence::Protocol => Reason::PROTOCOL_ERROR,
            Offence::Flood | Offence::SlowRead => Reason::ENHANCE_YOUR_CALM,
        })
    }

    fn count(&self, offence: Offence) {
        let metrics = &self.connection.listener.metrics;
        match offence {
            Offence::Protocol => metrics.closed_h2_protocol.inc(),
            Offence::Flood => metrics.closed_h2_flood.inc(),
            Offence::SlowRead => metrics.closed_slow_read.inc(),
        }
    }

    fn stream_ended(&mut self) -> Then {
        if self.streams.is_empty() {
            self.idle_since = Instant::now();
        }
        // Others may share the connection with whoever does not take its response, so theirs may end.
        if self.connection.is_slow_reader() && self.stage == Stage::Serving {
            return self.leave(None);
        }
        Then::GoOn
    }

    /// Looks at the clock.
    fn look(&mut self) -> Then {
        let now = Instant::now();
        let is_unused = self.streams.is_empty();
        if self.stage != Stage::Serving {
            self.stage = Stage::Left;
            self.next_look = now + FAREWELL;
            return if is_unused { Then::Close } else { Then::GoOn };
        }
        let listener = &self.connection.listener;
        let (metrics, timeouts) = (&listener.metrics, &listener.timeouts);
        let idle_since = if is_unused { self.idle_since } else { now };
        let idle_until = idle_since + timeouts.keepalive.as_std();
        if now >= self.ends {
            self.leave(Some(metrics.closed_age.clone()))
        } else if now >= idle_until {
            self.leave(Some(metrics.closed_idle.clone()))
        } else {
            // If it is in use now, it cannot have been idle for long enough before that.
            self.next_look = idle_until.min(self.ends);
            Then::GoOn
        }
    }

    /// Tells the client to go.
    fn leave(&mut self, reason: Option<IntCounter>) -> Then {
        if let Some(counter) = reason {
            counter.inc();
        }
        self.h2.graceful_shutdown();
        self.stage = Stage::Leaving;
        let drain = &self.connection.drain;
        let farewell = match drain.has_begun() {
            true => drain.patience(),
            false => FAREWELL,
        };
        self.next_look = Instant::now() + farewell;
        Then::GoOn
    }

    /// Ends what is still in flight: with its own last words where it has some, and else by a reset.
    async fn end(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while !self.streams.is_empty() {
            tokio::select! {
                accepted = HttpSession::from_h2_conn(&mut self.h2, self.digest.clone()) => match accepted {
                    Ok(Some(H2Accept::Session(mut late))) => {
                        late.shutdown_with_reason(Reason::REFUSED_STREAM);
                    }
                    Ok(Some(H2Accept::Rejected)) => {}
                    Ok(None) | Err(_) => return,
                },
                Some(_) = self.streams.join_next() => {}
                () = sleep_until(until) => break,
            }
        }
        self.streams.shutdown().await;
        // Once, so that the resets leave before the goodbye.
        {
            let next = HttpSession::from_h2_conn(&mut self.h2, self.digest.clone());
            let mut next = std::pin::pin!(next);
            poll_fn(|cx| {
                // Whatever it is: it comes too late.
                let _ = next.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
        }
        self.cut_off(Reason::NO_ERROR).await;
    }

    /// Breaks off, and says why where the client still listens.
    async fn cut_off(&mut self, reason: Reason) {
        self.h2.abrupt_shutdown(reason);
        // Whether it listens or not, this is the end.
        let _ = timeout(LAST_WORDS, poll_fn(|cx| self.h2.poll_closed(cx))).await;
    }

    /// Waits for the requests that were in flight to be accounted for; they notice that the connection is gone.
    async fn disperse(self) {
        let Multiplexed {
            h2, mut streams, ..
        } = self;
        drop(h2);
        let gone = async { while streams.join_next().await.is_some() {} };
        // Those that are left are aborted with the set.
        let _ = timeout(DISPERSAL, gone).await;
    }
}
