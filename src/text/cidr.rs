//! IP networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// A network of one family. An IPv4-mapped IPv6 address or network (`::ffff:10.0.0.1`) is the IPv4 one: sockets
/// that listen on both families show IPv4 clients that way, and a rule must not be dodged by it. In turn `::/0`
/// holds no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

const MAPPED_PREFIX: u8 = 96;

impl Cidr {
    pub fn network(self) -> IpAddr {
        self.network
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }
}

/// Keeps the first `prefix` bits. A shift by the whole width is what `checked_shl` is for.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl From<IpAddr> for Cidr {
    fn from(address: IpAddr) -> Self {
        let network = address.to_canonical();
        Cidr {
            network,
            prefix: longest(network),
        }
    }
}

impl FromStr for Cidr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::Cidr { got: text.into() };
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Cidr::from).map_err(|_| wrong());
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        // `u8` would take "+8", which no other tool does.
        let digits = Some(prefix).filter(|prefix| prefix.bytes().all(|byte| byte.is_ascii_digit()));
        let prefix: u8 = digits
            .and_then(|digits| digits.parse().ok())
            .filter(|&prefix| prefix <= longest(written))
            .ok_or_else(|| Invalid::CidrPrefix {
                longest: longest(written),
                got: text.into(),
            })?;
        let (address, prefix) = match (written, written.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if prefix >= MAPPED_PREFIX => {
                (mapped.into(), prefix - MAPPED_PREFIX)
            }
            (written, _) => (written, prefix),
        };
        let network = masked(address, prefix);
        if network != address {
            return Err(Invalid::CidrHostBits {
                address,
                network,
                prefix,
            });
        }
        Ok(Cidr { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl ParsedText for Cidr {
    const EXPECTED: &'static str =
        "an address or network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
}

parsed_text!(
    Cidr,
    "string",
    r"^[0-9A-Fa-f:.]+(/\d{1,3})?$",
    "An IP network, \"10.0.0.0/8\" or \"2001:db8::/32\", or a single address."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<Cidr>(text, Ok(expected));
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.1.2.3", "10.1.2.3/32");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:db8::/32", "2001:db8::/32");
        check("::1", "::1/128");
        check("::/0", "::/0");
        check("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check("::ffff:10.0.0.1", "10.0.0.1/32");
    }

    #[test]
    fn bad() {
        let wrong = |text: &str| {
            format!(
                "must be an address or network such as \"10.0.0.0/8\" or \"2001:db8::/32\", got \"{text}\""
            )
        };
        for text in [
            "",
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "localhost",
            "/8",
            "fe80::1%eth0",
        ] {
            check::<Cidr>(text, Err(&wrong(text)));
        }
        let check = |text, expected| check::<Cidr>(text, Err(expected));
        check(
            "10.0.0.0/33",
            "must be a network with a prefix of 0 to 32, got \"10.0.0.0/33\"",
        );
        check(
            "10.0.0.0/+8",
            "must be a network with a prefix of 0 to 32, got \"10.0.0.0/+8\"",
        );
        check(
            "::/129",
            "must be a network with a prefix of 0 to 128, got \"::/129\"",
        );
        check(
            "::/",
            "must be a network with a prefix of 0 to 128, got \"::/\"",
        );
        check(
            "10.1.2.3/8",
            "must be a network without host bits, such as \"10.0.0.0/8\" (or \"10.1.2.3\" for the one address), \
             got \"10.1.2.3/8\"",
        );
    }

    #[test]
    fn containing() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Cidr = network.parse().expect("a good network");
            let address: IpAddr = address.parse().expect("a good address");
            assert_eq!(network.contains(address), expected, "{network} {address}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.0/104", "10.9.9.9", true);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "10.0.0.1", false);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("::1", "::1", true);
        check("10.1.2.3", "10.1.2.4", false);
    }
}
