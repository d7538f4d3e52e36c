//! Whether one server answers, for the log and the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observability::StoreMetrics;

/// There are no two lines of one kind about one server within this time: one that comes and goes does not fill the log.
const QUIET: Duration = Duration::from_secs(10);

/// How a server of a store does.
pub(super) struct Health {
    metrics: Arc<StoreMetrics>,
    /// What operators know it by.
    server: Box<str>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    down: Option<Instant>,
    up: Option<Instant>,
}

impl Health {
    pub(super) fn new(metrics: Arc<StoreMetrics>, server: String) -> Health {
        Health {
            metrics,
            server: server.into(),
            said: Mutex::default(),
        }
    }

    /// It was asked until now, and is not any more.
    pub(super) fn fails(&self, cause: &str) {
        self.metrics.server_fails();
        if self.may_say(|said| &mut said.down) {
            let (store, server) = (self.metrics.store(), &self.server);
            log::warn!("stores.{store}: {server} cannot be asked: {cause}");
        }
    }

    /// It was not asked, and is again.
    pub(super) fn answers(&self) {
        self.metrics.server_answers();
        if self.may_say(|said| &mut said.up) {
            let (store, server) = (self.metrics.store(), &self.server);
            log::info!("stores.{store}: {server} answers again");
        }
    }

    /// It was not asked, and is of no interest any more.
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
