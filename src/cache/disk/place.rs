//! Where an object lies, in eight bytes.

use super::record::UNIT;

const SLOT_BITS: u32 = 14;
const UNITS_BITS: u32 = 24;
const UNITS: u64 = (1 << UNITS_BITS) - 1;
const HIT: u64 = 1 << 63;

/// How many regions there may be.
pub(super) const MOST_REGIONS: usize = 1 << SLOT_BITS;
/// How long a region may be, in bytes.
pub(super) const MOST_REGION: u64 = UNIT << UNITS_BITS;

/// Which region a record is in and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u16,
    /// In units.
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Place {
    /// Whether there is a place for a record of these many units.
    pub(super) fn fits(offset: u32, length: u32) -> bool {
        u64::from(offset) <= UNITS && u64::from(length) <= UNITS
    }

    pub(super) fn offset(&self) -> u64 {
        UNIT * u64::from(self.offset)
    }

    pub(super) fn length(&self) -> u64 {
        UNIT * u64::from(self.length)
    }
}

/// A place, and whether the object was asked for since it was written there: 1 + 14 + 24 + 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed(u64);

impl Packed {
    pub(super) fn new(place: Place) -> Packed {
        let slot = u64::from(place.slot) << (2 * UNITS_BITS);
        Packed(slot | u64::from(place.offset) << UNITS_BITS | u64::from(place.length))
    }

    pub(super) fn place(self) -> Place {
        Place {
            slot: self.slot(),
            offset: (self.0 >> UNITS_BITS & UNITS) as u32,
            length: (self.0 & UNITS) as u32,
        }
    }

    pub(super) fn slot(self) -> u16 {
        (self.0 >> (2 * UNITS_BITS)) as u16 & (MOST_REGIONS - 1) as u16
    }

    pub(super) fn is_hit(self) -> bool {
        self.0 & HIT != 0
    }

    pub(super) fn hit(&mut self) {
        self.0 |= HIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_packed() {
        let ends = [0, 1, 77, UNITS as u32 - 1, UNITS as u32];
        for slot in [0, 1, (MOST_REGIONS - 1) as u16] {
            for (offset, length) in ends.into_iter().zip(ends.into_iter().rev()) {
                let place = Place {
                    slot,
                    offset,
                    length,
                };
                let mut packed = Packed::new(place);
                assert_eq!((packed.place(), packed.is_hit()), (place, false));
                packed.hit();
                assert_eq!((packed.place(), packed.is_hit()), (place, true));
            }
        }
        assert!(!Place::fits(1 << UNITS_BITS, 1));
    }
}
