//! The admin listener's connections: few, and none of them for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::listener::Socket;

/// Open at a time; more are closed at once. Operators and their monitoring need a handful.
const MAX_CONNECTIONS: usize = 64;
/// For the whole header of a request, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed after this, whatever it is doing: nothing here takes as long, but to read slowly does.
const MAX_AGE: Duration = Duration::from_secs(300);
/// After the process or the system ran out of descriptors: how long until the next try.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Serves until `shutdown` becomes true, and then to the end of the requests that are under way.
pub(super) async fn serve(
    socket: Arc<Socket>,
    router: Router,
    mut shutdown: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    // Dropping it ends the connections with the task that holds it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that the sender is gone, and with it the gateway.
            _ = shutdown.wait_for(|&is_down| is_down) => break,
            accepted = accept(&socket) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                log::error!("admin: cannot accept: {error}");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        connections.spawn(serve_one(stream, router.clone(), graceful.watcher(), place));
    }
    // What is under way may take its time; nobody new is to wait for that.
    drop(socket);
    graceful.shutdown().await;
}

async fn serve_one(
    stream: Box<dyn Transport>,
    router: Router,
    watcher: Watcher,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How a connection ends, by itself or by its age, is nobody's concern.
    let _ = tokio::time::timeout(MAX_AGE, watcher.watch(connection)).await;
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

async fn accept(socket: &Socket) -> io::Result<Box<dyn Transport>> {
    Ok(match socket {
        Socket::Tcp(listener) => Box::new(listener.accept().await?.0),
        Socket::Unix(listener) => Box::new(listener.accept().await?.0),
    })
}
