//! Making connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value, cmd};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::StoreError;
use crate::text::EndpointAddress;

/// What is silent for so long is asked whether it lives, and given up when it does not say so.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// What was sent and nobody has acknowledged after so long is lost.
const LOST: Duration = Duration::from_secs(10);
/// Commands that wait to be written. More of them wait before that, each for no longer than its deadline.
const QUEUE: usize = 1024;

/// Connects to the servers of one store: who says it is, and how TLS is done.
#[derive(Clone)]
pub(super) struct Dialer {
    settings: RedisConnectionInfo,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// A connection that any number of commands are under way on at once. It ends with its last clone.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    line: Arc<Line>,
}

/// What the clones of a link have in common.
struct Line {
    /// What reads and writes, also where the server takes nothing any more and would never let it end.
    driver: AbortHandle,
    /// Whether somebody is finding out whether the server is still there.
    is_probed: AtomicBool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Without a deadline of its own.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        command.query_async(&mut self.connection.clone()).await
    }

    /// Sends it as one that is meant for this server although another one has the slot, for this once.
    pub(super) async fn send_asking(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut pipeline = redis::Pipeline::with_capacity(2);
        pipeline.cmd("ASKING").ignore();
        pipeline.add_command(command.clone());
        // What is wrong with one of several would be told without what it says.
        pipeline.ignore_errors();
        let answers = pipeline.query_async(&mut self.connection.clone()).await;
        let mut answers: Vec<Result<Value, RedisError>> = answers?;
        answers.pop().unwrap_or(Ok(Value::Nil))
    }

    /// Whether nothing is sent over it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.line.driver.is_finished()
    }

    /// Whether the server says something within the time. Answers come in order: so everything has come that was asked
    /// before. Of those who want to know it at the same time only the first asks; the others are told yes.
    pub(super) async fn is_alive(&self, patience: Duration) -> bool {
        if self.line.is_probed.swap(true, Ordering::AcqRel) {
            return true;
        }
        let answer = timeout(patience, self.send(&cmd("PING"))).await;
        self.line.is_probed.store(false, Ordering::Release);
        answer.is_ok()
    }
}

impl Dialer {
    pub(super) fn new(
        settings: RedisConnectionInfo,
        tls: Option<TlsConnector>,
        timeout: Duration,
    ) -> Dialer {
        Dialer {
            settings: settings.set_lib_name("northgate", env!("CARGO_PKG_VERSION")),
            tls,
            timeout,
        }
    }

    /// For a whole command, and so for a connection.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection over which the server has said that it serves.
    pub(super) async fn dial(&self, address: &EndpointAddress) -> Result<Link, StoreError> {
        let dialed = timeout(self.timeout, self.connect(address)).await;
        dialed.unwrap_or(Err(StoreError::Deadline(self.timeout)))
    }

    async fn connect(&self, address: &EndpointAddress) -> Result<Link, StoreError> {
        let link = match address {
            EndpointAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(broken)?;
                self.greet(stream).await?
            }
            EndpointAddress::Socket(socket) => {
                let stream = TcpStream::connect(socket).await.map_err(broken)?;
                self.secure(stream, socket.ip().into()).await?
            }
            EndpointAddress::Name { host, port } => {
                let addresses = lookup_host((&**host, *port)).await.map_err(broken)?;
                let stream = first_of(addresses.collect(), self.timeout).await;
                let stream = stream.map_err(broken)?;
                let name = ServerName::try_from(host.to_string());
                let name = name.map_err(|error| broken(io::Error::other(error)))?;
                self.secure(stream, name).await?
            }
        };
        // One that still loads what it has does not serve yet. Whoever may not ask that is answered, and so it serves.
        match link.send(&cmd("PING")).await {
            Err(error) if error.code() != Some("NOPERM") => Err(error.into()),
            _ => Ok(link),
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
    ) -> Result<Link, StoreError> {
        // A command must not wait for the answer to the one before it.
        stream.set_nodelay(true).map_err(broken)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE_INTERVAL);
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive).map_err(broken)?;
        socket.set_tcp_user_timeout(Some(LOST)).map_err(broken)?;
        match &self.tls {
            None => self.greet(stream).await,
            Some(tls) => {
                let stream = tls.connect(name, stream).await.map_err(broken)?;
                self.greet(stream).await
            }
        }
    }

    async fn greet<S>(&self, stream: S) -> Result<Link, StoreError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Deadlines are kept by those who wait.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let opening = MultiplexedConnection::new_with_config(&self.settings, stream, config);
        let (connection, driver) = opening.await?;
        let line = Line {
            driver: tokio::spawn(driver).abort_handle(),
            is_probed: AtomicBool::new(false),
        };
        Ok(Link {
            connection,
            line: Arc::new(line),
        })
    }
}

fn broken(error: io::Error) -> StoreError {
    StoreError::Redis(error.into())
}

/// Connects to the first of the addresses that takes it. One that says nothing has half of the time that is left, so that
/// there is some for those after it.
async fn first_of(addresses: Vec<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + patience;
    let mut failure = io::Error::other("the name has no address");
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = match index + 1 == count {
            true => left,
            false => left / 2,
        };
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn an_address_that_says_nothing_leaves_time_for_the_next() {
        // A listener whose queue is full answers nobody any more.
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        silent.bind(&any.into()).expect("a free port");
        silent.listen(0).expect("it listens");
        let bound = silent.local_addr().expect("an address");
        let bound = bound.as_socket().expect("an address");
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(50), TcpStream::connect(bound)).await {
            queued.push(stream.expect("it is queued"));
            assert!(queued.len() < 100, "it answers everybody");
        }
        let free = std::net::TcpListener::bind(any).expect("a free port");
        let closed = free.local_addr().expect("an address");
        drop(free);
        let open = std::net::TcpListener::bind(any).expect("a free port");
        let open = open.local_addr().map(|address| (address, open));
        let (open, _listener) = open.expect("an address");
        let patience = Duration::from_secs(1);
        let stream = first_of(vec![bound, closed, open], patience).await;
        let peer = stream.expect("the last one takes it").peer_addr();
        assert_eq!(peer.expect("an address"), open);
        let began = Instant::now();
        let stream = first_of(vec![closed, bound], patience / 5).await;
        let error = stream.expect_err("nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < patience, "{:?}", began.elapsed());
        let error = first_of(Vec::new(), patience).await;
        assert!(error.is_err());
    }
}
