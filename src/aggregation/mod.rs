//! Aggregation: one answer made of what several upstreams say, without what is asked of them.
//!
//! In: `aggregate` of a route's configuration; per request its facts, and how each part has ended. Out: what to ask for and
//! when, and the document with the headers that fit it. This room must never know a session, a socket or a clock: it is told
//! what has happened, and says what follows from it. The proxy room asks, and keeps the time.
//!
//! ```toml
//! [routes.home.aggregate]
//! timeout = "250ms"
//! parts.profile         = { upstream = "users",    path = "/users/{identity.subject}", required = true }
//! parts.recommendations = { upstream = "products", path = "/recommendations", timeout = "120ms", default = [] }
//! parts.promotions      = { upstream = "products", path = "/promotions", cache = "60s", pick = ["id", "title"] }
//! parts.cart            = { upstream = "orders",   path = "/carts/{parts.profile.body.cart_id}" }
//! ```
//!
//! # Order
//! A part whose request or condition names another waits for it; all others start at once. What has failed fails those whose
//! requests name it, unless it has a default, which stands for its body; a condition that names it is asked all the same. What
//! is left out by its condition leaves out those whose requests name it: neither is a failure.
//!
//! # Answers
//! | | |
//! |---|---|
//! | every part has an answer, or is left out | 200 |
//! | a part has failed that is not `required` | 200 with `"degraded": true` and `"degraded_parts": [{ "part", "reason" }]`, its default where it has one (`"default": true`), and `X-Northgate-Degraded`; never to be stored |
//! | a part has failed, and its cache has an old answer that may stand in (`stale_if_error`) | as an answer of the part, and 200 with `"degraded": true` and the reason `stale` |
//! | a part has failed that is `required` | 504 where it took too long, else 502, naming it |
//!
//! With `stream = true` the answer begins to go out as soon as every part that is required is there and others are not, and each
//! field goes out as soon as it is whole, in the order in which they come. Such an answer is never to be stored; what is missing is
//! said by `degraded` at its end alone, since its header has gone out by then.
//!
//! A part's answer is one with a status that it accepts, and a body that is what the part takes it for.
//!
//! Headers of parts go no further. `Cache-Control` is the strictest of what the answers say of themselves, with what is left of
//! their time; where a part was asked for in somebody's name, or policies tell parts who calls, the whole is `private`. `Vary` has what any of
//! them varies by, and the client's headers that requests and conditions name. `ETag` is of the bytes of the whole.
//!
//! # Bytes
//! A body is looked through once, which tells whether it is JSON, and is then text: it is read into values only where something
//! is made of it, and no deeper than that. Numbers of any size and names that are there twice stay as they are written where
//! nobody looks at them.

mod answer;
mod assemble;
pub mod config;
mod freshness;
mod graph;
pub mod json;
mod layout;
mod merge;
mod order;
mod plan;
mod reason;
mod request;
mod run;
mod shape;
mod statuses;
mod stream;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Ended};
pub use assemble::{Assembled, DEGRADED_HEADER, Whole};
pub use config::Config;
pub use graph::{Cycle, Graph};
pub use layout::{Entry, Landing, Layout, Merging, Place};
pub use plan::{Contract, Form, Kept, Limits, Part, Plan};
pub use reason::Reason;
pub use request::{Outgoing, Request};
pub use run::{Outcome, Run};
pub use shape::{Filter, FilterError, InvalidPath, Path, Shape, Step};
pub use statuses::{NoStatuses, Statuses};
pub use stream::Stream;
