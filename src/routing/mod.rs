//! Routes: what is configured of them, the table that finds the one for a request, and the snapshot of it all.
//!
//! **In** come route names, [`Matcher`]s and a payload per route, once per configuration; then host, path,
//! method, headers and query of each request. **Out** goes the payload of the winning route with the ranges
//! its path template captured, or the methods that would have been allowed (405), or nothing (404).
//! **Never known to the table:** configuration documents, policies, actions, upstreams, or what a payload is. Only
//! `config.rs`, `route.rs` and `snapshot.rs` name the rooms below, to say what a payload is when the gateway runs.
//! Sessions and whole documents are not known to this room at all.
//!
//! # Precedence
//!
//! A route matches when *all* its conditions hold. Among the routes that match, the winner is the one the
//! Kubernetes Gateway API (`HTTPRoute`, `GRPCRoute`) would pick. The order of insertion never matters:
//!
//! 1. **Host**: an exact name, then `*.suffix` (one or more labels) with the longest suffix, then no host.
//! 2. **Path**, segment by segment from the left: a literal, then `{param}`, then `{*rest}`. A template that
//!    ends where the path ends precedes a rest that captures nothing, so exact precedes template precedes the
//!    longest prefix. The left decides: for `/a`, `/a/{*rest}` precedes `/{x}`.
//! 3. **Method**: listed, then implied (`HEAD` by `GET`), then any.
//! 4. **More header** conditions, 5. **more query** conditions, 6. the **name**, alphabetically.
//!
//! [`Precedence`] states these rules as `Ord`; the trie is only a fast way to its maximum, and a property
//! test compares the two.
//!
//! # What matches what
//!
//! - `/assets/{*rest}` matches `/assets`, `/assets/` and `/assets/a/b`, like the Gateway API's `PathPrefix`;
//!   the capture is what follows the slash. `{id}` matches exactly one segment that is not empty. Elsewhere a
//!   trailing slash is significant. No path is any path. Paths come in their normal form
//!   ([`PathRules`](crate::text::PathRules)), literals are put into it at load, and both are compared byte by byte.
//! - Parameters of a segment (`/orders;v=2/7`) are not seen: they are no part of the literal that is compared nor of
//!   what `{id}` captures. What `{*rest}` captures has those of its segments. The upstream gets all of them.
//! - A path without a leading `/` (the `*` of `OPTIONS *`, the empty one of `CONNECT`) has no segments, so
//!   only `/{*rest}` and "no path" match it.
//! - A route that lists `GET` also answers `HEAD`, and `Allow` says so. `OPTIONS` is never implied.
//! - A repeated header or query parameter satisfies a condition when any of its values does. Query names and
//!   values are compared form-decoded (`+` is a space); a malformed escape stands for itself. Regular
//!   expressions match the whole value.
//! - A host is compared without its port, its letter case and dots at its end; IPv6 literals keep brackets.
//! - When nothing matches, the answer is 405 if some route failed on its method alone, with the union of
//!   those routes' methods; otherwise 404.
//!
//! # Cost
//!
//! One trie of segments per host, all in one arena. A lookup costs a hash per host suffix and per segment and
//! does not grow with the number of routes, except along routes of one host and one path, which are tried in
//! order. It backtracks when a leaf's conditions fail. Each node is reached by one way only and a template
//! has at most [`MAX_SEGMENTS`] segments, so a lookup visits each node at most once and looks at no more than
//! that many segments of however long a path: the work is bounded by what was configured, not by what was
//! sent. Nothing is allocated, except for a host with capitals, more than four captures, an escaped
//! query value over 256 bytes whose parameter a candidate has a condition on, and extension methods in a 405.

mod captures;
mod condition;
mod config;
mod explain;
mod host;
mod matcher;
mod method;
mod path;
mod precedence;
mod query;
mod route;
mod shadow;
mod snapshot;
mod table;
mod trie;
mod value_condition;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod property;

pub use captures::Captures;
pub use condition::{HeaderCondition, QueryCondition, ValueMatch};
pub use config::{Config, GrpcMatch, MatchConfig, Reach};
pub use explain::{Explanation, MAX_MISSES, Miss, Reason, Values};
pub use host::{HostMatch, normalise as normal_host};
pub use matcher::{Matcher, MatcherBuilder};
pub use method::MethodSet;
pub use path::{MAX_SEGMENTS, PathError, PathProblem, PathTemplate};
pub use precedence::{Criterion, HostRank, MethodRank, Precedence, SegmentRank};
pub use route::Route;
pub use shadow::Shadow;
pub use snapshot::{FALLBACK, Snapshot, View};
pub use table::{Lookup, RequestParts, Table, TableBuilder};
pub use value_condition::ValueCondition;
