//! Connections of HTTP/1.1 to upstreams, each with a watch that keeps its deadline.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use super::handshake::{Handshake, Secured};

/// Instants are told as microseconds since the process began to tell them, in 48 bits: nine years.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
const INSTANT_BITS: u32 = 48;
/// No deadline: a connection that waits in the pool.
const NEVER: u64 = (1 << INSTANT_BITS) - 1;

/// An open connection, decrypted.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secured>),
}

/// Both halves of a stream, whatever it is made of.
pub(super) trait Duplex:
    AsyncRead + AsyncWrite + std::fmt::Debug + Send + Sync + Unpin
{
}

impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Sync + Unpin> Duplex for T {}

/// Opens a connection and begins to watch it. The limit is for all of it, the handshake of TLS included.
pub(super) async fn open(
    address: &SocketAddr,
    tls: Option<&Handshake>,
    limit: Duration,
) -> Result<(Transport, Handle)> {
    let opening = async {
        let (transport, socket) = match tls.and_then(Handshake::for_transport) {
            None => reach(address).await?,
            Some(limit) => match tokio::time::timeout(limit, reach(address)).await {
                Ok(reached) => reached?,
                Err(_) => return Err(too_late()),
            },
        };
        let handle = Handle(Watch::start(socket));
        let transport = match (tls, transport) {
            (Some(tls), Transport::Tcp(tcp)) => Transport::Tls(tls.secure(Box::new(tcp)).await?),
            (Some(tls), Transport::Unix(unix)) => Transport::Tls(tls.secure(Box::new(unix)).await?),
            (_, transport) => transport,
        };
        Ok((transport, handle))
    };
    match tokio::time::timeout(limit, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(too_late()),
    }
}

fn too_late() -> Box<Error> {
    Error::explain(ErrorType::ConnectTimedout, "opening a connection").into_up()
}

async fn reach(address: &SocketAddr) -> Result<(Transport, Socket)> {
    match address {
        SocketAddr::Inet(address) => tcp(*address).await.map_err(refused),
        SocketAddr::Unix(address) => unix(address).await.map_err(refused),
    }
}

async fn tcp(address: std::net::SocketAddr) -> io::Result<(Transport, Socket)> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp).try_clone()?;
    Ok((Transport::Tcp(tcp), socket))
}

async fn unix(address: &std::os::unix::net::SocketAddr) -> io::Result<(Transport, Socket)> {
    let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
    let unix = UnixStream::connect(path).await?;
    let socket = SockRef::from(&unix).try_clone()?;
    Ok((Transport::Unix(unix), socket))
}

fn refused(error: io::Error) -> Box<Error> {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ErrorType::ConnectNoRoute
        }
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        _ => ErrorType::ConnectError,
    };
    Error::because(kind, "opening a connection", error).into_up()
}

/// The watch of one connection. Moving its deadline costs a compare-and-swap and a load; the task that keeps it
/// wakes only when the earliest deadline it has been told of has come.
#[derive(Debug)]
struct Watch {
    /// The turn in the upper 16 bits, the instant not to be awaited beyond in the lower 48.
    state: AtomicU64,
    /// When the task looks next.
    next_look: AtomicU64,
    has_fired: AtomicBool,
    is_closed: AtomicBool,
    wake: Notify,
}

/// One exchange's turn on a watched connection.
///
/// The engine gives a connection back before it says that the exchange is over, so the next exchange
/// may have begun its turn by the time that this one ends: what a past turn says is ignored.
#[derive(Debug)]
pub(super) struct Turn {
    watch: Arc<Watch>,
    number: u64,
    /// When it was last told how long to wait.
    told: AtomicU64,
}

impl Turn {
    /// Begins a turn on a watched connection.
    pub(super) fn begin_on(connection: &Handle) -> Turn {
        let watch = connection.0.clone();
        // Adding to the upper bits wraps by itself.
        let before = watch.state.fetch_add(1 << INSTANT_BITS, Ordering::SeqCst);
        Turn {
            watch,
            number: before.wrapping_add(1 << INSTANT_BITS) & !NEVER,
            told: AtomicU64::new(0),
        }
    }

    /// Something has moved, and what comes next may take as long as `silence`, but not beyond `end`.
    pub(super) fn wait(&self, now: Instant, silence: Duration, end: Option<Instant>) {
        let now = told(now);
        self.told.store(now, Ordering::Relaxed);
        let until = now.saturating_add(micros(silence));
        let until = end.map_or(until, |end| told(end).min(until));
        self.store(until.min(NEVER - 1));
    }

    /// When something last moved, for whoever has no clock of its own.
    pub(super) fn last_moved(&self) -> Instant {
        meant(self.told.load(Ordering::Relaxed))
    }

