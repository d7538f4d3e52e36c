//! A client that speaks one protocol and keeps its connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::body::{Body, empty};
use super::message::Ask;
use super::pair::Protocol;
use super::wait::within;

/// A client. Connections are kept, so a second request shows what keep-alive does.
pub struct Client {
    to: To,
    protocol: Protocol,
    tls: Option<(Arc<ClientConfig>, String)>,
    idle: Mutex<Vec<http1::SendRequest<Body>>>,
    shared: Mutex<Option<http2::SendRequest<Body>>>,
}

enum To {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A response, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

/// A response whose body is still coming.
#[derive(Debug)]
pub struct Incoming {
    pub status: u16,
    pub version: Version,
    pub headers: HeaderMap,
    body: hyper::body::Incoming,
    /// Once the body has ended.
    pub trailers: HeaderMap,
}

impl Client {
    pub fn of(address: SocketAddr, protocol: Protocol) -> Client {
        Client::to(To::Tcp(address), protocol, None)
    }

    pub fn of_socket(path: impl Into<PathBuf>, protocol: Protocol) -> Client {
        Client::to(To::Unix(path.into()), protocol, None)
    }

    /// Over TLS; asks for `name` and offers the one protocol by ALPN.
    pub fn over_tls(
        address: SocketAddr,
        protocol: Protocol,
        name: &str,
        mut config: ClientConfig,
    ) -> Client {
        config.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::H2 => b"h2".to_vec(),
        }];
        let tls = (Arc::new(config), name.to_owned());
        Client::to(To::Tcp(address), protocol, Some(tls))
    }

    fn to(to: To, protocol: Protocol, tls: Option<(Arc<ClientConfig>, String)>) -> Client {
        Client {
            to,
            protocol,
            tls,
            idle: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// Sends and takes in the whole response.
    pub async fn send(&self, ask: Ask) -> Answer {
        within("a response", self.try_send(ask))
            .await
            .unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// As [`Client::send`], where the connection may break.
    pub async fn try_send(&self, ask: Ask) -> Result<Answer, String> {
        let mut incoming = self.try_open(ask).await?;
        let mut body = Vec::new();
        while let Some(chunk) = incoming.try_chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: incoming.status,
            version: incoming.version,
            headers: incoming.headers,
            body: body.into(),
            trailers: incoming.trailers,
        })
    }

    /// Sends and takes in the header of the response.
    pub async fn open(&self, ask: Ask) -> Incoming {
        within("the header of a response", self.try_open(ask))
            .await
            .unwrap_or_else(|error| panic!("no response: {error}"))
    }

    pub async fn try_open(&self, ask: Ask) -> Result<Incoming, String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = match self.protocol {
            Protocol::Http1 => ask.target,
            Protocol::H2 => format!("{scheme}://{}{}", ask.host, ask.target),
        };
        let mut request = Request::new(ask.body);
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri.parse().map_err(|error| format!("{error}: {uri}"))?;
        if self.protocol == Protocol::Http1 {
            let host = ask.host.parse().map_err(|_| "a bad host")?;
            request.headers_mut().insert(http::header::HOST, host);
        }
        for (name, value) in ask.headers {
            request.headers_mut().append(name, value);
        }
        let response = match self.protocol {
            Protocol::Http1 => self.send_http1(request).await,
            Protocol::H2 => self.send_http2(request).await,
        }?;
        let (parts, body) = response.into_parts();
        Ok(Incoming {
            status: parts.status.as_u16(),
            version: parts.version,
            headers: parts.headers,
            body,
            trailers: HeaderMap::new(),
        })
    }

    async fn send_http1(
        &self,
        request: Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, String> {
        let ready = {
            let mut idle = self.idle.lock().expect("no panic");
            idle.retain(|sender| !sender.is_closed());
            let ready = idle.iter().position(http1::SendRequest::is_ready);
            ready.map(|index| idle.swap_remove(index))
        };
        let request = match ready {
            None => request,
            Some(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => {
                    self.idle.lock().expect("no panic").push(sender);
                    return Ok(response);
                }
                // It was closed before anything was sent.
                Err(mut error) => error
                    .take_message()
                    .ok_or_else(|| say(error.into_error()))?,
            },
        };
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(say)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(say)?;
        self.idle.lock().expect("no panic").push(sender);
        Ok(response)
    }

    async fn send_http2(
        &self,
        request: Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, String> {
        let shared = self.shared.lock().expect("no panic").clone();
        let mut request = match shared.filter(|sender| !sender.is_closed()) {
            None => request,
            Some(mut sender) => match send_if_open(&mut sender, request).await? {
                Ok(response) => return Ok(response),
                Err(unsent) => unsent,
            },
        };
        // A new connection may have to go at once, too, but not again and again.
        for _ in 0..3 {
            let io = TokioIo::new(self.connect().await?);
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = handshake.map_err(say)?;
            tokio::spawn(connection);
            *self.shared.lock().expect("no panic") = Some(sender.clone());
            request = match send_if_open(&mut sender, request).await? {
                Ok(response) => return Ok(response),
                Err(unsent) => unsent,
            };
        }
        Err("three new connections took no request".to_owned())
    }

    async fn connect(&self) -> Result<Box<dyn Io>, String> {
        let address = match &self.to {
            To::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(say)?;
                return Ok(Box::new(stream));
            }
            To::Tcp(address) => address,
        };
        let stream = TcpStream::connect(address).await.map_err(say)?;
        stream.set_nodelay(true).map_err(say)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = name.clone().try_into().map_err(say)?;
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let stream = connector.connect(name, stream).await.map_err(say)?;
        Ok(Box::new(stream))
    }
}

