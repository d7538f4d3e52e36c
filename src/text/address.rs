//! Addresses to connect to and to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{HostPattern, Invalid, parsed_text};

/// The longest path of a Unix socket that the kernel takes, its closing NUL apart.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where something can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// `10.0.0.5:8002`, `[2001:db8::5]:8002`
    Socket(SocketAddr),
    /// `orders.internal:8002`
    Name { host: Box<str>, port: u16 },
    /// `unix:/run/orders.sock`
    Unix(Box<Path>),
}

impl FromStr for EndpointAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::EndpointAddress { got: text.into() };
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(EndpointAddress::Unix);
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return if socket.port() == 0 {
                Err(wrong())
            } else {
                Ok(EndpointAddress::Socket(socket))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port
            .parse()
            .ok()
            .filter(|&port| port > 0)
            .ok_or_else(wrong)?;
        match host.parse() {
            Ok(HostPattern::Exact(host)) => Ok(EndpointAddress::Name { host, port }),
            Ok(HostPattern::Suffix(_)) | Err(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Socket(socket) => socket.fmt(f),
            EndpointAddress::Name { host, port } => write!(f, "{host}:{port}"),
            EndpointAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ParsedText for EndpointAddress {
    const EXPECTED: &'static str = "an address such as \"10.0.0.5:8002\"";
}

parsed_text!(
    EndpointAddress,
    "string",
    "^(unix:/.+|.+:[0-9]{1,5})$",
    "HOST:PORT, where an IPv6 address stands in brackets, or unix:/PATH."
);

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// `0.0.0.0:8443`, `[::]:8443`; port 0 lets the kernel choose.
    Socket(SocketAddr),
    /// `unix:/run/northgate.sock`
    Unix(Box<Path>),
}

impl BindAddress {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            BindAddress::Socket(socket) => socket.ip().to_canonical().is_loopback(),
            BindAddress::Unix(_) => true,
        }
    }
}

impl FromStr for BindAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("unix:") {
            Some(path) => socket_path(path).map(BindAddress::Unix),
            None => text
                .parse()
                .map(BindAddress::Socket)
                .map_err(|_| Invalid::BindAddress { got: text.into() }),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Socket(socket) => socket.fmt(f),
            BindAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ParsedText for BindAddress {
    const EXPECTED: &'static str = "an address such as \"0.0.0.0:8443\"";
}

parsed_text!(
    BindAddress,
    "string",
    "^(unix:/.+|.+:[0-9]{1,5})$",
    "ADDRESS:PORT, where an IPv6 address stands in brackets, or unix:/PATH."
);

fn socket_path(path: &str) -> Result<Box<Path>, Invalid> {
    if path.starts_with('/') && path.len() <= LONGEST_SOCKET_PATH && !path.contains('\0') {
        Ok(Path::new(path).into())
    } else {
        Err(Invalid::SocketPath { got: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_names_or_sockets() {
        let check = |text: &str, is_valid: bool| {
            let parsed = text.parse::<EndpointAddress>();
            assert_eq!(
                parsed.as_ref().map(ToString::to_string).ok().as_deref(),
                is_valid.then_some(text),
                "{parsed:?}"
            );
        };
        check("10.0.0.5:8002", true);
        check("[2001:db8::5]:8002", true);
        check("orders.internal:8002", true);
        check("localhost:80", true);
        check("unix:/run/orders.sock", true);
        check("10.0.0.5", false);
        check("10.0.0.5:0", false);
        check("orders:99999", false);
        check("*.internal:80", false);
        check("http://orders:80", false);
        check("unix:orders.sock", false);
        check(&format!("unix:/{}", "x".repeat(107)), false);
    }

    #[test]
    fn listeners_bind_to_addresses_not_names() {
        let check = |text: &str, is_valid: bool| {
            assert_eq!(text.parse::<BindAddress>().is_ok(), is_valid, "{text}")
        };
        check("0.0.0.0:8443", true);
        check("[::]:0", true);
        check("unix:/run/northgate.sock", true);
        check("localhost:8443", false);
        check(":8443", false);
        check("8443", false);
    }
}
