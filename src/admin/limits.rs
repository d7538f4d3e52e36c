//! Limits: which there are, how a key stands, and what it is granted.
//!
//! | | |
//! |---|---|
//! | `GET /limits` | every limit in force, and what is in use of places and bandwidth |
//! | `GET /limits/NAME` | one, with its overrides |
//! | `GET /limits/NAME?KEY` | how a key stands |
//! | `POST /limits/NAME/reset?KEY` | the key has all of its limit again |
//! | `POST /limits/NAME/override?KEY&multiply=2&expires=2026-12-01T00:00:00Z` | until then it has twice the limit |
//! | `POST /limits/NAME/override/end?KEY` | it has its limit |
//!
//! A key is said by what the limit counts `by`: `consumer=acme`, `client=192.0.2.1`, `header:x-tenant=shop`; for
//! `consumer` also `subject=PROVIDER/SUBJECT` or `client=ADDRESS`, for `credential` also `credential=PROVIDER/ID`;
//! `without=header:x-tenant` for requests that lack it. An override holds in this process and is
//! gone when that ends; it outlives reloads for as long as there is a limit of its name. How a key of a shared limit stands is
//! what its store has, and there it is reset; where the store cannot be asked, it is shown how the key stands here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::State;
use crate::limits::{AskedKey, InForce, InUse, KeyWords, Limiter, Now, Override};
use crate::text::{Timestamp, nearest};

/// How far ahead an override may end.
const LONGEST: u64 = 31 * 86_400;

/// A limit in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct LimitShown {
    /// Where it stands in the configuration.
    pub name: String,
    /// What tells keys apart.
    pub by: String,
    pub rules: Vec<RuleShown>,
    /// How many are known here.
    pub keys: usize,
    /// Whether it only watches.
    pub shadow: bool,
    /// Whether it is counted together with other gateways, in a store.
    pub shared: bool,
    /// Those in force.
    pub overrides: Vec<OverrideShown>,
    /// The key that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<KeyShown>,
}

/// Of what there may only be so much at a time: places of upstreams, of routes and of callers, and bandwidth. Callers can
/// neither be asked for one by one nor reset, nor granted anything else. Of bandwidth it is what the newest configuration
/// says; what has begun before may still flow as fast as was said then.
#[derive(Debug, Serialize, Deserialize)]
pub struct InUseShown {
    /// Where it stands in the configuration.
    pub name: String,
    pub kind: InUseKind,
    /// Places, or bytes a second; of callers, for each of them.
    pub limit: u64,
    /// Whether the limit is learned.
    pub learned: bool,
    /// Places that are taken, by all callers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_flight: Option<u64>,
    /// How many wait for a place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<u64>,
    /// Callers of whom something is counted here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keys: Option<u64>,
}

/// What there may only be so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InUseKind {
    /// Requests at an upstream or of a route.
    Places,
    /// Requests of each caller.
    Concurrency,
    /// Bytes of bodies of each caller.
    Bandwidth,
}

/// What there is under a name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shown {
    Limit(LimitShown),
    InUse(InUseShown),
}

/// What a rule allows.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleShown {
    pub name: String,
    pub quota: u64,
    /// In seconds.
    pub window: f64,
}

/// How a key stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyShown {
    pub key: String,
    /// Whether anything is counted of it here. Nothing is of those that have all of their limit, or that do not exist.
    pub known: bool,
    pub rules: Vec<StandingShown>,
    /// Why that is not what the store has, of a limit that is shared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_problem: Option<String>,
    #[serde(rename = "override")]
    pub granted: Option<OverrideShown>,
}

/// How a key stands with a rule.
#[derive(Debug, Serialize, Deserialize)]
pub struct StandingShown {
    pub name: String,
    /// What the key has, with its override.
    pub limit: u64,
    pub remaining: u64,
    /// In how many seconds there is more, where nothing remains.
    pub next: f64,
    /// In how many seconds all can be taken again.
    pub reset: f64,
}

/// What a key is granted.
#[derive(Debug, Serialize, Deserialize)]
pub struct OverrideShown {
    pub key: String,
    /// How many times the limit.
    pub multiply: String,
    pub expires: String,
}

/// Why something was not done.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderProblem {
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

pub(super) type Refusal = (StatusCode, Json<OrderProblem>);
type Asked = (Shared<Arc<State>>, Path<String>, RawQuery);

pub(super) async fn all(Shared(state): Shared<Arc<State>>) -> Response {
    let room = state.snapshot.load().limits.clone();
    let limits = room.limits();
    let limits = limits.iter().map(|it| Shown::Limit(show_limit(it)));
    let in_use = room.in_use();
    let in_use = in_use.iter().map(|it| Shown::InUse(show_in_use(it)));
    let all: Vec<Shown> = limits.chain(in_use).collect();
    Json(all).into_response()
}

