//! What a lookup has come to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use super::Failure;

/// More servers of one service are a mistake.
const MOST_TARGETS: usize = 1000;
/// An answer that there is nothing, without a word on how long that is so.
const NEGATIVE: Duration = Duration::from_secs(5);

/// What a name server says of a name.
#[derive(Debug)]
pub(super) enum Answer {
    /// These, good for so long.
    Records(Vec<Record>, Duration),
    /// There is no such name, or nothing of the kind at it, for so long.
    None(Duration),
}

impl Answer {
    pub(super) fn of(lookup: Result<Lookup, NetError>) -> Result<Answer, Failure> {
        match lookup {
            Ok(lookup) => {
                let records = lookup.answers();
                // Those of aliases on the way count as well.
                let shortest = records.iter().map(|it| it.ttl).min().unwrap_or_default();
                let lifetime = Duration::from_secs(u64::from(shortest));
                Ok(Answer::Records(records.to_vec(), lifetime))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    let ttl = none.negative_ttl.map(|it| Duration::from_secs(it.into()));
                    Ok(Answer::None(ttl.unwrap_or(NEGATIVE)))
                }
                code => Err(Failure::refused(code)),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(Failure::refused(code)),
            Err(error @ NetError::Proto(_)) => Err(Failure::malformed(error)),
            Err(error) => Err(Failure::unreachable(error)),
        }
    }

    pub(super) fn lifetime(&self) -> Duration {
        match self {
            Answer::Records(_, lifetime) | Answer::None(lifetime) => *lifetime,
        }
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let Answer::Records(records, _) = self else {
            return Vec::new();
        };
        let address = |record: &Record| match &record.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        };
        records.iter().filter_map(address).collect()
    }
}

/// A name whose addresses are endpoints, and what is said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: Box<str>,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) priority: u8,
}

impl Target {
    pub(super) fn plain(name: Box<str>, port: u16) -> Target {
        Target {
            name,
            port,
            weight: 1,
            priority: 0,
        }
    }
}

/// The servers of a service. Priorities become 0, 1, 2 and so on, in their order. A weight of 0 is for little, and the
/// least there is. The target `.` says that there is no such service (RFC 2782).
pub(super) fn targets<'r>(records: impl Iterator<Item = &'r SRV>) -> Result<Vec<Target>, Failure> {
    let records: Vec<&SRV> = records
        .filter(|it| !it.target.is_root() && it.port > 0)
        .collect();
    if records.len() > MOST_TARGETS {
        let what = format!("{} servers are more than {MOST_TARGETS}", records.len());
        return Err(Failure::malformed(what));
    }
    let mut priorities: Vec<u16> = records.iter().map(|it| it.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let rank = |priority: u16| {
        let below = priorities.partition_point(|&it| it < priority);
        u8::try_from(below).unwrap_or(u8::MAX)
    };
    let target = |record: &SRV| Target {
        name: name(record),
        port: record.port,
        weight: u32::from(record.weight).max(1),
        priority: rank(record.priority),
    };
    Ok(records.into_iter().map(target).collect())
}

/// Whole, so that no search domain is tried, and in lower case, as names are compared.
fn name(record: &SRV) -> Box<str> {
    record.target.to_lowercase().to_ascii().into()
}

/// The addresses of names, by the kind of record.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<(Box<str>, RecordType), Vec<IpAddr>>);

impl Addresses {
    pub(super) fn add(&mut self, name: Box<str>, of: RecordType, addresses: Vec<IpAddr>) {
        self.0.insert((name, of), addresses);
    }

    pub(super) fn of(&self, name: &str, of: RecordType) -> Option<&[IpAddr]> {
        self.0.get(&(name.into(), of)).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_service() {
        let record = |priority, weight, port, target: &str| {
            SRV::new(priority, weight, port, target.parse().unwrap())
        };
        let check = |records: &[SRV], expected: &[(&str, u16, u32, u8)]| {
            let targets = targets(records.iter()).unwrap();
            let seen = targets
                .iter()
                .map(|it| (&*it.name, it.port, it.weight, it.priority));
            assert_eq!(seen.collect::<Vec<_>>(), expected);
        };
        check(&[], &[]);
        check(
            &[
                record(20, 0, 80, "B.internal."),
                record(10, 65535, 81, "a.internal."),
                record(700, 3, 82, "a.internal."),
            ],
            &[
                ("b.internal.", 80, 1, 1),
                ("a.internal.", 81, 65535, 0),
                ("a.internal.", 82, 3, 2),
            ],
        );
        check(&[record(0, 0, 0, "."), record(0, 0, 0, "a.")], &[]);
    }

    #[test]
    fn too_many_servers_are_a_mistake() {
        let one = SRV::new(1, 1, 1, "a.".parse().unwrap());
        assert_eq!(
            targets(vec![one.clone(); MOST_TARGETS].iter())
                .unwrap()
                .len(),
            MOST_TARGETS
        );
        assert!(targets(vec![one; MOST_TARGETS + 1].iter()).is_err());
    }
}
