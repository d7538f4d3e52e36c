//! What the four services have in common: their headers, latency, health check, echo, and failing on demand.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::dice;
use super::failure::{FailureOrder, Failures};
use super::trouble::Trouble;

/// How long requests in flight may go on after the shutdown signal.
pub(super) const GRACE: Duration = Duration::from_secs(2);
const HEALTH: &str = "/healthz";

/// The largest request body that a service reads, in bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// One service of the shop, apart from what it sells.
#[derive(Debug)]
pub(super) struct Service {
    name: &'static str,
    latency_ms: RangeInclusive<u32>,
    failures: Failures,
}

impl Service {
    pub(super) fn new(name: &'static str, latency_ms: RangeInclusive<u32>) -> Self {
        Self {
            name,
            latency_ms,
            failures: Failures::default(),
        }
    }

    /// Serves `routes` and the common ones on `listener`. Ends [`GRACE`] after the shutdown signal at the latest.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        routes: Router,
        shutdown: watch::Receiver<bool>,
    ) {
        let service = Arc::new(self);
        let router = Router::new()
            .route(HEALTH, get(healthz))
            .route("/_demo/echo", any(echo))
            .route("/_demo/echo/{*rest}", any(echo))
            .route(
                "/_demo/fail",
                get(show_failure).post(start_failure).delete(end_failure),
            )
            .with_state(service.clone())
            .merge(routes)
            .fallback(unknown_path)
            .method_not_allowed_fallback(unknown_method)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(middleware::from_fn_with_state(service, counter));

        let served =
            axum::serve(listener, router).with_graceful_shutdown(signalled(shutdown.clone()));
        let out_of_patience = async {
            signalled(shutdown).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            // axum retries failing accepts itself, so this ends only by the signal and has no error to report.
            _ = served => {}
            () = out_of_patience => {}
        }
    }

    fn latency(&self, path: &str) -> Duration {
        if path == HEALTH {
            return Duration::ZERO;
        }
        let (least, most) = (*self.latency_ms.start(), *self.latency_ms.end());
        Duration::from_millis(u64::from(least + dice::roll(0, path, most - least + 1)))
    }
}

/// Stands between the connection and the routes: waits, fails when it was told to, and dresses the answer.
async fn counter(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let mut response = if path.starts_with("/_demo/") {
        next.run(request).await
    } else {
        let fate = service.failures.fate(path == HEALTH);
        tokio::time::sleep(fate.delay + service.latency(path)).await;
        match fate.status {
            Some(status) => Trouble::new(status, "demo_failure", "this service was told to fail")
                .into_response(),
            None => next.run(request).await,
        }
    };
    let headers = response.headers_mut();
    headers.insert(
        header::SERVER,
        HeaderValue::from_static(concat!("shop-demo/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(
        HeaderName::from_static("x-powered-by"),
        HeaderValue::from_static("axum"),
    );
    headers.insert(
        HeaderName::from_static("x-internal-shard"),
        HeaderValue::from_static(service.name),
    );
    response
}

async fn healthz(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({ "status": "ok", "service": service.name }))
}

async fn echo(
    State(service): State<Arc<Service>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    let mut received: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (name, value) in &headers {
        received
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()));
    }
    Json(json!({
        "service": service.name,
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": received,
        "body_bytes": body.len(),
    }))
}

async fn show_failure(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({ "service": service.name, "failing": service.failures.in_force() }))
}

async fn start_failure(
    State(service): State<Arc<Service>>,
    order: Result<Json<FailureOrder>, JsonRejection>,
) -> Result<Json<Value>, Trouble> {
    let Json(order) = order?;
    if let Err(rule) = service.failures.start(order) {
        return Err(Trouble::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_order",
            rule,
        ));
    }
    Ok(show_failure(State(service)).await)
}

async fn end_failure(State(service): State<Arc<Service>>) -> Json<Value> {
    service.failures.end();
    show_failure(State(service)).await
}

async fn unknown_path() -> Trouble {
    Trouble::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "this service has nothing at that path",
    )
}