pub(super) async fn one((Shared(state), Path(name), RawQuery(query)): Asked) -> Response {
    if query.as_deref().is_none_or(str::is_empty)
        && let Some(in_use) = find_in_use(&state, &name)
    {
        return Json(show_in_use(&in_use)).into_response();
    }
    answer(async {
        let limit = find(&state, &name)?;
        let words = KeyWords::new(words(query.as_deref()));
        // What counts everybody together has one key, which is said by nothing.
        let key = match words.is_empty() {
            true => limit.key(words).ok(),
            false => Some(key(&limit, words)?),
        };
        Ok(show(&limit, key.as_ref()).await)
    })
    .await
}

pub(super) async fn reset((Shared(state), Path(name), RawQuery(query)): Asked) -> Response {
    answer(async {
        let limit = find(&state, &name)?;
        let key = key(&limit, KeyWords::new(words(query.as_deref())))?;
        let reset = limit.limiter.reset_shared(key.key, &key.name).await;
        reset.map_err(|error| {
            let error = format!("it was reset here, and the store cannot be asked: {error}");
            problem(StatusCode::SERVICE_UNAVAILABLE, error, None)
        })?;
        log::info!("limit {name}: an operator has reset {:?}", key.text);
        Ok(show(&limit, Some(&key)).await)
    })
    .await
}

pub(super) async fn grant((Shared(state), Path(name), RawQuery(query)): Asked) -> Response {
    answer(async {
        let limit = find(&state, &name)?;
        let mut words = words(query.as_deref());
        let (multiply, expires) = (take(&mut words, "multiply")?, take(&mut words, "expires")?);
        let factor = multiply.parse();
        let factor =
            factor.map_err(|error| wrong(format!("multiply {error}, got {multiply:?}")))?;
        let expires = end(&expires, Timestamp::now())?;
        let key = key(&limit, KeyWords::new(words))?;
        let granted = Override {
            factor,
            expires,
            key: key.text.clone(),
        };
        let granted = limit.limiter.grant(key.key, granted);
        granted.map_err(|full| wrong(format!("the limit {full}")))?;
        log::info!(
            "limit {name}: an operator has granted {:?} {factor} times the limit until {expires}",
            key.text
        );
        Ok(show(&limit, Some(&key)).await)
    })
    .await
}

pub(super) async fn end_override((Shared(state), Path(name), RawQuery(query)): Asked) -> Response {
    answer(async {
        let limit = find(&state, &name)?;
        let key = key(&limit, KeyWords::new(words(query.as_deref())))?;
        if !limit.limiter.end_override(key.key) {
            return Err(problem(
                StatusCode::NOT_FOUND,
                format!("{} has no override", key.text),
                None,
            ));
        }
        log::info!(
            "limit {name}: an operator has ended the override of {:?}",
            key.text
        );
        Ok(show(&limit, Some(&key)).await)
    })
    .await
}

