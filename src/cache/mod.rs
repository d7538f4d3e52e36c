//! The cache of responses.
//!
//! In: what upstreams answer, and what operators and other gateways purge. Out: what may be served of it. This room must
//! never know who calls: what a response may be shared by is in its key.

pub mod broadcast;
pub mod marks;
