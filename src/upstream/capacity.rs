//! How many requests an upstream may have at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::{Build, Config};
use crate::limits::{Bulkhead, Gradient};

/// The limit of an upstream, and where it is learned, what it is learned from.
#[derive(Debug)]
pub(super) struct Capacity {
    bulkhead: Arc<Bulkhead>,
    gradient: Option<Gradient>,
}

impl Capacity {
    /// `None` where there is no limit, or after diagnostics.
    pub(super) fn build(name: &str, config: &Config, context: &mut Build<'_>) -> Option<Capacity> {
        let subject = &mut context.subject;
        let most = config.max_in_flight;
        if let Some(queue) = &config.queue {
            let mut subject = subject.key("queue");
            queue.check(&mut subject);
            if most.is_none() && config.adaptive_concurrency.is_none() {
                let problem = subject.error(queue.span, "nobody waits where nothing is limited");
                problem.help("add max_in_flight = 500, or remove queue");
            }
        }
        let gradient = match &config.adaptive_concurrency {
            None => None,
            Some(adaptive) => {
                let mut subject = subject.key("adaptive_concurrency");
                Some(Gradient::build(adaptive, most, &mut subject)?)
            }
        };
        let limit = gradient.as_ref().map(Gradient::limit).or(most)?;
        let queue = config.queue.as_ref().map(|queue| &queue.value);
        let metrics = context.metrics.upstream_bulkhead(name);
        let key = format!("upstreams.{name}");
        let bulkhead = Bulkhead::new(&key, limit, queue, metrics, context.limits);
        Some(Capacity { bulkhead, gradient })
    }

    pub(super) fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
    }

    /// The header of a response has come, so long after the whole of the request had been sent.
    pub(super) fn answered(&self, now: Instant, time: Duration, status: StatusCode) {
        self.learn(|gradient, in_flight| match status {
            StatusCode::SERVICE_UNAVAILABLE => gradient.overloaded(now, in_flight),
            _ => gradient.answered(now, time, in_flight),
        });
    }

    /// Nothing has come in time.
    pub(super) fn timed_out(&self, now: Instant) {
        self.learn(|gradient, in_flight| gradient.overloaded(now, in_flight));
    }

    fn learn(&self, tell: impl FnOnce(&Gradient, u32) -> Option<u32>) {
        let Some(gradient) = &self.gradient else {
            return;
        };
        let permits = self.bulkhead.permits();
        if let Some(limit) = tell(gradient, permits.in_flight()) {
            permits.set_limit(limit);
        }
    }
}
