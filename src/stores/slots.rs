//! Which slot a key is in, and who has which slots.

use redis::Value;

use super::place::address_beside;
use crate::text::EndpointAddress;

const SLOTS: u16 = 16_384;
/// More than any cluster has.
const MOST_RANGES: usize = 16_384;

/// Owners by the slots that they have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ranges<T> {
    /// First and last slot, in order.
    ranges: Vec<(u16, u16, T)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Ranges<T> {
        Ranges { ranges: Vec::new() }
    }
}

impl<T> Ranges<T> {
    pub(super) fn find(&self, slot: u16) -> Option<&T> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, owner) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(owner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many slots somebody has.
    fn count(&self) -> usize {
        let ranges = self.ranges.iter();
        let counts = ranges.map(|(first, last, _)| usize::from(last.saturating_sub(*first)) + 1);
        counts.sum()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.ranges.iter().map(|(_, _, owner)| owner)
    }

    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> Ranges<U> {
        let ranges = self.ranges.into_iter();
        let ranges = ranges.map(|(first, last, owner)| (first, last, change(owner)));
        Ranges {
            ranges: ranges.collect(),
        }
    }
}

/// What most say, and of what as many say that which knows more: a server that is cut off from the others tells of
/// owners that are none any more.
pub(super) fn most_agreed<T: PartialEq>(mut views: Vec<Ranges<T>>) -> Option<Ranges<T>> {
    let weight = |view: &Ranges<T>| {
        let votes = views.iter().filter(|other| *other == view).count();
        (votes, view.count())
    };
    let best = (0..views.len()).max_by_key(|&index| views.get(index).map(weight))?;
    Some(views.swap_remove(best))
}

/// What `CLUSTER SLOTS` answers, as the server at `asked` sees it: a list of first slot, last slot and servers, of
/// which the first is the master, with its address and port. Slots of a master whose address nobody knows are left out.
/// `None` where that is not what it says, or there is nothing to say.
pub(super) fn parse(answer: Value, asked: &EndpointAddress) -> Option<Ranges<EndpointAddress>> {
    let Value::Array(list) = answer else {
        return None;
    };
    let ranges = list.iter().take(MOST_RANGES).map(|range| {
        let Value::Array(parts) = range else {
            return None;
        };
        let [
            Value::Int(first),
            Value::Int(last),
            Value::Array(master),
            ..,
        ] = parts.as_slice()
        else {
            return None;
        };
        let [host, Value::Int(port), ..] = master.as_slice() else {
            return None;
        };
        let owner = address_beside(asked, text(host)?, u16::try_from(*port).ok()?);
        let (first, last) = (slot(*first)?, slot(*last)?);
        Some(owner.map(|owner| (first, last, owner)))
    });
    let ranges = ranges.collect::<Option<Vec<_>>>()?;
    let mut ranges: Vec<_> = ranges.into_iter().flatten().collect();
    ranges.sort_by_key(|(first, _, _)| *first);
    (!ranges.is_empty()).then_some(Ranges { ranges })
}

fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS)
}

fn text(host: &Value) -> Option<&str> {
    match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok(),
        Value::SimpleString(host) => Some(host),
        Value::Nil => Some(""),
        _ => None,
    }
}

/// The slot of a key: that of what stands between its first `{` and the next `}`, if anything does (Redis cluster
/// specification, "Hash tags").
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    crc16(tag().unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, bit by bit: keys are short.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("bar{hash_tag}x", 2515),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    fn server(host: Value, port: i64) -> Value {
        let id = Value::BulkString(b"id".to_vec());
        Value::Array(vec![host, Value::Int(port), id])
    }

    fn range(first: i64, last: i64, master: Value) -> Value {
        let replica = server(Value::BulkString(b"10.9.9.9".to_vec()), 1);
        Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
    }

    #[test]
    fn who_has_what() {
        let at: EndpointAddress = "10.0.0.9:7009".parse().unwrap();
        let host = |host: &str| Value::BulkString(host.as_bytes().to_vec());
        let answer = Value::Array(vec![
            range(8192, 16383, server(Value::Nil, 7002)),
            range(0, 99, server(host("10.0.0.1"), 7001)),
            range(200, 200, server(host("node.internal"), 7003)),
            range(201, 300, server(host(""), 7004)),
            range(400, 500, server(host("?"), 7005)),
        ]);
        let ranges = parse(answer, &at).expect("it is an answer");
        for (slot, expected) in [
            (0, Some("10.0.0.1:7001")),
            (99, Some("10.0.0.1:7001")),
            (100, None),
            (199, None),
            (200, Some("node.internal:7003")),
            (201, Some("10.0.0.9:7004")),
            (301, None),
            (400, None),
            (8192, Some("10.0.0.9:7002")),
            (16383, Some("10.0.0.9:7002")),
        ] {
            let found = ranges.find(slot).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{slot}");
        }
        for bad in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16384, server(host("a"), 1))]),
            Value::Array(vec![range(-1, 5, server(host("a"), 1))]),
            Value::Array(vec![range(0, 5, server(host("a"), 70000))]),
            Value::Array(vec![range(0, 5, server(host("?"), 1))]),
        ] {
            assert!(parse(bad.clone(), &at).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn what_most_say() {
        let ranges = |ranges: &[(u16, u16, u8)]| Ranges {
            ranges: ranges.to_vec(),
        };
        let (whole, old) = (ranges(&[(0, 9, 1), (10, 19, 2)]), ranges(&[(0, 19, 3)]));
        let part = ranges(&[(0, 9, 1)]);
        for (views, expected) in [
            (vec![&part], &part),
            (vec![&old, &whole, &whole], &whole),
            (vec![&whole, &old, &whole], &whole),
            (vec![&part, &whole], &whole),
            (vec![&whole, &part], &whole),
            (vec![&whole, &part, &part], &part),
        ] {
            let views: Vec<_> = views.into_iter().cloned().collect();
            assert_eq!(
                most_agreed(views.clone()).as_ref(),
                Some(expected),
                "{views:?}"
            );
        }
        assert_eq!(most_agreed::<u8>(Vec::new()), None);
    }
}
