//! Breakers: how they stand, and how an operator holds them.
//!
//! | | |
//! |---|---|
//! | `GET /breakers` | every breaker, of upstreams and of their endpoints |
//! | `POST /breakers/UPSTREAM/open` | nobody is let in, until it is released |
//! | `POST /breakers/UPSTREAM/close?expires=2026-12-01T00:00:00Z` | everybody is, until then |
//! | `POST /breakers/UPSTREAM/release` | it is as it is by itself again |
//!
//! With `endpoint=10.0.0.5:8002` it is about the breaker of that endpoint. What an operator says holds in this process; it
//! outlives reloads for as long as the upstream, or the endpoint, has a breaker.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::State;
use super::limits::{Refusal, end, problem, words, wrong};
use crate::text::{Timestamp, nearest};
use crate::upstream::{BreakerReport, NoBreaker, Order, Upstream};

/// A breaker.
#[derive(Debug, Serialize, Deserialize)]
pub struct BreakerShown {
    pub upstream: String,
    /// The endpoint that it is of; without it, it is of the upstream itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<String>,
    /// `closed`, `half_open` or `open`.
    pub state: String,
    /// Whether an operator holds it so.
    pub held: bool,
    /// When it half-opens, or is no longer held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Tries in its window, and how many of those failed or were slow.
    pub tries: u64,
    pub failed: u64,
    pub slow: u64,
}

type Asked = (Shared<Arc<State>>, Path<(String, String)>, RawQuery);

pub(super) async fn all(Shared(state): Shared<Arc<State>>) -> Json<Vec<BreakerShown>> {
    let snapshot = state.snapshot.load();
    let all = snapshot.upstreams.iter().flat_map(|upstream| {
        let own = upstream.breaker().map(|it| (None, it));
        let endpoints = upstream.endpoints().into_iter();
        let endpoints = endpoints.filter_map(|it| Some((Some(it.address), it.breaker?)));
        let shown = |(endpoint, report)| show(upstream.name(), endpoint, report);
        own.into_iter()
            .chain(endpoints)
            .map(shown)
            .collect::<Vec<_>>()
    });
    Json(all.collect())
}

pub(super) async fn order(asked: Asked) -> Response {
    match follow(asked) {
        Ok(shown) => Json(shown).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn follow(
    (Shared(state), Path((name, verb)), RawQuery(query)): Asked,
) -> Result<BreakerShown, Refusal> {
    let (mut endpoint, mut expires) = (None, None);
    for (word, value) in words(query.as_deref()) {
        match &*word {
            "endpoint" => endpoint = Some(value),
            "expires" => expires = Some(end(&value, Timestamp::now())?),
            _ => return Err(wrong(format!("{word}=… says nothing here"))),
        }
    }
    let order = match (&*verb, expires) {
        ("open" | "close", expires) => Order::Hold {
            is_open: verb == "open",
            expires,
        },
        ("release", None) => Order::Release,
        ("release", Some(_)) => {
            return Err(wrong(
                "what is released is not held any more: expires=… says nothing here".to_owned(),
            ));
        }
        _ => {
            let error = format!("a breaker can be told to open, close or release, not to {verb:?}");
            return Err(problem(StatusCode::NOT_FOUND, error, None));
        }
    };
    let snapshot = state.snapshot.load();
    let mut upstreams = snapshot.upstreams.iter();
    let Some(upstream) = upstreams.find(|it| it.name() == name) else {
        let help = nearest(&name, snapshot.upstreams.iter().map(|it| it.name()));
        let help = help.map(|near| format!("did you mean {near:?}?"));
        let error = format!("there is no upstream {name:?}");
        return Err(problem(StatusCode::NOT_FOUND, error, help));
    };
    let report = upstream.order(endpoint.as_deref(), order);
    let report = report.map_err(|why| refuse(upstream, endpoint.as_deref(), why))?;
    log::info!(
        "{}: an operator has said: {verb}",
        whose(&name, endpoint.as_deref())
    );
    Ok(show(&name, endpoint, report))
}

fn refuse(upstream: &Upstream, endpoint: Option<&str>, why: NoBreaker) -> Refusal {
    let whose = whose(upstream.name(), endpoint);
    match why {
        NoBreaker::NoEndpoint => {
            let known = upstream.endpoints();
            let known: Vec<&str> = known.iter().take(10).map(|it| &*it.address).collect();
            let help = format!("it has {}", known.join(", "));
            let error = format!("there is no {whose}");
            problem(StatusCode::NOT_FOUND, error, Some(help))
        }
        NoBreaker::NotConfigured => {
            let key = endpoint.map_or("breaker", |_| "endpoint_breaker");
            let help = format!("add {key} = {{}} to [upstreams.{}]", upstream.name());
            problem(
                StatusCode::NOT_FOUND,
                format!("{whose} has no breaker"),
                Some(help),
            )
        }
        NoBreaker::NotHeld => {
            let error = format!("nobody holds the breaker of {whose}");
            problem(StatusCode::CONFLICT, error, None)
        }
    }
}

fn whose(upstream: &str, endpoint: Option<&str>) -> String {
    match endpoint {
        Some(endpoint) => format!("endpoint {endpoint} of upstream {upstream}"),
        None => format!("upstream {upstream}"),
    }
}

fn show(upstream: &str, endpoint: Option<String>, report: BreakerReport) -> BreakerShown {
    BreakerShown {
        upstream: upstream.to_owned(),
        endpoint,
        state: report.state.to_owned(),
        held: report.is_held,
        until: report.until.map(|until| until.to_string()),
        tries: report.tries,
        failed: report.failed,
        slow: report.slow,
    }
}
