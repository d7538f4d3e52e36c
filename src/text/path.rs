//! The normal form of a request's path: what is routed is what the upstream gets.
//!
//! Software reads the same path in many ways, and wherever two programs in a row disagree, the rules of the first
//! can be dodged. So there is one form (RFC 3986 sections 5.2.4 and 6.2.2), everything is decided on it, and it is
//! what goes on. What has no safe form is refused.

mod normal;
mod rules;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod property;

pub use normal::{has_dot_segment, normalise_path, refuse_query};
pub use rules::{Backslashes, EncodedSlashes, InvalidUtf8, PathRefusal, PathRules};
