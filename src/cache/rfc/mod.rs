//! What RFC 9111 and its relatives say, as functions of headers and times.
//!
//! Nothing here keeps, waits or looks at a clock. What can be found out once is found out when a response comes in:
//! [`Lifetime`], [`Vary`] and [`ResponseDirectives`] are small, and judging by them costs a few comparisons.

mod conditional;
mod date;
mod directives;
mod freshness;
#[cfg(test)]
mod fuzz;
mod ranges;
mod status;
mod storing;
mod update;
mod vary;

pub use conditional::{ask_whether_same, confirms, is_not_modified, is_same_range, strip_for_304};
pub use directives::{Extent, RequestDirectives, ResponseDirectives};
pub use freshness::{Given, Judgement, Lifetime, initial_age, is_heuristic};
pub use ranges::{ContentRange, Frames, Part, Wanted, is_whole_part, wanted};
pub use status::{CACHE_STATUS, Forward, Status};
pub use storing::{Question, WhyNot, may_store, strip};
pub use update::update;
pub use vary::{Vary, said};
