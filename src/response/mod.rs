//! What the gateway itself says to a client: the error index, replies and the way engine errors become codes.
//!
//! In: a [`Code`] or an action's own content. Out: a [`Reply`], which the proxy room writes through its one
//! reply function. This room knows no routes, no policies and no sessions; it must never put a cause, an
//! address or a stack into what a client reads (causes go to the log).
//!
//! The error index for readers is `errors.md` beside this file, printed by `northgate errors` from the table in
//! `code.rs`; a test holds the two together. Failures are told as RFC 9457 problem documents, to gRPC callers as
//! a `grpc-status`.

mod code;
mod redirect_status;
mod reply;
mod rescue;

pub use code::{Code, Fault, Flag, index_markdown};
pub use redirect_status::RedirectStatus;
pub use reply::{Dialect, Reply};
pub use rescue::rescue;
