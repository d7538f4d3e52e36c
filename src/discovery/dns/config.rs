//! `dns = { … }` as written.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use hickory_resolver::proto::rr::RecordType;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Asked;
use crate::text::{Duration, Host, ParsedText, Span, Spanned, Subject, parsed_text, quoted};

/// A name that is resolved, or a service whose servers are: `name` and `port`, or `srv`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DnsDiscovery")]
pub struct Config {
    /// Each address (A and AAAA) of this name is an endpoint. One that ends with a dot is not looked for in the
    /// system's search domains.
    pub name: Option<Spanned<DnsName>>,
    /// The port of the endpoints; with `name`.
    pub port: Option<Spanned<NonZeroU16>>,
    /// Each server of this service (SRV, RFC 2782) is an endpoint, with its port, its weight and its priority: those of
    /// higher numbers are for when those of lower ones fail. `"_http._tcp.users.internal"`
    pub srv: Option<Spanned<DnsName>>,
    /// Which servers to ask: `"10.0.0.2"` or `"10.0.0.2:5353"`. Default: those of `/etc/resolv.conf`.
    #[serde(default)]
    pub servers: Vec<NameServer>,
    /// Which addresses are wanted.
    #[serde(default)]
    pub family: Family,
    /// An answer is used for so long, whatever shorter TTL it has. Default `"1s"`.
    #[serde(default = "one_second")]
    pub min_ttl: Duration,
    /// An answer is asked for anew after so long, whatever longer TTL it has. Default `"60s"`.
    #[serde(default = "one_minute")]
    pub max_ttl: Duration,
}

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Both kinds.
    #[default]
    Any,
    /// A records alone.
    Ipv4,
    /// AAAA records alone.
    Ipv6,
}

impl Family {
    pub(super) fn types(self) -> &'static [RecordType] {
        match self {
            Family::Any => &[RecordType::A, RecordType::AAAA],
            Family::Ipv4 => &[RecordType::A],
            Family::Ipv6 => &[RecordType::AAAA],
        }
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

impl Config {
    /// What is to be looked up. `None` after diagnostics.
    pub(super) fn asked(&self, span: Span, subject: &mut Subject<'_>) -> Option<Asked> {
        match (&self.name, &self.port, &self.srv) {
            (Some(name), Some(port), None) => Some(Asked::Name {
                name: name.value.0.clone(),
                port: port.value.get(),
            }),
            (None, None, Some(srv)) => Some(Asked::Service(srv.value.0.clone())),
            (Some(_), None, None) => {
                let what = "needs the port of the endpoints";
                subject.error(span, what).help("write port = 8080");
                None
            }
            (None, Some(port), Some(_)) => {
                let what = "is set, but SRV records have ports of their own";
                subject.key("port").error(port.span, what);
                None
            }
            _ => {
                let what = "must have either name and port, or srv";
                subject
                    .error(span, what)
                    .help("write dns = { name = \"users.internal\", port = 8001 }");
                None
            }
        }
    }
}

fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// A name to be looked up, in lower case. One that ends with a dot is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(Box<str>);

/// Why a text is no name that could be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDnsName {
    #[error("must be a name such as \"users.internal\", got {}", quoted(.got))]
    Malformed { got: Box<str> },
    #[error("is the address {}, which nobody has to look up; write it in endpoints", quoted(.got))]
    Address { got: Box<str> },
}

impl FromStr for DnsName {
    type Err = InvalidDnsName;

    fn from_str(text: &str) -> Result<DnsName, InvalidDnsName> {
        if without_brackets(text).parse::<IpAddr>().is_ok() {
            return Err(InvalidDnsName::Address { got: text.into() });
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        match name.parse::<Host>() {
            Ok(_) => Ok(DnsName(text.to_ascii_lowercase().into())),
            Err(_) => Err(InvalidDnsName::Malformed { got: text.into() }),
        }
    }
}

impl ParsedText for DnsName {
    const EXPECTED: &'static str = "a name such as \"users.internal\"";
}

parsed_text!(
    DnsName,
    "string",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
    "A name in DNS, \"users.internal\"; with a dot at its end it is whole."
);

/// A name server: an address, and its port where that is not 53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer(SocketAddr);

impl NameServer {
    pub(super) fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Why a text is no name server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the address of a name server such as \"10.0.0.2\" or \"10.0.0.2:53\", got {}", quoted(.got))]
pub struct InvalidNameServer {
    got: Box<str>,
}

impl FromStr for NameServer {
    type Err = InvalidNameServer;

    fn from_str(text: &str) -> Result<NameServer, InvalidNameServer> {
        let with_port = text.parse().ok().filter(|it: &SocketAddr| it.port() > 0);
        let address = without_brackets(text).parse::<IpAddr>().ok();
        let server = with_port.or_else(|| Some(SocketAddr::new(address?, 53)));
        server
            .map(NameServer)
            .ok_or_else(|| InvalidNameServer { got: text.into() })
    }
}

impl ParsedText for NameServer {
    const EXPECTED: &'static str = "the address of a name server such as \"10.0.0.2:53\"";
}

parsed_text!(
    NameServer,
    "string",
    r"^[0-9A-Fa-f.:\[\]]+$",
    "The address of a name server, and its port where that is not 53."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, expected: Option<&str>| {
            let name = text.parse::<DnsName>().ok().map(|it| it.0);
            assert_eq!(name.as_deref(), expected, "{text}");
        };
        check("users.internal", Some("users.internal"));
        check("Users.Internal.", Some("users.internal."));
        check("_http._tcp.users", Some("_http._tcp.users"));
        for wrong in ["", ".", "a..", "a b", "*.a", "10.0.0.1", "[::1]", "a:80"] {
            check(wrong, None);
        }
    }

    #[test]
    fn servers() {
        let check = |text: &str, expected: Option<&str>| {
            let server = text.parse::<NameServer>().ok().map(|it| it.0);
            assert_eq!(server, expected.map(|it| it.parse().unwrap()), "{text}");
        };
        check("10.0.0.2", Some("10.0.0.2:53"));
        check("10.0.0.2:5353", Some("10.0.0.2:5353"));
        check("::1", Some("[::1]:53"));
        check("[::1]", Some("[::1]:53"));
        check("[::1]:54", Some("[::1]:54"));
        for wrong in ["", "dns.internal", "10.0.0.2:0", "10.0.0.2:x", "10.0.0"] {
            check(wrong, None);
        }
    }
}
