//! From configured addresses to sockets: host names are resolved off the request path and refreshed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::config::EndpointConfig;
use super::endpoint::Endpoint;
use super::{Upstream, alive};
use crate::text::EndpointAddress;

const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// An endpoint as configured.
#[derive(Clone, Debug)]
pub(super) struct Address {
    address: EndpointAddress,
    weight: u32,
}

impl Address {
    pub(super) fn of(config: &EndpointConfig) -> Address {
        Address {
            address: config.address.clone(),
            weight: u32::from(config.weight.get()),
        }
    }

    pub(super) fn is_name(&self) -> bool {
        matches!(self.address, EndpointAddress::Name { .. })
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Inet(SocketAddr),
    Unix(Box<Path>),
}

impl Socket {
    fn port(&self) -> Option<u16> {
        match self {
            Socket::Inet(address) => Some(address.port()),
            Socket::Unix(_) => None,
        }
    }
}

/// An endpoint as it can be connected to: one address with its weight and the name that it came from, which TLS
/// verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) socket: Socket,
    pub(super) host: Box<str>,
    weight: u32,
}

impl Resolved {
    #[cfg(test)]
    pub(super) fn socket(address: SocketAddr, weight: u32) -> Resolved {
        Resolved {
            socket: Socket::Inet(address),
            host: address.ip().to_string().into(),
            weight,
        }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    pub(super) fn socket_text(&self) -> String {
        match &self.socket {
            Socket::Inet(address) => address.to_string(),
            Socket::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    fn from_literal(Address { address, weight }: &Address) -> Option<Resolved> {
        let (socket, host) = match address {
            EndpointAddress::Socket(socket) => {
                (Socket::Inet(*socket), socket.ip().to_string().into())
            }
            EndpointAddress::Unix(path) => (Socket::Unix(path.clone()), "localhost".into()),
            EndpointAddress::Name { .. } => return None,
        };
        Some(Resolved {
            socket,
            host,
            weight: *weight,
        })
    }
}

/// The addresses that need no resolver: those that are no names, and of names those that are known already.
pub(super) fn without_resolver(addresses: &[Address], known: &[Arc<Endpoint>]) -> Vec<Resolved> {
    let each = addresses.iter();
    each.flat_map(|configured| match &configured.address {
        EndpointAddress::Name { host, port } => of_name(known, host, *port, configured.weight),
        _ => Resolved::from_literal(configured).into_iter().collect(),
    })
    .collect()
}

/// All addresses, names resolved at the same time. A name that cannot be resolved now keeps the endpoints that it had (`current`):
/// a name server that fails must not take a working upstream down.
pub(super) async fn all(addresses: &[Address], current: &[Arc<Endpoint>]) -> Vec<Resolved> {
    let each = addresses.iter().map(|configured| one(configured, current));
    join_all(each).await.concat()
}

/// What one configured address is now.
async fn one(configured: &Address, current: &[Arc<Endpoint>]) -> Vec<Resolved> {
    let weight = configured.weight;
    let EndpointAddress::Name { host, port } = &configured.address else {
        return Resolved::from_literal(configured).into_iter().collect();
    };
    let looking = tokio::net::lookup_host((&**host, *port));
    match tokio::time::timeout(RESOLVE_DEADLINE, looking).await {
        Ok(Ok(found)) => {
            let mut sockets: Vec<SocketAddr> = found.collect();
            sockets.sort_unstable();
            sockets.dedup();
            let at = |socket| Resolved {
                socket: Socket::Inet(socket),
                host: host.clone(),
                weight,
            };
            return sockets.into_iter().map(at).collect();
        }
        Ok(Err(error)) => {
            log::warn!("cannot resolve {host}: {error}; its last known addresses stay");
        }
        Err(_) => log::warn!(
            "cannot resolve {host} within {RESOLVE_DEADLINE:?}; its last known addresses stay"
        ),
    }
    of_name(current, host, *port, weight)
}

/// Whether each address has been resolved to something.
pub(super) fn has_all(addresses: &[Address], resolved: &[Resolved]) -> bool {
    addresses
        .iter()
        .all(|configured| match &configured.address {
            EndpointAddress::Name { host, port } => resolved
                .iter()
                .any(|it| it.host == *host && it.socket.port() == Some(*port)),
            _ => true,
        })
}

fn of_name(current: &[Arc<Endpoint>], host: &str, port: u16, weight: u32) -> Vec<Resolved> {
    let known = current.iter().map(|endpoint| endpoint.resolved());
    known
        .filter(|resolved| *resolved.host == *host && resolved.socket.port() == Some(port))
        .map(|resolved| Resolved {
            weight,
            ..resolved.clone()
        })
        .collect()
}

/// Resolves again and again until the upstream is dropped, and for the first time at once where it `is_due`.
pub(super) async fn watch(upstream: Weak<Upstream>, is_due: bool) {
    let mut pause = if is_due {
        Duration::ZERO
    } else {
        REFRESH_INTERVAL
    };
    loop {
        tokio::time::sleep(pause).await;
        pause = REFRESH_INTERVAL;
        let Some(upstream) = alive(&upstream) else {
            return;
        };
        upstream.adopt(all(&upstream.addresses, &upstream.current()).await);
    }
}
