//! What clients are told of limits: the `RateLimit` fields, `Retry-After`, and the problem.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::limits::{Charge, NamedRule, RuleStanding};
use crate::response::{Code, Reply};

const NANOS: u128 = 1_000_000_000;

/// A request that has used up a limit: the last one of `charges`.
#[cold]
pub fn refuse(code: Code, charges: &[Charge]) -> Reply {
    let mut reply = Reply::failure(code);
    let Some(charge) = charges.last() else {
        return reply;
    };
    let mut violated = Vec::new();
    let rules = charge.limiter.rules().iter();
    for (rule, standing) in rules.zip(&charge.standing.rules) {
        if !standing.is_within() {
            violated.push(Value::from(&*rule.name));
        }
    }
    reply = reply.member("violated-policies", Value::from(violated));
    // Whoever asks for more than there ever is need not come again.
    if charge.standing.wait().is_some() {
        let rules = charge.limiter.rules().iter().zip(&charge.standing.rules);
        let waits = rules.filter_map(|(rule, standing)| Some(rule.rule.told(standing.wait?)));
        let wait = waits.max().unwrap_or_default();
        let seconds = HeaderValue::from(seconds(wait).max(1));
        reply.headers.push((RETRY_AFTER, seconds));
    }
    reply
}

/// Whole seconds, and never too early.
fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(NANOS)).unwrap_or(u64::MAX)
}

/// In how many seconds there is something to be had: what a client that waits for it should wait.
fn until(rule: &NamedRule, standing: &RuleStanding) -> u64 {
    seconds(rule.rule.told(match standing.wait {
        // Not earlier than `Retry-After` says, and no later.
        Some(wait) if wait > Duration::ZERO => wait,
        _ if standing.remaining == 0 => standing.next,
        _ => standing.reset,
    }))
}

