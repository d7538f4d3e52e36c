//! What keeps an upstream and its endpoints from what they cannot do now: breakers and ejection, as an upstream has them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::breaker::{Breaker, Phase, Probe, Shut};
use super::breaker_config::BreakerConfig;
use super::config::Config;
use super::outcome::Outcome;
use super::outliers::Rules;
use crate::observability::UpstreamMetrics;

/// What an upstream has of them.
#[derive(Debug)]
pub(super) struct Guards {
    /// Of the upstream as a whole.
    pub breaker: Option<Watched>,
    /// What each of its endpoints gets.
    pub endpoint_breaker: Option<BreakerConfig>,
    pub outliers: Option<Rules>,
    /// Rung when something has to be decided. It is that of the upstream of this name that was before, so that what
    /// requests of that have still to tell is heard.
    pub bell: Arc<Notify>,
}

impl Guards {
    pub(super) fn build(config: &Config, before: Option<&Guards>, now: Instant) -> Guards {
        let breaker = config.breaker.as_ref().map(|config| {
            let before = before.and_then(|before| before.breaker.as_ref());
            Watched::build(config, before, now)
        });
        Guards {
            breaker,
            endpoint_breaker: config.endpoint_breaker.clone(),
            outliers: config.outliers.as_ref().map(|it| Rules::of(it)),
            bell: before.map_or_else(Arc::default, |before| before.bell.clone()),
        }
    }

    /// Whether there is anything that time moves on.
    pub(super) fn are_any(&self) -> bool {
        self.breaker.is_some() || self.endpoint_breaker.is_some() || self.outliers.is_some()
    }
}

/// A breaker, and what has been said of it.
#[derive(Debug)]
pub(super) struct Watched {
    pub breaker: Arc<Breaker>,
    /// One for a breaker, whoever has it.
    said: Arc<Mutex<Said>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    phase: Option<Phase>,
    /// Whether the metrics have it: those of an endpoint that was gone do not.
    is_counted: bool,
}

impl Watched {
    pub(super) fn build(config: &BreakerConfig, before: Option<&Watched>, now: Instant) -> Watched {
        let breaker = Breaker::build(config, before.map(|before| &before.breaker), now);
        // What goes on as it was is no news.
        let same = before.filter(|before| Arc::ptr_eq(&before.breaker, &breaker));
        let said = same.map_or_else(Arc::default, |same| same.said.clone());
        let watched = Watched { breaker, said };
        watched.said().is_counted = false;
        watched
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, now: Instant) -> Result<Option<Probe>, Shut> {
        self.breaker.enter(now)
    }

    pub(super) fn hear(&self, probe: Option<Probe>, now: Instant, outcome: &Outcome) -> bool {
        self.breaker.hear(probe, now, outcome)
    }

    /// How long nobody needs to ask again; `None` where it is not open.
    pub(super) fn shut_for(&self, now: Instant) -> Option<Duration> {
        match self.breaker.phase() {
            Phase::Closed | Phase::ForcedClosed | Phase::HalfOpen => None,
            Phase::Open | Phase::ForcedOpen => Some(match self.breaker.due() {
                Some(due) => due.saturating_duration_since(now),
                None => self.breaker.open_for(),
            }),
        }
    }

    /// Moves on what time moves on, and says what has changed: in the log, one line a change, and in the metrics. It is
    /// that of the upstream where there is no endpoint.
    pub(super) fn tend(
        &self,
        now: Instant,
        endpoint: Option<&str>,
        upstream: &str,
        metrics: &UpstreamMetrics,
    ) {
        self.breaker.tick(now);
        let phase = self.breaker.phase();
        let mut said = self.said();
        let before = said.phase.replace(phase);
        if before == Some(phase) && said.is_counted {
            return;
        }
        said.is_counted = true;
        metrics.breaker(endpoint, phase.number());
        if before == Some(phase) {
            return;
        }
        let is_new = before.is_none() && phase == Phase::Closed;
        if is_new {
            return;
        }
        let whose = match endpoint {
            Some(endpoint) => format!("upstream {upstream}: the breaker of endpoint {endpoint}"),
            None => format!("upstream {upstream}: the breaker"),
        };
        match phase {
            Phase::Open => {
                metrics.breaker_opened(endpoint);
                let seen = self.breaker.counts(now);
                log::warn!(
                    "{whose} is open: of {} tries, {} failed and {} were slow",
                    seen.total,
                    seen.failed,
                    seen.slow
                );
            }
            Phase::HalfOpen => log::info!("{whose} is half-open"),
            Phase::Closed => log::info!("{whose} is closed"),
            Phase::ForcedOpen | Phase::ForcedClosed => {
                let expires = self.breaker.forced().and_then(|forced| forced.expires);
                let until = expires.map(|(_, until)| format!(" until {until}"));
                log::warn!(
                    "{whose} is held {} by an operator{}",
                    phase.word(),
                    until.unwrap_or_default()
                );
            }
        }
    }
}

impl Phase {
    /// In metrics.
    fn number(self) -> i64 {
        match self {
            Phase::Closed | Phase::ForcedClosed => 0,
            Phase::HalfOpen => 1,
            Phase::Open | Phase::ForcedOpen => 2,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Phase::Closed | Phase::ForcedClosed => "closed",
            Phase::HalfOpen => "half_open",
            Phase::Open | Phase::ForcedOpen => "open",
        }
    }
}
