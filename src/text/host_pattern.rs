//! Hosts as routes and certificates name them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// One host, or all below one; in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// A name or an address, as a `Host` header has it: IPv6 in brackets and in its shortest form.
    Exact(Box<str>),
    /// `*.example.com`, without the star and its dot. As in the Gateway API it matches any number of labels in
    /// front, but never `example.com` itself.
    Suffix(Box<str>),
}

const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

impl HostPattern {
    /// `host` must be in lower case, without its port.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(exact) => host == &**exact,
            HostPattern::Suffix(suffix) => {
                let front = host
                    .strip_suffix(&**suffix)
                    .and_then(|front| front.strip_suffix('.'));
                front.is_some_and(|front| !front.is_empty())
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = text
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            return Ok(HostPattern::Exact(format!("[{address}]").into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(HostPattern::Exact(address.to_string().into()));
        }
        if text.contains('/') {
            return Err(Invalid::HostScheme { got: text.into() });
        }
        if let Some((host, port)) = text.rsplit_once(':') {
            // Half an IPv6 address is no host before a port.
            let is_whole =
                |host: &str| !host.is_empty() && (!host.contains(':') || host.ends_with(']'));
            return Err(match port.parse() {
                Ok(port) if is_whole(host) => Invalid::HostPort {
                    host: host.into(),
                    port,
                },
                _ => Invalid::Host { got: text.into() },
            });
        }
        match text.strip_prefix("*.") {
            Some(suffix) => checked_name(text, suffix).map(HostPattern::Suffix),
            None => checked_name(text, text).map(HostPattern::Exact),
        }
    }
}

/// The letter-digit-hyphen rule of RFC 952 and RFC 1123, and the underscore that internal names often have.
fn checked_name(text: &str, name: &str) -> Result<Box<str>, Invalid> {
    let got = || Box::from(text);
    if name.contains('*') {
        return Err(Invalid::HostWildcard { got: got() });
    }
    if !name.is_ascii() {
        return Err(Invalid::HostLetters { got: got() });
    }
    if name.len() > LONGEST_HOST || name.split('.').any(|label| label.len() > LONGEST_LABEL) {
        return Err(Invalid::HostLong { got: got() });
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.split('.').all(is_label) {
        return Err(Invalid::Host { got: got() });
    }
    // Clients read a host whose last label is a number as an IPv4 address, and this one is none.
    let last = name.rsplit('.').next().unwrap_or("");
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::HostNumbers { got: got() });
    }
    Ok(name.to_ascii_lowercase().into())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl ParsedText for HostPattern {
    const EXPECTED: &'static str = "a host such as \"api.example.com\" or \"*.example.com\"";
}

parsed_text!(
    HostPattern,
    "string",
    r"^(\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*$|^\[?[0-9A-Fa-f:.]+\]?$",
    "A host, \"api.example.com\", an address, or all hosts below one, \"*.example.com\"."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<HostPattern>(text, Ok(expected));
        check("api.Example.com", "api.example.com");
        check("*.Example.com", "*.example.com");
        check("localhost", "localhost");
        check("my_service.internal", "my_service.internal");
        check("10.0.0.1", "10.0.0.1");
        check("::1", "[::1]");
        check("[2001:DB8:0:0::1]", "[2001:db8::1]");
        check("xn--bcher-kva.example", "xn--bcher-kva.example");
        check("1password.com", "1password.com");
    }

    #[test]
    fn bad() {
        let wrong = |text: &str| {
            format!("must be a host such as \"api.example.com\" or \"*.example.com\", got {text:?}")
        };
        for text in [
            "", "*.", "a..b", ".a", "a.", "-a.com", "a-.com", "a b", ":80", "a:x", "[::1", "a\n",
        ] {
            check::<HostPattern>(text, Err(&wrong(text)));
        }
        let check = |text: &str, expected| check::<HostPattern>(text, Err(expected));
        check(
            "http://a.com",
            "must be a host without a scheme or path, such as \"api.example.com\", got \"http://a.com\"",
        );
        check(
            "a.com:80",
            "must be a host without a port, such as \"a.com\", got \"a.com:80\"",
        );
        check(
            "[::1]:80",
            "must be a host without a port, such as \"[::1]\", got \"[::1]:80\"",
        );
        check(
            "*",
            "must be a host whose only \"*\" is its whole first part, such as \"*.example.com\", got \"*\"",
        );
        check(
            "a.*.com",
            "must be a host whose only \"*\" is its whole first part, such as \"*.example.com\", got \"a.*.com\"",
        );
        check(
            "bücher.de",
            "must be a host in ASCII (\"xn--…\" for other letters), got \"bücher.de\"",
        );
        check(
            "10.0.0.256",
            "must be a host; all numbers, it would have to be an address such as \"10.0.0.1\", got \"10.0.0.256\"",
        );
        assert!(matches!(
            "a".repeat(64).parse::<HostPattern>(),
            Err(Invalid::HostLong { .. })
        ));
        assert!(matches!(
            "a.".repeat(127).parse::<HostPattern>(),
            Err(Invalid::HostLong { .. })
        ));
    }

    #[test]
    fn matching() {
        let check = |pattern: &str, host: &str, expected: bool| {
            let pattern: HostPattern = pattern.parse().expect("a good pattern");
            assert_eq!(pattern.matches(host), expected, "{pattern} {host}");
        };
        check("a.com", "a.com", true);
        check("a.com", "b.a.com", false);
        check("*.a.com", "b.a.com", true);
        check("*.a.com", "c.b.a.com", true);
        check("*.a.com", "a.com", false);
        check("*.a.com", ".a.com", false);
        check("*.a.com", "ba.com", false);
        check("::1", "[::1]", true);
    }
}
