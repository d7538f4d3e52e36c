//! The body of a request as it has come, for whoever may have to be sent it from its beginning.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// What is kept of all requests together. Beyond it they go on, and cannot be sent again: many large ones at a time would
/// take all memory that there is.
const MOST_OF_ALL: usize = 256 << 20;

static OF_ALL: AtomicUsize = AtomicUsize::new(0);

/// What has come, up to so many bytes; nothing once there was more.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: BytesMut,
    most: usize,
    is_over: bool,
}

impl Kept {
    /// `before` is what has come already.
    pub(super) fn new(most: usize, before: Option<Bytes>) -> Kept {
        let mut kept = Kept {
            bytes: BytesMut::new(),
            most,
            is_over: false,
        };
        kept.take(&before.unwrap_or_default());
        kept
    }

    pub(super) fn take(&mut self, part: &[u8]) {
        if self.is_over {
            return;
        }
        let of_all = OF_ALL.fetch_add(part.len(), Ordering::Relaxed) + part.len();
        self.bytes.extend_from_slice(part);
        if self.bytes.len() > self.most || of_all > MOST_OF_ALL {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        OF_ALL.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.bytes = BytesMut::new();
        self.is_over = true;
    }

    /// Whether it is too late to send all of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// All that has come; `None` where that is nothing, or was too much.
    pub(super) fn whole(&self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| self.bytes.clone().freeze())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_kept_or_nothing() {
        let mut kept = Kept::new(6, Some(Bytes::from_static(b"ab")));
        assert_eq!(kept.whole().as_deref(), Some(&b"ab"[..]));
        kept.take(b"cdef");
        assert_eq!(kept.whole().as_deref(), Some(&b"abcdef"[..]));
        kept.take(b"");
        assert!(!kept.is_over());
        kept.take(b"g");
        assert!(kept.is_over() && kept.whole().is_none());
        kept.take(b"h");
        assert!(kept.is_over() && kept.whole().is_none());
        assert!(Kept::new(6, None).whole().is_none());
    }

    #[test]
    fn all_together_are_bounded() {
        let part = vec![0; 1 << 20];
        let mut first = Kept::new(usize::MAX, None);
        while !first.is_over() {
            first.take(&part);
            assert!(OF_ALL.load(Ordering::Relaxed) <= MOST_OF_ALL + part.len());
        }
        // There is room again.
        let mut second = Kept::new(usize::MAX, None);
        second.take(&part);
        assert!(second.whole().is_some());
    }
}
