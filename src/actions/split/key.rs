//! What keeps requests together: `by = "identity"`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderName;
use http::header::COOKIE;

use crate::facts::View;
use crate::text::{ParsedText, parsed_text, quoted};

/// Whose requests go to the same branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The consumer, or else the provider and the subject of who calls.
    Identity,
    /// The client's address; of IPv6 the first 64 bits, which is what one subscriber has at least (RFC 6177).
    Address,
    Header(HeaderName),
    Cookie(Box<str>),
}

/// What keeps no requests together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be identity, address, header:NAME or cookie:NAME, got {}", quoted(.0))]
pub struct Unknown(Box<str>);

impl FromStr for By {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<By, Unknown> {
        let wrong = || Unknown(text.into());
        match (text, text.split_once(':')) {
            ("identity", _) => Ok(By::Identity),
            ("address", _) => Ok(By::Address),
            (_, Some(("header", name))) => name.parse().map(By::Header).map_err(|_| wrong()),
            (_, Some(("cookie", name))) if !name.is_empty() => Ok(By::Cookie(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Identity => f.write_str("identity"),
            By::Address => f.write_str("address"),
            By::Header(name) => write!(f, "header:{name}"),
            By::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl ParsedText for By {
    const EXPECTED: &'static str = "what keeps requests together, such as \"identity\"";
}

parsed_text!(
    By,
    "string",
    "^(identity|address|(header|cookie):.+)$",
    "Whose requests go to the same branch: those of one \"identity\", one \"address\", or of one value of \"header:NAME\" or \"cookie:NAME\"."
);

impl By {
    /// The hash of the request's key. `None` where it has none: nobody was identified, or there is no such header or
    /// cookie. It is the same in every gateway and after every start, so it is not one with a secret: who may choose
    /// the value chooses among the branches, as is said in the option's documentation.
    pub(super) fn key(&self, view: View<'_>) -> Option<u64> {
        let mut hash = Hash::new();
        match self {
            By::Identity => {
                let identity = view.facts.identity.as_deref()?;
                match identity.consumer() {
                    Some(consumer) => hash.part(consumer.as_bytes()),
                    None => {
                        hash.part(identity.provider.as_bytes());
                        hash.part(identity.subject.as_bytes());
                    }
                }
            }
            By::Address => match view.facts.client.to_canonical() {
                IpAddr::V4(address) => hash.part(&address.octets()),
                IpAddr::V6(address) => hash.part(&address.octets()[..8]),
            },
            By::Header(name) => hash.part(view.request.headers.get(name)?.as_bytes()),
            By::Cookie(name) => hash.part(cookie(view, name)?),
        }
        Some(hash.finish())
    }
}

/// The first cookie of this name.
fn cookie<'r>(view: View<'r>, name: &str) -> Option<&'r [u8]> {
    let values = view.request.headers.get_all(COOKIE).iter();
    let mut pairs = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.find_map(|pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

/// FNV-1a of 64 bits, with MurmurHash3's finaliser, which FNV needs for its high bits. Short keys take some ten
/// nanoseconds.
pub(super) struct Hash(u64);

impl Hash {
    pub(super) fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a part. Parts are apart: `ab` and `c` are not `a` and `bc`.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        for byte in bytes.iter().copied().chain(length.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// The finaliser of MurmurHash3: each bit of what comes in changes half of those that go out.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;

    use super::*;
    use crate::facts::{Facts, Scheme};

    #[test]
    fn words_are_read_and_printed() {
        for text in ["identity", "address", "header:x-tenant", "cookie:sid"] {
            assert_eq!(text.parse::<By>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "client",
            "header:",
            "cookie:",
            "header:a b",
            "address:x",
        ] {
            assert!(wrong.parse::<By>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_have_keys() {
        let key = |by: &str, address: &str, headers: &[(&'static str, &str)]| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for (name, value) in headers {
                request.append_header(*name, *value).unwrap();
            }
            let facts = Facts::new(address.parse().unwrap(), Scheme::Http);
            let view = View {
                facts: &facts,
                request: &request,
            };
            by.parse::<By>().unwrap().key(view)
        };
        let at = |address: &str| key("address", address, &[]);
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(key("identity", "192.0.2.1", &[]), None);
        assert_eq!(key("header:x-a", "192.0.2.1", &[]), None);
        let header = |value| key("header:x-a", "192.0.2.1", &[("x-a", value)]);
        assert_ne!(header("1"), header("2"));
        let cookies = |line| key("cookie:sid", "192.0.2.1", &[("cookie", line)]);
        assert_eq!(cookies("a=1; sid=7"), cookies("sid=7; b=2"));
        assert_eq!(cookies("side=7"), None);
        // It is what it was, in every release and on every machine: otherwise an upgrade moved everybody.
        assert_eq!(at("192.0.2.1"), Some(FIXED));
    }

    const FIXED: u64 = 14_015_959_796_612_723_201;
}
