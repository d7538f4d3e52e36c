//! One answer made of what several upstreams say.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::harness::*;

const HOME: &str = r#"
    [upstreams.users]
    endpoints = ["$origin"]
    [upstreams.orders]
    endpoints = ["$origin"]
    [upstreams.gone]
    endpoints = ["$nobody"]

    [routes.home]
    match = { path = "/home/{user}" }
    [routes.home.aggregate]
    timeout = "1s"
    limits = { part_bytes = "1KiB" }
    parts.profile = { upstream = "users", path = "/users/{path.user}", required = true }
    parts.cart = { upstream = "orders", path = "/carts/{parts.profile.body.cart_id}" }
    parts.tips = { upstream = "$tips", path = "$path", timeout = "200ms", default = [] }
    parts.news = { upstream = "orders", path = "/news", cache = "60s", pick = ["[].title"] }
"#;

/// Something at each of these places, and everything that a part can be.
async fn answer(seen: Seen) -> http::Response<Body> {
    let json = |text: &str| {
        reply(
            200,
            &[("content-type", "application/json")],
            full(text.to_owned()),
        )
    };
    let path = seen.target.split('?').next().unwrap_or_default();
    match path {
        "/users/u1" => json(r#"{"name":"Ada","cart_id":"c 7"}"#),
        "/carts/c%207" => json(r#"{"items":[1,2,3]}"#),
        "/news" => reply(
            200,
            &[("cache-control", "max-age=60")],
            full(r#"[{"title":"a","text":"b"},{"title":"c"}]"#),
        ),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            json("[1]")
        }
        "/never" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            json("[1]")
        }
        "/tips" => json(r#"["x"]"#),
        "/text" => json("not json"),
        "/huge" => json(&format!("\"{}\"", "x".repeat(2000))),
        "/503" => status(503),
        "/cut" => {
            let first = Ok(Frame::data(bytes::Bytes::from_static(b"[1,")));
            let parts = [first, Err(std::io::Error::other("cut off"))];
            let body = StreamBody::new(futures_util::stream::iter(parts));
            reply(200, &[("content-length", "9")], BodyExt::boxed(body))
        }
        "/echo" => {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            let method = seen.method.as_str();
            let header = seen.header("x-user").unwrap_or_default();
            json(&format!(
                r#"{{"method":"{method}","user":"{header}","body":{body}}}"#
            ))
        }
        _ => status(404),
    }
}

struct Setting {
    origin: Origin,
}

impl Setting {
    fn new() -> Setting {
        Setting {
            origin: Origin::serving(Protocol::Http1, answer),
        }
    }

    async fn start(&self, tips: &str, path: &str) -> Gateway {
        let draft = Gateway::draft(HOME).with("origin", &self.origin);
        let draft = draft.with("nobody", free_address());
        draft.with("tips", tips).with("path", path).start().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_put_together() {
    let setting = Setting::new();
    let gateway = setting.start("orders", "/tips").await;
    let answer = gateway.http1().send(get("/home/u1")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = serde_json::json!({
        "profile": { "name": "Ada", "cart_id": "c 7" },
        "cart": { "items": [1, 2, 3] },
        "tips": ["x"],
        "news": [{ "title": "a" }, { "title": "c" }],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-northgate-degraded").is_none());
    // A part is kept, and asked for once.
    let again = gateway.http1().send(get("/home/u1")).await;
    assert_eq!(again.json(), expected);
    let of = |path: &str| {
        let seen = setting.origin.seen();
        seen.iter().filter(|seen| seen.target == path).count()
    };
    assert_eq!((of("/news"), of("/tips")), (1, 2));
    // What the client has already.
    let tag = answer.header("etag").expect("a tag").to_owned();
    let same = gateway
        .http1()
        .send(get("/home/u1").header("if-none-match", &tag))
        .await;
    assert_eq!((same.status, same.text()), (304, String::new()));
    let head = gateway.http1().send(head("/home/u1")).await;
    assert_eq!((head.status, head.text()), (200, String::new()));
    // Nothing of the client's goes to a part that is not named.
    let asking = get("/home/u1")
        .header("x-own", "secret")
        .header("cookie", "a=b");
    gateway.http1().send(asking).await;
    let seen = setting.origin.seen();
    assert!(seen.iter().all(|seen| seen.header("x-own").is_none()));
    assert!(seen.iter().all(|seen| seen.header("cookie").is_none()));
}

/// What has failed, as the client, the log and the body tell it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_said() {
    let setting = Setting::new();
    for (tips, path, reason) in [
        ("orders", "/slow", "timeout"),
        ("orders", "/never", "timeout"),
        ("gone", "/tips", "upstream_connect_failed"),
        ("orders", "/503", "status_503"),
        ("orders", "/404", "status_404"),
        ("orders", "/text", "not_json"),
        ("orders", "/huge", "too_large"),
    ] {
        let gateway = setting.start(tips, path).await;
        let began = Instant::now();
        let answer = gateway.http1().send(get("/home/u1")).await;
        assert!(began.elapsed() < Duration::from_millis(900), "{path}");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let json = answer.json();
        assert_eq!(json["degraded"], true, "{path}: {json}");
        assert_eq!(json["tips"], serde_json::json!([]), "{path}: its default");
        assert_eq!(json["cart"]["items"][0], 1, "{path}: {json}");
        let part = &json["degraded_parts"][0];
        assert_eq!(part["part"], "tips", "{path}: {json}");
        let told = part["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(told, reason, "{path}");
        let header = answer.header("x-northgate-degraded").unwrap_or_default();
        assert!(
            header.starts_with(&format!("tips;reason={told}")),
            "{header}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let record = gateway.log_of(&answer).await;
        let parts = record["parts"].as_str().unwrap_or_default().to_owned();
        assert!(parts.contains(&format!("tips={told}:")), "{parts}");
        assert!(parts.contains("profile=ok:"), "{parts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_what_is_required_there_is_no_answer() {
    let setting = Setting::new();
    let gateway = setting.start("orders", "/tips").await;
    let answer = gateway.http1().send(get("/home/u2")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["part"], "profile", "{json}");
    assert_eq!(json["reason"], "status_404", "{json}");
    assert_eq!(json["code"], "part_failed", "{json}");
}

/// Each way in which a part can fail, by what its failure means.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_means_what_the_part_says() {
    let setting = Setting::new();
    let toml = |upstream: &str, path: &str, timeout: &str, contract: &str| {
        format!(
            r#"
            [upstreams.orders]
            endpoints = ["$origin"]
            [upstreams.gone]
            endpoints = ["$nobody"]
            [routes.home]
            match = {{ path = "/home" }}
            [routes.home.aggregate]
            timeout = "400ms"
            limits = {{ part_bytes = "1KiB" }}
            parts.sure = {{ upstream = "orders", path = "/tips" }}
            parts.part = {{ upstream = "{upstream}", path = "{path}"{timeout}{contract} }}
            "#
        )
    };
    for (upstream, path, timeout, reason, status) in [
        ("orders", "/tips", "", "", 200),
        ("orders", "/never", ", timeout = \"100ms\"", "timeout", 504),
        ("orders", "/never", "", "budget", 504),
        ("gone", "/tips", "", "upstream_connect_failed", 502),
        ("orders", "/404", "", "status_404", 502),
        ("orders", "/503", "", "status_503", 502),
        ("orders", "/text", "", "not_json", 502),
        ("orders", "/huge", "", "too_large", 502),
        ("orders", "/cut", "", "upstream_reset", 502),
    ] {
        for contract in ["", ", required = true", ", default = 7"] {
            let what = format!("{path}{timeout}{contract}");
            let draft = Gateway::draft(&toml(upstream, path, timeout, contract));
            let draft = draft.with("origin", &setting.origin);
            let gateway = draft.with("nobody", free_address()).start().await;
            let answer = gateway.http1().send(get("/home")).await;
            let json = answer.json();
            let is_required = contract.contains("required");
            let expected = if is_required { status } else { 200 };
            assert_eq!(answer.status, expected, "{what}: {json}");
            if reason.is_empty() {
                assert_eq!(json["part"][0], "x", "{what}: {json}");
                assert!(json["degraded"].is_null(), "{what}: {json}");
                continue;
            }
            if is_required {
                assert_eq!(json["part"], "part", "{what}: {json}");
                assert_eq!(json["reason"], reason, "{what}: {json}");
                continue;
            }
            assert_eq!(
                json["degraded_parts"][0]["reason"], reason,
                "{what}: {json}"
            );
            assert_eq!(json["sure"][0], "x", "{what}: {json}");
            let stands = if contract.is_empty() {
                serde_json::Value::Null
            } else {
                7.into()
            };
            assert_eq!(json["part"], stands, "{what}: {json}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_have_bodies_and_headers_of_their_own() {
    let setting = Setting::new();
    let toml = r#"
        [upstreams.orders]
        endpoints = ["$origin"]
        [routes.home]
        match = { path = "/home/{user}" }
        [routes.home.aggregate]
        parts.it = { upstream = "orders", path = "/echo", method = "POST", headers = { x-user = "{path.user}" }, json = { user = "{path.user}", page = "{query.page}" } }
    "#;
    let gateway = Gateway::draft(toml).with("origin", &setting.origin);
    let gateway = gateway.start().await;
    let answer = gateway.http1().send(get("/home/ada?page=2")).await;
    let json = answer.json();
    assert_eq!(json["it"]["method"], "POST", "{json}");
    assert_eq!(json["it"]["user"], "ada", "{json}");
    assert_eq!(json["it"]["body"]["user"], "ada", "{json}");
    assert_eq!(json["it"]["body"]["page"], "2", "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_make_what_they_say() {
    let setting = Setting::new();
    let toml = r#"
        [upstreams.orders]
        endpoints = ["$origin"]
        [routes.home]
        match = { path = "/home" }
        [routes.home.aggregate]
        jq = "{ titles: .news, count: (.news | length) }"
        parts.news = { upstream = "orders", path = "/news", jq = "map(.title)" }
        [routes.text]
        match = { path = "/text" }
        [routes.text.aggregate]
        response = { of = "{parts.news.body[0].title}", all = "{parts.news}" }
        parts.news = { upstream = "orders", path = "/news", pick = ["[].title"] }
    "#;
    let gateway = Gateway::draft(toml).with("origin", &setting.origin);
    let gateway = gateway.start().await;
    let answer = gateway.http1().send(get("/home")).await;
    let expected = serde_json::json!({ "titles": ["a", "c"], "count": 2 });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let answer = gateway.http1().send(get("/text")).await;
    let expected = serde_json::json!({ "of": "a", "all": [{ "title": "a" }, { "title": "c" }] });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_its_parts_along() {
    let setting = Setting::new();
    let gateway = setting.start("orders", "/never").await;
    let active = "northgate_endpoint_active_requests{northgate_upstream=\"orders\"";
    // `None` where nothing is said of it.
    let busy = async || {
        let text = gateway.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with(active));
        lines
            .map(|line| !line.ends_with(" 0"))
            .reduce(|one, other| one | other)
    };
    let client = gateway.http1();
    let asking = client.send(get("/home/u1"));
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = eventually("a part is under way", async || busy().await.filter(|busy| *busy).map(drop)) => {}
    }
    drop(client);
    eventually("nothing is under way", async || {
        busy().await.filter(|busy| !*busy).map(drop)
    })
    .await;
    // What is asked for afterwards is served.
    let gateway = setting.start("orders", "/tips").await;
    assert_eq!(gateway.http1().send(get("/home/u1")).await.status, 200);
}