async fn unknown_method() -> Trouble {
    Trouble::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take that method",
    )
}

/// Ready once `shutdown` is true, or once nobody is left who could make it true.
async fn signalled(mut shutdown: watch::Receiver<bool>) {
    // The error says that the sender is gone, which is the other way to be told.
    let _ = shutdown.wait_for(|&stop| stop).await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::demo::client::{Shopper, delete, get, post, send};

    #[tokio::test]
    async fn every_answer_carries_the_headers_a_gateway_strips() {
        let shop = Shopper::enter().await;
        for path in [
            "/users/1",
            "/users/101",
            "/nothing",
            "/healthz",
            "/_demo/fail",
        ] {
            let reply = get(shop.addresses.users, path).await;
            assert!(
                reply.header("server").unwrap().starts_with("shop-demo/"),
                "{path}"
            );
            assert_eq!(reply.header("x-powered-by"), Some("axum"), "{path}");
            assert_eq!(reply.header("x-internal-shard"), Some("users"), "{path}");
        }
    }

    #[tokio::test]
    async fn each_service_is_healthy_and_refuses_in_json() {
        let shop = Shopper::enter().await;
        let at = shop.addresses;
        for address in [at.users, at.orders, at.products, at.payments] {
            assert_eq!(get(address, "/healthz").await.json()["status"], "ok");
            let unknown = get(address, "/nothing").await;
            assert_eq!(
                (unknown.status, &unknown.json()["error"]),
                (404, &json!("not_found"))
            );
            let refused = post(address, "/healthz", "{}").await;
            assert_eq!(
                (refused.status, &refused.json()["error"]),
                (405, &json!("method_not_allowed"))
            );
        }
    }

    #[tokio::test]
    async fn echo_shows_the_request_as_it_arrived() {
        let shop = Shopper::enter().await;
        let request = "PUT /_demo/echo/a/b?c=d HTTP/1.1\r\nHost: shop\r\nX-Twice: 1\r\nx-twice: 2\r\nContent-Length: 3\r\n\r\nabc";
        let echo = send(shop.addresses.orders, request).await.json();
        assert_eq!(echo["method"], "PUT");
        assert_eq!(
            (&echo["path"], &echo["query"]),
            (&json!("/_demo/echo/a/b"), &json!("c=d"))
        );
        assert_eq!(echo["headers"]["x-twice"], json!(["1", "2"]));
        assert_eq!(
            (&echo["service"], &echo["body_bytes"]),
            (&json!("orders"), &json!(3))
        );
    }

    #[tokio::test]
    async fn a_service_fails_while_it_was_told_to_and_stays_healthy() {
        let shop = Shopper::enter().await;
        let at = shop.addresses.products;
        assert_eq!(
            post(at, "/_demo/fail", r#"{"status":502,"for_ms":60000}"#)
                .await
                .status,
            200
        );
        assert_eq!(get(at, "/products/1").await.status, 502);
        assert_eq!(get(at, "/healthz").await.status, 200);
        assert_eq!(get(at, "/_demo/fail").await.json()["failing"]["failed"], 1);
        assert_eq!(get(shop.addresses.users, "/users/1").await.status, 200);
        assert_eq!(
            delete(at, "/_demo/fail").await.json()["failing"],
            json!(null)
        );
        assert_eq!(get(at, "/products/1").await.status, 200);
    }

    #[tokio::test]
    async fn a_bad_failure_order_is_refused() {
        let shop = Shopper::enter().await;
        let cases = [
            (r#"{"status":200}"#, 422),
            (r#"{"ratio":1.5}"#, 422),
            (r#"{"for_ms":0}"#, 422),
            (r#"{"delay_ms":30001}"#, 422),
            (r#"{"ration":1}"#, 422),
            ("{", 400),
        ];
        for (body, status) in cases {
            assert_eq!(
                post(shop.addresses.users, "/_demo/fail", body).await.status,
                status,
                "{body}"
            );
        }
        assert_eq!(get(shop.addresses.users, "/users/1").await.status, 200);
    }
}