    /// Lifts the deadline: the exchange is over.
    pub(super) fn lift(&self) {
        self.store(NEVER);
    }

    /// Whether the connection was shut down because its deadline had passed.
    pub(super) fn has_fired(&self) -> bool {
        self.watch.has_fired.load(Ordering::Acquire)
    }

    fn store(&self, deadline: u64) {
        // Sequentially consistent, here and in `keep`: either this sees the task's next look and wakes it, or
        // the task sees this deadline when it looks again before it sleeps.
        let mine = |state: u64| (state & !NEVER == self.number).then_some(self.number | deadline);
        let stored = self
            .watch
            .state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, mine);
        if stored.is_ok() && deadline < self.watch.next_look.load(Ordering::SeqCst) {
            self.watch.wake.notify_one();
        }
    }
}

/// Lives as long as the connection; ends its watch.
#[derive(Debug)]
pub(super) struct Handle(Arc<Watch>);

impl Handle {
    /// The connection is not in use: it may wait.
    pub(super) fn rest(&self) {
        self.0.state.fetch_or(NEVER, Ordering::SeqCst);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Watch {
    fn start(socket: Socket) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            state: AtomicU64::new(NEVER),
            next_look: AtomicU64::new(NEVER),
            has_fired: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        tokio::spawn(watch.clone().keep(socket));
        watch
    }

    fn deadline(&self) -> u64 {
        self.state.load(Ordering::SeqCst) & NEVER
    }

    async fn keep(self: Arc<Self>, socket: Socket) {
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                return;
            }
            let deadline = self.deadline();
            if deadline <= told(Instant::now()) {
                self.has_fired.store(true, Ordering::Release);
                // The reader and the writer of the connection are woken by the end of file that this makes. It
                // fails only where the other side has closed already, which wakes them as well.
                let _ = socket.shutdown(std::net::Shutdown::Both);
                return;
            }
            self.next_look.store(deadline, Ordering::SeqCst);
            if self.deadline() < deadline {
                continue;
            }
            if deadline == NEVER {
                self.wake.notified().await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep_until(meant(deadline).into()) => {}
                    () = self.wake.notified() => {}
                }
            }
        }
    }
}

fn told(instant: Instant) -> u64 {
    micros(instant.saturating_duration_since(*EPOCH)).min(NEVER - 1)
}

fn micros(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(u64::from(duration.subsec_micros()))
}

fn meant(told: u64) -> Instant {
    *EPOCH + Duration::from_micros(told)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn connected() -> ((TcpStream, Handle), TcpStream, Turn) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::Inet(listener.local_addr().unwrap());
        let (opened, accepted) = tokio::join!(open(&address, None, LIMIT), listener.accept());
        let (Transport::Tcp(stream), handle) = opened.unwrap() else {
            panic!("not over TCP");
        };
        let turn = Turn::begin_on(&handle);
        ((stream, handle), accepted.unwrap().0, turn)
    }

    #[tokio::test]
    async fn a_passed_deadline_ends_a_read() {
        let ((mut stream, _handle), _peer, turn) = connected().await;
        let begin = Instant::now();
        turn.wait(begin, Duration::from_secs(600), None);
        turn.wait(begin, Duration::from_millis(40), None);
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        assert!(begin.elapsed() >= Duration::from_millis(40));
        assert!(turn.has_fired());
    }

    #[tokio::test]
    async fn a_deadline_that_moves_on_does_not_fire() {
        let ((mut stream, handle), mut peer, turn) = connected().await;
        for _ in 0..5 {
            turn.wait(Instant::now(), Duration::from_millis(200), None);
            peer.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        }
        turn.lift();
        assert!(!turn.has_fired());
        // The task must end with the connection, or every connection would leave one behind.
        drop((stream, handle));
        while Arc::strong_count(&turn.watch) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            peer.read(&mut [0; 8]).await.unwrap(),
            0,
            "the second handle is closed too"
        );
    }

    #[tokio::test]
    async fn a_refused_connection_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::Inet(listener.local_addr().unwrap());
        drop(listener);
        let error = open(&address, None, LIMIT).await.unwrap_err();
        assert_eq!(*error.etype(), ErrorType::ConnectRefused);
    }

    #[tokio::test]
    async fn a_past_turn_has_no_say() {
        let ((_stream, handle), _peer, first) = connected().await;
        let second = Turn::begin_on(&handle);
        let (now, silence) = (*EPOCH, Duration::from_secs(600));
        second.wait(now, silence, None);
        first.lift();
        assert_eq!(second.watch.deadline(), told(now + silence));
        let end = now + Duration::from_secs(60);
        second.wait(now, silence, Some(end));
        assert_eq!(second.watch.deadline(), told(end));
        second.lift();
        first.wait(now, silence, None);
        assert_eq!(second.watch.deadline(), NEVER);
    }
}
