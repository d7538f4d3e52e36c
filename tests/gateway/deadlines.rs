//! A route's `timeout` is for the whole exchange, and so also for what is found out before there is an upstream.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::harness::*;

const GATEWAY: &str = r#"
    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { url = "http://$silent/jwks", client = { timeout = "60s" } }

    [identity.introspection.main]
    url = "http://$silent/introspect"
    client_id = "gateway"
    client_secret = { file = "$secret" }
    client = { timeout = "60s" }

    [identity.introspection.later]
    url = "http://$later/introspect"
    client_id = "gateway"
    client_secret = { file = "$secret" }
    client = { timeout = "60s" }

    [identity.forward_auth.main]
    url = "http://$silent/verify"
    client = { timeout = "60s" }

    [identity.forward_auth.body]
    url = "http://$silent/verify"
    method = "same"
    body = "1KiB"
    client = { timeout = "60s" }

    [identity.oidc.main]
    issuer = "http://$silent"
    client_id = "web"
    callback_url = "http://shop.test/oauth/callback"
    client = { timeout = "60s", allow_http = true }

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.jwt]
    match = { path = "/jwt" }
    upstream = "shop"
    timeout = "300ms"
    policies.jwt = {}

    [routes.introspection]
    match = { path = "/introspection" }
    upstream = "shop"
    timeout = "300ms"
    policies.introspection = { providers = ["main"] }

    [routes.service]
    match = { path = "/service" }
    upstream = "shop"
    timeout = "300ms"
    policies.forward_auth = { providers = ["main"] }

    [routes.several]
    match = { path = "/several" }
    upstream = "shop"
    timeout = "300ms"
    [routes.several.policies]
    jwt = {}
    introspection = { providers = ["main"] }
    forward_auth = { providers = ["main"] }
    any_of = ["jwt", "introspection", "forward_auth"]

    [routes.body]
    match = { path = "/body" }
    upstream = "shop"
    timeout = "300ms"
    policies.forward_auth = { providers = ["body"] }

    [routes.login]
    match = { path = "/oauth/{*rest}" }
    login = "main"
    timeout = "300ms"

    [routes.patient]
    match = { path = "/patient" }
    upstream = "shop"
    policies.forward_auth = { providers = ["main"] }

    [routes.brief]
    match = { path = "/brief" }
    upstream = "shop"
    timeout = "300ms"
    policies.introspection = { providers = ["later"] }

    [routes.long]
    match = { path = "/long" }
    upstream = "shop"
    policies.introspection = { providers = ["later"] }
"#;

/// A well-formed token whose key nobody knows.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lkLnRlc3QvIiwiYXVkIjoic2hvcCIsInN1YiI6InUxIiwiZXhwIjo0MTAyNDQ0ODAwfQ.c2lnbmF0dXJl";

struct Field {
    gateway: Gateway,
    shop: Origin,
    /// Answers once it may.
    later: Origin,
    may_answer: Arc<Semaphore>,
    _silent: Origin,
    _folder: tempfile::TempDir,
}

async fn field() -> Field {
    let silent = Origin::serving(Protocol::Http1, |_| std::future::pending());
    let may_answer = Arc::new(Semaphore::new(0));
    let allowed = may_answer.clone();
    let later = Origin::serving(Protocol::Http1, move |_| {
        let allowed = allowed.clone();
        async move {
            let _may = allowed.acquire().await.expect("it is open");
            let json = [("content-type", "application/json")];
            reply(200, &json, full(r#"{"active":true,"sub":"u1"}"#))
        }
    });
    let shop = Origin::http1(|_| text("served"));
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").expect("a file");
    let gateway = Gateway::draft(GATEWAY)
        .with("silent", &silent)
        .with("later", &later)
        .with("shop", &shop)
        .with("secret", secret.display())
        .start()
        .await;
    Field {
        gateway,
        shop,
        later,
        may_answer,
        _silent: silent,
        _folder: folder,
    }
}

#[tokio::test]
async fn nobody_waits_for_longer_to_know_who_calls() {
    let field = field().await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = field.gateway.client(protocol);
        for path in [
            "/jwt",
            "/introspection",
            "/service",
            "/several",
            "/oauth/login",
        ] {
            let begin = Instant::now();
            let ask = get(path).header("authorization", &format!("Bearer {TOKEN}"));
            let answer = client.send(ask).await;
            assert_fired(begin);
            answer.assert_problem(504, "exchange_timeout");
            let line = field.gateway.log_of(&answer).await;
            let said = (&line["fault"], &line["flag"]);
            assert_eq!(said, (&"gateway".into(), &"DT".into()), "{path}");
        }
        // A caller of gRPC has a say of its own, where the route has none, too.
        for (path, timeout) in [("/patient", "300m"), ("/service", "1H")] {
            let begin = Instant::now();
            let ask = post(path, "")
                .header("content-type", "application/grpc")
                .header("grpc-timeout", timeout);
            let answer = client.send(ask).await;
            assert_fired(begin);
            assert_eq!(answer.header("grpc-status"), Some("4"), "{path}");
        }
    }
    assert!(field.shop.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_has_to_be_seen_before_comes_in_time_or_not_at_all() {
    let field = field().await;
    let begin = Instant::now();
    let mut client = RawClient::connect(field.gateway.address()).await;
    let head = "POST /body HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 10\r\n\r\nhalf";
    client.send(head).await;
    let answer = client.read_to_end().await;
    assert_fired(begin);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("\"code\":\"exchange_timeout\""), "{answer}");
}

/// One caller's time is up; the question is everybody's.
#[tokio::test]
async fn what_others_wait_for_goes_on() {
    let field = field().await;
    let ask = |path: &str| get(path).header("authorization", "Bearer opaque");
    let client = field.gateway.http1();
    let answer = client.send(ask("/brief")).await;
    answer.assert_problem(504, "exchange_timeout");
    assert_eq!(field.later.seen().len(), 1);
    let waits = field.gateway.http1();
    let release = async { field.may_answer.add_permits(1) };
    let (answer, ()) = tokio::join!(waits.send(ask("/long")), release);
    assert_eq!(answer.status, 200);
    assert_eq!(field.later.seen().len(), 1, "it was asked once");
    // The answer is known, so that there is nothing to wait for.
    let answer = client.send(ask("/brief")).await;
    assert_eq!(answer.status, 200);
}
