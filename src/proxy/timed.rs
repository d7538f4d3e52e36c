//! The client's session with a clock beside it, for exchanges over HTTP/2 upstreams, and with a memory, for requests whose
//! body is kept to be sent again.
//!
//! While the engine waits for an HTTP/2 upstream, the one thing that it waits for as well and that is not the
//! upstream's connection is the client: its next bytes, or its leaving. So the session is replaced by one of ours
//! that reads the same client, and says that it failed when the exchange's clock says so. The engine then resets
//! the upstream's stream, leaves its connection alone, and lets the exchange end as any other that failed.
//!
//! A response that has to wait before it goes on waits here as well, and for no longer than its client is there.
//!
//! The engine takes the session's place for one of a foreign protocol. It is put back before a reply is written
//! and before the exchange is recorded, so that nobody else sees it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as Foreign;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::exchange::Exchange;
use super::heads::has_begun;
use super::kept::Kept;
use crate::listener::End;
use crate::response::Code;
use crate::upstream::{Stall, Timer};

/// Where the engine's session waits for the end of its replacement.
#[derive(Default)]
pub(super) struct Seat {
    session: Mutex<Option<Box<ServerSession>>>,
    /// And what its replacement has kept.
    kept: Mutex<Option<Box<Kept>>>,
    /// A try begins that what is kept is sent in from its beginning.
    is_again: AtomicBool,
    closes: AtomicBool,
    /// How long what is written next of the response has to wait, in microseconds.
    pause: AtomicU64,
}

impl Seat {
    /// What is written next of the response has to wait for so long.
    pub(super) fn pause(&self, pause: Duration) {
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.pause.store(micros, Ordering::Relaxed);
    }

    fn take_pause(&self) -> Option<Duration> {
        match self.pause.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(Duration::from_micros(self.pause.swap(0, Ordering::Relaxed))),
        }
    }
}

/// Puts a clock beside the client's session where the attempt needs one, and a memory for the request's body where more of it
/// is kept than the engine does.
pub(super) fn seat(session: &mut Session, exchange: &mut Exchange) {
    if let Some(seat) = &exchange.seat {
        seat.is_again.store(true, Ordering::Relaxed);
        return;
    }
    let Some(attempt) = &exchange.attempt else {
        return;
    };
    let (clock, most) = (attempt.clock(), attempt.retry().body());
    if clock.is_none() && most.is_none() && exchange.kept.is_none() {
        return;
    }
    let kept = exchange.kept.take();
    let kept = kept.or_else(|| most.and_then(|most| keep(session, most)));
    if clock.is_none() && kept.is_none() {
        return;
    }
    let seat = Arc::new(Seat::default());
    seat.is_again.store(true, Ordering::Relaxed);
    let timed = Timed {
        session: Some(std::mem::replace(
            &mut session.downstream_session,
            Box::new(vacant()),
        )),
        timer: clock.map(|clock| Timer::new(clock.clone())),
        kept,
        end: exchange.end_of_call(),
        seat: seat.clone(),
    };
    *session.downstream_session = ServerSession::new_custom(Box::new(timed));
    exchange.seat = Some(seat);
}

/// The memory for a request's body, where it has one that there may be room for.
fn keep(session: &mut Session, most: usize) -> Option<Box<Kept>> {
    let client = &mut session.downstream_session;
    if client.is_body_empty() || client.is_upgrade_req() || client.retry_buffer_truncated() {
        return None;
    }
    let length = client
        .req_header()
        .headers
        .get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return None;
    }
    // Where somebody has read it before, the engine has all that has come.
    Some(Box::new(Kept::new(most, client.get_retry_buffer())))
}

/// Puts the engine's session back.
pub(super) fn unseat(session: &mut Session, exchange: &mut Exchange) {
    let Some(seat) = exchange.seat.take() else {
        return;
    };
    // Dropping the replacement leaves the session on its seat.
    *session.downstream_session = vacant();
    let kept = seat.kept.lock();
    exchange.kept = kept.unwrap_or_else(PoisonError::into_inner).take();
    let seated = seat.session.lock();
    let seated = seated.unwrap_or_else(PoisonError::into_inner).take();
    if let Some(seated) = seated {
        session.downstream_session = seated;
        if seat.closes.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
    }
}

/// Closes the client's connection after this response. The engine does not tell sessions of foreign protocols.
pub(super) fn close_after(session: &mut Session, exchange: &Exchange) {
    match &exchange.seat {
        Some(seat) => seat.closes.store(true, Ordering::Relaxed),
        None => session.set_keepalive(None),
    }
}

/// Waits. An error where the client leaves, as far as that can be seen.
pub(super) async fn wait(client: &mut ServerSession, wait: Duration) -> Result<()> {
    let mut wait = pin!(tokio::time::sleep(wait));
    // What still comes of the request is for the engine to read.
    if client.is_body_done() {
        tokio::select! {
            () = &mut wait => return Ok(()),
            left = client.read_body_or_idle(true) => {
                left.map_err(|error| error.into_down())?;
            }
        }
    }
    wait.await;
    Ok(())
}

/// Takes a session's place for a moment; nothing is asked of it.
fn vacant() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

/// The client's session, read under a clock.
struct Timed {
    /// There until it is dropped.
    session: Option<Box<ServerSession>>,
    /// Where the exchange has a clock.
    timer: Option<Timer>,
    /// Where the body is kept here, and not by the engine.
    kept: Option<Box<Kept>>,
    /// For calls of gRPC, which can be told why they end.
    end: Option<End>,
    seat: Arc<Seat>,
}

