//! What an entry keeps so that purges find it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::purge::time;
use super::sign::Sign;
use super::tags::Tags;

/// The first byte of what is kept.
const VERSION: u8 = 1;
/// Before the tags: version, whether there are too many, their number, start, URL and host.
const HEAD: usize = 1 + 1 + 2 + 3 * 8;

/// What an entry keeps so that purges find it: some 64 bytes, and 8 for each tag.
#[derive(Debug)]
pub struct Standing {
    start: u64,
    url: Sign,
    host: Sign,
    tags: Tags,
    /// The clock up to which it was judged, twice, and one more where it was stale by then.
    checked: AtomicU64,
    /// Since when it is stale, in milliseconds of Unix time; 0 where it is not known to be. It is written before what
    /// says so in `checked`, and never changes again.
    stale: AtomicU64,
}

/// What was found out when an entry was judged before.
pub(super) enum Known {
    Live,
    Stale(u64),
    /// It was judged by another clock.
    Nothing,
}

impl Standing {
    /// `start` is what [`Marks::now`](super::Marks::now) said before the upstream was asked; `rest` is path and query.
    pub fn new(start: u64, (host, rest): (&[u8], &[u8]), tags: Tags) -> Standing {
        let signs = (Sign::url(host, rest), Sign::host(host));
        Standing::of(start, signs, tags)
    }

    /// Of the same entry, which has been confirmed by the upstream: `start` is of before that was asked, and `tags` are those
    /// that it was given then, beside those that it had.
    #[must_use]
    pub fn confirmed(&self, start: u64, tags: Tags) -> Standing {
        Standing::of(start, (self.url, self.host), self.tags.clone().and(tags))
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn url(&self) -> Sign {
        self.url
    }

    pub fn host(&self) -> Sign {
        self.host
    }

    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Bytes on the heap.
    pub fn weight(&self) -> usize {
        size_of_val(self.tags.signs())
    }

    /// As it is kept on disk. What was found out by judging is not: that is found out again.
    pub fn write(&self, to: &mut Vec<u8>) {
        let tags = self.tags.signs();
        // There are fewer by far.
        let count = u16::try_from(tags.len()).unwrap_or(u16::MAX);
        to.extend([VERSION, self.tags.are_too_many().into()]);
        to.extend(count.to_be_bytes());
        to.extend(self.start.to_be_bytes());
        for sign in [self.url, self.host].iter().chain(tags) {
            to.extend(sign.to_bytes());
        }
    }

    /// `None` where it is of another version or damaged.
    pub fn read(bytes: &[u8]) -> Option<Standing> {
        let (head, tags) = bytes.split_first_chunk::<HEAD>()?;
        let [VERSION, are_too_many @ (0 | 1), high, low, rest @ ..] = head else {
            return None;
        };
        let (words, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let &[start, url, host] = words else {
            return None;
        };
        let (tags, []) = tags.as_chunks::<8>() else {
            return None;
        };
        let is_whole = tags.len() == usize::from(u16::from_be_bytes([*high, *low]));
        let tags = tags.iter().map(|sign| Sign::from_bytes(*sign));
        let tags = match are_too_many {
            1 => Tags::too_many(),
            _ => tags.collect(),
        };
        let signs = (Sign::from_bytes(url), Sign::from_bytes(host));
        is_whole.then(|| Standing::of(u64::from_be_bytes(start), signs, tags))
    }

    fn of(start: u64, (url, host): (Sign, Sign), tags: Tags) -> Standing {
        Standing {
            start,
            url,
            host,
            tags,
            // No purge up to its start is about it.
            checked: AtomicU64::new(start << 1),
            stale: AtomicU64::new(0),
        }
    }

    /// Whether it was judged by this clock and found to be live. The argument for why nothing is missed is
    /// [there](super); nothing else is read because of it, so that it needs no order.
    pub(super) fn is_known_live(&self, clock: u64) -> bool {
        self.checked.load(Ordering::Relaxed) == clock << 1
    }

    pub(super) fn known(&self, clock: u64) -> Known {
        match self.checked.load(Ordering::Acquire) {
            checked if checked == clock << 1 => Known::Live,
            checked if checked == clock << 1 | 1 => {
                Known::Stale(self.stale.load(Ordering::Relaxed))
            }
            _ => Known::Nothing,
        }
    }

    /// It was judged by this clock. Gives since when it is stale: the first that was ever said stays.
    pub(super) fn remember(&self, clock: u64, stale: Option<u64>) -> Option<SystemTime> {
        let since = match stale {
            // A clock that was never set says 0, which means something else here.
            Some(since) => {
                let since = since.max(1);
                let first =
                    (self.stale).compare_exchange(0, since, Ordering::AcqRel, Ordering::Acquire);
                Some(first.map_or_else(|first| first, |_| since))
            }
            None => None,
        };
        let checked = clock << 1 | u64::from(since.is_some());
        self.checked.store(checked, Ordering::Release);
        since.map(time)
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.checked.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(tags: Tags) -> Standing {
        Standing::new(5 << 40, (b"example.com", b"/a?b"), tags)
    }

    #[test]
    fn what_is_written_is_read() {
        let tags = [b"a", b"b"].iter().map(|tag| Sign::tag(*tag)).collect();
        for tags in [Tags::default(), tags, Tags::too_many()] {
            let written = standing(tags);
            let mut bytes = Vec::new();
            written.write(&mut bytes);
            let read = Standing::read(&bytes).expect("it is whole");
            assert_eq!(read.start, written.start);
            assert_eq!((read.url, read.host), (written.url, written.host));
            assert_eq!(read.tags, written.tags);
            for cut in 0..bytes.len() {
                assert!(Standing::read(&bytes[..cut]).is_none(), "{cut}");
            }
            bytes[0] += 1;
            assert!(Standing::read(&bytes).is_none());
        }
    }

    #[test]
    fn what_was_said_first_stays() {
        let standing = standing(Tags::default());
        assert!(standing.is_known_live(5 << 40));
        assert!(!standing.is_known_live(6 << 40));
        assert_eq!(standing.remember(6 << 40, Some(1000)), Some(time(1000)));
        assert!(!standing.is_known_live(6 << 40));
        assert!(matches!(standing.known(6 << 40), Known::Stale(1000)));
        assert_eq!(standing.remember(7 << 40, Some(3000)), Some(time(1000)));
        assert!(matches!(standing.known(6 << 40), Known::Nothing));
        let confirmed = standing.confirmed(8 << 40, Tags::default());
        assert!(matches!(confirmed.known(8 << 40), Known::Live));
    }
}