/// Gives the request back where the other side takes no more on this connection, as it may say at any time. What it has
/// not looked at any more may be sent again (RFC 9113 section 6.8); hyper does not give back what h2 was to send.
async fn send_if_open(
    sender: &mut http2::SendRequest<Body>,
    request: Request<Body>,
) -> Result<Result<http::Response<hyper::body::Incoming>, Request<Body>>, String> {
    if sender.ready().await.is_err() {
        return Ok(Err(request));
    }
    let again = request.body().is_end_stream().then(|| {
        let mut again = Request::new(empty());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        again
    });
    match sender.try_send_request(request).await {
        Ok(response) => Ok(Ok(response)),
        Err(mut error) => match error.take_message() {
            Some(unsent) => Ok(Err(unsent)),
            None if is_goodbye(error.error()) => {
                again.map(Err).ok_or_else(|| say(error.into_error()))
            }
            None => Err(say(error.into_error())),
        },
    }
}

/// Whether the other side has said that it takes no more requests, for no fault of ours.
fn is_goodbye(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<h2::Error>());
    cause.is_some_and(|it| {
        it.is_go_away() && it.is_remote() && it.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// A transport.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An error with its causes, which hyper keeps apart.
fn say(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("a header in ASCII"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("a body in UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts that the gateway reports this failure as a problem document.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let content_type = self.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        let expected = match code {
            "rate_limited" | "quota_exceeded" => {
                "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned()
            }
            own => format!("urn:northgate:error:{own}"),
        };
        assert_eq!(problem["type"], expected);
        let id = problem["request_id"].as_str();
        assert_eq!(id, self.header("x-request-id"));
    }
}

impl Incoming {
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("a header in ASCII"))
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        within("a piece of the body", self.try_chunk())
            .await
            .unwrap_or_else(|error| panic!("the body broke: {error}"))
    }

    /// As [`Incoming::chunk`], where the body may break.
    pub async fn try_chunk(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            match frame.map_err(say)?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(other) => self
                    .trailers
                    .extend(other.into_trailers().unwrap_or_default()),
            }
        }
        Ok(None)
    }
}
