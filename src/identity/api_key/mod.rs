//! API keys: who shows one of the keys whose hashes the configuration holds is the consumer that it belongs to.
//!
//! In: the keys that consumers list, and keys as requests show them. Out: the consumer's identity, with the scopes of the
//! key. Keys themselves are nowhere: what the configuration, the state folder and the memory of the gateway have is
//! their SHA-256, and of 190 random bits nobody finds the key to that.

mod hash;
mod index;
mod key;
mod listed;
mod place;
mod provider;

pub use hash::{InvalidHash, KeyHash};
pub use key::{NewKey, NoRandomness, Prefix, make};
pub use listed::{ApiKey, ApiKeyTable};
pub use place::{Places, Shown};
pub use provider::{Config, Known, Provider};

/// What is longer was not made to be a key.
pub const LONGEST_KEY: usize = 512;

/// How many keys of a consumer may be good at a time: one in use, and the one that replaces it.
pub const MOST_LIVE_KEYS: usize = 2;

/// Why a key proves nobody. For the log: the client learns only that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Several,
    Empty,
    Long,
    Mistyped,
    Unknown,
    Expired,
}

impl Refused {
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Several => "there is more than one key",
            Refused::Empty => "the key is empty",
            Refused::Long => "the key is longer than 512 bytes",
            Refused::Mistyped => "the checksum of the key is wrong: it is mistyped or cut off",
            Refused::Unknown => "no consumer has this key",
            Refused::Expired => "the key has expired",
        }
    }
}
