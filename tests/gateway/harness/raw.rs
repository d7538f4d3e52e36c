//! Bytes on a socket, for what no well-behaved client or origin would do.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::client::Io;
use super::wait::within;

/// A client that sends what it is told and reads what comes.
pub struct RawClient {
    pub stream: TcpStream,
}

impl RawClient {
    pub async fn connect(address: SocketAddr) -> RawClient {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        RawClient { stream }
    }

    /// Connects from an address of this machine, such as 127.0.0.2.
    pub async fn connect_from(source: &str, address: SocketAddr) -> RawClient {
        let socket = TcpSocket::new_v4().expect("a socket");
        let source = SocketAddr::new(source.parse().expect("an address"), 0);
        socket.bind(source).expect("an address of this machine");
        let stream = socket.connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        RawClient { stream }
    }

    /// Connects, sends, and reads until the gateway closes.
    pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
        let mut client = RawClient::connect(address).await;
        client.send(bytes).await;
        client.read_to_end().await
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the gateway reads");
    }

    /// Everything until the connection is closed; a reset counts as closed.
    pub async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        let _ = within(
            "the end of the connection",
            self.stream.read_to_end(&mut read),
        )
        .await;
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Everything up to and including `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) {
                match self.stream.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&read)),
                }
            }
        };
        within(end, reading).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// An origin that does to each connection what it is told.
pub struct RawOrigin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl RawOrigin {
    /// `serve` gets each connection, from 0 on, and closes it by returning.
    pub fn serving<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> RawOrigin {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().expect("an address");
        let listener = TcpListener::from_std(socket).expect("a runtime");
        let connections = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        let count = connections.clone();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a socket");
                serving.spawn(serve(stream, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        RawOrigin {
            address,
            connections,
            _accepting: accepting,
        }
    }

    /// The same over TLS, where there is a configuration for it. A client that breaks the handshake off is let go.
    pub fn over<F: Future<Output = ()> + Send + 'static>(
        tls: Option<ServerConfig>,
        serve: impl Fn(Box<dyn Io>, usize) -> F + Send + Sync + 'static,
    ) -> RawOrigin {
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let serve = Arc::new(serve);
        RawOrigin::serving(move |stream, number| {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            async move {
                match acceptor {
                    None => serve(Box::new(stream), number).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(Box::new(stream), number).await;
                        }
                    }
                }
            }
        })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl fmt::Display for RawOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}
