//! Which endpoint an exchange would rather have.

use std::time::Instant;

use http::HeaderValue;

use super::Attempt;
use crate::upstream::balance::{Tag, Wish, tag_of};

/// What the request says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Affinity {
    key: Option<u64>,
    tag: Option<Tag>,
}

impl Affinity {
    pub(super) fn wish(&self, now: Instant) -> Wish {
        Wish {
            now,
            key: self.key,
            tag: self.tag,
        }
    }
}

impl Attempt {
    /// Goes where other requests with this key go, where the upstream hashes; `None` for anywhere.
    pub fn go_by(&mut self, key: Option<u64>) {
        self.affinity.key = key;
    }

    /// Shows a cookie of a sticky session. One that the gateway has not made says nothing.
    pub fn show(&mut self, cookie: &[u8]) {
        // The first that could be right; of several the client sends the most specific first (RFC 6265 section 5.4).
        if self.affinity.tag.is_none() {
            self.affinity.tag = tag_of(cookie);
        }
    }

    /// `Set-Cookie` for a session that has come to another endpoint than its cookie says, or has none.
    pub fn session_cookie(&self, over_tls: bool) -> Option<&HeaderValue> {
        let mark = self.lease.as_ref()?.endpoint.mark()?;
        let [plain, secure] = &mark.lines;
        let line = if over_tls { secure } else { plain };
        (self.affinity.tag != Some(mark.tag)).then_some(line)
    }
}
