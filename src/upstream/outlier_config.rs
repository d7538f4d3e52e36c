//! `outliers` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::breaker_config::half;
use crate::text::{Bounded, Duration, Ratio, Span, Subject};

/// Ejection: an endpoint that does worse than it may gets no requests for a while, after which it is back by itself.
///
/// What a failed try is stands with `breaker`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierConfig {
    /// Failed tries in a row, whether they were answered or not: 1 to 1,000. Default 5.
    pub consecutive_5xx: Bounded<1, 1000>,
    /// Tries in a row that were not answered at all: 1 to 1,000. Default: as many as `consecutive_5xx`.
    pub consecutive_failures: Option<Bounded<1, 1000>>,
    /// The share of tries in `window` that may not fail. Default: not looked at.
    pub failure_ratio: Option<Ratio>,
    /// A try is slow whose answer begins so long after the whole request was sent. Default: none is.
    pub slow_call: Option<Duration>,
    /// The share of tries in `window` that may not be slow. Default `0.5`.
    pub slow_ratio: Ratio,
    /// The shares are not looked at for fewer tries than that in `window`: 1 to 10,000. Default 20.
    pub min_requests: Bounded<1, 10_000>,
    /// How long a try is looked back on. Default `"10s"`.
    pub window: Duration,
    /// How long the first ejection is, and how much longer each next one; each such time that an endpoint then serves
    /// takes one off again. Default `"30s"`.
    pub base_ejection: Duration,
    /// The longest ejection. Default `"5m"`.
    pub max_ejection: Duration,
    /// The share of the endpoints that can be out at a time by this; it is at least one, and never all that there are to
    /// choose from. Default `"50%"`.
    pub max_ejected: Ratio,
}

impl Default for OutlierConfig {
    fn default() -> OutlierConfig {
        OutlierConfig {
            consecutive_5xx: Bounded::new(5).expect("5 is between 1 and 1,000"),
            consecutive_failures: None,
            failure_ratio: None,
            slow_call: None,
            slow_ratio: half(),
            min_requests: Bounded::new(20).expect("20 is between 1 and 10,000"),
            window: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected: half(),
        }
    }
}

impl OutlierConfig {
    pub(super) fn check(&self, span: Span, subject: &mut Subject<'_>) {
        if self.max_ejection.as_std() < self.base_ejection.as_std() {
            let what = format!(
                "the longest ejection, {}, is shorter than the first, {}",
                self.max_ejection, self.base_ejection
            );
            subject
                .key("max_ejection")
                .error(span, what)
                .help("set max_ejection to base_ejection or longer");
        }
    }
}
