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
    /// Whether cookies that are set for one are for all.
    pub shares_cookies: bool,
}

/// How long a response is good, found out once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// From its age of zero on.
    pub fresh: Duration,
    /// Whether nobody has said so.
    pub is_guess: bool,
    /// Whether it is good for nothing without its upstream's word (`no-cache`).
    pub(in crate::cache) is_unproven: bool,
    /// Whether it is good for nothing once it is stale (`must-revalidate`, `proxy-revalidate`).
    pub(in crate::cache) is_strict: bool,
    /// Whether no client can have it stale (`s-maxage`).
    pub(in crate::cache) is_for_shared: bool,
    pub(in crate::cache) while_revalidate: Duration,
    pub(in crate::cache) if_error: Duration,
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
        // Who says how old it may be takes none that is stale (section 5.2.1.1).
        let is_picky = request.max_age.is_some() || request.min_fresh.is_some();
        match stale_for <= self.while_revalidate && !self.while_revalidate.is_zero() && !is_picky {
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:32:57 GMT";

    fn now() -> SystemTime {
        super::super::date::parse(NOW).unwrap()
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        lines.collect()
    }

    fn lifetime(status: u16, lines: &[(&'static str, &'static str)], given: &Given) -> Lifetime {
        let headers = headers(lines);
        let directives = ResponseDirectives::of(&headers, &[]);
        let status = StatusCode::from_u16(status).unwrap();
        Lifetime::of(status, &headers, &directives, now(), given)
    }

    #[test]
    fn what_says_how_long() {
        let heuristic = Given {
            is_heuristic: true,
            ..Given::default()
        };
        let check = |lines: &[(&'static str, &'static str)], seconds: u64| {
            let found = lifetime(200, lines, &heuristic).fresh;
            assert_eq!(found, Duration::from_secs(seconds), "{lines:?}");
        };
        check(&[], 0);
        check(&[("cache-control", "max-age=5"), ("expires", LATER)], 5);
        check(&[("cache-control", "max-age=5, s-maxage=7")], 7);
        check(&[("expires", LATER), ("date", NOW)], 60);
        check(&[("expires", LATER)], 60);
        check(&[("expires", BEFORE), ("date", NOW)], 0);
        check(&[("expires", "0"), ("last-modified", BEFORE)], 0);
        check(&[("last-modified", BEFORE), ("date", NOW)], 100);
        check(&[("last-modified", LATER), ("date", NOW)], 0);
        check(
            &[("last-modified", "Tue, 06 Nov 1984 08:49:37 GMT")],
            86_400,
        );
        let status = |status, given: &Given| {
            lifetime(status, &[("last-modified", BEFORE)], given)
                .fresh
                .as_secs()
        };
        assert_eq!(
            (
                status(200, &heuristic),
                status(302, &heuristic),
                status(404, &heuristic)
            ),
            (100, 0, 100)
        );
        assert_eq!(status(200, &Given::default()), 0);
        let silent = Given {
            silent: Some(Duration::from_secs(3)),
            ..heuristic
        };
        assert_eq!((status(200, &silent), status(302, &silent)), (3, 3));
        let forced = Given {
            ttl: Some(Duration::from_secs(4)),
            ..heuristic
        };
        assert_eq!(
            lifetime(200, &[("cache-control", "max-age=9")], &forced)
                .fresh
                .as_secs(),
            4
        );
    }

    #[test]
    fn how_old_it_is_when_it_comes() {
        let check = |lines: &[(&'static str, &'static str)], delay: u64, expected: u64| {
            let age = initial_age(&headers(lines), now(), Duration::from_secs(delay));
            assert_eq!(age.as_secs(), expected, "{lines:?}");
        };
        check(&[], 0, 0);
        check(&[], 2, 2);
        check(&[("age", "30")], 2, 32);
        check(&[("age", "30, 40")], 0, 30);
        check(&[("date", BEFORE)], 0, 1000);
        check(&[("date", BEFORE), ("age", "2000")], 0, 2000);
        check(&[("date", LATER)], 0, 0);
        for bad in ["-1", "a", "1.5", "", "30s"] {
            check(&[("age", bad)], 1, 1);
        }
        check(&[("age", "99999999999999999999")], 0, MOST_SECONDS);
    }

    #[test]
    fn what_may_be_done_with_it() {
        use Judgement::*;
        let check =
            |response: &'static str, age: u64, request: &'static str, expected: Judgement| {
                let life = lifetime(200, &[("cache-control", response)], &Given::default());
                let request = RequestDirectives::of(&headers(&[("cache-control", request)]));
                let found = life.judge(Duration::from_secs(age), &request);
                assert_eq!(found, expected, "{response} | {age} | {request:?}");
            };
        check("max-age=10", 9, "", Fresh);
        check("max-age=10", 10, "", Stale);
        check("max-age=10", 5, "no-cache", Unwanted);
        check("max-age=10", 5, "max-age=4", Unwanted);
        check("max-age=10", 5, "max-age=5", Fresh);
        check("max-age=10", 5, "min-fresh=5", Fresh);
        check("max-age=10", 5, "min-fresh=6", Unwanted);
        check("max-age=10, no-cache", 1, "", Stale);
        check("max-age=10, no-cache=\"x\"", 1, "", Fresh);
        check("max-age=10", 15, "max-stale=5", AskedForStale);
        check("max-age=10", 16, "max-stale=5", Stale);
        check("max-age=10", 1000, "max-stale", AskedForStale);
        check("max-age=10, must-revalidate", 11, "max-stale", Stale);
        check("max-age=10, proxy-revalidate", 11, "max-stale", Stale);
        check("s-maxage=10", 11, "max-stale", Stale);
        check(
            "max-age=10, stale-while-revalidate=5",
            15,
            "",
            WhileRevalidating,
        );
        check("max-age=10, stale-while-revalidate=5", 16, "", Stale);
        check(
            "max-age=10, stale-while-revalidate=5, must-revalidate",
            11,
            "",
            Stale,
        );
        check(
            "max-age=10, stale-while-revalidate=5",
            11,
            "max-age=10",
            Unwanted,
        );
        check(
            "max-age=10, stale-while-revalidate=5",
            11,
            "max-age=99",
            Stale,
        );
        let spares = |response: &'static str, age: u64, request: &'static str| {
            let life = lifetime(200, &[("cache-control", response)], &Given::default());
            let request = RequestDirectives::of(&headers(&[("cache-control", request)]));
            life.may_spare(Duration::from_secs(age), &request)
        };
        assert!(!spares("max-age=10", 11, ""));
        assert!(spares("max-age=10, stale-if-error=5", 15, ""));
        assert!(!spares("max-age=10, stale-if-error=5", 16, ""));
        assert!(spares("max-age=10", 15, "stale-if-error=5"));
        assert!(!spares(
            "max-age=10, stale-if-error=5, must-revalidate",
            11,
            ""
        ));
        assert!(!spares("max-age=10, stale-if-error=5, no-cache", 11, ""));
    }
}
