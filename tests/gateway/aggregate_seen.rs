//! What can be seen of the parts of an aggregation, and what their upstreams see of who asks.

use std::collections::BTreeSet;

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::*;

const HOME: &str = r#"
    [upstreams.shop]
    endpoints = ["$origin"]
    [routes.home]
    match = { path = "/home" }
    [routes.home.aggregate]
    parts.profile = { upstream = "shop", path = "/profile" }
    parts.cart = { upstream = "shop", path = "/carts/{parts.profile.body.cart}" }
    parts.tips = { upstream = "shop", path = "/503", default = [] }
    parts.news = { upstream = "shop", path = "/news", when = 'request.method == "POST"' }
    [routes.plain]
    match = { path = "/plain" }
    upstream = "shop"
"#;

fn origin() -> Origin {
    Origin::http1(|seen| match &*seen.target {
        "/503" => status(503),
        _ => reply(
            200,
            &[("content-type", "application/json")],
            full(r#"{"cart":"c7"}"#),
        ),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_part_is_a_span_and_is_counted() {
    let origin = origin();
    let gateway = Gateway::draft(HOME).with("origin", &origin).start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let asking = get("/home").header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = gateway.http1().send(asking).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let record = gateway.log_of(&answer).await;
    let above = record["span_id"].as_str().unwrap_or_default().to_owned();
    let mut spans = BTreeSet::new();
    for seen in origin.seen() {
        let parent = seen.header("traceparent").unwrap_or_default().to_owned();
        let fields: Vec<&str> = parent.split('-').collect();
        assert_eq!(fields[1], trace, "{parent}");
        assert_ne!(fields[2], above, "a span of its own");
        assert!(spans.insert(fields[2].to_owned()), "{parent}: twice");
        assert_eq!(
            seen.header("x-request-id"),
            record["request_id"].as_str(),
            "what upstreams log is found by the client's id"
        );
    }
    assert_eq!(spans.len(), 3, "{spans:?}");
    let parts = record["parts"].as_str().unwrap_or_default().to_owned();
    let told: Vec<&str> = parts.split(',').collect();
    let starts = [
        "cart=ok:",
        "news=left_out",
        "profile=ok:",
        "tips=status_503:",
    ];
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{parts}");
    }
    let named = told.iter().filter_map(|it| it.rsplit_once(':'));
    let named: BTreeSet<String> = named.map(|it| it.1.to_owned()).collect();
    assert_eq!(named, spans, "{parts}");
    assert_eq!(told[1], "news=left_out", "it was not asked for");
    gateway.http1().send(get("/plain")).await;
    let text = gateway.metrics().await;
    for (part, result, error) in [
        ("profile", "ok", ""),
        ("cart", "ok", ""),
        ("tips", "default", "status_5xx"),
        ("news", "left_out", ""),
    ] {
        let line = format!(
            "northgate_part_results_total{{error_type=\"{error}\",http_route=\"home\",northgate_part=\"{part}\",result=\"{result}\"}} 1"
        );
        assert!(text.contains(&line), "{line}\n{text}");
        let line = format!(
            "northgate_part_duration_seconds_count{{http_route=\"home\",northgate_part=\"{part}\"}} 1"
        );
        assert_eq!(text.contains(&line), result != "left_out", "{line}");
    }
    assert!(!text.contains("http_route=\"plain\",northgate_part"));
}

/// Policies of the route tell the parts' upstreams who calls, and the client cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_told_who_calls_and_nothing_else() {
    let key = make(&Prefix::default()).expect("randomness").text;
    let toml = r#"
        [consumers.acme]
        api_keys = ["$key"]
        [identity.api_key.main]
        header = "x-api-key"
        [upstreams.shop]
        endpoints = ["$origin"]
        [routes.home]
        match = { path = "/home" }
        policies.api_key = { anonymous = "allow", forward = { x-user-id = "subject" } }
        [routes.home.aggregate]
        parts.plain = { upstream = "shop", path = "/plain" }
        parts.named = { upstream = "shop", path = "/named", headers = { x-own = "{headers.x-own}" } }
        parts.forged = { upstream = "shop", path = "/forged", headers = { x-user-id = "{headers.x-own}" } }
    "#;
    let origin = origin();
    let draft = Gateway::draft(toml).with("key", KeyHash::of(key.as_bytes()));
    let gateway = draft.with("origin", &origin).start().await;
    for (shown, told) in [(Some(&*key), Some("acme")), (None, None)] {
        let before = origin.seen().len();
        let mut asking = get("/home?secret=1")
            .header("x-user-id", "admin")
            .header("x_user_id", "admin")
            .header("x-own", "mine")
            .header("authorization", "Bearer mine")
            .header("cookie", "a=b");
        if let Some(shown) = shown {
            asking = asking.header("x-api-key", shown);
        }
        let answer = gateway.http1().send(asking).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let all = origin.seen();
        assert_eq!(all.len() - before, 3);
        for seen in &all[before..] {
            let target = &*seen.target;
            assert_eq!(seen.header("x-user-id"), told, "{target} {shown:?}");
            let own = (target == "/named").then_some("mine");
            assert_eq!(seen.header("x-own"), own, "{target}");
            for name in ["x_user_id", "authorization", "cookie", "x-api-key"] {
                assert_eq!(seen.header(name), None, "{target}: {name}");
            }
            assert!(!target.contains("secret"), "{target}");
            assert!(seen.body.is_empty(), "{target}");
        }
    }
}

const TENANTS: &str = r#"
    [upstreams.shop]
    endpoints = ["$origin"]
    [routes.home]
    match = { path = "/t/{tenant}/home" }
    policies.compression = {}
    policies.request_headers = { set = { x-tenant = "{path.tenant}", x-team = "{request.query}" } }
    [routes.home.aggregate]
    parts.kept = { upstream = "shop", path = "/kept", cache = "60s" }
"#;

/// Policies of the route look at the client's request, and what they tell a part's upstream is part of what its cache goes by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_policies_write_is_of_the_client_s_request_and_told_apart_by_caches() {
    let origin = Origin::http1(|seen| {
        let [tenant, team] = ["x-tenant", "x-team"].map(|it| seen.header(it).unwrap_or_default());
        reply(200, &[], full(format!("\"{tenant} {team}\"")))
    });
    let gateway = Gateway::draft(TENANTS)
        .with("origin", &origin)
        .start()
        .await;
    for _ in 0..2 {
        for (tenant, team) in [("acme", "red"), ("acme", "blue"), ("small", "red")] {
            let asking = get(&format!("/t/{tenant}/home?{team}"));
            let answer = gateway.http1().send(asking).await;
            assert_eq!(
                answer.json()["kept"],
                format!("{tenant} {team}"),
                "{answer:?}"
            );
        }
    }
    assert_eq!(origin.seen().len(), 3, "each is kept");
}

/// For whom an answer is that depends on who asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_the_client_is_for_nobody_else() {
    let origin = Origin::http1(|_| {
        let headers = [("cache-control", "public, max-age=60")];
        reply(200, &headers, full("1"))
    });
    for (aggregate, control, vary) in [
        (
            "parts.a = { upstream = \"shop\", path = \"/a\" }",
            "public, max-age=60",
            None,
        ),
        (
            "parts.a = { upstream = \"shop\", path = \"/{client.ip}\" }",
            "private, max-age=60",
            None,
        ),
        (
            "parts.a = { upstream = \"shop\", path = \"/a\", when = 'client.ip != \"192.0.2.1\"' }",
            "private, max-age=60",
            None,
        ),
        (
            "response = { id = \"{request.id}\", a = \"{parts.a}\" }\nparts.a = { upstream = \"shop\", path = \"/a\" }",
            "private, max-age=60",
            None,
        ),
        (
            "response = { l = \"{headers.accept-language}\", a = \"{parts.a}\" }\nparts.a = { upstream = \"shop\", path = \"/a\" }",
            "public, max-age=60",
            Some("accept-language"),
        ),
    ] {
        let toml = format!(
            "[upstreams.shop]\nendpoints = [\"$origin\"]\n[routes.home]\nmatch = {{ path = \"/home\" }}\n[routes.home.aggregate]\n{aggregate}\n"
        );
        let gateway = Gateway::draft(&toml).with("origin", &origin).start().await;
        let answer = gateway
            .http1()
            .send(get("/home").header("accept-language", "de"))
            .await;
        assert_eq!(answer.status, 200, "{aggregate}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some(control), "{aggregate}");
        assert_eq!(answer.header("vary"), vary, "{aggregate}");
    }
}

/// One that was still under way when another has failed has not failed itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_part_that_has_failed_is_the_one_that_is_named() {
    let origin = Origin::serving(Protocol::Http1, |seen| async move {
        if seen.target == "/a" {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        status(if seen.target == "/b" { 503 } else { 200 })
    });
    let toml = r#"
        [upstreams.shop]
        endpoints = ["$origin"]
        [routes.home]
        match = { path = "/home" }
        [routes.home.aggregate]
        parts.a = { upstream = "shop", path = "/a", required = true }
        parts.b = { upstream = "shop", path = "/b", required = true }
    "#;
    let gateway = Gateway::draft(toml).with("origin", &origin).start().await;
    let answer = gateway.http1().send(get("/home")).await;
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["part"], &json["reason"]),
        (502, &"b".into(), &"status_503".into())
    );
}

