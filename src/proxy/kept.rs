//! The body of a request as it has come, for whoever may have to be sent it from its beginning.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// What is kept of all requests together. Beyond it they go on, and cannot be sent again: many large ones at a time would
/// take all memory that there is.
const MOST_OF_ALL: usize = 256 << 20;

static OF_ALL: AtomicUsize = AtomicUsize::new(0);

/// It is sent again in parts of this size, so that the time that the upstream takes for it is seen as it passes.
const BLOCK: usize = 64 * 1024;

/// What has come, up to so many bytes; nothing once there was more.
#[derive(Debug)]
pub(super) struct Kept {
    /// Full ones, and what has come behind them.
    blocks: Vec<Bytes>,
    open: BytesMut,
    most: usize,
    is_over: bool,
    /// In the try that is under way, how many blocks have been sent again, and how many are to be.
    sent: AtomicUsize,
    known: AtomicUsize,
}

impl Kept {
    /// `before` is what has come already.
    pub(super) fn new(most: usize, before: Option<Bytes>) -> Kept {
        let mut kept = Kept {
            blocks: Vec::new(),
            open: BytesMut::new(),
            most,
            is_over: false,
            sent: AtomicUsize::new(0),
            known: AtomicUsize::new(0),
        };
        kept.take(&before.unwrap_or_default());
        kept
    }

    pub(super) fn take(&mut self, mut part: &[u8]) {
        if self.is_over {
            return;
        }
        let of_all = OF_ALL.fetch_add(part.len(), Ordering::Relaxed) + part.len();
        while !part.is_empty() {
            let (taken, rest) = part.split_at(part.len().min(BLOCK - self.open.len()));
            self.open.extend_from_slice(taken);
            if self.open.len() == BLOCK {
                self.blocks.push(self.open.split().freeze());
            }
            part = rest;
        }
        if self.len() > self.most || of_all > MOST_OF_ALL {
            self.give_up();
        }
    }

    fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.open.len()
    }

    fn give_up(&mut self) {
        OF_ALL.fetch_sub(self.len(), Ordering::Relaxed);
        self.blocks = Vec::new();
        self.open = BytesMut::new();
        self.is_over = true;
    }

    /// Whether it is too late to send all of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it takes more than one part to send what has come.
    pub(super) fn is_long(&self) -> bool {
        self.len() > BLOCK
    }

    /// Begins to send what has come until now: the first part of it, if there is any.
    pub(super) fn first(&self) -> Option<Bytes> {
        let blocks = self.blocks.len() + usize::from(!self.open.is_empty());
        self.known.store(blocks, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        self.next()
    }

    /// Whether some of it is still to be sent.
    pub(super) fn has_more(&self) -> bool {
        self.sent.load(Ordering::Relaxed) < self.known.load(Ordering::Relaxed)
    }

    pub(super) fn next(&self) -> Option<Bytes> {
        if !self.has_more() {
            return None;
        }
        let block = self.blocks.get(self.sent.fetch_add(1, Ordering::Relaxed));
        Some(block.map_or_else(|| self.open.clone().freeze(), Bytes::clone))
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

    /// All that would be sent again.
    fn whole(kept: &Kept) -> Option<Vec<u8>> {
        let mut whole = kept.first()?.to_vec();
        while let Some(part) = kept.next() {
            assert!(!part.is_empty() && part.len() <= BLOCK);
            whole.extend_from_slice(&part);
        }
        Some(whole)
    }

    #[test]
    fn all_is_kept_or_nothing() {
        let mut kept = Kept::new(6, Some(Bytes::from_static(b"ab")));
        assert_eq!(whole(&kept).as_deref(), Some(&b"ab"[..]));
        kept.take(b"cdef");
        assert_eq!(whole(&kept).as_deref(), Some(&b"abcdef"[..]));
        kept.take(b"");
        assert!(!kept.is_over());
        kept.take(b"g");
        assert!(kept.is_over() && whole(&kept).is_none());
        kept.take(b"h");
        assert!(kept.is_over() && whole(&kept).is_none());
        assert!(whole(&Kept::new(6, None)).is_none());
    }

    #[test]
    fn it_is_sent_again_in_parts_whatever_it_came_in() {
        let body: Vec<u8> = (0..5 * BLOCK + 7).map(|at| (at % 251) as u8).collect();
        for size in [1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, body.len()] {
            let mut kept = Kept::new(usize::MAX, None);
            body.chunks(size).for_each(|part| kept.take(part));
            assert!(kept.is_long());
            for _ in 0..2 {
                assert!(whole(&kept).is_some_and(|whole| whole == body), "{size}");
                assert!(!kept.has_more());
            }
            // What comes while it is sent is not of what is sent again.
            assert_eq!(kept.first().map(|part| part.len()), Some(BLOCK));
            kept.take(&[1; 2 * BLOCK]);
            let rest = std::iter::from_fn(|| kept.next()).count();
            assert_eq!(rest, 5);
        }
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
        assert!(whole(&second).is_some());
    }
}
