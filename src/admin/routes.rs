//! The pages of the admin listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State as Shared};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::State;
use crate::observability::Metrics;
use crate::text::SecretValue;

pub(super) fn router(state: State, token: Option<SecretValue>) -> Router {
    let token = Arc::new(token);
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/upstreams", get(upstreams))
        .route("/routes", get(routes))
        .route_layer(middleware::from_fn(move |request, next| {
            guard(token.clone(), request, next)
        }));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .with_state(Arc::new(state))
}

async fn guard(token: Arc<Option<SecretValue>>, request: Request, next: Next) -> Response {
    if let Some(token) = &*token {
        let shown = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // In constant time, so that the time of a refusal does not tell how much of a guess was right.
        let is_right = shown.is_some_and(|shown| bool::from(shown.ct_eq(token.expose())));
        if !is_right {
            return (
                StatusCode::UNAUTHORIZED,
                [(WWW_AUTHENTICATE, "Bearer")],
                "a token is needed\n",
            )
                .into_response();
        }
    }
    next.run(request).await
}

/// 503 while the gateway starts and from the moment that it was told to stop.
async fn readyz(Shared(state): Shared<Arc<State>>) -> (StatusCode, &'static str) {
    if state.is_ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    (
        [(CONTENT_TYPE, Metrics::content_type())],
        state.metrics.expose(),
    )
        .into_response()
}

async fn upstreams(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot.load();
    let upstreams = snapshot.upstreams.iter().map(|upstream| {
        let endpoints: Vec<Value> = upstream
            .endpoints()
            .into_iter()
            .map(|(address, is_healthy)| json!({ "address": address, "healthy": is_healthy }))
            .collect();
        (
            upstream.name().to_owned(),
            json!({ "endpoints": endpoints }),
        )
    });
    Json(Value::Object(upstreams.collect()))
}

async fn routes(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot.load();
    let listeners = snapshot.listeners.iter().map(|view| {
        let routes: Vec<Value> = view
            .table
            .routes()
            .map(|(name, matcher, route)| {
                let policies: Vec<&str> = route
                    .pipeline
                    .origins()
                    .iter()
                    .map(|origin| origin.policy)
                    .collect();
                json!({
                    "route": name,
                    "path": matcher.path().to_string(),
                    "action": route.action.describe(),
                    "policies": policies,
                })
            })
            .collect();
        (view.listener.name.to_string(), Value::Array(routes))
    });
    Json(Value::Object(listeners.collect()))
}
