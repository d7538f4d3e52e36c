//! Origins that behave: they remember what they were asked and answer as the test says.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::body::Body;
use super::client::Io;
use super::pair::Protocol;

/// An origin. It is told as its address, and ends with all of its connections when it is dropped.
pub struct Origin {
    address: String,
    record: Arc<Record>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

/// A request as the origin saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// `Host`, or the authority of HTTP/2.
    pub host: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the client showed a certificate.
    pub has_certificate: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("a header in ASCII"))
    }
}

type Handler = Arc<dyn Fn(Seen) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Origin {
    /// Speaks HTTP/1.1.
    pub fn http1(answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static) -> Origin {
        Origin::speaking(Protocol::Http1, answer)
    }

    /// Speaks HTTP/1.1 at this address, whose port nobody has.
    pub fn at(
        address: &str,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        Origin::start(bind_to(address), Protocol::Http1, None, at_once(answer))
    }

    /// Speaks HTTP/1.1, or HTTP/2 by prior knowledge.
    pub fn speaking(
        protocol: Protocol,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        Origin::start(bind(), protocol, None, at_once(answer))
    }

    /// Takes its time to answer.
    pub fn serving<F: Future<Output = Response<Body>> + Send + 'static>(
        protocol: Protocol,
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Origin {
        let handler: Handler = Arc::new(move |seen| answer(seen).boxed());
        Origin::start(bind(), protocol, None, handler)
    }

    /// Speaks TLS.
    pub fn over_tls(
        protocol: Protocol,
        config: ServerConfig,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        Origin::tls_on(bind(), protocol, config, answer)
    }

    /// Speaks TLS where somebody listens already.
    pub fn over_tls_at(
        listener: std::net::TcpListener,
        protocol: Protocol,
        config: ServerConfig,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        Origin::tls_on(of(listener), protocol, config, answer)
    }

    fn tls_on(
        bound: (Socket, String),
        protocol: Protocol,
        mut config: ServerConfig,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        config.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::H2 => b"h2".to_vec(),
        }];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Origin::start(bound, protocol, Some(acceptor), at_once(answer))
    }

    /// Speaks HTTP/1.1 on a Unix socket.
    pub fn on_socket(
        path: &Path,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Origin {
        let socket = UnixListener::bind(path).expect("a free path");
        let address = format!("unix:{}", path.display());
        let bound = (Socket::Unix(socket), address);
        Origin::start(bound, Protocol::Http1, None, at_once(answer))
    }

    /// Every request so far, in the order in which their bodies were complete.
    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().expect("no panic").clone()
    }

    /// The one request that there was.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "one request: {seen:?}");
        seen.remove(0)
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    pub fn port(&self) -> &str {
        self.address.rsplit_once(':').expect("a TCP address").1
    }

    fn start(
        (socket, address): (Socket, String),
        protocol: Protocol,
        tls: Option<TlsAcceptor>,
        handler: Handler,
    ) -> Origin {
        let record = Arc::new(Record::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(socket, protocol, tls, handler, record.clone()));
        Origin {
            address,
            record,
            _accepting: accepting,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn at_once(answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static) -> Handler {
    Arc::new(move |seen| std::future::ready(answer(seen)).boxed())
}

fn bind() -> (Socket, String) {
    bind_to("127.0.0.1:0")
}

fn bind_to(address: &str) -> (Socket, String) {
    of(std::net::TcpListener::bind(address).expect("a free port"))
}

fn of(socket: std::net::TcpListener) -> (Socket, String) {
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("an address").to_string();
    let socket = TcpListener::from_std(socket).expect("a runtime");
    (Socket::Tcp(socket), address)
}

async fn accept(
    socket: Socket,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    handler: Handler,
    record: Arc<Record>,
) {
    let mut connections = JoinSet::new();
    loop {
        let stream: Box<dyn Io> = match &socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a socket");
                Box::new(stream)
            }
            Socket::Unix(listener) => Box::new(listener.accept().await.expect("a connection").0),
        };
        record.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, handler, record) = (tls.clone(), handler.clone(), record.clone());
        connections.spawn(async move {
            let (stream, has_certificate): (Box<dyn Io>, bool) = match tls {
                None => (stream, false),
                // A client that does not like the certificate goes away; the test sees that elsewhere.
                Some(tls) => match tls.accept(stream).await {
                    Err(_) => return,
                    Ok(stream) => {
                        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
                        (Box::new(stream), has_certificate)
                    }
                },
            };
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (handler, record) = (handler.clone(), record.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    // A body that breaks off is nothing that was seen.
                    let body = body.collect().await?.to_bytes();
                    let seen = Seen {
                        host: host_of(&parts),
                        method: parts.method,
                        target: parts
                            .uri
                            .path_and_query()
                            .map_or_else(|| parts.uri.to_string(), ToString::to_string),
                        version: parts.version,
                        headers: parts.headers,
                        body,
                        has_certificate,
                    };
                    record.seen.lock().expect("no panic").push(seen.clone());
                    Ok::<_, hyper::Error>(handler(seen).await)
                }
            });
            let io = TokioIo::new(stream);
            // How a connection ends is the gateway's business.
            match protocol {
                Protocol::Http1 => {
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(io, service).await;
                }
                Protocol::H2 => {
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.timer(TokioTimer::new());
                    let _ = server.serve_connection(io, service).await;
                }
            }
        });
    }
}

fn host_of(parts: &http::request::Parts) -> String {
    let authority = parts.uri.authority().map(ToString::to_string);
    let host = || parts.headers.get("host")?.to_str().ok().map(str::to_owned);
    authority.or_else(host).unwrap_or_default()
}
