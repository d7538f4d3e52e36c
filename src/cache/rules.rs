//! How a route uses the cache, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::Cache;
use super::key::{Query, VaryBy};
use super::marks::{Sign, TagField, Tags};
use super::rfc::{Given, is_heuristic};
use crate::facts::Expression;
use crate::text::Ratio;

/// How a route uses the cache.
pub struct Rules {
    pub cache: Arc<Cache>,
    pub freshness: Freshness,
    pub query: Query,
    /// What tells callers apart that are known; `None` where none of them share anything but by leave of the response.
    pub vary_by: Option<VaryBy>,
    /// Which requests the cache has nothing to do with.
    pub bypass: Option<Expression<bool>>,
    /// How often something is asked for before it is kept.
    pub min_uses: u16,
    /// The largest body that is kept, in bytes.
    pub max_object: u64,
    /// How long somebody waits for what is being fetched already; `None` where everybody asks.
    pub collapse: Option<Duration>,
    /// How much of its time a response may have left when it is fetched anew ahead of its end.
    pub refresh_ahead: Option<Ratio>,
    /// Whether the directives of requests count.
    pub hears_clients: bool,
    /// Whether cookies that are set for one are for all.
    pub shares_cookies: bool,
    /// The tags of all its responses, beside those that they have themselves in these fields.
    pub tags: Box<[Box<str>]>,
    pub tag_fields: Box<[TagField]>,
    /// The fields that say in the place of `Cache-Control` what this cache is to do, the nearest first (RFC 9213).
    pub targets: Box<[HeaderName]>,
    /// Who may purge what it asks for.
    pub purge: Option<Expression<bool>>,
    /// The tags that a request purges that has changed something.
    pub purge_on_write: Box<[Box<str>]>,
}

/// For how long responses are good, as the route has it.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// Whatever the response says.
    pub ttl: Option<Duration>,
    /// Where the response says nothing.
    pub default_ttl: Option<Duration>,
    pub statuses: Box<[StatusTtl]>,
    pub is_heuristic: bool,
    /// Where the response does not say itself (RFC 5861).
    pub while_revalidate: Option<Duration>,
    pub if_error: Option<Duration>,
}

/// For how long responses of a status are fresh that say nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusTtl {
    /// A status, or the first digit of those that begin with it.
    status: u16,
    ttl: Duration,
}

impl StatusTtl {
    /// `404`, or `5xx`. `None` where it is neither, or no final status.
    pub fn parse(text: &str, ttl: Duration) -> Option<StatusTtl> {
        let digits = text.strip_suffix("xx");
        let status = digits.unwrap_or(text).parse().ok()?;
        let is_one = match digits {
            Some(_) => (2..=5).contains(&status),
            None => text.len() == 3 && (200..=599).contains(&status),
        };
        is_one.then_some(StatusTtl { status, ttl })
    }

    fn is_for(&self, status: StatusCode) -> bool {
        self.status == status.as_u16() || self.status == status.as_u16() / 100
    }
}

impl Freshness {
    /// For how long a response with this status is fresh that says nothing of it; the nearest word counts.
    pub fn of_silent(&self, status: StatusCode) -> Option<Duration> {
        let of_status = self.statuses.iter().filter(|it| it.is_for(status));
        let nearest = of_status.max_by_key(|it| it.status);
        nearest
            .map(|it| it.ttl)
            .or(self.default_ttl.filter(|_| is_heuristic(status)))
    }
}

impl Rules {
    /// Whether so little of a response's time is left that it is fetched anew ahead of its end.
    pub(super) fn is_due(&self, fresh: Duration, age: Duration) -> bool {
        let left = fresh.saturating_sub(age);
        self.refresh_ahead
            .is_some_and(|part| left.as_secs_f64() < fresh.as_secs_f64() * part.as_f64())
    }

    /// The tags of a response.
    pub(super) fn tags(&self, headers: &HeaderMap) -> Tags {
        let own = Tags::of(headers, &self.tag_fields);
        if self.tags.is_empty() || own.are_too_many() {
            return own;
        }
        let of_route = self.tags.iter().map(|tag| Sign::tag(tag.as_bytes()));
        own.signs().iter().copied().chain(of_route).collect()
    }

    /// What the route says of how long a response with this status is good.
    pub(super) fn given(&self, status: StatusCode) -> Given {
        Given {
            // Of others a route says so by `statuses`: what one request does wrong is not what all get.
            ttl: self.freshness.ttl.filter(|_| is_heuristic(status)),
            silent: self.freshness.of_silent(status),
            is_heuristic: self.freshness.is_heuristic,
            while_revalidate: self.freshness.while_revalidate,
            if_error: self.freshness.if_error,
            shares_cookies: self.shares_cookies,
        }
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_status_counts() {
        let seconds = Duration::from_secs;
        let parse = |text, ttl| StatusTtl::parse(text, seconds(ttl)).unwrap();
        let freshness = Freshness {
            default_ttl: Some(seconds(9)),
            statuses: [parse("5xx", 1), parse("503", 2), parse("404", 3)].into(),
            ..Freshness::default()
        };
        for (status, expected) in [(500, 1), (503, 2), (404, 3), (200, 9), (410, 9)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                freshness.of_silent(status),
                Some(seconds(expected)),
                "{status}"
            );
        }
        for text in [
            "", "5", "xx", "1xx", "6xx", "55xx", "101", "600", "0404", "abc", "40x",
        ] {
            assert_eq!(StatusTtl::parse(text, seconds(1)), None, "{text}");
        }
    }
}
