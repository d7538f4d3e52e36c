//! From configured addresses to sockets: host names are resolved off the request path and refreshed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

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

/// All addresses, names resolved. A name that cannot be resolved now keeps the endpoints that it had (`current`):
/// a name server that fails must not take a working upstream down.
pub(super) async fn all(addresses: &[Address], current: &[Arc<Endpoint>]) -> Vec<Resolved> {
    let mut resolved: Vec<Resolved> = Vec::with_capacity(addresses.len());
    for configured in addresses {
        let EndpointAddress::Name { host, port } = &configured.address else {
            resolved.extend(Resolved::from_literal(configured));
            continue;
        };
        let lookup =
            tokio::time::timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((&**host, *port))).await;
        match lookup {
            Ok(Ok(found)) => {
                let mut sockets: Vec<SocketAddr> = found.collect();
                sockets.sort_unstable();
                sockets.dedup();
                resolved.extend(sockets.into_iter().map(|socket| Resolved {
                    socket: Socket::Inet(socket),
                    host: host.clone(),
                    weight: configured.weight,
                }));
            }
            Ok(Err(error)) => {
                log::warn!("cannot resolve {host}: {error}; its last known addresses stay");
                resolved.extend(of_name(current, host, *port, configured.weight));
            }
            Err(_) => {
                log::warn!(
                    "cannot resolve {host} within {RESOLVE_DEADLINE:?}; its last known addresses stay"
                );
                resolved.extend(of_name(current, host, *port, configured.weight));
            }
        }
    }
    resolved
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

/// Resolves again and again until the upstream is dropped.
pub(super) async fn watch(upstream: Weak<Upstream>) {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        let Some(upstream) = alive(&upstream) else {
            return;
        };
        upstream.adopt(all(&upstream.addresses, &upstream.current()).await);
    }
}
