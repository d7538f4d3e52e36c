//! Addresses to connect to and to listen on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Host, Invalid, parsed_text};

/// The longest path of a Unix socket that the kernel takes, its closing NUL apart.
const LONGEST_SOCKET_PATH: usize = 107;

/// What a Unix socket begins with.
const SOCKET: &str = "unix:";

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
        if text.starts_with(SOCKET) {
            return socket_path(text).map(EndpointAddress::Unix);
        }
        let wrong = || Invalid::EndpointAddress {
            got: text.into(),
            help: endpoint_help(text).map(Into::into),
        };
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return match socket.port() {
                0 => Err(Invalid::Port { got: text.into() }),
                _ => Ok(EndpointAddress::Socket(socket)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let Ok(host) = host.parse::<Host>() else {
            return Err(wrong());
        };
        match port.parse() {
            Ok(0) => Err(Invalid::Port { got: text.into() }),
            Ok(port) => Ok(EndpointAddress::Name {
                host: host.into_inner(),
                port,
            }),
            Err(_) if is_number(port) => Err(Invalid::Port { got: text.into() }),
            Err(_) => Err(wrong()),
        }
    }
}

/// What somebody who wrote a URL, or left the port out, probably meant.
fn endpoint_help(text: &str) -> Option<String> {
    let of_url = |scheme: &str, port: u16| {
        let rest = text.strip_prefix(scheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let address = match authority.parse::<EndpointAddress>() {
            Ok(_) => authority.to_owned(),
            Err(_) => format!("{}:{port}", authority.parse::<Host>().ok()?),
        };
        Some(format!("write \"{address}\", without \"{scheme}\""))
    };
    let of_host = || {
        let host = text.parse::<Host>().ok()?;
        Some(format!("add its port, as in \"{host}:80\""))
    };
    of_url("http://", 80)
        .or_else(|| {
            let help = of_url("https://", 443)?;
            Some(format!("{help}, and give the upstream tls = {{}}"))
        })
        .or_else(of_host)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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

    /// Whether the kernel chooses the port, another one each time.
    pub fn is_any_port(&self) -> bool {
        matches!(self, BindAddress::Socket(socket) if socket.port() == 0)
    }

    /// Whether both cannot be bound at a time. `[::]` takes IPv4 as well; port 0 is another one each time.
    pub fn overlaps(&self, other: &BindAddress) -> bool {
        let (BindAddress::Socket(a), BindAddress::Socket(b)) = (self, other) else {
            return self == other;
        };
        let takes = |wide: IpAddr, one: IpAddr| {
            wide.is_unspecified() && (wide.is_ipv6() || one.to_canonical().is_ipv4())
        };
        a.port() == b.port()
            && a.port() != 0
            && (a.ip().to_canonical() == b.ip().to_canonical()
                || takes(a.ip(), b.ip())
                || takes(b.ip(), a.ip()))
    }
}

impl FromStr for BindAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.starts_with(SOCKET) {
            return socket_path(text).map(BindAddress::Unix);
        }
        if let Ok(socket) = text.parse() {
            return Ok(BindAddress::Socket(socket));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let help = match (host.parse::<Host>(), port.parse::<u16>()) {
            (Ok(_), Err(_)) if is_number(port) => return Err(Invalid::Port { got: text.into() }),
            (Ok(_), Ok(port)) => Some(format!(
                "it is an address, not a name: write \"0.0.0.0:{port}\", or \"127.0.0.1:{port}\" for this \
                 machine alone"
            )),
            (Err(_), Ok(port)) if host.is_empty() => Some(format!("write \"0.0.0.0:{port}\"")),
            _ => text.parse::<IpAddr>().ok().map(|address| {
                let with_port = SocketAddr::new(address, 8080);
                format!("add a port, as in \"{with_port}\"")
            }),
        };
        Err(Invalid::BindAddress {
            got: text.into(),
            help: help.map(Into::into),
        })
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

    fn from_number(got: i64) -> Option<Result<Self, Invalid>> {
        let is_port = u16::try_from(got).is_ok();
        is_port.then_some(Err(Invalid::BindPort { got }))
    }
}

parsed_text!(
    BindAddress,
    "string",
    "^(unix:/.+|.+:[0-9]{1,5})$",
    "ADDRESS:PORT, where an IPv6 address stands in brackets, or unix:/PATH."
);

fn socket_path(text: &str) -> Result<Box<Path>, Invalid> {
    let path = text.strip_prefix(SOCKET).unwrap_or(text);
    if path.starts_with('/') && path.len() <= LONGEST_SOCKET_PATH && !path.contains('\0') {
        Ok(Path::new(path).into())
    } else {
        Err(Invalid::SocketPath { got: text.into() })
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
    fn overlaps_both_ways() {
        let check = |a: &str, b: &str, expected: bool| {
            let address = |text: &str| text.parse::<BindAddress>().expect(text);
            assert_eq!(address(a).overlaps(&address(b)), expected, "{a} {b}");
            assert_eq!(address(b).overlaps(&address(a)), expected, "{b} {a}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "[::1]:80", false);
        check("0.0.0.0:80", "[::]:80", true);
        check("[::]:80", "127.0.0.1:80", true);
        check("[::]:80", "[2001:db8::1]:80", true);
        check("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true);
        check("0.0.0.0:0", "127.0.0.1:0", false);
        check("unix:/a", "unix:/a", true);
        check("unix:/a", "0.0.0.0:80", false);
    }

    #[test]
    fn help_says_what_was_meant() {
        let check = |error: Invalid, expected: &str| {
            let text = error.to_string();
            let help = text.split_once('\n').map(|(_, help)| help);
            assert_eq!(help.unwrap_or(""), expected, "{text}");
        };
        let endpoint = |text: &str| text.parse::<EndpointAddress>().expect_err(text);
        check(
            endpoint("http://orders:8002/v1"),
            "write \"orders:8002\", without \"http://\"",
        );
        check(
            endpoint("https://orders"),
            "write \"orders:443\", without \"https://\", and give the upstream tls = {}",
        );
        check(endpoint("orders"), "add its port, as in \"orders:80\"");
        check(endpoint("http:// x"), "");
        let bind = |text: &str| text.parse::<BindAddress>().expect_err(text);
        check(bind(":8080"), "write \"0.0.0.0:8080\"");
        check(bind("8080"), "write \"0.0.0.0:8080\"");
        check(bind("::1"), "add a port, as in \"[::1]:8080\"");
        check(bind("10.0.0.1"), "add a port, as in \"10.0.0.1:8080\"");
        check(bind("10.0.0.1:99999"), "");
        check(bind("x y"), "");
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
