//! A response as it is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::ask::Ask;
use super::body::Body;
use super::key_hash::Key;
use super::marks::{Standing, Verdict};
use super::rfc::{ContentRange, Forward, Judgement, Lifetime, Vary, is_same_range};
use super::rules::Rules;

/// A response as it is kept. What may be read of its body is what has come so far.
#[derive(Debug)]
pub struct Entry {
    pub(super) key: Key,
    pub(super) status: StatusCode,
    /// Without those that are not kept (RFC 9111 section 3.1), and without `Age`, which is counted.
    pub(super) headers: HeaderMap,
    pub(super) vary: Vary,
    pub(super) lifetime: Lifetime,
    pub(super) times: Times,
    pub(super) standing: Standing,
    /// For prefixes that are purged.
    pub(super) path: Box<str>,
    pub(super) body: Arc<Body>,
    /// What of its header is for whoever asked first (`private="…"`, `no-cache="…"`).
    pub(super) for_first: Option<Box<HeaderMap>>,
    /// How often it was served.
    pub(super) uses: AtomicU32,
}

/// When a response came, and how old it was then.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// By the clock that nobody sets.
    pub received: Instant,
    pub received_at: SystemTime,
    pub initial_age: Duration,
}

/// What a request may do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is good. `is_due` where it is time to fetch it anew all the same.
    Fresh { is_due: bool },
    /// It is stale, and may be served while it is fetched anew (RFC 5861 section 3).
    WhileRevalidating,
    /// It is stale, and that is good enough for who asks (`max-stale`).
    AskedForStale,
    /// The upstream has to be asked.
    Not(Forward),
}

/// How many fields a response gets on its way out: those of the cache, of the gateway, and a few of policies.
const ADDED: usize = 6;

/// A header as it is kept: each copy of it has room for what is added, so that it need not be hashed anew, and what is kept has
/// no room for itself.
pub(super) fn kept(mut headers: HeaderMap) -> HeaderMap {
    headers.reserve(ADDED);
    headers.clone()
}

/// Of less use than this nothing is fetched ahead of its end.
const HOT: u32 = 2;

impl Entry {
    /// How old it is (RFC 9111 section 4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.times.received);
        self.times.initial_age.saturating_add(since)
    }

    /// How many seconds it is still good by a verdict on purges; zero or below once it is stale.
    pub(super) fn left(&self, verdict: Verdict, now: Instant) -> i64 {
        let age = self.age_by(verdict, now);
        // What was purged for good is of no use from that moment on.
        age.map_or(0, |age| self.lifetime.left(age))
    }

    pub fn key(&self) -> Key {
        self.key
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub fn vary(&self) -> &Vary {
        &self.vary
    }

    /// What of its header is for whoever asked first alone.
    pub fn for_first(&self) -> Option<&HeaderMap> {
        self.for_first.as_deref()
    }

    pub fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// Of its body in bytes, where that is known already.
    pub fn length(&self) -> Option<u64> {
        match self.body.is_whole() {
            true => Some(self.body.length()),
            false => self
                .headers
                .get(CONTENT_LENGTH)?
                .to_str()
                .ok()?
                .parse()
                .ok(),
        }
    }

    /// Which part of what is there it is, where it is a part.
    pub fn part(&self) -> Option<ContentRange> {
        match self.status {
            StatusCode::PARTIAL_CONTENT => ContentRange::parse(self.headers.get(CONTENT_RANGE)?),
            _ => None,
        }
    }

    /// Whether it is a part, and not all that is asked for is in there, or that is a part of something else.
    pub(super) fn lacks_part(&self, request: &HeaderMap) -> bool {
        let of = self.part();
        of.is_some_and(|of| of.has(request).is_none() || !is_same_range(request, &self.headers))
    }

    /// Of what it takes in memory that is not its body's.
    pub(super) fn head_weight(&self) -> u64 {
        let headers = self.headers.iter();
        let bytes = headers
            .map(|(name, value)| 2 * size_of::<HeaderValue>() + name.as_str().len() + value.len());
        let bytes =
            bytes.sum::<usize>() + self.vary.weight() + self.standing.weight() + self.path.len();
        (size_of::<Entry>() + size_of::<Body>() + bytes) as u64
    }

    pub(super) fn weight(&self) -> u64 {
        self.head_weight() + self.body.weight()
    }

    /// What a request may do with it, by a verdict on purges.
    pub(super) fn usable(&self, ask: &Ask, rules: &Rules, verdict: Verdict, now: Instant) -> Use {
        let Some(age) = self.age_by(verdict, now) else {
            return Use::Not(Forward::UriMiss);
        };
        match self.lifetime.judge(age, &ask.control) {
            Judgement::Fresh => {
                let uses = self.uses.fetch_add(1, Ordering::Relaxed);
                Use::Fresh {
                    is_due: uses >= HOT && rules.is_due(self.lifetime.fresh, age),
                }
            }
            Judgement::WhileRevalidating => Use::WhileRevalidating,
            Judgement::AskedForStale => Use::AskedForStale,
            Judgement::Stale => Use::Not(Forward::Stale),
            Judgement::Unwanted => Use::Not(Forward::Request),
        }
    }

    /// Whether it may stand in where no other response is to be had, by a verdict on purges.
    pub(super) fn may_spare(&self, ask: &Ask, verdict: Verdict, now: Instant) -> bool {
        let age = self.age_by(verdict, now);
        age.is_some_and(|age| self.lifetime.may_spare(age, &ask.control))
    }

    /// How old it counts for; `None` where it was purged for good.
    fn age_by(&self, verdict: Verdict, now: Instant) -> Option<Duration> {
        match verdict {
            Verdict::Live => Some(self.age(now)),
            Verdict::Dead => None,
            // It is as old as it would be had its time come to an end then.
            Verdict::Soft(since) => {
                let since = SystemTime::now().duration_since(since).unwrap_or_default();
                Some(self.age(now).max(self.lifetime.fresh.saturating_add(since)))
            }
        }
    }
}
