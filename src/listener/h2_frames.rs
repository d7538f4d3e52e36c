//! A watch over the frames of one HTTP/2 connection.
//!
//! What reads HTTP/2 bounds what one request or one header may cost. It does not bound how often a client may begin
//! and take back a request, or send what asks for an answer and for nothing else (CVE-2023-44487 rapid reset,
//! CVE-2019-9512 ping flood, CVE-2019-9515 settings flood and their kin): each is a few bytes for the client and
//! work for the gateway. So the heads of the frames are counted as they come in, above TLS and before anything looks
//! at them, and a client that spends more than a client needs is cut off. Payloads are skipped by their length.
//!
//! What is written is watched for its time: it must go on, or the client does not take what it asked for.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::allowance::Allowance;
use super::h2_heads::{Head, Heads};
use super::{Limits, Listener};

/// Seconds over which the listener's limits per second are averaged.
const AVERAGED_OVER: u32 = 10;
/// For each part of a body that a client is sent, it may send so many frames more: it has to open two windows again,
/// and may measure the way with a ping and say that it found it wider. What answers its own pings and settings entitles
/// it to nothing.
const FRAMES_PER_PART: u32 = 4;
/// A client that takes less than this in the time that it has is too slow.
const LEAST_TAKEN: usize = 4 * 1024;

/// Why a client was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Its first frame is not that of HTTP/2.
    Protocol,
    /// More resets or control frames than a client needs.
    Flood,
    /// It does not take what it is sent.
    SlowRead,
}

/// Tells whoever serves the connection. It is raised while the connection is being read or written, and does not
/// wake anybody: look at it after that.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<AtomicU8>);

impl Alarm {
    pub fn offence(&self) -> Option<Offence> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Offence::Protocol),
            2 => Some(Offence::Flood),
            _ => Some(Offence::SlowRead),
        }
    }

    fn raise(&self, offence: Offence) {
        let told = match offence {
            Offence::Protocol => 1,
            Offence::Flood => 2,
            Offence::SlowRead => 3,
        };
        self.0.store(told, Ordering::Relaxed);
    }
}

/// Watches a connection that is about to speak HTTP/2, its preface included. Once the alarm is raised nothing more is
/// read, so that the client can still be told why.
pub fn watch_frames(stream: Stream, listener: &Listener) -> (Stream, Alarm) {
    let alarm = Alarm::default();
    let watched = Watched {
        stream,
        received: Heads::after_preface(),
        sent: Heads::at_once(),
        has_begun: false,
        budget: Budget::new(&listener.limits),
        slowness: Slowness::new(listener.timeouts.request_body_idle.as_std()),
        alarm: alarm.clone(),
    };
    (Box::new(watched), alarm)
}

struct Watched {
    stream: Stream,
    received: Heads,
    sent: Heads,
    /// Whether the first frame has come.
    has_begun: bool,
    budget: Budget,
    slowness: Slowness,
    alarm: Alarm,
}

/// What a client may send beside its requests.
struct Budget {
    resets: Allowance,
    control: Allowance,
}

impl Budget {
    fn new(limits: &Limits) -> Budget {
        let averaged = |per_second: std::num::NonZeroU32| {
            let per_second = per_second.get();
            Allowance::new(per_second.saturating_mul(AVERAGED_OVER), per_second)
        };
        Budget {
            resets: averaged(limits.stream_resets_per_second),
            control: averaged(limits.control_frames_per_second),
        }
    }

    /// False where the client has spent it.
    fn allows(&mut self, head: Head) -> bool {
        if head.is_reset() {
            self.resets.take()
        } else if head.carries_nothing() {
            self.control.take()
        } else {
            true
        }
    }
}

/// How long a client has not taken anything.
struct Slowness {
    limit: Duration,
    /// When it must have taken enough; `None` while nothing is waiting for it.
    deadline: Option<Instant>,
    taken: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Slowness {
    fn new(limit: Duration) -> Slowness {
        Slowness {
            limit,
            deadline: None,
            taken: 0,
            timer: None,
        }
    }

    fn took(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= LEAST_TAKEN {
            self.took_all();
        }
    }

    fn took_all(&mut self) {
        self.deadline = None;
        self.taken = 0;
    }

    /// Something waits to be taken. Ready where it has waited too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
        let sleep = || Box::pin(tokio::time::sleep_until(deadline.into()));
        let timer = self.timer.get_or_insert_with(sleep);
        // It is moved only when it has gone off: a client that is merely slower than the gateway makes it wait often.
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}

impl Watched {
    /// What is to be said of a write that cannot go on for now.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.slowness.poll_late(cx));
        self.alarm.raise(Offence::SlowRead);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.alarm.offence().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let mut read = &buffer.filled()[before..];
        while let Some(head) = this.received.next(&mut read) {
            let offence = if !this.has_begun && !head.begins_connection() {
                Offence::Protocol
            } else if !this.budget.allows(head) {
                Offence::Flood
            } else {
                this.has_begun = true;
                continue;
            };
            this.alarm.raise(offence);
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_write(cx, data) {
            Poll::Ready(Ok(count)) => {
                this.slowness.took(count);
                let mut written = data.get(..count).unwrap_or_default();
                while let Some(head) = this.sent.next(&mut written) {
                    if head.carries_body() {
                        this.budget.control.give_back(FRAMES_PER_PART);
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => this.poll_stalled(cx).map(Err),
            failed => failed,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.slowness.took_all();
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
            failed => failed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.poll_stalled(cx).map(Err),
            done => done,
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.stream).finish()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Watched {}
