//! The engine's peer for an endpoint, made once and cloned per attempt.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};

use super::Timeouts;
use super::config::{Config, Protocol};
use super::handshake::Handshake;
use super::spares::{Room, Spares};
use super::tls::UpstreamTls;
use crate::discovery::{Member, Socket};

/// Requests that one HTTP/2 connection to an upstream carries at a time, where the upstream allows it.
const MAX_H2_STREAMS: usize = 128;
/// HTTP/2 connections are pinged so that a peer that vanished is noticed.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// What an endpoint may send of a response before any of it was taken. The connection has room for as much of each of its
/// streams: those whose clients are slow, or slowed down, take it from nobody else. So what is held of responses is bounded by
/// how many there are at a time, a window of each at most, and is as much only where the upstream is faster than the client.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = MAX_H2_STREAMS as u32 * H2_STREAM_WINDOW;

/// What all endpoints of an upstream have in common.
#[derive(Debug)]
pub(super) struct PeerTemplate {
    options: PeerOptions,
    tls: Option<UpstreamTls>,
    group: u64,
    /// Where the connections are ours to keep and to check: HTTP/1.1.
    kept: Option<Kept>,
    /// For the transport and for the handshake, where each has its own limit.
    apart: Option<(Duration, Duration)>,
}

/// How connections are kept.
#[derive(Clone, Debug)]
struct Kept {
    room: Arc<Room>,
    keepalive: Duration,
}

impl PeerTemplate {
    pub(super) fn new(
        name: &str,
        config: &Config,
        tls: Option<UpstreamTls>,
        room: &Arc<Room>,
    ) -> PeerTemplate {
        let mut options = PeerOptions::new();
        let Timeouts {
            connect,
            tls: handshake,
            first_byte: _,
            per_try: _,
            idle,
            keepalive,
        } = &config.timeouts;
        options.connection_timeout = Some(connect.as_std());
        // The engine has no limit for the handshake alone: what the transport leaves, that has as well.
        let handshake = handshake.filter(|_| tls.is_some()).map(|it| it.as_std());
        options.total_connection_timeout = Some(connect.as_std() + handshake.unwrap_or_default());
        options.write_timeout = Some(idle.as_std());
        options.idle_timeout = Some(keepalive.as_std());
        if config.protocol.is_h2() {
            options.alpn = ALPN::H2;
            options.max_h2_streams = MAX_H2_STREAMS;
            options.h2_ping_interval = Some(H2_PING_INTERVAL);
            options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
            options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
            // No read timeout: each exchange has a clock (`clock.rs`).
        } else {
            options.alpn = ALPN::H1;
        }
        let group = group_key(name, config.protocol, tls.as_ref());
        PeerTemplate {
            options,
            tls,
            group,
            apart: handshake.map(|handshake| (connect.as_std(), handshake)),
            kept: (!config.protocol.is_h2()).then(|| Kept {
                room: room.clone(),
                keepalive: keepalive.as_std(),
            }),
        }
    }

    /// The unused connections of one endpoint.
    pub(super) fn spares(&self) -> Option<Arc<Spares>> {
        let kept = self.kept.as_ref()?;
        Some(Spares::new(kept.room.clone(), kept.keepalive))
    }

    #[cfg(test)]
    pub(super) fn plain(name: &str) -> PeerTemplate {
        PeerTemplate {
            options: PeerOptions::new(),
            tls: None,
            group: group_key(name, Protocol::Http11, None),
            kept: None,
            apart: None,
        }
    }

    /// How connections that are ours become TLS.
    pub(super) fn handshake(&self, resolved: &Member) -> Option<Arc<Handshake>> {
        let tls = self.tls.as_ref().filter(|_| self.kept.is_some())?;
        let name = tls.name(resolved);
        Some(Arc::new(Handshake::new(
            tls.connector.clone(),
            name,
            self.apart,
        )))
    }

    /// What requests go to: TLS is the engine's business only where the connections are, and so is the time that they
    /// may take to open.
    pub(super) fn peer(&self, resolved: &Member) -> HttpPeer {
        if self.kept.is_none() {
            return self.direct(resolved);
        }
        let mut peer = self.peer_over(None, resolved);
        peer.options.connection_timeout = None;
        peer.options.total_connection_timeout = None;
        peer
    }

    /// What the engine reaches without help.
    pub(super) fn direct(&self, resolved: &Member) -> HttpPeer {
        self.peer_over(self.tls.as_ref(), resolved)
    }

    fn peer_over(&self, tls: Option<&UpstreamTls>, resolved: &Member) -> HttpPeer {
        // Never empty with TLS: with an empty name Pingora switches all verification off.
        let sni = tls.map_or("", |tls| tls.name(resolved)).to_owned();
        let mut peer = match &resolved.socket {
            Socket::Inet(address) => HttpPeer::new(*address, tls.is_some(), sni),
            Socket::Unix(path) => HttpPeer::new_uds(&path.to_string_lossy(), tls.is_some(), sni)
                .expect("a socket path was checked when it was parsed"),
        };
        peer.options = self.options.clone();
        peer.group_key = self.group;
        if let Some(tls) = tls {
            peer.options.ca = tls.authorities.clone();
            peer.options.verify_cert = tls.is_verified;
            peer.options.verify_hostname = tls.is_verified;
            peer.client_cert_key = tls.client_certificate.clone();
        }
        peer
    }
}

/// Keeps pools apart that must not share connections. Pingora's own key leaves out the authority, the protocol
/// and the client certificate's issuer, so that a connection verified against one authority could serve an
/// upstream that trusts only another.
fn group_key(name: &str, protocol: Protocol, tls: Option<&UpstreamTls>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    (protocol as u8).hash(&mut hasher);
    tls.map(|tls| tls.fingerprint).hash(&mut hasher);
    hasher.finish()
}
