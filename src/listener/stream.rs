//! The client's side of a connection as the engine reads and writes it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

use super::Connection;
use super::intake::Intake;
use crate::http1::Refusal;
use crate::response::Code;

/// Small writes are gathered up to this size, so that a response's header and body leave in one packet. The
/// buffer is given back with every flush: an idle connection holds none.
const WRITE_BUFFER: usize = 8 * 1024;

/// The room that a new buffer has: for a header and a small body.
const FIRST_WRITE: usize = 2 * 1024;

/// What is read at a time while nobody knows yet what it will be.
const READ_AHEAD: usize = 512;

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket of either family.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! forward {
    ($this:expr, $transport:ident => $call:expr) => {
        match $this {
            Transport::Tcp($transport) => $call,
            Transport::Unix($transport) => $call,
        }
    };
}

impl Transport {
    /// Reads until it is clear whether the client speaks HTTP/2 by prior knowledge. `read` is what was read of it
    /// before and what has been afterwards; it must be read again. An HTTP/1.1 client is recognised at the first
    /// byte that differs from the preface.
    pub(super) async fn sniff_h2(&mut self, read: &mut Vec<u8>) -> io::Result<bool> {
        while read.len() < H2_PREFACE.len() {
            if !H2_PREFACE.starts_with(read) {
                return Ok(false);
            }
            let mut chunk = [0; H2_PREFACE.len()];
            let wanted = &mut chunk[..H2_PREFACE.len() - read.len()];
            let count = forward!(self, transport => transport.read(wanted).await)?;
            read.extend_from_slice(&wanted[..count]);
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(read.starts_with(H2_PREFACE))
    }

    /// Closing it will reset the connection. Else the kernel would go on holding what the client does not take.
    fn reset_on_close(&self) {
        if let Transport::Tcp(tcp) = self {
            // An error means that there is no connection any more.
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// How many bytes the client's system has acknowledged; 0 where nobody counts them.
    fn taken(&self) -> u64 {
        match self {
            Transport::Tcp(tcp) => {
                get_tcp_info(tcp.as_raw_fd()).map_or(0, |counts| counts.tcpi_bytes_acked)
            }
            Transport::Unix(_) => 0,
        }
    }

    /// Reads what there is, some hundred bytes of it at most.
    pub(super) async fn read_more(&mut self, read: &mut Vec<u8>) -> io::Result<usize> {
        read.reserve(READ_AHEAD);
        forward!(self, transport => transport.read_buf(read).await)
    }
}

thread_local! {
    /// A buffer that was given back: nearly every response needs one for a moment.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer for writes.
fn buffer() -> Vec<u8> {
    match SPARE.take() {
        spare if spare.capacity() > 0 => spare,
        _ => Vec::with_capacity(FIRST_WRITE),
    }
}

/// A client's connection: gathers writes, replays what was read ahead, and ends when a client keeps the gateway
/// waiting for a request beyond its deadline, or takes its response too slowly.
#[derive(Debug)]
pub(super) struct Downstream {
    transport: Transport,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    speaks_h2: bool,
    read_ahead: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Since the socket was full for the first time.
    intake: Option<Box<Intake>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Downstream {
    pub(super) fn new(transport: Transport, connection: Arc<Connection>) -> Downstream {
        // The digest's user data is the one thing of the stream that the engine shows with every request on it.
        let response = ResponseHeader::build(200, Some(0)).expect("200 is a status");
        Downstream {
            transport,
            digest: Arc::new(ProxyDigest::new(
                Box::new(response),
                Some(Box::new(connection.clone())),
            )),
            connection,
            speaks_h2: false,
            read_ahead: Vec::new(),
            out: Vec::new(),
            written: 0,
            intake: None,
            timer: None,
        }
    }

    /// Serves these bytes before what the socket has.
    pub(super) fn with_read_ahead(mut self, read_ahead: Vec<u8>) -> Downstream {
        self.read_ahead = read_ahead;
        self
    }

    /// Tells the engine that it is HTTP/2 by prior knowledge.
    pub(super) fn speaking_h2(mut self) -> Downstream {
        self.speaks_h2 = true;
        self
    }

    /// Ready where the client has kept the gateway waiting too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.connection.wait_deadline() else {
            return Poll::Pending;
        };
        // The timer is moved only when it has gone off, which is once per wait at most: a deadline moves on with
        // every request, and setting a timer for each would cost more than the look.
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if timer.deadline().into_std() > deadline {
            timer.as_mut().reset(deadline.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }

    /// Writes to the socket, and ends the connection where the client takes too little of what it is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match forward!(&mut self.transport, transport => Pin::new(transport).poll_write(cx, data)) {
            Poll::Ready(sent) => {
                if let Some(intake) = &mut self.intake {
                    let accepted = *sent.as_ref().unwrap_or(&0);
                    intake.moved(accepted, || self.transport.taken());
                }
                Poll::Ready(sent)
            }
            // Over HTTP/2, whoever watches its frames sees to that.
            Poll::Pending if self.connection.is_h2() => Poll::Pending,
            Poll::Pending => {
                let new = || Box::new(Intake::of(&self.connection));
                let intake = self.intake.get_or_insert_with(new);
                ready!(intake.poll_full(cx, || self.transport.taken()));
                self.transport.reset_on_close();
                self.connection.read_too_slowly();
                let what = "the client takes its response too slowly";
                self.connection
                    .refuse(Refusal::new(Code::ClientTooSlow, what));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// All of it was sent. An idle connection holds no memory.
    fn free_buffer(&mut self) {
        let buffer = std::mem::take(&mut self.out);
        if buffer.capacity() > 0 {
            SPARE.set(buffer);
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // Taken out, so that it can be read while the rest is written to.
        let out = std::mem::take(&mut self.out);
        let drained = self.poll_drain_of(cx, &out);
        self.out = out;
        if let Poll::Ready(Ok(())) = drained {
            self.out.clear();
            self.written = 0;
        }
        drained
    }

    fn poll_drain_of(&mut self, cx: &mut Context<'_>, out: &[u8]) -> Poll<io::Result<()>> {
        while self.written < out.len() {
            let count = ready!(self.poll_send(cx, &out[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Poll::Ready(Ok(()))
    }
}

/// What was gathered goes along if the socket takes it at once: TLS writes the alert that says why it ends a
/// connection, and does not flush it.
impl Drop for Downstream {
    fn drop(&mut self) {
        if let Some(rest @ [_, ..]) = self.out.get(self.written..) {
            // Whoever is not there to read it cannot be told.
            let _ = forward!(&self.transport, transport => transport.try_write(rest));
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.read_ahead.is_empty() {
            let count = this.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.read_ahead[..count]);
            this.read_ahead.drain(..count);
            if this.read_ahead.is_empty() {
                this.read_ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match forward!(&mut this.transport, transport => Pin::new(transport).poll_read(cx, buffer))
        {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    this.connection.received();
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                // The engine waits, so nothing more is coming for now to go along with what was gathered. (It
                // flushes a response of known length only at its end.)
                if !this.out.is_empty()
                    && let Poll::Ready(drained) = this.poll_drain(cx)
                {
                    drained?;
                    this.free_buffer();
                }
                ready!(this.poll_late(cx));
                this.connection.gave_up();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.out.len() + data.len() > WRITE_BUFFER {
            ready!(self.poll_drain(cx))?;
        }
        if data.len() >= WRITE_BUFFER {
            return self.poll_send(cx, data);
        }
        if self.out.capacity() == 0 {
            self.out = buffer();
        }
        self.out.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    /// TLS hands over all of its records at once, and the alert that ends a handshake only this once.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match self.as_mut().poll_write(cx, part) {
                Poll::Ready(Ok(written)) if written == part.len() => count += written,
                Poll::Ready(Ok(written)) => return Poll::Ready(Ok(count + written)),
                // It is met again with the next write.
                Poll::Ready(Err(_)) | Poll::Pending if count > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.free_buffer();
        forward!(&mut self.transport, transport => Pin::new(transport).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        forward!(&mut self.transport, transport => Pin::new(transport).poll_shutdown(cx))
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody left to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        forward!(&self.transport, transport => transport.as_raw_fd())
    }
}

impl Ssl for Downstream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.speaks_h2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Downstream {}