/// Behind a hop that is trusted, parts are told of the client what any request's upstream is told; from anybody else nothing is
/// believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_told_where_the_client_s_request_comes_from() {
    let toml = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        trusted_proxies = ["$hop"]
        [upstreams.shop]
        endpoints = ["$origin"]
        [routes.home]
        match = { path = "/home" }
        [routes.home.aggregate]
        parts.plain = { upstream = "shop", path = "/part" }
        parts.own = { upstream = "shop", path = "/own", headers = { x-real-ip = "own" } }
        [routes.plain]
        match = { path = "/plain" }
        upstream = "shop"
    "#;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (hop, traceparent) in [
        ("127.0.0.1", trace),
        ("127.0.0.1", "none"),
        ("192.0.2.1", trace),
    ] {
        let origin = origin();
        let draft = Gateway::draft(toml).with("origin", &origin);
        let gateway = draft.with("hop", hop).start().await;
        for client in [gateway.http1(), gateway.http2()] {
            let before = origin.seen().len();
            for path in ["/plain", "/home"] {
                let asking = get(path)
                    .header("x-forwarded-for", "203.0.113.9, 198.51.100.7")
                    .header("x-forwarded-proto", "https")
                    .header("x-forwarded-host", "bank.test")
                    .header("x-real-ip", "198.51.100.7")
                    .header("x-original-uri", "/of/the/client")
                    .header("x-rewrite-url", "/of/the/client")
                    .header("traceparent", traceparent)
                    .header("tracestate", "a=1")
                    .header("tracestate", "b=2");
                assert_eq!(client.send(asking).await.status, 200);
            }
            let all = origin.seen();
            let of = |target: &str| {
                let mut seen = all[before..].iter();
                seen.find(|seen| seen.target == target).expect(target)
            };
            let what = format!("{hop} {traceparent}");
            let lines = |seen: &Seen, name: &str| {
                let lines = seen.headers.get_all(name).iter();
                lines
                    .map(|line| line.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            for name in [
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-real-ip",
                "tracestate",
            ] {
                let (direct, part) = (lines(of("/plain"), name), lines(of("/part"), name));
                assert_eq!(part, direct, "{what}: {name}");
            }
            let is_continued = traceparent == trace;
            assert_eq!(
                lines(of("/part"), "tracestate").is_empty(),
                !is_continued,
                "{what}"
            );
            let is_trusted = hop == "127.0.0.1";
            let clients = of("/part").header("x-forwarded-for").unwrap_or_default();
            assert_eq!(
                clients.contains("198.51.100.7"),
                is_trusted,
                "{what}: {clients}"
            );
            assert_eq!(lines(of("/own"), "x-real-ip"), ["own"], "{what}");
            // What the hop says of what is asked for is not true of a part.
            for name in ["x-original-uri", "x-rewrite-url"] {
                assert_eq!(of("/part").header(name), None, "{what}: {name}");
            }
        }
    }
}
