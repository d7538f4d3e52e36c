//! The grammar of HTTP/1.1 messages, checked strictly.
//!
//! In: the bytes of a connection, as they come. Out: where a message's head and body end, or why it is refused. A
//! scanner never waits, never copies and keeps only what it needs to go on with the next bytes; each byte is looked
//! at once. This room must never know sockets, routes or policies.
//!
//! The engine has a parser of its own, which is lenient: it repairs, merges and forwards what other servers read
//! otherwise, and that difference is what request smuggling is made of. So nothing reaches the engine's parser
//! that has not passed this one. What is refused here is ambiguous under RFC 9112, or a known vehicle of attacks.

mod chunked;
mod field;
mod grammar;
mod request;
mod response;

#[cfg(test)]
mod fuzz;

use crate::response::Code;

pub use chunked::Chunks;
pub use grammar::{find_control, is_authority, is_path_and_query, is_token};
pub use request::{RequestHead, RequestLimits, RequestScanner};
pub use response::{ResponseBody, ResponseHead, ResponseScanner};

/// Why a message goes no further. The code is for whoever sent it, the reason for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub reason: &'static str,
}

impl Refusal {
    pub const fn new(code: Code, reason: &'static str) -> Refusal {
        Refusal { code, reason }
    }

    const fn malformed(reason: &'static str) -> Refusal {
        Refusal::new(Code::BadRequest, reason)
    }
}

/// What follows a head (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
}
