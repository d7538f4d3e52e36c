//! Requests that are signed (RFC 9421), so that nobody on the way can change them or send them again.

pub mod component;
pub mod digest;
pub mod key;
pub mod replay;
pub mod signature;
mod structured;