/// A way of telling clients how they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11.
    Ietf,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (in seconds), of the limit that is nearest to its end.
    XRatelimit,
    /// `RateLimit-Limit`, `-Remaining` and `-Reset` of the limit that is nearest to its end, and for windows that have
    /// such a name `X-RateLimit-Limit-Minute` and `X-RateLimit-Remaining-Minute`, as Kong sends them.
    Kong,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` as Envoy sends them: the limit with all of its windows.
    Envoy,
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Limit, what remains of it, and the seconds until there is more.
const DASHED: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];
const X: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
/// Windows that have a name of their own in Kong's fields, in seconds.
const KONG: [(u64, HeaderName, HeaderName); 5] = [
    (
        1,
        HeaderName::from_static("x-ratelimit-limit-second"),
        HeaderName::from_static("x-ratelimit-remaining-second"),
    ),
    (
        60,
        HeaderName::from_static("x-ratelimit-limit-minute"),
        HeaderName::from_static("x-ratelimit-remaining-minute"),
    ),
    (
        3600,
        HeaderName::from_static("x-ratelimit-limit-hour"),
        HeaderName::from_static("x-ratelimit-remaining-hour"),
    ),
    (
        86_400,
        HeaderName::from_static("x-ratelimit-limit-day"),
        HeaderName::from_static("x-ratelimit-remaining-day"),
    ),
    (
        30 * 86_400,
        HeaderName::from_static("x-ratelimit-limit-month"),
        HeaderName::from_static("x-ratelimit-remaining-month"),
    ),
];

/// Whether a header is one of those that say how a client stands, of whatever style.
pub fn is_field(name: &HeaderName) -> bool {
    let name = name.as_str();
    let name = name.strip_prefix("x-").unwrap_or(name);
    name.strip_prefix("ratelimit")
        .or_else(|| name.strip_prefix("rate-limit"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Style {
    /// Adds the fields. Costs some hundred nanoseconds a limit.
    pub fn write(self, charges: &[Charge], headers: &mut HeaderMap) {
        match self {
            Style::Ietf => ietf(charges, headers),
            Style::XRatelimit => nearest(charges, &X, headers),
            Style::Kong => {
                nearest(charges, &DASHED, headers);
                kong(charges, headers);
            }
            Style::Envoy => envoy(charges, headers),
        }
    }
}

/// The charges of limits that decide something: what only watches is nothing for clients.
fn told(charges: &[Charge]) -> impl Iterator<Item = &Charge> {
    charges.iter().filter(|charge| !charge.is_shadow)
}

/// Each rule with its standing, of every limit that the request was asked about.
fn rules(charges: &[Charge]) -> impl Iterator<Item = (&NamedRule, &RuleStanding)> {
    told(charges).flat_map(|charge| charge.limiter.rules().iter().zip(&charge.standing.rules))
}

/// Lists of RFC 9651, one line a limit: lists may be parted into lines (RFC 9110 section 5.3).
fn ietf(charges: &[Charge], headers: &mut HeaderMap) {
    let (mut digits, mut line) = (itoa::Buffer::new(), Vec::with_capacity(64));
    for charge in told(charges) {
        for (which, field) in [POLICY, RATELIMIT].into_iter().enumerate() {
            line.clear();
            let rules = charge.limiter.rules().iter();
            for (index, (rule, standing)) in rules.zip(&charge.standing.rules).enumerate() {
                if index > 0 {
                    line.extend_from_slice(b", ");
                }
                let (first, first_value, second, second_value): (&[u8], _, &[u8], _) = match which {
                    0 => (
                        b";q=",
                        standing.quota,
                        b";w=",
                        seconds(rule.rule.window()).max(1),
                    ),
                    _ => (b";r=", standing.remaining, b";t=", until(rule, standing)),
                };
                line.push(b'"');
                line.extend_from_slice(rule.name.as_bytes());
                line.push(b'"');
                for (key, value) in [(first, first_value), (second, second_value)] {
                    line.extend_from_slice(key);
                    // The largest that RFC 9651 section 3.3.1 has.
                    line.extend_from_slice(digits.format(value.min(MOST)).as_bytes());
                }
            }
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append(field, value);
            }
        }
    }
}

const MOST: u64 = 999_999_999_999_999;

/// The rule of which the smallest share is left; of several the one that takes the longest.
fn nearest(charges: &[Charge], names: &[HeaderName; 3], headers: &mut HeaderMap) {
    let share =
        |quota: u64, left: u64| u128::from(left) * u128::from(u32::MAX) / u128::from(quota.max(1));
    let rule = rules(charges).min_by_key(|(_, standing)| {
        let share = share(standing.quota, standing.remaining);
        (share, std::cmp::Reverse(standing.reset))
    });
    let Some((rule, standing)) = rule else { return };
    let values = [standing.quota, standing.remaining, until(rule, standing)];
    for (name, value) in names.iter().zip(values) {
        headers.insert(name.clone(), HeaderValue::from(value));
    }
}

fn kong(charges: &[Charge], headers: &mut HeaderMap) {
    for (rule, standing) in rules(charges) {
        let window = seconds(rule.rule.window());
        let named = KONG.into_iter().find(|(length, _, _)| *length == window);
        if let Some((_, limit, remaining)) = named {
            headers.insert(limit, HeaderValue::from(standing.quota));
            headers.insert(remaining, HeaderValue::from(standing.remaining));
        }
    }
}

fn envoy(charges: &[Charge], headers: &mut HeaderMap) {
    use std::fmt::Write;

    nearest(charges, &X, headers);
    let Some(limit) = headers.get(&X[0]).and_then(|it| it.to_str().ok()) else {
        return;
    };
    let mut line = limit.to_owned();
    for (rule, standing) in rules(charges) {
        let (quota, window) = (standing.quota, seconds(rule.rule.window()).max(1));
        // Writing to a string cannot fail.
        let _ = write!(line, ", {quota};w={window};name=\"{}\"", rule.name);
    }
    if let Ok(value) = HeaderValue::try_from(line) {
        headers.insert(X[0].clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::sync::Arc;

    use super::*;
    use crate::limits::{Gcra, Key, Limiter, Now, Room, Rule};

    #[test]
    fn a_second_is_a_second_whatever_divides_it() {
        let check = |count, period, burst, window: &str, reset: &str, kong: Option<&str>| {
            let number = |number| NonZero::new(number).expect("above zero");
            let gcra = Gcra::new(number(count), Duration::from_secs(period), number(burst));
            let rules = vec![Rule::Gcra(gcra).named("a")];
            let limiter = Arc::new(Limiter::new("a", rules, 64, &Room::default()));
            let key = Key::hasher().finish();
            let standing = limiter.take(key, count, Now::read());
            let is_shadow = false;
            let charges = [Charge {
                limiter,
                key,
                cost: count,
                standing,
                is_shadow,
            }];
            let mut headers = HeaderMap::new();
            for style in [Style::Ietf, Style::Kong, Style::Envoy] {
                style.write(&charges, &mut headers);
            }
            let field = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
            assert_eq!(
                field("ratelimit-policy"),
                Some(&*format!("\"a\";q={burst};w={window}"))
            );
            assert!(field("ratelimit").is_some_and(|it| it.ends_with(&format!(";t={reset}"))));
            assert_eq!(field("ratelimit-reset"), Some(reset));
            assert_eq!(field("x-ratelimit-reset"), Some(reset));
            assert_eq!(
                field("x-ratelimit-limit"),
                Some(&*format!("{burst}, {burst};w={window};name=\"a\""))
            );
            if let Some(name) = kong {
                assert_eq!(field(name), Some(&*burst.to_string()));
            }
        };
        check(30, 1, 30, "1", "1", Some("x-ratelimit-limit-second"));
        check(30, 1, 60, "2", "1", None);
        check(7, 60, 14, "120", "60", None);
        check(7, 3600, 7, "3600", "515", Some("x-ratelimit-limit-hour"));
    }
}
