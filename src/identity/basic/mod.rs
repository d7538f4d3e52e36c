//! Names and passwords by `Authorization: Basic` (RFC 7617), for consumers that can show nothing better.
//!
//! In: the hashes that consumers list, and logins as requests have them. Out: the consumer's identity.
//!
//! A password's hash takes tens of milliseconds and megabytes to check, on purpose. So nothing of it happens on the
//! threads that serve, no more of it at a time than is set, and none of it for a login that was found good a moment ago.
//! A name that nobody has takes as long as one that somebody has.

mod accounts;
mod attempts;
mod checker;
mod hash;
mod login;
mod provider;
mod turns;

pub use accounts::NoSeal;
pub use checker::{Bounds, Checker, Owner, Unknown, Verdict};
pub use hash::{CannotHash, InvalidPassword, PasswordHash};
pub use login::{InvalidLogin, LONGEST_LOGIN, Login};
pub use provider::{Config, Known, Provider, Refused, Shown};

/// How many passwords a consumer may have at a time: one in use, and the one that replaces it.
pub const MOST_PASSWORDS: usize = 2;
