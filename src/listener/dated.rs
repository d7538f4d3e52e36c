//! The date of a response that was made before it is asked for.
//!
//! The engine writes a `Date` of its own into every response. A cache must not change it (RFC 9110 section 6.6.1): it is when the
//! origin has made the response. In HTTP/1.1 it has always the same length, so it is put back in the bytes of the head. In
//! HTTP/2 nothing can be put back; there `Age` alone says how old the response is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use http::HeaderValue;
use memchr::memmem::Finder;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const LENGTH: usize = 29;

/// What stands before it in the engine's heads.
const NAME: &[u8] = b"\r\nDate: ";
static BEFORE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// A date as it is written.
pub(super) type Date = [u8; LENGTH];

/// The date that the next head is to have, where it is not the engine's.
#[derive(Debug, Default)]
pub(super) struct Dating {
    is_set: AtomicBool,
    date: Mutex<Option<Date>>,
}

impl Dating {
    /// A date in another form than that of today is left to the engine.
    pub(super) fn set(&self, date: &HeaderValue) {
        let Ok(date) = Date::try_from(date.as_bytes()) else {
            return;
        };
        if date.ends_with(b" GMT") {
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
            self.is_set.store(true, Ordering::Release);
        }
    }

    /// Costs next to nothing where there is none.
    pub(super) fn take(&self) -> Option<Date> {
        if !self.is_set.load(Ordering::Relaxed) || !self.is_set.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        date.take()
    }
}

/// A head that is on its way with another date.
#[derive(Debug)]
pub(super) struct Dated {
    head: Vec<u8>,
    written: usize,
}

impl Dated {
    /// `None` where the head has no date.
    pub(super) fn new(head: &[u8], date: Date) -> Option<Dated> {
        let at = BEFORE.find(head)? + NAME.len();
        let mut head = head.to_vec();
        head.get_mut(at..at + LENGTH)?.copy_from_slice(&date);
        Some(Dated { head, written: 0 })
    }

    /// What is to be written of it, no more than that.
    pub(super) fn rest(&self, most: usize) -> &[u8] {
        let rest = self.head.get(self.written..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// So much was written. Whether that was all.
    pub(super) fn took(&mut self, count: usize) -> bool {
        self.written += count;
        self.written >= self.head.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn a_head_gets_its_date() {
        let date = Date::try_from(OURS.as_bytes()).unwrap();
        let head = "HTTP/1.1 200 OK\r\nx: y\r\nDate: Mon, 23 Nov 2026 10:42:28 GMT\r\n\r\n";
        let mut dated = Dated::new(head.as_bytes(), date).unwrap();
        let expected = head.replace("Mon, 23 Nov 2026 10:42:28 GMT", OURS);
        // In pieces, as a slow client takes them.
        let mut written = Vec::new();
        loop {
            let rest = dated.rest(7).to_vec();
            written.extend_from_slice(&rest);
            if dated.took(rest.len()) {
                break;
            }
        }
        assert_eq!(String::from_utf8(written).unwrap(), expected);
        for none in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: Mon"] {
            assert!(Dated::new(none.as_bytes(), date).is_none(), "{none}");
        }
    }

    #[test]
    fn only_the_form_of_today_is_kept() {
        let check = |text: &'static str, is_kept: bool| {
            let dating = Dating::default();
            assert!(dating.take().is_none());
            dating.set(&HeaderValue::from_static(text));
            assert_eq!(dating.take().is_some(), is_kept, "{text}");
            assert!(dating.take().is_none(), "it is for one head");
        };
        check(OURS, true);
        check("Sunday, 06-Nov-94 08:49:37 GMT", false);
        check("Sun Nov  6 08:49:37 1994", false);
        check("Sun, 06 Nov 1994 08:49:37 UTC", false);
        check("", false);
    }
}
