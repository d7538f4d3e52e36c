//! The cache: responses that answer for their upstreams (RFC 9111).

pub mod broadcast;
pub mod disk;
pub mod marks;
