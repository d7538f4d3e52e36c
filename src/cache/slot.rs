//! What lies under a key.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Instant;

use super::entry::Entry;
use super::memory::Weigh;
use super::rfc::Vary;

/// What lies under a key.
#[derive(Debug)]
pub(super) enum Slot {
    Entry(Arc<Entry>),
    /// There are variants, under keys that these headers of a request are a part of.
    Variants(Vary),
    /// What was answered was not to be kept, and others have waited for it in vain: until then nobody waits.
    Passes(Instant),
    /// It was asked for so often, and is not kept yet.
    Seen(AtomicU16),
}

impl Weigh for Slot {
    fn weight(&self) -> u64 {
        size_of::<Slot>() as u64
            + match self {
                Slot::Entry(entry) => entry.weight(),
                Slot::Variants(vary) => vary.weight() as u64,
                Slot::Passes(_) | Slot::Seen(_) => 0,
            }
    }
}
