//! Attacks on what others are served. Nothing that only the attacker sent may come back to somebody else, and nothing that
//! was for one alone may reach another.

mod addresses;
mod beside;
mod contents;
mod identities;
mod poisoning;
mod raw;

use crate::case::Case;

/// Those that are told with the machinery; `raw` and `identities` are tests of their own.
pub fn cases() -> Vec<Case> {
    let parts = [poisoning::cases(), addresses::cases(), contents::cases()];
    parts.into_iter().flatten().collect()
}
