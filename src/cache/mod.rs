//! The cache: responses that are kept, where, and for how long.

pub mod disk;
