//! Takes requests over HTTP/2 and reads nothing of their bodies.

use std::convert::Infallible;
use std::future::pending;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::{Body, RawOrigin, channel, full, reply};

/// Answers `/quick` at once with all it has to say, begins to answer `/mute` and says nothing more, and answers
/// nothing else.
pub fn start() -> RawOrigin {
    RawOrigin::serving(|stream, _| async move {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection(TokioIo::new(stream), service_fn(answer));
        // How a connection ends is the gateway's business.
        let _ = connection.await;
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/quick" => Ok(reply(200, &[], full("quick"))),
        "/mute" => {
            let (chunks, body) = channel();
            tokio::spawn(async move {
                let _held = (request, chunks);
                pending::<()>().await;
            });
            Ok(reply(200, &[("content-type", "application/grpc")], body))
        }
        _ => pending().await,
    }
}
