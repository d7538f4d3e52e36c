//! `ramp`: a weight that grows, or shrinks, with time.

use std::num::NonZeroU16;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{self, Bounded, Timestamp};

/// From the branch's `weight` to another: `ramp = { to = 50, start = "2027-01-31T12:00:00Z", over = "2h" }`. The clock
/// decides, so gateways that have the same time and the same configuration are at the same weight, also after a restart.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampConfig {
    /// The weight at the end, relative to the others: 0 to 1000.
    pub to: Bounded<0, 1000>,
    /// When it leaves the branch's `weight`.
    pub start: Timestamp,
    /// How long it takes from there to the end.
    pub over: text::Duration,
    /// In how many equal steps, the first of which is taken when the first part of the time has passed. Default: the
    /// weight changes all the time.
    pub steps: Option<NonZeroU16>,
}

/// A weight that changes.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    to: f64,
    /// Since 1970.
    start: Duration,
    over: Duration,
    steps: Option<f64>,
}

impl Ramp {
    pub(super) fn new(config: &RampConfig) -> Ramp {
        Ramp {
            to: f64::from(config.to.get()),
            start: Duration::from_secs(config.start.unix()),
            over: config.over.as_std(),
            steps: config.steps.map(|steps| f64::from(steps.get())),
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let start = Timestamp::from_unix(self.start.as_secs());
        let start = start.map(|start| format!(" from {start} on"));
        let steps = self.steps.map(|steps| format!(" in {steps} steps"));
        format!(
            "to weight {}{} over {:?}{}",
            self.to,
            start.unwrap_or_default(),
            self.over,
            steps.unwrap_or_default()
        )
    }

    /// What has become of a weight by now.
    pub(super) fn of(&self, from: f64) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.at(from, now.unwrap_or_default())
    }

    fn at(&self, from: f64, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.start);
        if passed >= self.over {
            return if now < self.start { from } else { self.to };
        }
        let mut part = passed.as_secs_f64() / self.over.as_secs_f64();
        if let Some(steps) = self.steps {
            part = (part * steps).floor() / steps;
        }
        from + (self.to - from) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_decides() {
        let check = |steps: Option<f64>, now: u64, expected: f64| {
            let ramp = Ramp {
                to: 45.0,
                start: Duration::from_secs(1000),
                over: Duration::from_secs(100),
                steps,
            };
            let weight = ramp.at(5.0, Duration::from_secs(now));
            assert!((weight - expected).abs() < 1e-9, "{now}: {weight}");
        };
        check(None, 0, 5.0);
        check(None, 1000, 5.0);
        check(None, 1025, 15.0);
        check(None, 1050, 25.0);
        check(None, 1100, 45.0);
        check(None, 9999, 45.0);
        check(Some(4.0), 1024, 5.0);
        check(Some(4.0), 1025, 15.0);
        check(Some(4.0), 1099, 35.0);
        check(Some(4.0), 1100, 45.0);
    }

    #[test]
    fn it_can_be_at_once_and_go_down() {
        let ramp = Ramp {
            to: 0.0,
            start: Duration::from_secs(1000),
            over: Duration::ZERO,
            steps: None,
        };
        assert_eq!(ramp.at(5.0, Duration::from_secs(999)), 5.0);
        assert_eq!(ramp.at(5.0, Duration::from_secs(1000)), 0.0);
    }
}
