//! One endpoint as its source tells of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    Inet(SocketAddr),
    Unix(Box<Path>),
}

impl Socket {
    pub fn port(&self) -> Option<u16> {
        match self {
            Socket::Inet(address) => Some(address.port()),
            Socket::Unix(_) => None,
        }
    }

    /// As it is written in configurations, logs and labels of metrics.
    pub fn text(&self) -> String {
        match self {
            Socket::Inet(address) => address.to_string(),
            Socket::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// What is said of an endpoint beside where it is: names and values, in the order of the names.
pub type Labels = Arc<[(Box<str>, Box<str>)]>;

/// An endpoint as it can be connected to, and what its source says of it. Two that differ in nothing but what comes
/// behind `host` are the same endpoint, of which something else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub socket: Socket,
    /// The name that it came from, which TLS verifies.
    pub host: Box<str>,
    /// Its share of requests, relative to the others: at least 1.
    pub weight: u32,
    /// Those of a lower number come first.
    pub priority: u8,
    pub zone: Option<Arc<str>>,
    pub labels: Labels,
}

impl Member {
    /// An endpoint of which nothing else is said.
    pub fn new(socket: Socket, host: Box<str>, weight: u32) -> Member {
        Member {
            socket,
            host,
            weight,
            priority: 0,
            zone: None,
            labels: Labels::default(),
        }
    }

    /// An address that has no name; TLS verifies the address.
    pub fn at(address: SocketAddr, weight: u32) -> Member {
        let host = address.ip().to_string().into();
        Member::new(Socket::Inet(address), host, weight)
    }

    /// Whether it is the same endpoint, whatever is said of it.
    pub fn is_same_place(&self, other: &Member) -> bool {
        self.socket == other.socket && self.host == other.host
    }
}
