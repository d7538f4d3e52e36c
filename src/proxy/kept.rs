//! The body of a request as it has come, for whoever may have to be sent it from its beginning.

use bytes::{Bytes, BytesMut};

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
        if self.bytes.len() + part.len() > self.most {
            self.bytes = BytesMut::new();
            self.is_over = true;
            return;
        }
        self.bytes.extend_from_slice(part);
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
}
