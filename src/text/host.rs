//! One host.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{HostPattern, Invalid, parsed_text};

/// A name or an address, without a port: in lower case, IPv6 in brackets and in its shortest form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Box<str>);

impl Host {
    pub fn into_inner(self) -> Box<str> {
        self.0
    }
}

impl Deref for Host {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse()? {
            HostPattern::Exact(host) => Ok(Host(host)),
            HostPattern::Suffix(_) => Err(Invalid::HostOfMany { got: text.into() }),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ParsedText for Host {
    const EXPECTED: &'static str = "a host such as \"orders.internal\"";
}

parsed_text!(
    Host,
    "string",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$|^\[?[0-9A-Fa-f:.]+\]?$",
    "A host, \"orders.internal\", or an address."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn one_host() {
        check::<Host>("Orders.Internal", Ok("orders.internal"));
        check::<Host>("::1", Ok("[::1]"));
        check::<Host>(
            "*.internal",
            Err("must be one host, not a pattern of many, got \"*.internal\""),
        );
        for text in ["", "a b", "https://a", "a:80"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
