//! Failing on demand: what `POST /_demo/fail` orders, and what that does to each request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

/// The body of `POST /_demo/fail`; each field may be left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FailureOrder {
    /// The status of a failed request, 400 to 599.
    status: u16,
    /// How long the service fails, in milliseconds, up to ten minutes.
    for_ms: u64,
    /// The share of requests that fail, 0 to 1. They are spread evenly: at 0.5 it is every second one.
    ratio: f64,
    /// How long each request waits in addition, failed or not, in milliseconds, up to half a minute.
    delay_ms: u64,
    /// Whether the health check fails too. If not, a gateway has to notice by the answers it gets.
    health: bool,
}

/// The one failure of a service that can be in force.
#[derive(Debug, Default)]
pub(super) struct Failures {
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    order: FailureOrder,
    until: Instant,
    seen: u64,
    failed: u64,
}

/// What is to happen to one request: how long it waits in addition, and the status if it fails.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Fate {
    pub(super) delay: Duration,
    pub(super) status: Option<StatusCode>,
}

/// A failure in force, for people to look at.
#[derive(Debug, Serialize)]
pub(super) struct InForce {
    order: FailureOrder,
    left_ms: u64,
    seen: u64,
    failed: u64,
}

impl Failures {
    /// Starts a failure in the place of the one in force, or says which rule the order breaks.
    pub(super) fn start(&self, order: FailureOrder) -> Result<(), &'static str> {
        order.check()?;
        let until = Instant::now() + Duration::from_millis(order.for_ms);
        *self.running() = Some(Running {
            order,
            until,
            seen: 0,
            failed: 0,
        });
        Ok(())
    }

    pub(super) fn end(&self) {
        *self.running() = None;
    }

    pub(super) fn in_force(&self) -> Option<InForce> {
        let running = self.running();
        let Running {
            order,
            until,
            seen,
            failed,
        } = running.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some(InForce {
            order: order.clone(),
            left_ms,
            seen: *seen,
            failed: *failed,
        })
    }

    /// Decides about the next request, which may be a health check.
    pub(super) fn fate(&self, health: bool) -> Fate {
        let mut slot = self.running();
        let Some(running) = slot.as_mut() else {
            return Fate::default();
        };
        if running.until <= Instant::now() {
            *slot = None;
            return Fate::default();
        }
        if health && !running.order.health {
            return Fate::default();
        }
        running.seen += 1;
        let due = (running.seen as f64 * running.order.ratio).floor() as u64;
        let fails = due > running.failed;
        running.failed += u64::from(fails);
        Fate {
            delay: Duration::from_millis(running.order.delay_ms),
            status: fails
                .then(|| StatusCode::from_u16(running.order.status).ok())
                .flatten(),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FailureOrder {
    fn default() -> Self {
        Self {
            status: 503,
            for_ms: 5_000,
            ratio: 1.0,
            delay_ms: 0,
            health: false,
        }
    }
}

impl FailureOrder {
    fn check(&self) -> Result<(), &'static str> {
        if !(400..=599).contains(&self.status) {
            return Err("status lies between 400 and 599");
        }
        if !(1..=600_000).contains(&self.for_ms) {
            return Err("for_ms lies between 1 and 600000");
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err("ratio lies between 0 and 1");
        }
        if self.delay_ms > 30_000 {
            return Err("delay_ms is at most 30000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(order: FailureOrder, requests: usize) -> Vec<Option<u16>> {
        let failures = Failures::default();
        failures.start(order).unwrap();
        (0..requests)
            .map(|_| failures.fate(false).status.map(|status| status.as_u16()))
            .collect()
    }

    #[test]
    fn a_ratio_is_spread_evenly() {
        let order = |ratio| FailureOrder {
            ratio,
            ..FailureOrder::default()
        };
        assert_eq!(fates(order(0.5), 4), [None, Some(503), None, Some(503)]);
        assert_eq!(fates(order(0.0), 3), [None; 3]);
        assert_eq!(fates(order(1.0), 2), [Some(503); 2]);
        assert_eq!(fates(order(0.1), 100).iter().flatten().count(), 10);
    }

    #[test]
    fn health_checks_fail_only_when_the_order_says_so() {
        let failures = Failures::default();
        failures.start(FailureOrder::default()).unwrap();
        assert_eq!(failures.fate(true), Fate::default());
        failures
            .start(FailureOrder {
                health: true,
                ..FailureOrder::default()
            })
            .unwrap();
        assert_eq!(
            failures.fate(true).status,
            Some(StatusCode::SERVICE_UNAVAILABLE)
        );
    }

    #[test]
    fn a_failure_ends_by_itself() {
        let failures = Failures::default();
        failures.start(FailureOrder::default()).unwrap();
        assert!(failures.in_force().is_some());
        failures.running().as_mut().unwrap().until = Instant::now();
        assert!(
            failures
                .in_force()
                .is_none_or(|failure| failure.left_ms == 0)
        );
        assert_eq!(failures.fate(false), Fate::default());
        assert!(failures.running().is_none());
    }
}
