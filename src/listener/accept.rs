//! The accept loop.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::{ALPN, Ssl, Stream};
use tokio::net::UnixStream;

use super::bind::BACKLOG;
use super::caps::{Handshake, OpenConnections, Place, Refusal};
use super::connection::peer_ip;
use super::framed::Framed;
use super::proxy_protocol::{self, Parsed};
use super::stream::{Downstream, Transport};
use super::{Connection, Drain, Listener, ProxyProtocol, Socket};

/// After the process or the system ran out of descriptors: how long until the next try.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// At the end, how many connections are taken before others have their turn.
const ACCEPTED_AT_A_TIME: i32 = 64;
/// Accept errors are logged this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What serves the connections that come in.
#[async_trait]
pub trait Serve: Send + Sync + 'static {
    /// Serves one connection until it is closed, or its listener drains and nothing on it is in flight. It is polled
    /// when the stage of the drain changes.
    async fn serve(&self, stream: Stream, connection: Arc<Connection>);
}

/// Accepts until the listener drains, and then, as the last holder of its socket, what the kernel has accepted by that
/// time: it would be reset with the socket. Connections are served by tasks of their own and outlive the loop; each of them holds an `open`.
pub async fn accept(
    socket: Arc<Socket>,
    listener: Arc<Listener>,
    server: Arc<dyn Serve>,
    open: OpenConnections,
    drain: Arc<Drain>,
) {
    let door = Door {
        listener,
        server,
        open,
        drain,
    };
    let mut last_logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.drain.begun() => break,
            accepted = accept_one(&socket) => accepted,
        };
        match accepted {
            Ok((transport, peer)) => door.let_in(transport, peer),
            Err(error) => {
                if last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    log::error!("listener {}: cannot accept: {error}", door.listener.name);
                    last_logged = Some(Instant::now());
                }
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    // Where the socket is somebody else's as well, those who wait there are theirs.
    if Arc::strong_count(&socket) > 1 {
        return;
    }
    for accepted in 0..BACKLOG {
        let Some(Ok((transport, peer))) = accept_now(&socket).await else {
            return;
        };
        door.let_in(transport, peer);
        if accepted % ACCEPTED_AT_A_TIME == ACCEPTED_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Connects to a listener from within the process: the client's end of a connection that goes the way of every other,
/// but for the socket, the caps of its address and the PROXY header. It needs a runtime.
pub fn connect(
    listener: &Arc<Listener>,
    server: Arc<dyn Serve>,
    open: OpenConnections,
    drain: Arc<Drain>,
) -> io::Result<UnixStream> {
    let (client, ours) = UnixStream::pair()?;
    let door = Door {
        listener: listener.clone(),
        server,
        open,
        drain,
    };
    let arrival = Arrival::own(&door, Transport::Unix(ours));
    let arrival = arrival.map_err(|_| io::Error::other("it is full"))?;
    door.serve(arrival);
    Ok(client)
}

/// What connections come in through.
struct Door {
    listener: Arc<Listener>,
    server: Arc<dyn Serve>,
    open: OpenConnections,
    drain: Arc<Drain>,
}

impl Door {
    fn let_in(&self, transport: Transport, peer: Option<SocketAddr>) {
        self.listener.metrics.connections_total.inc();
        // Dropping is the cheapest refusal: no handshake, no page, one descriptor back.
        let arrival = match Arrival::admit(self, transport, peer) {
            Ok(arrival) => arrival,
            Err(refusal) => return self.listener.refuse(refusal),
        };
        self.serve(arrival);
    }

    fn serve(&self, arrival: Arrival) {
        let (server, drain) = (self.server.clone(), self.drain.clone());
        tokio::spawn(drain.clone().run(async move {
            let mut silence = drain.silence();
            let established = tokio::select! {
                biased;
                // Boxed, so that a connection does not carry the size of a handshake for the rest of its life.
                established = Box::pin(arrival.establish()) => established,
                // Nothing has been asked for yet, so nothing is lost.
                () = poll_fn(|cx| silence.poll(cx)) => return,
            };
            if let Some((stream, connection)) = established {
                server.serve(stream, connection).await;
            }
        }));
    }
}

/// The next connection, if there is one already.
async fn accept_now(socket: &Socket) -> Option<io::Result<(Transport, Option<SocketAddr>)>> {
    // Unconstrained, because a task that has used up its turn is told that there is none.
    let mut accepted = pin!(tokio::task::unconstrained(accept_one(socket)));
    poll_fn(|cx| match accepted.as_mut().poll(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn accept_one(socket: &Socket) -> io::Result<(Transport, Option<SocketAddr>)> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            // Responses are written whole; waiting for more would only add a round trip.
            stream.set_nodelay(true)?;
            Ok((Transport::Tcp(stream), Some(peer)))
        }
        Socket::Unix(listener) => Ok((Transport::Unix(listener.accept().await?.0), None)),
    }
}

/// A connection that may stay, and is being set up.
struct Arrival {
    transport: Transport,
    peer: Option<SocketAddr>,
    place: Place,
    /// Whether a PROXY header comes first, or may come.
    awaits_header: bool,
    drain: Arc<Drain>,
    handshake: Option<Handshake>,
    /// What was read beyond what was looked for, and has to be read again.
    read_ahead: Vec<u8>,
}

/// Why a connection ends before it is served: counted, or `None` where a client just left.
type Dismissal = Option<Refusal>;

impl Arrival {
    /// Counts it. What needs no more than the peer's address is decided here, before anything is spent on it.
    fn admit(
        door: &Door,
        transport: Transport,
        peer: Option<SocketAddr>,
    ) -> Result<Arrival, Refusal> {
        let listener = &door.listener;
        let mut place = Place::take(listener, &door.open)?;
        let is_trusted = listener.trusts(peer_ip(peer));
        if listener.proxy_protocol == ProxyProtocol::Required && !is_trusted {
            return Err(Refusal::ProxyProtocol);
        }
        let awaits_header = listener.proxy_protocol != ProxyProtocol::Off && is_trusted;
        if !awaits_header {
            place.count_for(peer.map(|peer| peer.ip()))?;
        }
        let handshake = if awaits_header || listener.is_tls() {
            Some(place.begin_handshake()?)
        } else {
            None
        };
        Ok(Arrival {
            transport,
            peer,
            place,
            awaits_header,
            drain: door.drain.clone(),
            handshake,
            read_ahead: Vec::new(),
        })
    }

    /// One of the process's own, which is let in as nobody's.
    fn own(door: &Door, transport: Transport) -> Result<Arrival, Refusal> {
        let place = Place::take(&door.listener, &door.open)?;
        let handshake = match door.listener.is_tls() {
            true => Some(place.begin_handshake()?),
            false => None,
        };
        Ok(Arrival {
            transport,
            peer: None,
            place,
            awaits_header: false,
            drain: door.drain.clone(),
            handshake,
            read_ahead: Vec::new(),
        })
    }

    /// Goes on until there is a stream that the engine can serve; `None` where the client was refused or left.
    async fn establish(self) -> Option<(Stream, Arc<Connection>)> {
        let listener = self.place.listener().clone();
        let timeouts = &listener.timeouts;
        let limit = match listener.is_tls() {
            true => timeouts.tls_handshake,
            false => timeouts.request_header,
        };
        let deadline = Instant::now() + limit.as_std();
        let set_up = tokio::time::timeout_at(deadline.into(), self.set_up(deadline));
        let dismissal = match set_up.await {
            Ok(Ok(established)) => return Some(established),
            Ok(Err(dismissal)) => dismissal,
            Err(_) => Some(Refusal::Timeout),
        };
        if let Some(refusal) = dismissal {
            listener.refuse(refusal);
        }
        None
    }

    async fn set_up(mut self, deadline: Instant) -> Result<(Stream, Arc<Connection>), Dismissal> {
        let listener = self.place.listener().clone();
        if self.awaits_header {
            self.read_proxy_header(listener.proxy_protocol).await?;
        }
        let Some(tls) = &listener.tls else {
            return self.serve_plain(deadline).await;
        };
        let connection = Connection::new(self.place, self.peer, self.drain);
        let stream = Downstream::new(self.transport, connection.clone());
        let stream = stream.with_read_ahead(self.read_ahead);
        let (stream, settled) = tls.handshake(stream).await.ok_or(Refusal::TlsHandshake)?;
        let is_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        if !is_h2 && !listener.allows_http1 {
            // A client that names no protocol speaks HTTP/1.1.
            return Err(Some(Refusal::TlsHandshake));
        }
        connection.settle(settled);
        let deadline = Instant::now() + listener.timeouts.request_header.as_std();
        connection.await_requests(is_h2, deadline);
        drop(self.handshake);
        let stream: Stream = match is_h2 {
            true => Box::new(stream),
            false => Box::new(Framed::new(stream, connection.clone(), &[])),
        };
        Ok((stream, connection))
    }

    async fn serve_plain(
        mut self,
        deadline: Instant,
    ) -> Result<(Stream, Arc<Connection>), Dismissal> {
        let listener = self.place.listener().clone();
        // There is no handshake in clear text, only a header before.
        drop(self.handshake.take());
        let mut speaks_h2 = false;
        if listener.allows_h2 {
            let sniffed = self.transport.sniff_h2(&mut self.read_ahead).await;
            speaks_h2 = sniffed.map_err(|_| None)?;
            // A client that leaves without a word is no error.
            if self.read_ahead.is_empty() {
                return Err(None);
            }
        }
        if !speaks_h2 && !listener.allows_http1 {
            return Err(None);
        }
        let connection = Connection::new(self.place, self.peer, self.drain);
        connection.await_requests(speaks_h2, deadline);
        let stream = Downstream::new(self.transport, connection.clone());
        let stream: Stream = match speaks_h2 {
            true => Box::new(stream.with_read_ahead(self.read_ahead).speaking_h2()),
            false => Box::new(Framed::new(stream, connection.clone(), &self.read_ahead)),
        };
        Ok((stream, connection))
    }

    /// Reads what a trusted proxy says of the connection, and counts it for the address that it says.
    async fn read_proxy_header(&mut self, expected: ProxyProtocol) -> Result<(), Dismissal> {
        let source = loop {
            match proxy_protocol::parse(&self.read_ahead) {
                Parsed::Header { source, length } => {
                    self.read_ahead.drain(..length);
                    break source;
                }
                Parsed::Absent if expected == ProxyProtocol::Optional => break None,
                Parsed::Absent => return Err(Some(Refusal::ProxyProtocol)),
                Parsed::Malformed(what) => {
                    log::debug!("PROXY header of {:?}: {what}", self.peer);
                    return Err(Some(Refusal::ProxyProtocol));
                }
                Parsed::Partial => {}
            }
            match self.transport.read_more(&mut self.read_ahead).await {
                Ok(1..) => {}
                // Load balancers look in to see whether somebody is there.
                Ok(0) if self.read_ahead.is_empty() => return Err(None),
                Ok(0) => return Err(Some(Refusal::ProxyProtocol)),
                Err(_) => return Err(None),
            }
        };
        self.peer = source.or(self.peer);
        let address = self.peer.map(|peer| peer.ip());
        Ok(self.place.count_for(address)?)
    }
}
