//! The client's side of an HTTP/1.1 connection, cut into requests.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::Connection;
use super::dated::Dated;
use super::websocket::{Step, WebSocket};
use crate::http1::{Body, Chunks, Refusal, RequestHead, RequestLimits, RequestScanner};
use crate::response::Code;

/// Read at a time where the bytes cannot go to the engine at once.
const READ_BYTES: usize = 4 * 1024;
/// How long a client that is told off may go on sending before the connection is closed under it. A socket that is
/// closed with unread bytes in it resets the connection, and the client might never see why.
const LINGER: Duration = Duration::from_secs(2);

/// Gives the engine one request after the other, each exactly as long as it is, and none that breaks the rules.
///
/// A head is scanned before the engine sees any of it. One that breaks a rule is kept from the engine, which gets
/// a harmless one in its stead; the [`Connection`] then knows the [`Refusal`], and the proxy replies with it. So
/// refusals leave as every other reply does, with their ids and their line in the log.
///
/// What a client sends beyond its request is held back until the response to it is complete: requests in a
/// pipeline are answered one by one, and nothing that follows a request can be taken for a part of it.
#[derive(Debug)]
pub(super) struct Framed<S> {
    inner: S,
    connection: Arc<Connection>,
    limits: RequestLimits,
    part: Part,
    /// What was read and not yet given to the engine.
    held: BytesMut,
    /// So many of the bytes held have passed, and wait for the engine to take them.
    passed: usize,
    /// A head that is written with another date than the engine's.
    dated: Option<Box<Dated>>,
    /// Once the protocol was switched.
    websocket: Option<Box<WebSocket>>,
    /// The end of the time in which a client that was told off is heard out.
    lingers: Option<Pin<Box<Sleep>>>,
}

/// Waits until the next request's head is there whole, or has to be refused. `false` where the connection failed or
/// its time is up; where the client has closed it, the engine finds out.
///
/// Only for streams of HTTP/1.1. Whoever waits here rather than in a read holds no buffer meanwhile.
pub async fn next_request(stream: &mut Stream) -> bool {
    // A read into no room takes nothing, and is ready when another read would be.
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut [])))
        .await
        .is_ok()
}

/// What comes next.
#[derive(Debug)]
enum Part {
    Head(RequestScanner),
    Length(u64),
    Chunked(Chunks),
    /// The request is complete. The next one may begin when the response to it is.
    Over,
    /// The protocol was switched: the bytes are no longer HTTP's.
    Tunnel,
    /// A rule was broken. Nothing that comes now means anything.
    Refused,
}

impl Part {
    /// How many of the bytes held the engine may have now: none before a head is there whole, and then the head and
    /// what there is of its body.
    fn pass_held(&mut self, held: &[u8], limits: &RequestLimits) -> Result<usize, Refusal> {
        let Part::Head(scanner) = self else {
            return self.pass(held);
        };
        let Some(RequestHead { length, body }) = scanner.advance(held, limits)? else {
            return Ok(0);
        };
        let mut part = match body {
            Body::None => Part::Over,
            Body::Length(length) => Part::Length(length),
            Body::Chunked => Part::Chunked(Chunks::default()),
        };
        // Where the beginning of the body is no good, the head has not passed either.
        let passed = part.pass(&held[length..])?;
        *self = part;
        Ok(length + passed)
    }

    /// How many of these bytes belong to the request's body.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let (passed, is_over) = match self {
            Part::Length(left) => {
                let passed = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= passed as u64;
                (passed, *left == 0)
            }
            Part::Chunked(chunks) => (chunks.advance(bytes)?, chunks.is_done()),
            Part::Tunnel => (bytes.len(), false),
            Part::Head(_) | Part::Over | Part::Refused => (0, false),
        };
        if is_over {
            *self = Part::Over;
        }
        Ok(passed)
    }
}

impl<S: IO> Framed<S> {
    /// `held` was read from the stream before.
    pub(super) fn new(inner: S, connection: Arc<Connection>, held: &[u8]) -> Framed<S> {
        if !held.is_empty() {
            connection.received();
        }
        let limits = &connection.listener.limits;
        Framed {
            inner,
            limits: RequestLimits {
                target_bytes: limits.uri_bytes.as_usize(),
                field_bytes: limits.header_bytes.as_usize(),
                fields: usize::from(limits.headers.get()),
            },
            connection,
            part: Part::Head(RequestScanner::default()),
            held: BytesMut::from(held),
            passed: 0,
            dated: None,
            websocket: None,
            lingers: None,
        }
    }

