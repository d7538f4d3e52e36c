//! JSON Web Tokens (RFC 7519): who holds one that a provider has signed is who it says.
//!
//! In: a token, the provider's [`Config`] and its keys. Out: an [`Identity`](super::Identity), or why there is none.
//! What a token says must never decide how it is checked: its algorithm must be one that is configured, and of the key;
//! its `kid` only picks among the provider's keys; keys, addresses and extensions that it brings along are refused.

mod config;
mod provider;
mod refused;
mod remembered;
mod rules;
mod token;
#[cfg(test)]
mod token_vectors;
mod verifier;

pub use config::Config;
pub use provider::{Judged, Provider, Unsettled, Waiting};
pub use refused::Refused;
pub(in crate::identity) use rules::{Rules, Types};
pub(in crate::identity) use verifier::Plausible;
