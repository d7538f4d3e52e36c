//! Guarded branches of splits: how they do, and taking them up again.
//!
//! | | |
//! |---|---|
//! | `GET /canaries` | every guarded branch |
//! | `POST /canaries/ROUTE/UPSTREAM/reset` | the branch is taken up again, with nothing held against it |

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{OrderProblem, State};
use crate::actions::Canary;

/// A guarded branch.
#[derive(Debug, Serialize, Deserialize)]
pub struct CanaryShown {
    pub route: String,
    pub upstream: String,
    /// Its share now, relative to the other branches.
    pub weight: f64,
    /// Whether it gets no requests because it has broken its guard.
    pub rolled_back: bool,
    /// What was seen of it in its window; where it is rolled back, what it was for.
    pub requests: u64,
    pub errors: u64,
    pub slow: u64,
}

pub(super) async fn all(Shared(state): Shared<Arc<State>>) -> Response {
    let canaries = state.snapshot.load().canaries();
    let all = canaries
        .values()
        .map(|(canary, weight)| show(canary, *weight));
    Json(all.collect::<Vec<_>>()).into_response()
}

pub(super) async fn reset(
    Shared(state): Shared<Arc<State>>,
    Path((route, upstream)): Path<(String, String)>,
) -> Response {
    let find = || {
        let mut canaries = state.snapshot.load().canaries();
        canaries.remove(&(route.as_str().into(), upstream.as_str().into()))
    };
    let Some((canary, _)) = find() else {
        let error = format!("there is no guarded branch {upstream:?} of a route {route:?}");
        let help = Some("GET /canaries shows which there are".to_owned());
        let problem = Json(OrderProblem { error, help });
        return (StatusCode::NOT_FOUND, problem).into_response();
    };
    canary.reset();
    log::info!("route {route}: an operator has taken the branch {upstream} up again");
    // With the weight that it has again.
    match find() {
        Some((canary, weight)) => Json(show(&canary, weight)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn show(canary: &Canary, weight: f64) -> CanaryShown {
    let seen = canary.seen(Instant::now());
    CanaryShown {
        route: canary.route.to_string(),
        upstream: canary.upstream.to_string(),
        weight,
        rolled_back: canary.is_rolled_back(),
        requests: seen.requests,
        errors: seen.errors,
        slow: seen.slow,
    }
}
