//! Headers that upstreams take for proven.

use std::collections::HashSet;

use ahash::RandomState;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::Pipeline;
use crate::text::plain;

/// The headers by which any route of the gateway tells its upstream who calls. What a client sends by these names is
/// dropped on every route, in every spelling: an upstream cannot tell by which route a request has come.
#[derive(Clone, Debug, Default)]
pub struct Reserved {
    /// In the spelling that [`plain`] makes of all others.
    names: HashSet<Box<str>, RandomState>,
    /// A bit for each length that one of them has, so that next to no other name is looked up.
    lengths: u64,
}

impl Reserved {
    /// Adds those of a route.
    pub fn add(&mut self, pipeline: &Pipeline) {
        for name in pipeline.reserved() {
            let name = plain(name.as_str());
            self.lengths |= bit(name.len());
            self.names.insert(name.into());
        }
    }

    /// Adds those that were there before.
    pub fn extend(&mut self, before: &Reserved) {
        self.lengths |= before.lengths;
        self.names.extend(before.names.iter().cloned());
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether it is one of them. Other spellings are not looked for: see [`Reserved::strip`].
    #[inline]
    pub fn has(&self, name: &str) -> bool {
        self.lengths & bit(name.len()) != 0 && self.names.contains(name)
    }

    /// Drops all that a server could take for one of them.
    #[cold]
    pub fn strip(&self, headers: &mut HeaderMap) {
        let is_meant = |name: &&HeaderName| {
            self.lengths & bit(name.as_str().len()) != 0
                && self.names.contains(&*plain(name.as_str()))
        };
        let names: SmallVec<[HeaderName; 4]> = headers.keys().filter(is_meant).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn bit(length: usize) -> u64 {
    1 << (length & 63)
}
