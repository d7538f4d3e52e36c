//! A connection as it is lent to the engine for one exchange, which lets pass what is exactly a response.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;

use super::connect::{Duplex, Handle, Transport, Turn};
use super::dial::Call;
use super::handshake::Secured;
use super::hedge::{Hedge, Second};
use super::spares::Spares;
use crate::http1::{Chunks, Refusal, ResponseBody, ResponseScanner};

/// Writes of at most so many bytes wait for the next: the engine writes the size of a chunk, its data and its end
/// each by itself, and flushes after them.
const TINY: usize = 16;

/// An open connection with its watch.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    watch: Handle,
}

impl Wire {
    pub(super) fn new(transport: Transport, watch: Handle) -> Wire {
        Wire { transport, watch }
    }

    pub(super) fn watch(&self) -> &Handle {
        &self.watch
    }

    pub(super) fn stream(&mut self) -> &mut dyn Duplex {
        match &mut self.transport {
            Transport::Tcp(tcp) => tcp,
            Transport::Unix(unix) => unix,
            Transport::Tls(tls) => &mut **tls,
        }
    }

    /// Whether the other side has neither said anything nor closed, as it should while nobody asks it anything.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match &mut self.transport {
            Transport::Tcp(tcp) => tcp.try_read(&mut byte),
            Transport::Unix(unix) => unix.try_read(&mut byte),
            Transport::Tls(tls) => return is_quiet(tls),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether all that was written has left: TLS holds back what the socket has no room for.
    fn is_written(&self) -> bool {
        match &self.transport {
            Transport::Tls(tls) => !tls.get_ref().1.wants_write(),
            Transport::Tcp(_) | Transport::Unix(_) => true,
        }
    }
}

/// A connection in the hands of the engine. It goes back to the spares where the response was all that came.
#[derive(Debug)]
pub(super) struct Lent {
    /// There until it is dropped.
    wire: Option<Wire>,
    spares: Arc<Spares>,
    call: Arc<Call>,
    /// Where another endpoint may be asked as well, until one has answered.
    hedge: Option<Box<Hedge>>,
    part: Part,
    /// What has come of a head that is not complete.
    head: Vec<u8>,
    /// Whether the request has begun to be written, and whether it is one by HEAD.
    has_asked: bool,
    is_head: bool,
    out: Vec<u8>,
    /// What has come of a switch of protocols and the engine has not been given yet.
    switch: Switch,
    /// Whether something came behind the response, or the engine has closed its side.
    is_spoilt: bool,
    /// Whether the engine has asked after the end, which it does where it would keep the connection.
    is_returned: bool,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    Head(ResponseScanner),
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Done,
}

/// A switch of protocols, which the engine must not hear of before it has passed on that the request is over: it would
/// take that for the end of what follows the switch. It has that at hand whenever it reads, so that to be told of it
/// at the next opportunity is late enough.
#[derive(Debug, Default)]
enum Switch {
    #[default]
    None,
    Held(Vec<u8>),
    Told,
}

impl Lent {
    pub(super) fn new(
        wire: Wire,
        spares: Arc<Spares>,
        call: Arc<Call>,
        hedge: Option<Box<Hedge>>,
    ) -> Lent {
        Lent {
            wire: Some(wire),
            spares,
            call,
            hedge,
            part: Part::Head(ResponseScanner::default()),
            head: Vec::new(),
            has_asked: false,
            is_head: false,
            out: Vec::new(),
            switch: Switch::None,
            is_spoilt: false,
            is_returned: false,
        }
    }

