//! Keeping published keys new: one task for each provider, which alone asks it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::fetch::{FetchError, Fetcher, Published};
use super::source::{Remote, State};
use crate::observability::unix_time;

/// What a provider says of how long its keys are good is not believed below this.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(30);
/// Which part of its lifetime a set is used before the next one is fetched, so that nobody waits for that. Nodes do
/// not ask in step.
const AHEAD: std::ops::Range<f64> = 0.75..0.9;
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Fetches until the provider is gone: when it is time, when a request wants it, and after failures again and again.
pub(super) async fn renew(state: Weak<State>, wanted: Arc<Notify>, mut fetcher: Fetcher) {
    let mut plan = Plan::new();
    let mut is_wanted = false;
    loop {
        let next = plan.next(is_wanted);
        let wake = plan.stale.map_or(next, |stale| stale.min(next));
        tokio::select! {
            biased;
            () = sleep_until(wake) => {}
            () = wanted.notified(), if !is_wanted => {
                is_wanted = true;
                continue;
            }
        }
        let Some(state) = state.upgrade() else { return };
        let Some(remote) = &state.remote else { return };
        let now = Instant::now();
        if plan.stale.is_some_and(|stale| stale <= now) {
            plan.stale = None;
            state.drop_stale();
        }
        if now < next {
            continue;
        }
        is_wanted = false;
        // Those who wanted it before it began get what it brings.
        let _ = wanted.notified().now_or_never();
        remote
            .progress
            .send_modify(|progress| progress.started += 1);
        let client = remote.client.load_full();
        let fetched = match &client {
            Some(client) => fetcher.fetch(client).await,
            None => return,
        };
        plan.follow(now, &fetched, remote);
        let has_failed = fetched.is_err();
        state.take(fetched, &mut plan);
        remote.progress.send_modify(|progress| {
            progress.finished += 1;
            progress.has_failed = has_failed;
        });
    }
}

/// When to do what.
#[derive(Debug)]
pub(super) struct Plan {
    /// The next fetch, where nobody wants one before.
    due: Instant,
    /// There is none before this.
    earliest: Instant,
    /// From when on the keys are too old; `None` without keys.
    stale: Option<Instant>,
    failures: u32,
}

impl Plan {
    fn new() -> Plan {
        let now = Instant::now();
        Plan {
            due: now,
            earliest: now,
            stale: None,
            failures: 0,
        }
    }

    fn next(&self, is_wanted: bool) -> Instant {
        match is_wanted {
            true => self.due.min(self.earliest),
            false => self.due,
        }
    }

    /// After a fetch that was begun at `began`.
    fn follow(&mut self, began: Instant, fetched: &Result<Published, FetchError>, remote: &Remote) {
        let now = Instant::now();
        self.earliest = now + remote.cooldown;
        match fetched {
            Ok(published) => {
                let lifetime = lifetime(published.lifetime, remote.refresh);
                let part = rand::rng().random_range(AHEAD);
                self.due = began + lifetime.mul_f64(part);
                self.stale = Some(began + remote.max_stale);
                self.failures = 0;
            }
            Err(_) => {
                let pause = remote.cooldown * 2u32.saturating_pow(self.failures.min(16));
                let longest = LONGEST_PAUSE.max(remote.cooldown).min(remote.refresh);
                let pause = pause.min(longest).max(remote.cooldown);
                self.due = now + pause.mul_f64(rand::rng().random_range(1.0..1.2));
                self.failures += 1;
            }
        }
    }
}

/// How long keys are used of which the provider says that they are good for `said`.
fn lifetime(said: Option<Duration>, longest: Duration) -> Duration {
    let said = said.map_or(longest, |said| said.max(SHORTEST_LIFETIME));
    said.min(longest)
}

impl State {
    /// Takes over what was fetched, and says what is news about it.
    fn take(&self, fetched: Result<Published, FetchError>, plan: &mut Plan) {
        let Some(remote) = &self.remote else { return };
        match fetched {
            Ok(published) => {
                if remote.is_failing.swap(false, Ordering::Relaxed) {
                    log::info!("identity.{}: the keys can be fetched again", self.name);
                }
                self.metrics.fetched(unix_time(std::time::Instant::now()));
                self.adopt(published.set);
            }
            Err(error) => {
                self.metrics.failed();
                if !remote.is_failing.swap(true, Ordering::Relaxed) {
                    let until = match plan.stale {
                        Some(stale) => {
                            let left = stale.saturating_duration_since(Instant::now()).as_secs();
                            format!("those that are known are used for {left} s at most")
                        }
                        None => "none are known".to_owned(),
                    };
                    log::warn!(
                        "identity.{}: the keys cannot be fetched, {until}: {error}",
                        self.name
                    );
                }
            }
        }
    }

    fn drop_stale(&self) {
        log::error!(
            "identity.{}: the keys are too old to be used any longer; nothing can be verified until they are fetched",
            self.name
        );
        self.set(Arc::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_may_shorten_a_lifetime() {
        let seconds = Duration::from_secs;
        let check = |said: Option<u64>, longest: u64, expected: u64| {
            let found = lifetime(said.map(seconds), seconds(longest));
            assert_eq!(found, seconds(expected), "{said:?} {longest}");
        };
        check(None, 300, 300);
        check(Some(100), 300, 100);
        check(Some(1000), 300, 300);
        check(Some(0), 300, 30);
        check(Some(0), 1, 1);
        check(Some(u64::MAX), 300, 300);
    }
}
