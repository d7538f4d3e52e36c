//! What is purged, as other gateways and the disk are told it.

use std::time::{Duration, SystemTime};

use super::sign::{Beginning, Sign};

/// Of a longer prefix only so much counts: what is purged is then more.
pub(super) const LONGEST_PREFIX: usize = 1023;

/// The first byte of what is kept or told. What another version has written is not understood.
const VERSION: u8 = 1;

/// The clock is there after the year 2100.
const HIGHEST: u64 = 1 << 62;

/// What is purged, as hashes: of one size whatever was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    pub(super) kind: Kind,
    pub(super) sign: Sign,
    /// Of a prefix.
    pub(super) length: u16,
    is_soft: bool,
}

/// What a purge goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    All,
    Url,
    Host,
    Tag,
    /// Of paths of one host.
    PrefixOfHost,
    /// Of paths of any host.
    Prefix,
    /// One part of all URLs: what becomes of purges of URLs that are too many. It is never told.
    Part,
}

impl Kind {
    /// In their order, by which they are kept and told.
    pub const ALL: [Kind; 7] = [
        Kind::All,
        Kind::Url,
        Kind::Host,
        Kind::Tag,
        Kind::PrefixOfHost,
        Kind::Prefix,
        Kind::Part,
    ];

    /// As metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::All => "all",
            Kind::Url => "url",
            Kind::Host => "host",
            Kind::Tag => "tag",
            Kind::PrefixOfHost => "prefix_of_host",
            Kind::Prefix => "prefix",
            Kind::Part => "part",
        }
    }
}

impl Purge {
    /// How many bytes it has.
    pub const LENGTH: usize = 13;

    /// One URL, without its scheme; `rest` is path and query. Both as entries have them.
    pub fn url(host: &[u8], rest: &[u8]) -> Purge {
        Purge::of(Kind::Url, Sign::url(host, rest))
    }

    /// All paths that begin so, byte for byte, of one host or of all: `/a` is the beginning of `/a/b` and of `/ab`. Those
    /// who mean the folder alone write `/a/`, and for those who mean both too little would be worse than too much.
    pub fn prefix(host: Option<&[u8]>, path: &[u8]) -> Purge {
        let path = path.get(..LONGEST_PREFIX).unwrap_or(path);
        let mut beginning = Beginning::of(host.map(Sign::host));
        beginning.go_on(path);
        let kind = match host {
            Some(_) => Kind::PrefixOfHost,
            None => Kind::Prefix,
        };
        Purge {
            length: u16::try_from(path.len()).expect("it was cut"),
            ..Purge::of(kind, beginning.sign())
        }
    }

    pub fn host(host: &[u8]) -> Purge {
        Purge::of(Kind::Host, Sign::host(host))
    }

    pub fn tag(tag: &[u8]) -> Purge {
        Purge::of(Kind::Tag, Sign::tag(tag))
    }

    pub fn all() -> Purge {
        Purge::of(Kind::All, Sign::from_bytes([0; 8]))
    }

    /// The same, of which entries become stale and stay.
    #[must_use]
    pub fn soft(self) -> Purge {
        Purge {
            is_soft: true,
            ..self
        }
    }

    pub fn is_soft(&self) -> bool {
        self.is_soft
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn to_bytes(&self) -> [u8; Purge::LENGTH] {
        let mut bytes = [0; Purge::LENGTH];
        let [high, low] = self.length.to_be_bytes();
        let head = [VERSION, self.kind as u8, self.is_soft.into(), high, low];
        let all = head.into_iter().chain(self.sign.to_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, byte)| *to = byte);
        bytes
    }

    /// `None` where it is of another version or damaged. What becomes of that has to be decided for the worst: that
    /// everything was purged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Purge> {
        let bytes: &[u8; Purge::LENGTH] = bytes.try_into().ok()?;
        let [VERSION, kind, soft @ (0 | 1), high, low, sign @ ..] = *bytes else {
            return None;
        };
        let kind = *Kind::ALL.get(usize::from(kind))?;
        let length = u16::from_be_bytes([high, low]);
        let is_prefix = matches!(kind, Kind::Prefix | Kind::PrefixOfHost);
        let longest = if is_prefix { LONGEST_PREFIX } else { 0 };
        (usize::from(length) <= longest).then_some(Purge {
            kind,
            sign: Sign::from_bytes(sign),
            length,
            is_soft: soft == 1,
        })
    }

    pub(super) fn of(kind: Kind, sign: Sign) -> Purge {
        Purge {
            kind,
            sign,
            length: 0,
            is_soft: false,
        }
    }
}

