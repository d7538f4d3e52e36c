//! Active health checks: each endpoint of an upstream is asked again and again how it is.
//!
//! There is one task for an upstream, whatever routes use it, so an endpoint is asked once however many there are.

mod ask;
mod config;
mod grpc;
mod status;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::config::Config;
use super::endpoint::Endpoint;
use super::{Upstream, alive};
use ask::Question;

pub use config::{HealthConfig, HealthPath};
pub use status::StatusRange;

/// Checks of one upstream that run at the same time.
const MAX_CONCURRENT: usize = 64;

/// How the endpoints of an upstream are checked.
#[derive(Debug)]
pub(super) struct Checks {
    question: Question,
    interval: Duration,
    unhealthy_interval: Duration,
    timeout: Duration,
    healthy_after: u32,
    unhealthy_after: u32,
    /// Rung when there are endpoints that have never been checked.
    pub news: Notify,
}

impl Checks {
    pub(super) fn new(health: &HealthConfig, config: &Config) -> Arc<Checks> {
        let interval = health.interval.as_std();
        let unhealthy = health.unhealthy_interval;
        Arc::new(Checks {
            question: Question::new(health, config),
            interval,
            unhealthy_interval: unhealthy.map_or(interval, |it| it.as_std()),
            timeout: health.timeout.as_std(),
            healthy_after: u32::from(health.healthy_after.get()),
            unhealthy_after: u32::from(health.unhealthy_after.get()),
            news: Notify::new(),
        })
    }

    /// From the end of a check to the next: a tenth shorter or longer, so that nodes do not check in step.
    fn wait(&self, is_passing: bool) -> Duration {
        let wait = match is_passing {
            true => self.interval,
            false => self.unhealthy_interval,
        };
        wait.mul_f64(rand::rng().random_range(0.9..1.1))
    }
}

/// Checks every endpoint again and again until the upstream is dropped. Those that are new are checked at once.
pub(super) async fn watch(upstream: Weak<Upstream>) {
    loop {
        let (checks, due) = {
            let Some(upstream) = alive(&upstream) else {
                return;
            };
            let Some(checks) = upstream.health.clone() else {
                return;
            };
            (checks.clone(), check_all(&upstream, &checks).await)
        };
        let at_latest = due.unwrap_or_else(|| Instant::now() + checks.interval);
        let _ = tokio::time::timeout_at(at_latest.into(), checks.news.notified()).await;
    }
}

/// Checks those that it is time for, and says when it is time for the next.
async fn check_all(upstream: &Arc<Upstream>, checks: &Arc<Checks>) -> Option<Instant> {
    let mut running = JoinSet::new();
    let mut has_changed = false;
    let now = Instant::now();
    let is_due = |it: &Arc<Endpoint>| it.standing().next_check().is_none_or(|due| due <= now);
    for endpoint in upstream.current().into_iter().filter(is_due) {
        if running.len() >= MAX_CONCURRENT
            && let Some(Ok(changed)) = running.join_next().await
        {
            has_changed |= changed;
        }
        let (name, checks) = (upstream.name.clone(), checks.clone());
        running.spawn(async move { check(&name, &endpoint, &checks).await });
    }
    while let Some(result) = running.join_next().await {
        has_changed |= result.unwrap_or(false);
    }
    if has_changed {
        upstream.refresh();
    }
    let current = upstream.current();
    // Those that have come in the meantime are due now.
    let due = |it: &Arc<Endpoint>| it.standing().next_check().unwrap_or(now);
    current.iter().map(due).min()
}

/// Checks one endpoint; true where its state changed.
async fn check(upstream: &str, endpoint: &Endpoint, checks: &Checks) -> bool {
    // Whatever becomes of asking, it is not due again at once.
    endpoint
        .standing()
        .check_again(Instant::now() + checks.timeout + checks.interval);
    let asked = checks.question.ask(endpoint, checks.timeout);
    let result = match tokio::time::timeout(checks.timeout, asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(symptom)) => Err(symptom.to_string()),
        Err(_) => Err(format!("no answer within {:?}", checks.timeout)),
    };
    let needed = if result.is_ok() {
        checks.healthy_after
    } else {
        checks.unhealthy_after
    };
    let standing = endpoint.standing();
    let seen = result.as_ref().copied().map_err(String::as_str);
    let has_changed = standing.observe(seen, needed);
    standing.check_again(Instant::now() + checks.wait(standing.is_passing()));
    match (has_changed, result) {
        (true, Ok(())) => log::info!(
            "upstream {upstream}: endpoint {} is healthy again",
            endpoint.address()
        ),
        (true, Err(cause)) => log::warn!(
            "upstream {upstream}: endpoint {} is unhealthy: {cause}",
            endpoint.address()
        ),
        (false, _) => {}
    }
    has_changed
}