impl Drop for Timed {
    fn drop(&mut self) {
        let mut seated = self
            .seat
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *seated = self.session.take();
        let kept = self.seat.kept.lock();
        *kept.unwrap_or_else(PoisonError::into_inner) = self.kept.take();
    }
}

impl Timed {
    fn session(&self) -> &ServerSession {
        self.session.as_ref().expect("there until it is dropped")
    }

    fn session_mut(&mut self) -> &mut ServerSession {
        self.session.as_mut().expect("there until it is dropped")
    }
}

#[async_trait]
impl Foreign for Timed {
    fn req_header(&self) -> &RequestHeader {
        self.session().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session_mut().req_header_mut()
    }

    /// The client's next bytes or its leaving, or the end of the exchange's time.
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if let Some(part) = self.kept.as_ref().and_then(|kept| kept.next()) {
            return Ok(Some(part));
        }
        let session = self.session.as_mut().expect("there until it is dropped");
        let mut read = pin!(session.read_body_or_idle(no_body_expected));
        let (timer, end, kept) = (&mut self.timer, &mut self.end, &mut self.kept);
        poll_fn(|cx| {
            if let Poll::Ready(read) = read.as_mut().poll(cx) {
                if let (Ok(Some(part)), Some(kept)) = (&read, kept.as_mut()) {
                    kept.take(part);
                }
                return Poll::Ready(read);
            }
            // A status says that it is not the client that failed, though the engine heard it from there.
            let failed = |code: Code, what| {
                let status = ErrorType::HTTPStatus(code.status().as_u16());
                Poll::Ready(Error::e_explain(status, what))
            };
            if let Some(end) = end
                && end.poll(cx).is_ready()
            {
                return failed(Code::ShuttingDown, "the grace is over");
            }
            match timer {
                Some(timer) => ready!(timer.poll(cx)),
                None => return Poll::Pending,
            }
            failed(
                Code::UpstreamTimeout,
                "a deadline of the exchange has passed",
            )
        })
        .await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        if self.seat.closes.load(Ordering::Relaxed) {
            self.session_mut().set_keepalive(None);
        }
        if let Some(pause) = self.seat.take_pause() {
            // Boxed, so that responses that need not wait do not carry the size of this.
            Box::pin(wait(self.session_mut(), pause)).await?;
        }
        let is_done = self.session_mut().response_duplex_vec(tasks).await?;
        if self.kept.as_ref().is_some_and(|kept| !kept.has_more()) && has_begun(self.session_mut())
        {
            // It is never sent again, however long the client takes for the response.
            self.kept = None;
        }
        if let (Some(timer), true) = (&self.timer, is_done) {
            timer.clock().responded();
        }
        Ok(is_done)
    }

    /// Asked for before each try: where there is an upload, a way to end it from outside.
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        let has_upload = !self.session_mut().is_body_empty();
        let clock = self.timer.as_ref()?.clock();
        let stall = || Knocked(Stall::new(clock.clone()));
        has_upload.then(|| Box::new(stall()) as Box<dyn CustomMessageWrite>)
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        Some(Box::new(NoMessages))
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Ok(())
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let read = self.session_mut().read_request_body().await?;
        if let (Some(part), Some(kept)) = (&read, &mut self.kept) {
            kept.take(part);
        }
        Ok(read)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.session_mut().drain_request_body().await
    }

    async fn write_response_header(
        &mut self,
        header: Box<ResponseHeader>,
        end: bool,
    ) -> Result<()> {
        match self.session_mut() {
            ServerSession::H2(stream) => stream.write_response_header(header, end),
            ServerSession::Custom(own) => own.write_response_header(header, end).await,
            session => session.write_response_header(header).await,
        }
    }

    async fn write_response_header_ref(
        &mut self,
        header: &ResponseHeader,
        end: bool,
    ) -> Result<()> {
        self.write_response_header(Box::new(header.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.session_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session_mut().write_response_trailers(trailers).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.session().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.session().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.session().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _reason: &str) {
        self.session_mut().shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        let is_sent = |kept: &Kept| match self.seat.is_again.load(Ordering::Relaxed) {
            true => !kept.is_long(),
            false => !kept.has_more(),
        };
        self.kept.as_deref().is_none_or(is_sent) && self.session_mut().is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.session_mut().finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.session_mut().is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.session().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.session().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.session().to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {
        if self.kept.is_none() {
            self.session_mut().enable_retry_buffering();
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        match &self.kept {
            Some(kept) => kept.is_over(),
            None => self.session().retry_buffer_truncated(),
        }
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        match &self.kept {
            Some(kept) => {
                self.seat.is_again.store(false, Ordering::Relaxed);
                kept.first()
            }
            None => self.session().get_retry_buffer(),
        }
    }

    fn is_upgrade_req(&self) -> bool {
        self.session().is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.session().was_upgraded()
    }
}

pub(super) type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// The messages that a foreign protocol could have beside the body. There are none.
pub(super) struct NoMessages;

impl Stream for NoMessages {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(None)
    }
}

/// Hears the knocks of the watch of an upload.
struct Knocked(Stall);

#[async_trait]
impl CustomMessageWrite for Knocked {
    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    async fn write_custom_message(&mut self, _: Bytes) -> Result<()> {
        if self.0.is_certain() {
            return Err(Error::explain(
                ErrorType::WriteTimedout,
                "the upstream takes no more of the request",
            )
            .into_up());
        }
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}
