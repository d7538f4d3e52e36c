//! Sets of addresses, in which a lookup costs one binary search however many networks they were made of.

use std::net::IpAddr;

use crate::text::Cidr;

/// A set of addresses. An IPv4-mapped IPv6 address is the IPv4 one, as in [`Cidr`].
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    pub(super) fn complement(&self) -> Networks {
        Networks {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
        }
    }

    pub(super) fn union(&self, other: &Networks) -> Networks {
        Networks {
            v4: self.v4.iter().chain(other.v4.iter()).collect(),
            v6: self.v6.iter().chain(other.v6.iter()).collect(),
        }
    }
}

impl FromIterator<Cidr> for Networks {
    fn from_iter<I: IntoIterator<Item = Cidr>>(networks: I) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            let prefix = network.prefix().into();
            match network.network() {
                IpAddr::V4(first) => v4.push(range(first.to_bits(), prefix)),
                IpAddr::V6(first) => v6.push(range(first.to_bits(), prefix)),
            }
        }
        Networks {
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
        }
    }
}

/// The first and the last address of a network.
fn range<A: Address>(first: A, prefix: u32) -> (A, A) {
    (first, first.last_below(prefix))
}

/// Ranges with both ends in them, ascending and neither overlapping nor touching. First and last addresses lie
/// apart, because a search reads only the first.
#[derive(Debug)]
struct Ranges<A> {
    firsts: Box<[A]>,
    lasts: Box<[A]>,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Ranges {
            firsts: Box::default(),
            lasts: Box::default(),
        }
    }
}

impl<A: Address> Ranges<A> {
    fn contains(&self, address: A) -> bool {
        let after = self.firsts.partition_point(|&first| first <= address);
        let last = after.checked_sub(1).and_then(|at| self.lasts.get(at));
        last.is_some_and(|&last| address <= last)
    }

    fn iter(&self) -> impl Iterator<Item = (A, A)> {
        self.firsts.iter().copied().zip(self.lasts.iter().copied())
    }

    fn complement(&self) -> Ranges<A> {
        let mut gaps = Vec::with_capacity(self.firsts.len() + 1);
        // Where the next gap begins, unless the last range ends where all addresses do.
        let mut next = Some(A::LOWEST);
        for (first, last) in self.iter() {
            if let (Some(begin), Some(end)) = (next, first.before())
                && begin <= end
            {
                gaps.push((begin, end));
            }
            next = last.after();
        }
        gaps.extend(next.map(|begin| (begin, A::HIGHEST)));
        gaps.into_iter().collect()
    }
}

impl<A: Address> FromIterator<(A, A)> for Ranges<A> {
    /// From ranges in any order, which may overlap.
    fn from_iter<I: IntoIterator<Item = (A, A)>>(ranges: I) -> Ranges<A> {
        let mut ranges: Vec<(A, A)> = ranges.into_iter().collect();
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let joins = before.after().is_none_or(|next| *first <= next);
            if joins {
                *before = (*before).max(*last);
            }
            joins
        });
        let (firsts, lasts): (Vec<A>, Vec<A>) = ranges.into_iter().unzip();
        Ranges {
            firsts: firsts.into(),
            lasts: lasts.into(),
        }
    }
}

/// The bits of an address.
trait Address: Copy + Ord {
    const LOWEST: Self;
    const HIGHEST: Self;

    fn before(self) -> Option<Self>;
    fn after(self) -> Option<Self>;
    /// The last address of the network of this prefix that begins here.
    fn last_below(self, prefix: u32) -> Self;
}

macro_rules! address {
    ($bits:ty) => {
        impl Address for $bits {
            const LOWEST: Self = <$bits>::MIN;
            const HIGHEST: Self = <$bits>::MAX;

            fn before(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn last_below(self, prefix: u32) -> Self {
                self | <$bits>::MAX.checked_shr(prefix).unwrap_or(0)
            }
        }
    };
}

address!(u32);
address!(u128);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn networks(text: &str) -> Vec<Cidr> {
        text.split_whitespace()
            .map(|network| network.parse().expect("a network"))
            .collect()
    }

    #[test]
    fn membership() {
        let check = |text: &str, address: &str, expected: bool| {
            let set: Networks = networks(text).into_iter().collect();
            let parsed = address.parse().expect("an address");
            assert_eq!(set.contains(parsed), expected, "{text}: {address}");
            assert_eq!(
                set.complement().contains(parsed),
                !expected,
                "not {text}: {address}"
            );
        };
        check("", "10.0.0.1", false);
        check("", "::1", false);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "0.0.0.0", true);
        check("0.0.0.0/0", "::", false);
        check("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true);
        check("::/0", "10.0.0.1", false);
        check("::/0", "::ffff:10.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("10.0.0.0/8", "9.255.255.255", false);
        check("10.0.0.0/8", "10.255.255.255", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8 10.1.0.0/16", "10.200.0.1", true);
        check("10.0.0.0/9 10.128.0.0/9", "10.128.0.0", true);
        check("255.255.255.255 0.0.0.0", "255.255.255.255", true);
        check("255.255.255.255 0.0.0.0", "255.255.255.254", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::", false);
    }

    #[test]
    fn neighbours_and_what_they_hold_become_one_range() {
        let set: Networks = networks("10.128.0.0/9 10.3.0.0/16 10.0.0.0/9 10.0.0.0/9 12.0.0.0/8")
            .into_iter()
            .collect();
        assert_eq!(set.v4.firsts.len(), 2);
        assert_eq!(set.complement().v4.firsts.len(), 3);
    }

    /// Networks and addresses that meet often: of all bits only a few differ.
    fn bits() -> impl Strategy<Value = u128> {
        (0u128..16, 0u32..128).prop_map(|(low, shift)| low.rotate_left(shift))
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            bits().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
            bits().prop_map(|bits| Ipv4Addr::from_bits(bits as u32).into()),
            bits().prop_map(|bits| Ipv4Addr::from_bits(bits as u32).to_ipv6_mapped().into()),
        ]
    }

    fn network() -> impl Strategy<Value = Cidr> {
        (address(), 0u32..=128).prop_map(|(address, prefix)| {
            let text = match address.to_canonical() {
                IpAddr::V4(address) => {
                    let prefix = prefix % 33;
                    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                    format!("{}/{prefix}", Ipv4Addr::from_bits(address.to_bits() & mask))
                }
                IpAddr::V6(address) => {
                    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                    format!("{}/{prefix}", Ipv6Addr::from_bits(address.to_bits() & mask))
                }
            };
            text.parse().expect("a network without host bits")
        })
    }

    proptest! {
        #[test]
        fn sets_are_what_a_walk_over_the_networks_finds(
            allow in vec(network(), 0..12),
            deny in vec(network(), 0..12),
            addresses in vec(address(), 1..40),
        ) {
            let allowed: Networks = allow.iter().copied().collect();
            let denied: Networks = deny.iter().copied().collect();
            let refused = denied.union(&allowed.complement());
            let ends = allow.iter().chain(&deny).map(|network| network.network());
            for address in addresses.into_iter().chain(ends) {
                let walk = |networks: &[Cidr]| networks.iter().any(|one| one.contains(address));
                prop_assert_eq!(allowed.contains(address), walk(&allow), "{} {:?}", address, &allow);
                prop_assert_eq!(
                    refused.contains(address),
                    walk(&deny) || !walk(&allow),
                    "{} {:?} {:?}", address, &allow, &deny
                );
            }
        }
    }
}
