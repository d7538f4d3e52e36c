//! Whether the servers of a store answer, for the log and the metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observability::StoreMetrics;

/// There are no two lines of one kind about one store within this time: a server that comes and goes does not fill the log.
const QUIET: Duration = Duration::from_secs(10);

/// How the servers of one store do.
pub(super) struct Health {
    metrics: StoreMetrics,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    down: Option<Instant>,
    up: Option<Instant>,
}

impl Health {
    pub(super) fn new(metrics: StoreMetrics) -> Health {
        Health {
            metrics,
            said: Mutex::default(),
        }
    }

    pub(super) fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// A server that was asked until now is not any more.
    pub(super) fn fails(&self, cause: &str) {
        self.metrics.server_fails();
        if self.may_say(|said| &mut said.down) {
            log::warn!("stores.{}: cannot be asked: {cause}", self.metrics.store());
        }
    }

    /// A server that was not asked is again.
    pub(super) fn answers(&self) {
        self.metrics.server_answers();
        if self.may_say(|said| &mut said.up) {
            log::info!("stores.{}: answers again", self.metrics.store());
        }
    }

    /// A server that was not asked is of no interest any more.
    pub(super) fn is_gone(&self) {
        self.metrics.server_answers();
    }

    fn may_say(&self, which: impl Fn(&mut Said) -> &mut Option<Instant>) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, now) = (which(&mut said), Instant::now());
        if last.is_some_and(|last| now < last + QUIET) {
            return false;
        }
        *last = Some(now);
        true
    }
}
