//! Discovery: where the endpoints of an upstream are, as whoever knows it tells.
//!
//! In: what is written, and registries that are asked. Out: sets of [`Member`]s, each a whole that takes the place of
//! the one before. This room must never know what is sent to them: no HTTP of requests, no health, no choice.

mod member;

pub use member::{Labels, Member, Socket};