/// A purge that was done: entries that started before it are dead, or stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub(super) purge: Purge,
    /// By the logical clock.
    pub(super) number: u64,
    /// In milliseconds of Unix time.
    pub(super) at: u64,
}

impl Mark {
    /// How many bytes it has.
    pub const LENGTH: usize = Purge::LENGTH + 16;

    pub fn purge(&self) -> &Purge {
        &self.purge
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn at(&self) -> SystemTime {
        time(self.at)
    }

    /// As it is kept on disk. Whoever keeps it sees to it that it is whole when it is read.
    pub fn to_bytes(&self) -> [u8; Mark::LENGTH] {
        let mut bytes = [0; Mark::LENGTH];
        let purge = self.purge.to_bytes().into_iter();
        let numbers = self.number.to_be_bytes().into_iter();
        let all = purge.chain(numbers).chain(self.at.to_be_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, byte)| *to = byte);
        bytes
    }

    /// `None` where it is of another version or damaged: then nothing that was kept before may be served.
    pub fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let (purge, numbers) = bytes.split_at_checked(Purge::LENGTH)?;
        let (number, at) = numbers.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        // No clock comes to more, and behind it there would be no room for another.
        let number = Some(number).filter(|number| *number <= HIGHEST)?;
        Some(Mark {
            purge: Purge::from_bytes(purge)?,
            number,
            at: u64::from_be_bytes(at.try_into().ok()?),
        })
    }
}

/// Milliseconds of Unix time; 0 where the clock was never set.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The moment, as marks have it.
pub(super) fn now() -> u64 {
    millis(SystemTime::now())
}

pub(super) fn time(millis: u64) -> SystemTime {
    let since = Duration::from_millis(millis);
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = [b'a'; 2000];
        for purge in [
            Purge::all(),
            Purge::all().soft(),
            Purge::url(b"a", b"/b?c"),
            Purge::host(b"a").soft(),
            Purge::tag(b"t"),
            Purge::prefix(None, b""),
            Purge::prefix(Some(b"a"), b"/b").soft(),
            Purge::prefix(Some(b"a"), &long),
        ] {
            assert_eq!(Purge::from_bytes(&purge.to_bytes()), Some(purge));
            let mark = Mark {
                purge,
                number: 7 << 40,
                at: 1_800_000_000_123,
            };
            let bytes = mark.to_bytes();
            assert_eq!(Mark::from_bytes(&bytes), Some(mark));
            assert_eq!(Mark::from_bytes(&bytes[1..]), None);
            let number = HIGHEST + 1;
            let bytes_of_none = Mark { number, ..mark }.to_bytes();
            assert_eq!(Mark::from_bytes(&bytes_of_none), None);
            assert_eq!(Mark::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        let good = Purge::tag(b"t").to_bytes();
        for (index, byte) in [(0, 2), (0, 0), (1, 7), (2, 2), (3, 1), (4, 1)] {
            let mut bytes = good;
            bytes[index] = byte;
            assert_eq!(Purge::from_bytes(&bytes), None, "{index} {byte}");
        }
        let mut bytes = Purge::prefix(None, b"/").to_bytes();
        bytes[3] = 4;
        assert_eq!(Purge::from_bytes(&bytes), None, "longer than any");
        assert_eq!(Purge::from_bytes(&good[..12]), None);
        assert_eq!(Purge::from_bytes(&[]), None);
    }

    #[test]
    fn times_of_the_log_are_those_of_the_purge() {
        let now = SystemTime::now();
        let off = now.duration_since(time(millis(now)));
        assert!(off.expect("it is cut") < Duration::from_millis(1));
        assert_eq!(millis(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(time(u64::MAX).max(SystemTime::UNIX_EPOCH), time(u64::MAX));
    }
}