    /// Looks at what was read, and gives how much of it belongs to the response.
    fn check(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.part {
                Part::Head(scanner) => {
                    let before = self.head.len();
                    let found = if before == 0 {
                        scanner.advance(rest, self.is_head)?
                    } else {
                        self.head.extend_from_slice(rest);
                        scanner.advance(&self.head, self.is_head)?
                    };
                    let Some(head) = found else {
                        if before == 0 {
                            self.head.extend_from_slice(rest);
                        }
                        return Ok(bytes.len());
                    };
                    at += head.length - before;
                    self.head = Vec::new();
                    self.part = match head.body {
                        ResponseBody::None => Part::Done,
                        ResponseBody::Length(length) => Part::Length(length),
                        ResponseBody::Chunked => Part::Chunked(Chunks::default()),
                        ResponseBody::UntilClose => {
                            self.call.ends_with_connection();
                            Part::UntilClose
                        }
                        ResponseBody::Protocol => {
                            self.switch = Switch::Held(Vec::new());
                            Part::UntilClose
                        }
                        ResponseBody::Response => Part::Head(ResponseScanner::default()),
                    };
                }
                Part::Length(left) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |it| it.min(rest.len()));
                    *left -= taken as u64;
                    at += taken;
                    if *left == 0 {
                        self.part = Part::Done;
                    }
                }
                Part::Chunked(chunks) => {
                    at += chunks.advance(rest)?;
                    if chunks.is_done() {
                        self.part = Part::Done;
                    }
                }
                Part::UntilClose => return Ok(bytes.len()),
                Part::Done => break,
            }
        }
        Ok(at)
    }

    /// Reads some, and no more than is wanted at a time, of whoever answers.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut hedge) = self.hedge.take() else {
            return self.poll_wire(cx, buffer);
        };
        loop {
            if let Some(is_all) = hedge.read(buffer) {
                self.hedge = Some(hedge).filter(|_| !is_all);
                return Poll::Ready(Ok(()));
            }
            if hedge.has_first() {
                let before = buffer.filled().len();
                match self.poll_wire(cx, buffer) {
                    Poll::Pending => {}
                    Poll::Ready(end) if hedge.is_running() && buffer.filled().len() == before => {
                        hedge.first_ended(end);
                    }
                    // It has answered, or nobody else will.
                    ready => return ready,
                }
            }
            match hedge.poll(cx, &self.call) {
                Poll::Pending => {
                    self.hedge = Some(hedge);
                    return Poll::Pending;
                }
                Poll::Ready(Some(second)) => self.change_to(second, &mut hedge),
                // The first one is left, which this is waked by, unless it is gone as well.
                Poll::Ready(None) => {
                    return hedge.into_end_of_first().map_or(Poll::Pending, Poll::Ready);
                }
            }
        }
    }

    /// The second endpoint has answered first. What becomes of the request at the first one is its own business: with its
    /// connection it is told that nobody waits for it.
    fn change_to(&mut self, second: Second, hedge: &mut Hedge) {
        let Second {
            wire,
            spares,
            first_part,
            mut won,
        } = second;
        won.is_first_gone = !hedge.has_first();
        hedge.hear(first_part);
        self.call.won(won);
        self.wire = Some(wire);
        self.spares = spares;
    }

    fn poll_wire(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What follows a switch is no response.
        let is_response = matches!(self.switch, Switch::None);
        let Some(largest) = self.call.largest_part().filter(|_| is_response) else {
            return transport(&mut self.wire, |it| it.poll_read(cx, buffer));
        };
        let most = largest.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(transport(&mut self.wire, |it| it.poll_read(cx, &mut part)))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.len() <= TINY && self.out.len() <= 2 * TINY {
            self.out.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        loop {
            let held = self.out.len();
            if held == 0 {
                return transport(&mut self.wire, |it| it.poll_write(cx, data));
            }
            let both = [IoSlice::new(&self.out), IoSlice::new(data)];
            let written =
                ready!(transport(&mut self.wire, |it| it.poll_write_vectored(cx, &both)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..written.min(held));
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(transport(&mut self.wire, |it| it.poll_write(cx, &self.out)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(refusal) = this.call.refusal() {
            return Poll::Ready(Err(refused(refusal)));
        }
        if let Part::Done = this.part {
            // The engine reads nothing behind a response, but to see whether it may keep the connection. It may not.
            this.is_returned = true;
            return Poll::Ready(Ok(()));
        }
        if let Switch::Held(held) = &mut this.switch {
            let count = held.len().min(buffer.remaining());
            buffer.put_slice(&held[..count]);
            held.drain(..count);
            if held.is_empty() {
                this.switch = Switch::Told;
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match this.poll_fill(cx, buffer) {
            Poll::Ready(result) => result?,
            Poll::Pending => {
                // The engine waits, so nothing more is coming for now. An error shows at the next write.
                let _ = Pin::new(this).poll_flush(cx);
                return Poll::Pending;
            }
        }
        let end = buffer.filled().len();
        match this.check(&buffer.filled()[before..]) {
            Ok(taken) => {
                this.is_spoilt |= before + taken < end;
                if let Switch::Held(held) = &mut this.switch {
                    held.extend_from_slice(&buffer.filled()[before..before + taken]);
                    buffer.set_filled(before);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                buffer.set_filled(before + taken);
                Poll::Ready(Ok(()))
            }
            Err(refusal) => {
                buffer.set_filled(before);
                this.call.refuse(refusal);
                Poll::Ready(Err(refused(refusal)))
            }
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.has_asked {
            this.has_asked = true;
            this.is_head = data.starts_with(b"HEAD ");
        }
        let sent = this.poll_send(cx, data);
        if let (Poll::Ready(Ok(count)), Some(hedge)) = (&sent, &mut this.hedge) {
            hedge.note(&data[..*count]);
        }
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        transport(&mut self.wire, |it| it.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_spoilt = true;
        ready!(self.poll_drain(cx))?;
        transport(&mut self.wire, |it| it.poll_shutdown(cx))
    }
}

impl VirtualSocket for Lent {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        // What there is to set was set when the connection was opened.
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let is_over = matches!(self.part, Part::Done) && self.is_returned;
        if let Some(wire) = self.wire.take()
            && is_over
            && !self.is_spoilt
            && self.out.is_empty()
            && wire.is_written()
        {
            wire.watch.rest();
            let moved = self.call.turn().map(Turn::last_moved);
            self.spares.put(wire, moved.unwrap_or_else(Instant::now));
        }
    }
}

/// Whether there is nothing to read. What is TLS's own, such as a ticket to resume the session with, is taken in.
fn is_quiet(tls: &mut Secured) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    let read = Pin::new(tls).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
    // A task that has used up its turn is told to wait, whatever there is.
    read.is_pending() && has_budget_remaining()
}

fn transport<T>(
    wire: &mut Option<Wire>,
    call: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    match wire {
        Some(wire) => call(Pin::new(wire.stream())),
        None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
    }
}

fn refused(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, refusal.reason)
}