    /// Keeps the request from the engine and puts a harmless one in its place.
    fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        let Part::Head(scanner) = std::mem::replace(&mut self.part, Part::Refused) else {
            // The engine is in the middle of the request: an error ends it, and the reply says why.
            self.connection.refuse(refusal);
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason));
        };
        let mut harmless = BytesMut::with_capacity(256);
        // What is known of the request is for the log. Where that is no text, the engine could not read it either.
        let part = |range: Range<usize>| self.held.get(range).filter(|part| part.is_ascii());
        let line = scanner.request_line();
        let line = line.and_then(|(method, path)| Some((part(method)?, part(path)?)));
        match line {
            Some((method, path)) if path.starts_with(b"/") => {
                harmless.extend_from_slice(method);
                harmless.extend_from_slice(b" ");
                harmless.extend_from_slice(path);
            }
            Some((method, _)) => {
                harmless.extend_from_slice(method);
                harmless.extend_from_slice(b" /");
            }
            None => harmless.extend_from_slice(b"GET /"),
        }
        harmless.extend_from_slice(b" HTTP/1.1\r\nconnection: close\r\n");
        if let Some(host) = scanner.host().and_then(part) {
            harmless.extend_from_slice(b"host: ");
            harmless.extend_from_slice(host);
            harmless.extend_from_slice(b"\r\n");
        }
        harmless.extend_from_slice(b"\r\n");
        self.passed = harmless.len();
        self.held = harmless;
        self.connection.refuse(refusal);
        Ok(())
    }

    /// Reads more of a body, or of what is no longer HTTP, straight into the engine's buffer.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        match self.part.pass(read) {
            Ok(passed) => {
                if let Some(websocket) = &mut self.websocket {
                    websocket.received(read);
                }
                self.held.extend_from_slice(&read[passed..]);
                buffer.set_filled(before + passed);
                Poll::Ready(Ok(()))
            }
            Err(refusal) => {
                buffer.set_filled(before);
                Poll::Ready(self.refuse(refusal))
            }
        }
    }

    /// Waits until a whole head may pass. `false` where the connection has ended before.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            // The scanner wants the whole head each time, and takes up where it stopped.
            let passed = match self.held.is_empty() {
                true => Ok(0),
                false => self.part.pass_held(&self.held, &self.limits),
            };
            match passed {
                Ok(0) => {}
                Ok(passed) => {
                    self.passed = passed;
                    return Poll::Ready(Ok(true));
                }
                Err(refusal) => return Poll::Ready(self.refuse(refusal).map(|()| true)),
            }
            match ready!(self.poll_more(cx)) {
                Ok(0) => return Poll::Ready(Ok(false)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && self.has_begun() => {
                    let late = Refusal::new(Code::RequestTimeout, "the head did not end in time");
                    return Poll::Ready(self.refuse(late).map(|()| true));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether there is any of a head. Old clients send an empty line after a body, which begins nothing.
    fn has_begun(&self) -> bool {
        !matches!(&*self.held, b"" | b"\r" | b"\r\n")
    }

    /// Reads some more into what is held, and gives how much.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Not zeroed first: that would cost more than all else that is done here for a request.
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        if self.held.is_empty() {
            self.held = BytesMut::from(read.filled());
        } else {
            self.held.extend_from_slice(read.filled());
        }
        Poll::Ready(Ok(read.filled().len()))
    }

    /// The request is complete and the engine reads on: for the next one, for the end of the connection, or
    /// because the protocol was switched. Ready where it has come to one of these.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.connection.is_switched() {
            self.part = Part::Tunnel;
            self.websocket.get_or_insert_default();
            return Poll::Ready(Ok(true));
        }
        if !self.connection.is_busy() {
            self.part = Part::Head(RequestScanner::default());
            if !self.held.is_empty() {
                self.connection.received();
            }
            return Poll::Ready(Ok(true));
        }
        if !self.held.is_empty() {
            // It can wait for its turn. Nothing wakes this up, because the engine asks again for the next request.
            return Poll::Pending;
        }
        match ready!(self.poll_more(cx))? {
            0 => Poll::Ready(Ok(false)),
            _ => Poll::Pending,
        }
    }
}

