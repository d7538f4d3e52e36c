//! What operators see of an upstream's endpoints and breakers, and what they can say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Upstream;
use super::breaker::Forced;
use super::endpoint::Endpoint;
use super::guards::Watched;
use crate::text::Timestamp;

/// What keeps an endpoint out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutReport {
    /// `unhealthy`, `ejected` or `breaker`.
    pub kind: &'static str,
    pub why: String,
    /// When that ends by itself, where that is known.
    pub until: Option<Timestamp>,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerReport {
    /// `closed`, `half_open` or `open`.
    pub state: &'static str,
    /// Whether an operator holds it so.
    pub is_held: bool,
    /// When it half-opens, or is no longer held.
    pub until: Option<Timestamp>,
    /// Of the tries in its window.
    pub tries: u64,
    pub failed: u64,
    pub slow: u64,
}

/// What an operator wants of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Hold {
        is_open: bool,
        /// `None` until it is released.
        expires: Option<Timestamp>,
    },
    Release,
}

/// Why an order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBreaker {
    /// The upstream has no endpoint of that address.
    NoEndpoint,
    /// It is not in the configuration.
    NotConfigured,
    /// Nobody holds what is to be released.
    NotHeld,
}

impl Upstream {
    /// The breaker of the upstream itself.
    pub fn breaker(&self) -> Option<BreakerReport> {
        let breaker = self.guards.breaker.as_ref()?;
        Some(breaker_report(breaker, Instant::now()))
    }

    /// Follows an operator's order, for the upstream itself or for one endpoint of it. It holds at once.
    pub fn order(&self, endpoint: Option<&str>, order: Order) -> Result<BreakerReport, NoBreaker> {
        let now = Instant::now();
        let followed = match endpoint {
            None => follow(self.guards.breaker.as_ref(), order, now),
            Some(address) => {
                let members = self.current();
                let found = members.iter().find(|it| it.address() == address);
                follow(found.ok_or(NoBreaker::NoEndpoint)?.breaker(), order, now)
            }
        };
        self.refresh();
        self.guards.bell.notify_one();
        followed
    }

    /// Is about to come in the place of the one `before`: what operators have told that since this one was compiled holds
    /// here as well.
    pub fn take_orders(&self, before: &Upstream) {
        let hold = |one: Option<&Watched>, before: Option<&Watched>| {
            if let (Some(one), Some(before)) = (one, before) {
                one.breaker.hold_as(&before.breaker);
            }
        };
        hold(self.guards.breaker.as_ref(), before.guards.breaker.as_ref());
        if self.guards.endpoint_breaker.is_some() {
            let known = before.current();
            let known: HashMap<&str, &Arc<Endpoint>> =
                known.iter().map(|it| (it.address(), it)).collect();
            for endpoint in self.current() {
                let same = known.get(endpoint.address());
                hold(endpoint.breaker(), same.and_then(|same| same.breaker()));
            }
            self.refresh();
        }
        self.guards.bell.notify_one();
    }
}

fn follow(
    watched: Option<&Watched>,
    order: Order,
    now: Instant,
) -> Result<BreakerReport, NoBreaker> {
    let watched = watched.ok_or(NoBreaker::NotConfigured)?;
    match order {
        Order::Hold { is_open, expires } => {
            let expires = expires.and_then(|end| Some((instant(end, now)?, end)));
            watched.breaker.force(Forced { is_open, expires });
        }
        Order::Release if !watched.breaker.release() => return Err(NoBreaker::NotHeld),
        Order::Release => {}
    }
    Ok(breaker_report(watched, now))
}

pub(super) fn out(endpoint: &Endpoint, now: Instant) -> Vec<OutReport> {
    let standing = endpoint.standing();
    let mut out = Vec::new();
    if let Some(why) = standing.failing() {
        out.push(OutReport {
            kind: "unhealthy",
            why: why.into(),
            until: None,
        });
    }
    if let Some(ejection) = standing.outlier.as_ref().and_then(|it| it.ejection()) {
        out.push(OutReport {
            kind: "ejected",
            why: ejection.reason.as_str().to_owned(),
            until: timestamp(ejection.until, now),
        });
    }
    let breaker = endpoint.breaker().map(|it| breaker_report(it, now));
    if let Some(breaker) = breaker.filter(|it| it.state == "open") {
        out.push(OutReport {
            kind: "breaker",
            why: match breaker.is_held {
                true => "held open by an operator".to_owned(),
                false => "too many tries failed or were slow".to_owned(),
            },
            until: breaker.until,
        });
    }
    out
}

pub(super) fn breaker_report(watched: &Watched, now: Instant) -> BreakerReport {
    let breaker = &watched.breaker;
    let counts = breaker.counts(now);
    let forced = breaker.forced();
    let until = match forced {
        Some(forced) => forced.expires.map(|(_, end)| end),
        None => breaker.due().and_then(|due| timestamp(due, now)),
    };
    BreakerReport {
        state: breaker.phase().word(),
        is_held: forced.is_some(),
        until,
        tries: counts.total,
        failed: counts.failed,
        slow: counts.slow,
    }
}

/// The second at which something is over, rounded up.
fn timestamp(due: Instant, now: Instant) -> Option<Timestamp> {
    let left = due.saturating_duration_since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Timestamp::from_unix(Timestamp::now().unix().checked_add(seconds)?)
}

fn instant(end: Timestamp, now: Instant) -> Option<Instant> {
    let left = end.unix().saturating_sub(Timestamp::now().unix());
    now.checked_add(std::time::Duration::from_secs(left))
}
