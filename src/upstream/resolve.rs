//! From configured addresses to sockets: host names are resolved off the request path and refreshed.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::config::EndpointConfig;
use super::endpoint::Endpoint;
use super::{Upstream, alive};
use crate::discovery::{Labels, Member, Socket};
use crate::text::EndpointAddress;

const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// An endpoint as configured.
#[derive(Clone, Debug)]
pub(super) struct Address {
    address: EndpointAddress,
    /// What is said of it, at no particular place.
    said: Said,
}

/// What is written of an endpoint beside where it is.
#[derive(Clone, Debug)]
struct Said {
    weight: u32,
    priority: u8,
    zone: Option<Arc<str>>,
    labels: Labels,
}

impl Said {
    fn of(&self, socket: Socket, host: Box<str>) -> Member {
        Member {
            socket,
            host,
            weight: self.weight,
            priority: self.priority,
            zone: self.zone.clone(),
            labels: self.labels.clone(),
        }
    }
}

impl Address {
    pub(super) fn of(config: &EndpointConfig) -> Address {
        Address {
            address: config.address.clone(),
            said: Said {
                weight: u32::from(config.weight.get()),
                priority: config.priority,
                zone: config.zone.clone(),
                labels: config.labels.clone(),
            },
        }
    }

    pub(super) fn is_name(&self) -> bool {
        matches!(self.address, EndpointAddress::Name { .. })
    }

    /// `None` where it is a name.
    fn literal(&self) -> Option<Member> {
        match &self.address {
            EndpointAddress::Socket(socket) => {
                let host = socket.ip().to_string().into();
                Some(self.said.of(Socket::Inet(*socket), host))
            }
            EndpointAddress::Unix(path) => {
                let socket = Socket::Unix(path.clone());
                Some(self.said.of(socket, "localhost".into()))
            }
            EndpointAddress::Name { .. } => None,
        }
    }
}

/// The addresses that need no resolver: those that are no names, and of names those that are known already.
pub(super) fn without_resolver(addresses: &[Address], known: &[Arc<Endpoint>]) -> Vec<Member> {
    let each = addresses.iter();
    each.flat_map(|configured| match &configured.address {
        EndpointAddress::Name { host, port } => of_name(known, host, *port, &configured.said),
        _ => configured.literal().into_iter().collect(),
    })
    .collect()
}

/// All addresses, names resolved at the same time. A name that cannot be resolved now keeps the endpoints that it had (`current`):
/// a name server that fails must not take a working upstream down.
pub(super) async fn all(addresses: &[Address], current: &[Arc<Endpoint>]) -> Vec<Member> {
    let each = addresses.iter().map(|configured| one(configured, current));
    join_all(each).await.concat()
}

/// What one configured address is now.
async fn one(configured: &Address, current: &[Arc<Endpoint>]) -> Vec<Member> {
    let EndpointAddress::Name { host, port } = &configured.address else {
        return configured.literal().into_iter().collect();
    };
    let looking = tokio::net::lookup_host((&**host, *port));
    match tokio::time::timeout(RESOLVE_DEADLINE, looking).await {
        Ok(Ok(found)) => {
            let mut sockets: Vec<SocketAddr> = found.collect();
            sockets.sort_unstable();
            sockets.dedup();
            let at = |socket| configured.said.of(Socket::Inet(socket), host.clone());
            return sockets.into_iter().map(at).collect();
        }
        Ok(Err(error)) => {
            log::warn!("cannot resolve {host}: {error}; its last known addresses stay");
        }
        Err(_) => log::warn!(
            "cannot resolve {host} within {RESOLVE_DEADLINE:?}; its last known addresses stay"
        ),
    }
    of_name(current, host, *port, &configured.said)
}

/// Whether each address has been resolved to something.
pub(super) fn has_all(addresses: &[Address], resolved: &[Member]) -> bool {
    addresses
        .iter()
        .all(|configured| match &configured.address {
            EndpointAddress::Name { host, port } => resolved
                .iter()
                .any(|it| it.host == *host && it.socket.port() == Some(*port)),
            _ => true,
        })
}

fn of_name(current: &[Arc<Endpoint>], host: &str, port: u16, said: &Said) -> Vec<Member> {
    let known = current.iter().map(|endpoint| endpoint.member());
    known
        .filter(|resolved| *resolved.host == *host && resolved.socket.port() == Some(port))
        .map(|resolved| said.of(resolved.socket.clone(), resolved.host.clone()))
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
