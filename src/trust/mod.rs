//! Who is believed, and what is shown: certificates and keys from PEM files, and the authorities of the system.
//!
//! In: paths and secrets of the configuration. Out: certificates and keys, or why there are none. This room must never
//! know whom they are for.

mod authorities;
mod pem;

pub(crate) use authorities::system_authorities;
pub(crate) use pem::{
    PemError, read_bytes, read_chain, read_key, read_revocation_lists, warn_of_readers,
};
