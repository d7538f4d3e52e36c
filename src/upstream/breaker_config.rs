//! `breaker` and `endpoint_breaker` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Bounded, Duration, Ratio};

/// A circuit breaker. It opens when, of the tries of the last `window`, enough have failed or were slow; lets nobody in for
/// `open_for`; then lets in a few at a time, and closes once enough of those went well.
///
/// A try has failed that had no answer, or one of 500, 502, 503, 504 or above 505, or ended with the gRPC status `UNKNOWN`,
/// `INTERNAL`, `UNAVAILABLE` or `DATA_LOSS` in its header, or whose body broke off within a second of that. Clients that leave and their own deadlines do not count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// The share of tries that must have failed. Default `0.5`.
    pub failure_ratio: Ratio,
    /// A try is slow whose answer begins so long after the whole request was sent. Default: none is.
    pub slow_call: Option<Duration>,
    /// The share of tries that must have been slow. Default `0.5`.
    pub slow_ratio: Ratio,
    /// Fewer tries than that in `window` open nothing: 1 to 10,000. Default 20.
    pub min_requests: Bounded<1, 10_000>,
    /// How long a try is looked back on. Default `"10s"`.
    pub window: Duration,
    /// How long nobody is let in. Default `"5s"`.
    pub open_for: Duration,
    /// How many are let in at a time after that, and how many must go well for it to close; one that does not opens it
    /// again. Where they take longer than `open_for`, and than five seconds, others are let in: 1 to 100. Default 3.
    pub probes: Bounded<1, 100>,
}

impl Default for BreakerConfig {
    fn default() -> BreakerConfig {
        BreakerConfig {
            failure_ratio: half(),
            slow_call: None,
            slow_ratio: half(),
            min_requests: Bounded::new(20).expect("20 is between 1 and 10,000"),
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            probes: Bounded::new(3).expect("3 is between 1 and 100"),
        }
    }
}

pub(super) fn half() -> Ratio {
    Ratio::percent(50).expect("50 is between 1 and 100")
}
