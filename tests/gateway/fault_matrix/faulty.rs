//! An endpoint over either protocol that receives requests as it should, and then does what it is told.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::harness::*;

/// A request as it was received: all of it, or the first message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub method: String,
    pub body: Bytes,
}

/// What to do with a request once it was received.
pub(super) enum Act {
    /// Answers well, with what was received.
    Echo,
    Answer(Response<Body>),
    /// Begins to answer, and says nothing more.
    Begin,
    /// As [`Act::Begin`], and resets the connection once the client has seen that.
    BeginAndReset,
    Nothing,
    Break(How),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Reset,
    /// What is neither HTTP/1.1 nor HTTP/2 is sent on it.
    Garbage,
    /// Its sending side is closed.
    HalfClose,
}

/// The endpoint. It is told as its address.
pub(super) struct Faulty {
    origin: RawOrigin,
    asked: Arc<Mutex<Vec<Asked>>>,
    go_on: Arc<Notify>,
}

impl Faulty {
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    pub(super) fn go_on(&self) {
        self.go_on.notify_one();
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

/// What the requests of one connection share.
#[derive(Clone)]
struct Serving {
    act: Arc<dyn Fn(&Asked) -> Act + Send + Sync>,
    asked: Arc<Mutex<Vec<Asked>>>,
    go_on: Arc<Notify>,
    breaks: mpsc::UnboundedSender<How>,
}

pub(super) fn start(
    protocol: Protocol,
    act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
) -> Faulty {
    let (asked, go_on) = (Arc::new(Mutex::default()), Arc::new(Notify::new()));
    let act: Arc<dyn Fn(&Asked) -> Act + Send + Sync> = Arc::new(act);
    let (recorded, going_on) = (asked.clone(), go_on.clone());
    let origin = RawOrigin::serving(move |stream, _| {
        let (breaks, broken) = mpsc::unbounded_channel();
        let serving = Serving {
            act: act.clone(),
            asked: recorded.clone(),
            go_on: going_on.clone(),
            breaks,
        };
        async move {
            let (inner, outer) = tokio::io::duplex(1 << 20);
            tokio::select! {
                () = serve(protocol, inner, serving) => {}
                () = relay(stream, outer, broken) => {}
            }
        }
    });
    Faulty {
        origin,
        asked,
        go_on,
    }
}

/// HTTP as it should be. It goes on until the other side of the relay ends.
async fn serve(protocol: Protocol, io: DuplexStream, serving: Serving) {
    let service = service_fn(move |request| answer(request, serving.clone()));
    let io = TokioIo::new(io);
    // How a connection ends is the gateway's business.
    match protocol {
        Protocol::Http1 => {
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(io, service).await;
        }
        Protocol::H2 => {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(io, service).await;
        }
    }
    // What it has written last is still to be relayed.
    pending().await
}

async fn relay(
    mut tcp: TcpStream,
    mut inner: DuplexStream,
    mut broken: mpsc::UnboundedReceiver<How>,
) {
    let how = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut tcp, &mut inner) => return,
        // Nobody who could say so is left where HTTP is over, and then what it has said last still has to go on.
        Some(how) = broken.recv() => how,
    };
    match how {
        How::Reset => {
            let socket = SockRef::from(&tcp);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        }
        How::Garbage => {
            let garbage = b"\x16\x03\x01 220 smtp.example ESMTP\r\n\r\n";
            let _ = tcp.write_all(garbage).await;
            wait_for_close(&mut tcp).await;
        }
        How::HalfClose => {
            let _ = tcp.shutdown().await;
            wait_for_close(&mut tcp).await;
        }
    }
}

async fn wait_for_close(tcp: &mut TcpStream) {
    let mut rest = [0; 1024];
    while !matches!(tcp.read(&mut rest).await, Ok(0) | Err(_)) {}
}

async fn answer(
    request: Request<Incoming>,
    serving: Serving,
) -> Result<Response<Body>, Infallible> {
    let is_stream = request.uri().path().starts_with("/stream");
    // Over HTTP/1.1 there is nobody who could be sent trailers.
    let has_trailers = request.headers().contains_key("te");
    let (parts, mut body) = request.into_parts();
    let mut received = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        received.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if is_stream && !received.is_empty() {
            break;
        }
    }
    let asked = Asked {
        method: parts.method.to_string(),
        body: received.into(),
    };
    serving.asked.lock().expect("no panic").push(asked.clone());
    let begin = || {
        let (chunks, body) = channel();
        let begun = reply(200, &[("content-type", "application/grpc")], body);
        (chunks, begun)
    };
    match (serving.act)(&asked) {
        Act::Answer(response) => Ok(response),
        Act::Echo => {
            let (chunks, response) = begin();
            tokio::spawn(async move {
                chunks.send(asked.body).await;
                // A stream is over when both sides have said so.
                while let Some(Ok(_)) = body.frame().await {}
                if has_trailers {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", 0.into());
                    chunks.trailers(trailers).await;
                }
            });
            Ok(response)
        }
        Act::Begin => {
            let (chunks, response) = begin();
            tokio::spawn(async move {
                chunks.send("the beginning").await;
                let _held = (chunks, body);
                pending::<()>().await;
            });
            Ok(response)
        }
        Act::BeginAndReset => {
            let (chunks, response) = begin();
            tokio::spawn(async move {
                chunks.send("the beginning").await;
                serving.go_on.notified().await;
                let _ = serving.breaks.send(How::Reset);
                let _held = (chunks, body);
                pending::<()>().await;
            });
            Ok(response)
        }
        Act::Nothing => pending().await,
        Act::Break(how) => {
            let _ = serving.breaks.send(how);
            pending().await
        }
    }
}
