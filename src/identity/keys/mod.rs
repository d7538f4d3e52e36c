//! Keys that verify the signatures of tokens.
//!
//! In: documents of keys, from files and providers. Out: a [`KeySet`], in which every key knows the algorithms that it
//! is for, whatever a token says. A key must never serve an algorithm of another type than its own.

mod algorithm;
mod jwk;
mod key;
mod pem;
mod set;
#[cfg(test)]
mod set_tests;

pub use algorithm::{Algorithm, Algorithms};
pub use key::{Key, Unfit};
pub use set::{KeySet, KeySetError, LARGEST_DOCUMENT, Skipped};
