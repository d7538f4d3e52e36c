//! One HTTP/1.1 connection: a request at a time.

use std::sync::Arc;

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

/// Serves requests until the connection is closed, or the process shuts down and no request is in flight.
///
/// Between requests the engine is left altogether: its future for a request takes tens of kilobytes, and most
/// connections are idle most of the time.
pub(super) async fn serve(
    engine: &Arc<HttpProxy<Proxy>>,
    mut stream: Stream,
    connection: &Connection,
    shutdown: &watch::Receiver<bool>,
) {
    let mut shutting_down = shutdown.clone();
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        tokio::select! {
            // A request that is there is served, whatever else is the case.
            biased;
            has_request = next_request(&mut stream) => if !has_request {
                return;
            },
            // Nothing has been asked for, so nothing is lost.
            _ = shutting_down.wait_for(|&is_down| is_down) => return,
        }
        let mut session = ServerSession::new_http1(stream);
        match settings.take() {
            Some(settings) => settings.apply_to_session(&mut session),
            None => {
                session.set_keepalive((!*shutdown.borrow()).then_some(KEPT));
                // The engine counts down from here.
                let requests = connection.listener.limits.requests_per_connection.get();
                session.set_keepalive_reuses_remaining(Some(requests - 1));
            }
        }
        match engine.process_new_http(session, shutdown).await {
            Some(reused) => (stream, settings) = reused.consume(),
            None => return,
        }
    }
}
