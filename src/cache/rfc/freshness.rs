//! How long a response is good (RFC 9111 section 4.2), and what may be done with one that no longer is.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::date::date;
use super::directives::{Extent, RequestDirectives, ResponseDirectives};

/// Of the time since something was changed it is taken to stay as it is for a tenth (RFC 9111 section 4.2.2), and for no
/// longer than a day.
const HEURISTIC_PART: u32 = 10;
const LONGEST_HEURISTIC: Duration = Duration::from_secs(86_400);

/// What the route says of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Whatever the response says.
    pub ttl: Option<Duration>,
    /// Where the response says nothing.
    pub silent: Option<Duration>,
    pub is_heuristic: bool,
    pub while_revalidate: Option<Duration>,
    pub if_error: Option<Duration>,
}

/// How long a response is good, found out once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// From its age of zero on.
    pub fresh: Duration,
    /// Whether nobody has said so.
    pub is_guess: bool,
    /// Whether it is good for nothing without its upstream's word (`no-cache`).
    is_unproven: bool,
    /// Whether it is good for nothing once it is stale (`must-revalidate`, `proxy-revalidate`).
    is_strict: bool,
    /// Whether no client can have it stale (`s-maxage`).
    is_for_shared: bool,
    while_revalidate: Duration,
    if_error: Duration,
}

/// What may be done with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Fresh,
    /// It is stale, and may be served while another is fetched.
    WhileRevalidating,
    /// It is stale, which the client has said that it takes.
    AskedForStale,
    /// It is stale, or not good without its upstream's word.
    Stale,
    /// The client wants a better one.
    Unwanted,
}

/// Whether statuses are good for a while that say nothing of it (RFC 9110 section 15.1).
pub fn is_heuristic(status: StatusCode) -> bool {
    let status = status.as_u16();
    matches!(
        status,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// How old a response is when it comes in (RFC 9111 section 4.2.3): `received` is now, and `delay` the time since it was asked
/// for.
pub fn initial_age(headers: &HeaderMap, received: SystemTime, delay: Duration) -> Duration {
    let apparent = date(headers, &DATE).and_then(|date| received.duration_since(date).ok());
    let said = headers.get(AGE).and_then(|age| age.to_str().ok());
    // Of a list the first counts, and what is no number is as if it were not there (RFC 9111 section 5.1).
    let said = said.and_then(|age| {
        let first = age.split(',').next().unwrap_or_default().trim();
        let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| {
            first
                .parse::<u64>()
                .unwrap_or(MOST_SECONDS)
                .min(MOST_SECONDS)
        })
    });
    let corrected = Duration::from_secs(said.unwrap_or(0)) + delay;
    // Dates have no parts of a second: what is less than one is no age.
    let apparent = apparent.filter(|apparent| *apparent >= Duration::from_secs(1));
    corrected.max(apparent.unwrap_or_default())
}

const MOST_SECONDS: u64 = 1 << 31;

impl Lifetime {
    /// Of a response that came at `received`.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        received: SystemTime,
        given: &Given,
    ) -> Lifetime {
        let explicit = given
            .ttl
            .or_else(|| explicit(headers, directives, received));
        let guess = || {
            let may_guess = given.is_heuristic && (is_heuristic(status) || directives.public);
            let changed = date(headers, &LAST_MODIFIED).filter(|_| may_guess)?;
            let since = date(headers, &DATE)
                .unwrap_or(received)
                .duration_since(changed);
            Some((since.ok()? / HEURISTIC_PART).min(LONGEST_HEURISTIC))
        };
        let said = explicit.or(given.silent);
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let while_revalidate = seconds(directives.stale_while_revalidate);
        let if_error = seconds(directives.stale_if_error);
        Lifetime {
            fresh: said.or_else(guess).unwrap_or_default(),
            is_guess: said.is_none(),
            is_unproven: directives.no_cache == Extent::All,
            is_strict: directives.must_revalidate || directives.proxy_revalidate,
            is_for_shared: directives.s_maxage.is_some(),
            while_revalidate: while_revalidate
                .or(given.while_revalidate)
                .unwrap_or_default(),
            if_error: if_error.or(given.if_error).unwrap_or_default(),
        }
    }

    /// What a request may do with a response of this age.
    pub fn judge(&self, age: Duration, request: &RequestDirectives) -> Judgement {
        let wants = |limit: Option<u64>| limit.map(Duration::from_secs);
        let is_too_old = wants(request.max_age).is_some_and(|most| age > most);
        let least = wants(request.min_fresh);
        let is_too_short = least.is_some_and(|least| self.fresh < age.saturating_add(least));
        if request.no_cache {
            return Judgement::Unwanted;
        }
        if self.is_unproven {
            return Judgement::Stale;
        }
        let stale_for = match self.fresh.checked_sub(age) {
            Some(left) if !left.is_zero() => {
                return match is_too_old || is_too_short {
                    true => Judgement::Unwanted,
                    false => Judgement::Fresh,
                };
            }
            _ => age - self.fresh,
        };
        if self.is_strict {
            return Judgement::Stale;
        }
        if is_too_old || is_too_short {
            return Judgement::Unwanted;
        }
        let is_taken = wants(request.max_stale).is_some_and(|most| stale_for <= most);
        if is_taken && !self.is_for_shared {
            return Judgement::AskedForStale;
        }
        match stale_for <= self.while_revalidate && !self.while_revalidate.is_zero() {
            true => Judgement::WhileRevalidating,
            false => Judgement::Stale,
        }
    }

    /// Whether a response of this age may stand in for one that cannot be had (RFC 5861 section 4). The client may allow it
    /// for longer than the response does.
    pub fn may_spare(&self, age: Duration, request: &RequestDirectives) -> bool {
        let asked = request.stale_if_error.map(Duration::from_secs);
        let asked = asked.filter(|_| !self.is_for_shared);
        let most = asked.unwrap_or_default().max(self.if_error);
        let is_allowed = !self.is_unproven && !self.is_strict && !request.no_cache;
        is_allowed && !most.is_zero() && age <= self.fresh.saturating_add(most)
    }

    /// What is left of its time in seconds; below zero once it is stale.
    pub fn left(&self, age: Duration) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.fresh).saturating_sub(seconds(age))
    }

    /// For how long a stale one may be of use for anything.
    pub fn is_of_use_for(&self) -> Duration {
        self.fresh + self.while_revalidate.max(self.if_error)
    }
}

/// What the response says itself. What cannot be read has been over for long.
fn explicit(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
) -> Option<Duration> {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(Duration::from_secs(seconds));
    }
    if directives.is_targeted || !headers.contains_key(EXPIRES) {
        return None;
    }
    let Some(expires) = date(headers, &EXPIRES) else {
        return Some(Duration::ZERO);
    };
    let from = date(headers, &DATE).unwrap_or(received);
    Some(expires.duration_since(from).unwrap_or_default())
}

/// Whether a response says itself how long it is good.
pub fn is_explicit(headers: &HeaderMap, directives: &ResponseDirectives) -> bool {
    explicit(headers, directives, SystemTime::UNIX_EPOCH).is_some()
}
