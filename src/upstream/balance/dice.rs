//! Random numbers for choices between endpoints.

use std::cell::Cell;

use crate::text::mix;

thread_local! {
    /// Each thread has a stream of its own, begun with what cannot be known.
    static STATE: Cell<u64> = Cell::new(rand::random());
}

/// SplitMix64's step between two numbers, an odd one of about the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A random number (SplitMix64). It can be foreseen by whoever sees many of them, which nobody does: it costs a tenth
/// of one that cannot, and decides nothing but which of the endpoints that are good is asked.
pub(super) fn roll() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(STEP);
        state.set(next);
        mix(next)
    })
}

/// From 0 up to, and without, `end`; 0 where that is 0 (Lemire, "Fast Random Integer Generation in an Interval", 2019,
/// without the rejection: for a thousand endpoints the bias is one in 2^54).
pub(super) fn below(random: u64, end: usize) -> usize {
    ((u128::from(random) * end as u128) >> 64) as usize
}
