//! One HTTP/1.1 connection: a request at a time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::sync::watch;

use super::Proxy;
use crate::listener::{Connection, next_request};

/// The engine's unit for a connection that may be kept: seconds. How long it is kept is the listener's business,
/// whose stream ends when the time is up; to the engine it is enough that it may be.
const KEPT: u64 = 60;

/// Serves requests until the connection is closed, or its listener drains and none is in flight or about to come.
///
/// Between requests the engine is left altogether: its future for a request takes tens of kilobytes, and most
/// connections are idle most of the time.
pub(super) async fn serve(
    engine: &Arc<HttpProxy<Proxy>>,
    mut stream: Stream,
    connection: &Connection,
    never: &watch::Receiver<bool>,
) {
    let drain = &connection.drain;
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        let mut silence = drain.silence();
        let left_alone = poll_fn(|cx| match connection.is_in_header() {
            // It has a time of its own.
            true => Poll::Pending,
            false => silence.poll(cx),
        });
        tokio::select! {
            // A request that is there is served, whatever else is the case.
            biased;
            has_request = next_request(&mut stream) => if !has_request {
                return;
            },
            // Nothing has been asked for, so nothing is lost.
            () = left_alone => return,
        }
        let mut session = ServerSession::new_http1(stream);
        match settings.take() {
            Some(settings) => settings.apply_to_session(&mut session),
            None => {
                session.set_keepalive(Some(KEPT));
                // The engine counts down from here.
                let requests = connection.listener.limits.requests_per_connection.get();
                session.set_keepalive_reuses_remaining(Some(requests - 1));
            }
        }
        match engine.process_new_http(session, never).await {
            Some(reused) => (stream, settings) = reused.consume(),
            None => return,
        }
    }
}