async fn answer(act: impl Future<Output = Result<LimitShown, Refusal>>) -> Response {
    match act.await {
        Ok(shown) => Json(shown).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub(super) fn problem(status: StatusCode, error: String, help: Option<String>) -> Refusal {
    (status, Json(OrderProblem { error, help }))
}

pub(super) fn wrong(error: String) -> Refusal {
    problem(StatusCode::BAD_REQUEST, error, None)
}

fn find(state: &State, name: &str) -> Result<InForce, Refusal> {
    let limits = state.snapshot.load().limits.clone();
    limits.limit(name).ok_or_else(|| {
        if find_in_use(state, name).is_some() {
            let error = format!("{name:?} is about what is in flight: it has no keys to ask for");
            return problem(StatusCode::BAD_REQUEST, error, None);
        }
        let known = limits.limits();
        let names = || known.iter().map(|it| it.limiter.name());
        let some: Vec<&str> = names().take(10).collect();
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if some.is_empty() => "there are no limits".to_owned(),
            None => format!("there are {}", some.join("; ")),
        };
        let error = format!("there is no limit {name:?}");
        problem(StatusCode::NOT_FOUND, error, Some(help))
    })
}

fn find_in_use(state: &State, name: &str) -> Option<(Box<str>, InUse)> {
    let mut all = state.snapshot.load().limits.in_use().into_iter();
    all.find(|(it, _)| **it == *name)
}

pub(super) fn words(query: Option<&str>) -> Vec<(String, String)> {
    let words = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    words.into_owned().collect()
}

/// Takes out a word that is not about the key.
fn take(words: &mut Vec<(String, String)>, name: &str) -> Result<String, Refusal> {
    let place = words.iter().position(|(it, _)| it == name);
    let place = place.ok_or_else(|| wrong(format!("{name}=… is missing")))?;
    Ok(words.remove(place).1)
}

fn key(limit: &InForce, words: KeyWords) -> Result<AskedKey, Refusal> {
    limit.key(words).map_err(|error| {
        let help = match limit.by() {
            "all" => "the limit counts everybody together: there is no key to be said".to_owned(),
            by => format!("the limit counts by {by}"),
        };
        problem(StatusCode::BAD_REQUEST, error, Some(help))
    })
}

/// When an override ends: later, and not for ever.
pub(super) fn end(text: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let end: Timestamp = text
        .parse()
        .map_err(|error| wrong(format!("expires {error}")))?;
    let seconds = end.unix().checked_sub(now.unix());
    match seconds {
        None | Some(0) => Err(wrong(format!("expires must be in the future, got {end}"))),
        Some(1..=LONGEST) => Ok(end),
        Some(_) => Err(wrong(format!("expires must be within 31 days, got {end}"))),
    }
}

async fn show(limit: &InForce, key: Option<&AskedKey>) -> LimitShown {
    LimitShown {
        key: match key {
            Some(key) => Some(show_key(&limit.limiter, key).await),
            None => None,
        },
        ..show_limit(limit)
    }
}

fn show_limit(limit: &InForce) -> LimitShown {
    let limiter = &*limit.limiter;
    let rules = limiter.rules().iter().map(|it| RuleShown {
        name: it.name.to_string(),
        quota: it.rule.quota(),
        window: it.rule.window().as_secs_f64(),
    });
    LimitShown {
        name: limiter.name().to_owned(),
        by: limit.by().to_owned(),
        rules: rules.collect(),
        keys: limiter.keys(),
        shadow: limit.is_shadow,
        shared: limiter.is_shared(),
        overrides: limiter.overrides().iter().map(show_override).collect(),
        key: None,
    }
}

fn show_in_use((name, in_use): &(Box<str>, InUse)) -> InUseShown {
    let count = |count: usize| Some(count as u64);
    let shown = InUseShown {
        name: name.to_string(),
        kind: InUseKind::Places,
        limit: 0,
        learned: false,
        in_flight: None,
        waiting: None,
        keys: None,
    };
    match *in_use {
        InUse::Places {
            limit,
            is_learned,
            in_flight,
            waiting,
        } => InUseShown {
            limit: limit.into(),
            learned: is_learned,
            in_flight: Some(in_flight.into()),
            waiting: Some(waiting.into()),
            ..shown
        },
        InUse::Concurrency {
            limit,
            keys,
            in_flight,
            waiting,
        } => InUseShown {
            kind: InUseKind::Concurrency,
            limit: limit.into(),
            keys: count(keys),
            in_flight: count(in_flight),
            waiting: count(waiting),
            ..shown
        },
        InUse::Bandwidth { rate, keys } => InUseShown {
            kind: InUseKind::Bandwidth,
            limit: rate,
            keys: count(keys),
            ..shown
        },
    }
}

async fn show_key(limiter: &Limiter, key: &AskedKey) -> KeyShown {
    let now = Now::read();
    let (standing, store_problem) = match limiter.look_shared(key.key, &key.name, 0, now).await {
        None => (limiter.look(key.key, 0, now), None),
        Some(Ok(standing)) => (standing, None),
        Some(Err(error)) => (limiter.look(key.key, 0, now), Some(error.to_string())),
    };
    let rules = limiter.rules().iter().zip(&standing.rules);
    let rules = rules.map(|(rule, standing)| StandingShown {
        name: rule.name.to_string(),
        limit: standing.quota,
        remaining: standing.remaining,
        next: standing.next.as_secs_f64(),
        reset: standing.reset.as_secs_f64(),
    });
    KeyShown {
        key: key.text.to_string(),
        known: limiter.knows(key.key),
        rules: rules.collect(),
        store_problem,
        granted: limiter.override_of(key.key).as_ref().map(show_override),
    }
}

fn show_override(it: &Override) -> OverrideShown {
    OverrideShown {
        key: it.key.to_string(),
        multiply: it.factor.to_string(),
        expires: it.expires.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_end_later_and_not_for_ever() {
        let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-01T00:00:01Z", None),
            ("2026-12-02T00:00:00Z", None),
            ("2026-12-02T00:00:01Z", Some("within 31 days")),
            ("2026-11-01T00:00:00Z", Some("in the future")),
            ("2026-10-31", Some("in the future")),
            ("2026-11-02T00:00:00", Some("offset from UTC")),
            ("tomorrow", Some("must be a date")),
        ] {
            match (end(text, now), expected) {
                (Ok(end), None) => assert_eq!(end.to_string(), text),
                (Err((_, Json(problem))), Some(words)) => {
                    assert!(problem.error.contains(words), "{}", problem.error)
                }
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }
}
