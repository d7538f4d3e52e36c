//! The pages of the admin listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State as Shared};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE,
};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{Admin, Command, Outcome, Report, State, breakers, cache, canaries, limits};
use crate::discovery::Shown as Standing;
use crate::observability::Metrics;
use crate::upstream::{OutReport, Shown as Endpoint};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) fn router(state: State, admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/upstreams", get(upstreams))
        .route("/routes", get(routes))
        .route("/reload", post(reload))
        .route("/config", get(config))
        .route("/diff", get(diff))
        .route("/upgrade", post(upgrade))
        .route("/limits", get(limits::all))
        .route("/limits/{name}", get(limits::one))
        .route("/limits/{name}/reset", post(limits::reset))
        .route("/limits/{name}/override", post(limits::grant))
        .route("/limits/{name}/override/end", post(limits::end_override))
        .route("/breakers", get(breakers::all))
        .route("/breakers/{upstream}/{verb}", post(breakers::order))
        .route("/cache", get(cache::stats))
        .route("/cache/entries", get(cache::entries))
        .route("/cache/purge", post(cache::purge))
        .route("/canaries", get(canaries::all))
        .route("/canaries/{route}/{upstream}/reset", post(canaries::reset))
        .route_layer(middleware::from_fn(move |request, next| {
            guard(admin.clone(), request, next)
        }));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/jwks.json", get(jwks))
        .merge(guarded)
        .with_state(Arc::new(state))
}

async fn guard(admin: Arc<Admin>, request: Request, next: Next) -> Response {
    if admin.is_open_to_browsers() && is_of_another_site(&request) {
        let what = "this is not for pages of the web\n";
        return (StatusCode::FORBIDDEN, what).into_response();
    }
    if let Some(token) = &admin.token {
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

/// A page of any site can have the operator's browser send requests here, but not without saying so: in `Origin` or
/// `Sec-Fetch-Site`, or, where it has its own name point here (DNS rebinding), in a `Host` that is no name of this
/// machine.
fn is_of_another_site(request: &Request) -> bool {
    let text = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let host = text(HOST).unwrap_or_default();
    let is_of_this_site = |origin: &[u8]| {
        let host_of = |scheme: &[u8]| origin.strip_prefix(scheme) == Some(host);
        host_of(b"http://") || host_of(b"https://")
    };
    text(ORIGIN).is_some_and(|origin| !is_of_this_site(origin))
        || text(SEC_FETCH_SITE).is_some_and(|site| site == b"cross-site" || site == b"same-site")
        || !std::str::from_utf8(host).is_ok_and(is_this_machine)
}

/// Whether a `Host` says an address, or the machine itself.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// 503 while the gateway starts and from the moment that it was told to stop.
async fn readyz(Shared(state): Shared<Arc<State>>) -> (StatusCode, &'static str) {
    if state.is_ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// The keys that verify the tokens of the policy `identity_token`. They are public, and upstreams have no token for
/// this listener.
async fn jwks(Shared(state): Shared<Arc<State>>) -> Response {
    let keys = state.snapshot.load().identity.issuer.jwks();
    let how_long = [(CACHE_CONTROL, "max-age=60")];
    (how_long, Json(keys)).into_response()
}

/// Has the configuration loaded anew. 200 where it serves now, 422 where it is bad and nothing has changed.
async fn reload(Shared(state): Shared<Arc<State>>) -> Response {
    match order(&state, Command::Reload).await {
        Ok(report) => told(report),
        Err(refusal) => refusal,
    }
}

/// Has another program take the place of this one. 200 where that serves now, 422 where this one serves on.
async fn upgrade(Shared(state): Shared<Arc<State>>) -> Response {
    match order(&state, Command::Upgrade).await {
        Ok(report) => told(report),
        Err(refusal) => refusal,
    }
}

/// What a reload would change. 422 where it would be refused.
async fn diff(Shared(state): Shared<Arc<State>>) -> Response {
    match order(&state, Command::Diff).await {
        Ok(Ok(changes)) => Json(changes).into_response(),
        Ok(Err(report)) => told(report),
        Err(refusal) => refusal,
    }
}

fn told(report: Report) -> Response {
    let status = match report.outcome {
        Outcome::Applied => StatusCode::OK,
        Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(report)).into_response()
}

/// Gives an order to whoever runs the gateway, and waits for the answer.
async fn order<T>(
    state: &State,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Response> {
    let refusal = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    let (reply, answer) = oneshot::channel();
    if state.command.try_send(command(reply)).is_err() {
        return Err(refusal("too many orders at a time\n"));
    }
    answer.await.map_err(|_| refusal("the gateway is ending\n"))
}

/// What serves, since when, and how the last reload went.
async fn config(Shared(state): Shared<Arc<State>>) -> Response {
    let serving = state.serving.borrow().clone();
    Json(serving).into_response()
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
        let endpoints: Vec<Value> = upstream.endpoints().into_iter().map(endpoint).collect();
        let mut shown = json!({ "endpoints": endpoints, "panic": upstream.is_in_panic() });
        if let Some(breaker) = upstream.breaker() {
            shown["breaker"] = breaker.state.into();
        }
        if let Some(standing) = upstream.discovery() {
            shown["discovery"] = discovery(standing);
        }
        (upstream.name().to_owned(), shown)
    });
    Json(Value::Object(upstreams.collect()))
}

/// What there is to know of an endpoint.
fn endpoint(shown: Endpoint) -> Value {
    let labels = shown.labels.iter();
    let labels = labels.map(|(name, value)| (name.to_string(), value.to_string().into()));
    let mut endpoint = json!({
        "address": shown.address,
        "healthy": shown.is_healthy,
        "weight": shown.weight,
        "warmth_percent": shown.warmth_percent,
        "priority": shown.priority,
        "zone": shown.zone.as_deref(),
        "labels": Value::Object(labels.collect()),
        "share": shown.share,
        "in_flight": shown.in_flight,
        "latency_seconds": shown.latency.map(|latency| latency.as_secs_f64()),
    });
    if let Some(idle) = shown.idle {
        endpoint["idle"] = idle.as_str().into();
    }
    if !shown.out.is_empty() {
        endpoint["out"] = shown.out.iter().map(out).collect();
    }
    if let Some(breaker) = &shown.breaker {
        endpoint["breaker"] = breaker.state.into();
    }
    endpoint
}

/// What keeps an endpoint out, and until when where that is known.
fn out(out: &OutReport) -> Value {
    let mut shown = json!({ "kind": out.kind, "why": out.why });
    if let Some(until) = out.until {
        shown["until"] = until.to_string().into();
    }
    shown
}

/// How things stand with the registry that knows the endpoints.
fn discovery(shown: Standing) -> Value {
    let unix = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs_f64()
    };
    let age = |heard: SystemTime| heard.elapsed().unwrap_or_default().as_secs_f64();
    json!({
        "source": shown.source,
        "up": shown.is_up,
        "age_seconds": shown.heard.map(age),
        "last_change": shown.changed.map(unix),
        "last_error": shown.trouble.map(|it| json!({ "at": unix(it.at), "error": it.what })),
        "from_disk": shown.is_from_disk,
    })
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