impl<S: IO> Framed<S> {
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self;
        loop {
            if this.passed > 0 {
                let count = this.passed.min(buffer.remaining());
                buffer.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.passed -= count;
                if this.held.is_empty() {
                    // An idle connection holds no memory.
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let goes_on = match this.part {
                Part::Refused => return Poll::Pending,
                Part::Over => ready!(this.poll_over(cx))?,
                Part::Head(_) => ready!(this.poll_head(cx))?,
                // Sent right behind the request to switch, before the answer was known.
                Part::Tunnel if !this.held.is_empty() => {
                    let websocket = this.websocket.get_or_insert_default();
                    websocket.received(&this.held);
                    this.passed = this.held.len();
                    true
                }
                _ => return this.poll_body(cx, buffer),
            };
            if !goes_on {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The grace is over, and the client has nothing to say that the engine would wait for.
    fn poll_end(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(websocket) = &mut self.websocket else {
            if self.connection.is_busy() {
                let over = Refusal::new(Code::ShuttingDown, "the grace is over");
                self.connection.refuse(over);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        loop {
            match websocket.end(cx) {
                Step::Send(bytes) => {
                    let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
                    match sent {
                        Ok(count @ 1..) => websocket.took(count),
                        // Nobody is there to be told.
                        _ => return Poll::Ready(Ok(())),
                    }
                }
                Step::Tell(bytes) => {
                    // Into a buffer with less room there is nothing to tell.
                    if buffer.remaining() >= bytes.len() {
                        buffer.put_slice(&bytes);
                    }
                    return Poll::Ready(Ok(()));
                }
                Step::Wait => {
                    // An error shows as the end of what the client sends.
                    let _ = Pin::new(&mut self.inner).poll_flush(cx);
                    return Poll::Pending;
                }
                Step::Close => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: IO> Framed<S> {
    /// Writes what the engine says of a response.
    fn poll_response(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(date) = self.connection.dating.take() {
            self.dated = Dated::new(data, date).map(Box::new);
        }
        let Some(dated) = &mut self.dated else {
            return Pin::new(&mut self.inner).poll_write(cx, data);
        };
        // What the engine could not write it writes again.
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, dated.rest(data.len())))?;
        if dated.took(sent) {
            self.dated = None;
        }
        Poll::Ready(Ok(sent))
    }
}

impl<S: IO> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.poll_request(cx, buffer) {
            Poll::Pending if self.connection.drain.is_over() => self.poll_end(cx, buffer),
            read => read,
        }
    }
}

impl<S: IO> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.connection.is_switched() {
            return this.poll_response(cx, data);
        }
        let websocket = this.websocket.get_or_insert_default();
        match websocket.admit(data) {
            // The client has been told that nothing more comes.
            0 => Poll::Ready(Ok(data.len())),
            count => {
                let sent = ready!(Pin::new(&mut this.inner).poll_write(cx, &data[..count]))?;
                websocket.sent(&data[..sent]);
                Poll::Ready(Ok(sent))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Says that nothing more comes, and hears out a client that is still sending. The engine closes by this, and
    /// never by [`Shutdown`].
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let end = match &mut this.lingers {
            Some(end) => end,
            none => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                let is_all_read = matches!(this.part, Part::Over | Part::Tunnel);
                if is_all_read && this.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.held = BytesMut::new();
                none.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        // Before the reads: a client that never pauses takes up all that a task may do in one go.
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            let mut read = ReadBuf::uninit(&mut bytes);
            let result = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read));
            if result.is_err() || read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[async_trait]
impl<S: IO> Shutdown for Framed<S> {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody left to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S: IO> UniqueID for Framed<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: IO> Ssl for Framed<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: IO> GetTimingDigest for Framed<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl<S: IO> GetProxyDigest for Framed<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<S: IO> GetSocketDigest for Framed<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl<S: IO> Peek for Framed<S> {}
