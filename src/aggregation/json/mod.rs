//! JSON as parts send it: checked once, then looked into and cut without being read into values.
//!
//! What is not touched stays as it was written, byte for byte: numbers of any size, the order of names, and what is escaped.
//! Of names that an object has twice the last counts, as for most who read JSON (RFC 8259 section 4), wherever the object is
//! looked into; one that is passed on whole has both still.

mod check;
mod look;
mod node;

pub use check::{NotJson, check};
pub use look::{Kind, elements, find, kind, members, name_of, text_of};
pub use node::{Node, write_members, written};
