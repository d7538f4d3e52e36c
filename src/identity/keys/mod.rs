//! Keys that verify the signatures of tokens.
//!
//! In: documents of keys, from files and providers. Out: a [`KeySet`], in which every key knows the algorithms that it
//! is for, whatever a token says. A key must never serve an algorithm of another type than its own.
//!
//! A [`Source`] has the keys of one provider, wherever they come from. Published keys are asked for by one task for
//! each provider, ahead of time; a request never asks itself, and waits only where no key is known that could fit, or
//! none of them has signed its token. What a token says is never more than the name of a key: it chooses no address, and
//! many tokens that are made up cause no more fetches than one.

mod algorithm;
mod config;
mod discovery;
mod fetch;
mod jwk;
mod key;
mod local;
mod pem;
mod renewal;
mod roca;
mod set;
#[cfg(test)]
mod set_tests;
mod source;
#[cfg(test)]
mod source_tests;
mod unknown;

pub use algorithm::{Algorithm, Algorithms};
pub use config::Config;
pub use key::{Key, Unfit};
pub use set::{KeySet, KeySetError, LARGEST_DOCUMENT, Skipped};
pub use source::{Source, Unavailable, Wanted};
