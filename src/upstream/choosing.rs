//! What an upstream has to choose from, kept up to date; see [`balance`](super::balance).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::Upstream;
use super::balance::{Algorithm, Available, Idle, MOST, Sticky, Wish, tag_of};
use super::endpoint::Endpoint;
use super::outcome::{End, Outcome};
use super::report::{self, BreakerReport, OutReport};
use crate::facts::KeyBy;

/// What a try that failed counts for: whoever fails at once would be the quickest of all otherwise.
const FAILED: Duration = Duration::from_secs(1);

/// An endpoint as it is shown to operators.
#[derive(Clone, Debug)]
pub struct Shown {
    pub address: String,
    pub is_healthy: bool,
    pub weight: u32,
    /// How much of the weight counts while it is new or just back: 100 but with `slow_start`.
    pub warmth_percent: u32,
    pub priority: u8,
    pub zone: Option<Arc<str>>,
    pub labels: crate::discovery::Labels,
    pub in_flight: i64,
    /// With `balance = "ewma"`, what answers have been taking.
    pub latency: Option<Duration>,
    /// What part of the requests it gets, from 0 to 1, as far as that is said by what is configured.
    pub share: f64,
    /// Why it gets none although nothing keeps it out.
    pub idle: Option<Idle>,
    /// What keeps it out: nothing, or one or several things.
    pub out: Vec<OutReport>,
    pub breaker: Option<BreakerReport>,
}

/// What a request says of where it is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What is hashed.
    pub key: Option<u64>,
    /// The value of the cookie of its session.
    pub cookie: Option<&'a [u8]>,
    /// Where it came to nothing.
    pub tried: Option<&'a Choice>,
}

/// An endpoint that was chosen.
#[derive(Clone, Debug)]
pub struct Choice(Arc<Endpoint>);

impl Choice {
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// `Set-Cookie` of its sessions in clear text, where they are sticky.
    pub fn session(&self) -> Option<&HeaderValue> {
        self.0.mark().map(|mark| &mark.lines[0])
    }

    /// It has answered after so long.
    pub fn took(&self, now: Instant, took: Duration) {
        self.0.latency().observe(now, took);
    }
}

impl Upstream {
    /// What there is to know of each request for the choice: what of it is hashed.
    pub fn hash_by(&self) -> Option<&KeyBy> {
        self.rules.hash.as_ref()
    }

    /// How sessions are marked that stay with an endpoint.
    pub fn sticky(&self) -> Option<&Arc<Sticky>> {
        self.rules.sticky.as_ref()
    }

    /// The endpoint that a request would go to now.
    pub fn choose(&self, now: Instant, asked: Asked<'_>) -> Option<Choice> {
        let wish = Wish {
            now,
            key: asked.key,
            tag: asked.cookie.and_then(tag_of),
        };
        let tried = asked.tried.map(|choice| &choice.0);
        let tried = tried.map_or(&[][..], std::slice::from_ref);
        let picked = self.pick(&wish, tried).ok();
        picked.map(|(endpoint, _)| Choice(endpoint))
    }

    /// Each endpoint, for the admin listener.
    pub fn endpoints(&self) -> Vec<Shown> {
        let now = Instant::now();
        let available = self.available.load();
        let parts = available.parts();
        let has_too_many = self.current().len() > MOST;
        let shown = |endpoint: &Arc<Endpoint>| {
            let member = endpoint.member();
            let part = parts.get(&Arc::as_ptr(endpoint));
            Shown {
                address: endpoint.address().to_owned(),
                is_healthy: endpoint.is_healthy(),
                weight: member.weight,
                warmth_percent: endpoint.warmth().percent(self.rules.slow_start, now),
                priority: member.priority,
                zone: member.zone.clone(),
                labels: member.labels.clone(),
                in_flight: endpoint.active(),
                latency: endpoint.latency_now(now),
                share: part.map_or(0.0, |part| part.share),
                idle: match part {
                    Some(part) => part.idle,
                    None if !endpoint.is_healthy() => None,
                    None if self.rules.leaves_out(&member) => Some(Idle::Subset),
                    // Else it has come or become well just now.
                    None => has_too_many.then_some(Idle::TooMany),
                },
                out: report::out(endpoint, now),
                breaker: endpoint.breaker().map(|it| report::breaker_report(it, now)),
            }
        };
        self.current().iter().map(shown).collect()
    }

    /// Whether endpoints are used of which it is known that they are not healthy, because too few others are left.
    pub fn is_in_panic(&self) -> bool {
        self.available.load().is_in_panic()
    }

    /// Builds the available set anew after a change of health.
    pub(super) fn refresh(&self) {
        let now = Instant::now();
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.settle(&members, now);
        self.build_available(&members, now);
    }

    /// Decides who can be chosen after what tries have told or time has brought, and says when that is due again.
    pub(super) fn settle_now(&self) -> Option<Instant> {
        let now = Instant::now();
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = self.settle(&members, now);
        if settled.has_changed {
            self.build_available(&members, now);
        }
        settled.due
    }

    /// Under the lock of the members, so that the last set that is built is that of the last change.
    pub(super) fn build_available(&self, members: &[Arc<Endpoint>], now: Instant) {
        for endpoint in members {
            endpoint.warmth().note(endpoint.is_healthy(), now);
        }
        let before = self.available.load();
        let available = Available::of(members, &self.rules, &before, now);
        if available.is_in_panic() != before.is_in_panic() {
            let name = &self.name;
            match available.is_in_panic() {
                true => log::warn!(
                    "upstream {name}: fewer endpoints are healthy than panic_threshold says; all are used"
                ),
                false => log::info!("upstream {name}: enough endpoints are healthy again"),
            }
            self.metrics.set_panic(available.is_in_panic());
        }
        self.tell_way(members, &before, &available);
        self.available.store(Arc::new(available));
        self.has_news.notify_one();
    }

    /// Says in the log where requests go, whenever they go elsewhere. Where they go at first is what is configured.
    fn tell_way(&self, members: &[Arc<Endpoint>], before: &Available, now: &Available) {
        let (name, before, now) = (&self.name, before.way(), now.way());
        let has_begun = self.has_begun.load(Ordering::Relaxed);
        if now.leads_nowhere() {
            if now != before || !(has_begun || members.is_empty()) {
                log::warn!("upstream {name}: no endpoint can be chosen");
            }
        } else if now != before && has_begun {
            log::info!("upstream {name}: requests go to {now}");
        }
    }

    /// Whether endpoints are new or just back, so that their weights still grow.
    pub(super) fn is_warming(&self, window: Duration) -> bool {
        let (now, window) = (Instant::now(), Some(window));
        let members = self.current();
        members
            .iter()
            .any(|it| it.warmth().percent(window, now) < 100)
    }

    /// How long an endpoint took, where that is what endpoints are chosen by.
    pub(super) fn learn_latency(&self, endpoint: &Endpoint, now: Instant, outcome: &Outcome) {
        if self.rules.algorithm != Algorithm::Ewma {
            return;
        }
        let took = match outcome.end {
            // It has been told of as answered.
            End::BrokenOff(_) => None,
            _ if outcome.is_failure() => Some(FAILED),
            _ => outcome.time,
        };
        if let Some(took) = took {
            endpoint.latency().observe(now, took);
        }
    }
}
