//! How much there may be of what, of a bound in bytes.

use super::place::MOST_REGION;
use super::record::{ENTRY, HEADER, TRAILER};

/// Regions of this many, where their length is within its limits.
const REGIONS: u64 = 64;
const LEAST_REGION: u64 = 4 << 20;
/// With fewer, too much goes at a time.
const LEAST_REGIONS: u64 = 4;
/// Under a megabyte the regions would be no larger than the objects.
pub(super) const LEAST_BOUND: u64 = 1 << 20;
/// All slots full of regions of which each is at least half full.
const MOST_BOUND: u64 = MOST_REGION * super::place::MOST_REGIONS as u64 / 2;
/// What waits to be written is in memory.
const MOST_QUEUE: u64 = 64 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all regions.
    pub(super) bound: u64,
    /// Of one.
    pub(super) region: u64,
    /// Of what is written again when regions go.
    pub(super) carried: u64,
    /// Of regions that are deleted and are still read from.
    pub(super) leaving: u64,
    /// Of one record.
    pub(super) record: u64,
    pub(super) queue: u64,
}

impl Limits {
    /// `None` where there is no room for anything.
    pub(super) fn of(bound: u64) -> Option<Limits> {
        if bound < LEAST_BOUND {
            return None;
        }
        let bound = bound.min(MOST_BOUND);
        let region = (bound / REGIONS)
            .clamp(LEAST_REGION, MOST_REGION)
            .min(bound / LEAST_REGIONS);
        let carried = region / 4;
        Some(Limits {
            bound,
            region,
            carried,
            leaving: (2 * region).max(bound / 8),
            record: region - carried - (HEADER + ENTRY + TRAILER) as u64,
            queue: region.clamp(LEAST_REGION, MOST_QUEUE),
        })
    }
}
