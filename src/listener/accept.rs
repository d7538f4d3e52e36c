//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::{ALPN, Ssl, Stream};
use tokio::sync::watch;

use super::framed::Framed;
use super::stream::{Downstream, Transport};
use super::{Connection, Listener, Socket};

/// After the process or the system ran out of descriptors: how long until the next try.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// Accept errors are logged this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What serves the connections that come in.
#[async_trait]
pub trait Serve: Send + Sync + 'static {
    /// Serves one connection until it is closed.
    async fn serve(
        &self,
        stream: Stream,
        connection: Arc<Connection>,
        shutdown: &watch::Receiver<bool>,
    );
}

/// Accepts until `shutdown` becomes true. Connections are served by tasks of their own and outlive the loop.
pub async fn accept(
    socket: Socket,
    listener: Arc<Listener>,
    server: Arc<dyn Serve>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut last_logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|&is_down| is_down) => return,
            accepted = accept_one(&socket) => accepted,
        };
        let (transport, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    log::error!("listener {}: cannot accept: {error}", listener.name);
                    last_logged = Some(Instant::now());
                }
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        listener.metrics.connections_total.inc();
        let open = u32::try_from(listener.metrics.connections.get()).unwrap_or_default();
        if open >= listener.limits.connections.get() {
            // Dropping is the cheapest refusal: no handshake, no page, one descriptor back.
            listener.metrics.refused_full.inc();
            continue;
        }
        // It counts from here on, handshake included.
        let connection = Connection::new(listener.clone(), peer);
        let (server, mut shutdown) = (server.clone(), shutdown.clone());
        tokio::spawn(async move {
            let established = tokio::select! {
                established = establish(transport, connection.clone()) => established,
                // Nothing has been asked for yet, so nothing is lost.
                _ = shutdown.wait_for(|&is_down| is_down) => return,
            };
            if let Some(stream) = established {
                server.serve(stream, connection, &shutdown).await;
            }
        });
    }
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

/// From an accepted socket to a stream that the engine can serve; `None` where the client was refused.
async fn establish(transport: Transport, connection: Arc<Connection>) -> Option<Stream> {
    let listener = &connection.listener;
    let Some(tls) = &listener.tls else {
        return establish_plain(transport, &connection).await;
    };
    let handshake = tls.handshake(Downstream::new(transport, connection.clone()));
    match tokio::time::timeout(listener.timeouts.tls_handshake.as_std(), handshake).await {
        Ok(Some(stream)) => {
            let speaks_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
            connection.await_requests(speaks_h2);
            if speaks_h2 {
                return Some(Box::new(stream));
            }
            Some(Box::new(Framed::new(stream, connection.clone(), &[])))
        }
        Ok(None) => {
            listener.metrics.refused_handshake.inc();
            None
        }
        Err(_) => {
            listener.metrics.refused_timeout.inc();
            None
        }
    }
}

async fn establish_plain(mut transport: Transport, connection: &Arc<Connection>) -> Option<Stream> {
    let listener = &connection.listener;
    let mut speaks_h2 = false;
    let mut read_ahead = Vec::new();
    if listener.allows_h2 {
        let sniff = tokio::time::timeout(
            listener.timeouts.request_header.as_std(),
            transport.sniff_h2(),
        )
        .await;
        match sniff {
            // A client that leaves without a word is no error.
            Ok(Ok((_, read))) if read.is_empty() => return None,
            Ok(Ok((is_h2, read))) => (speaks_h2, read_ahead) = (is_h2, read),
            Ok(Err(_)) => return None,
            Err(_) => {
                listener.metrics.refused_timeout.inc();
                return None;
            }
        }
    }
    if !speaks_h2 && !listener.allows_http1 {
        return None;
    }
    connection.await_requests(speaks_h2);
    let stream = Downstream::new(transport, connection.clone());
    if speaks_h2 {
        return Some(Box::new(stream.with_h2_preface(read_ahead)));
    }
    Some(Box::new(Framed::new(
        stream,
        connection.clone(),
        &read_ahead,
    )))
}
