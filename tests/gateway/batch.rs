//! A client's list of calls, run as if they had come one by one.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use northgate::identity::api_key::{KeyHash, Prefix, make};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["$hop"]

    [consumers.acme]
    api_keys = ["$one"]
    [consumers.other]
    api_keys = ["$two"]

    [upstreams.shop]
    endpoints = ["$shop"]

    [gateway.policies]
    compression = {}
    [gateway.policies.request_headers.set]
    x-who = "{identity.consumer}"
    x-client = "{client.ip}"

    [routes.batch]
    match = { path = "/batch" }
    batch = { most = 6, at_once = 3, timeout = "700ms", response_bytes = "8KiB", call_bytes = "6KiB" }

    [routes.open]
    match = { path = "/open/{*rest}" }
    upstream = "shop"

    [routes.private]
    match = { path = "/private/{*rest}" }
    upstream = "shop"
    policies.api_key = {}

    [routes.limited]
    match = { path = "/limited" }
    upstream = "shop"
    policies.rate_limit = { by = ["client"], rate = "1/h", burst = 3 }

    [routes.kept]
    match = { path = "/kept/{*rest}" }
    upstream = "shop"
    policies.cache = {}

    [routes.home]
    match = { path = "/home" }
    aggregate = { parts = { tips = { upstream = "shop", path = "/open/tips" } } }

    [routes.there]
    match = { path = "/there" }
    redirect = { to = "/open/tips", status = 302 }
"#;

/// Something at each of these places, and everything that a call can be.
async fn answer(seen: Seen) -> http::Response<Body> {
    let json = |text: &str| {
        let headers = [("content-type", "application/json")];
        reply(200, &headers, full(text.to_owned()))
    };
    let path = seen.target.split('?').next().unwrap_or_default();
    match path {
        "/open/tips" => json(r#"{"a": [1, 2e400]}"#),
        "/open/text" => text("plain \"text\""),
        "/open/bytes" => reply(200, &[], full(&b"\xff\x00"[..])),
        "/open/nothing" => status(204),
        "/open/late" => {
            tokio::time::sleep(Duration::from_millis(150)).await;
            json("\"late\"")
        }
        "/open/never" | "/open/never2" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            json("1")
        }
        "/open/huge" => json(&format!("\"{}\"", "x".repeat(7000))),
        "/open/large" => json(&format!("\"{}\"", "x".repeat(3000))),
        "/open/cut" => {
            let first = Ok(Frame::data(bytes::Bytes::from_static(b"[1,")));
            let parts = [first, Err(std::io::Error::other("cut off"))];
            let body = StreamBody::new(futures_util::stream::iter(parts));
            reply(200, &[("content-length", "9")], BodyExt::boxed(body))
        }
        "/open/cookies" => reply(
            200,
            &[
                ("set-cookie", "a=b; HttpOnly"),
                ("set-cookie", "c=d; Path=/"),
                ("x-many", "1"),
                ("x-many", "2"),
            ],
            full("ok"),
        ),
        path if path.starts_with("/kept/") => {
            let headers = [
                ("cache-control", "max-age=60"),
                ("vary", "accept-language"),
                ("etag", "\"1\""),
            ];
            let body = path.strip_suffix("/nothing").map_or(path, |_| "");
            reply(200, &headers, full(body.to_owned()))
        }
        "/open/echo" | "/private/who" | "/limited" => {
            let headers = seen.headers.iter();
            let headers = headers.map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), Value::String(value))
            });
            let headers: serde_json::Map<_, _> = headers.collect();
            let echo = json!({ "target": seen.target, "host": seen.host, "headers": headers });
            json(&echo.to_string())
        }
        _ => status(404),
    }
}

struct Setting {
    origin: Origin,
    one: String,
    two: String,
}

impl Setting {
    fn new() -> Setting {
        let key = || {
            make(&Prefix::default())
                .expect("randomness")
                .text
                .to_string()
        };
        Setting {
            origin: Origin::serving(Protocol::Http1, answer),
            one: key(),
            two: key(),
        }
    }

    async fn start(&self, hop: &str) -> Gateway {
        let hash = |key: &str| KeyHash::of(key.as_bytes());
        let draft = Gateway::draft(GATEWAY).with("shop", &self.origin);
        let draft = draft.with("one", hash(&self.one));
        draft
            .with("two", hash(&self.two))
            .with("hop", hop)
            .start()
            .await
    }
}

const NO_HOP: &str = "192.0.2.1";

fn batch(requests: &Value) -> Ask {
    let list = json!({ "requests": requests }).to_string();
    post("/batch", list).header("content-type", "application/json")
}

/// Calls of these paths, known by them.
fn paths(paths: &[&str]) -> Value {
    paths
        .iter()
        .enumerate()
        .map(|(index, path)| json!({ "id": format!("{index}"), "path": path }))
        .collect()
}

/// The statuses of all calls, with the codes of those that have failed.
fn outcomes(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = answer.json();
    let responses = document["responses"].as_array().expect("a list");
    let outcome = |response: &Value| {
        let code = response["body"]["code"].as_str().unwrap_or_default();
        format!("{} {code}", response["status"]).trim().to_owned()
    };
    responses.iter().map(outcome).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_in_the_order_of_the_list() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let list = [
            "/open/late",
            "/open/tips",
            "/open/text",
            "/open/bytes",
            "/open/nothing",
            "/nowhere",
        ];
        let answer = client.send(batch(&paths(&list))).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(
            answer.text().contains(r#""body":{"a": [1, 2e400]}"#),
            "as it was sent"
        );
        let answer: Value = serde_json::from_str(&answer.text().replace("2e400", "2")).unwrap();
        let responses = answer["responses"].as_array().expect("a list");
        let of = |member: &str| -> Vec<Value> {
            responses.iter().map(|one| one[member].clone()).collect()
        };
        assert_eq!(of("id"), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(of("status"), [200, 200, 200, 200, 204, 404]);
        assert_eq!(
            of("body")[..5],
            [
                json!("late"),
                json!({ "a": [1, 2] }),
                json!("plain \"text\""),
                json!("/wA="),
                json!(null),
            ]
        );
        assert_eq!(of("encoding")[3], "base64");
        assert_eq!(of("encoding")[2], Value::Null);
        assert_eq!(responses[1]["headers"]["content-type"], "application/json");
        assert!(responses[1]["headers"].get("content-length").is_none());
        assert_eq!(responses[5]["body"]["code"], "route_not_found");
    }
}

/// What a call is asked to be like, beside its id and its path.
fn call(id: &str, path: &str, headers: &Value) -> Value {
    json!({ "id": id, "path": path, "headers": headers })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_proves_who_calls_by_itself() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    let client = gateway.http1();
    // By what the batch has shown, and by what a call shows in the place of that; no call has another's.
    let list = json!([
        call("passed", "/private/who", &json!({})),
        call("own", "/private/who", &json!({ "X-Api-Key": setting.two })),
        call("wrong", "/private/who", &json!({ "X-Api-Key": "wrong" })),
        call("again", "/private/who", &json!({})),
    ]);
    let answer = client
        .send(batch(&list).header("x-api-key", &setting.one))
        .await;
    let (fine, refused) = ("200".to_owned(), "401 credential_refused".to_owned());
    assert_eq!(
        outcomes(&answer),
        [&fine, &fine, &refused, &fine].map(String::clone)
    );
    let answer = answer.json();
    let who = |index: usize| &answer["responses"][index]["body"]["headers"]["x-who"];
    assert_eq!([who(0), who(1), who(3)], ["acme", "other", "acme"]);
    let list = json!([
        call("own", "/private/who", &json!({ "X-Api-Key": setting.two })),
        call("nobody", "/private/who", &json!({})),
    ]);
    let answer = client.send(batch(&list)).await;
    assert_eq!(outcomes(&answer), ["200", "401 unauthenticated"]);
    let nobody = &answer.json()["responses"][1];
    assert_eq!(
        nobody["headers"]["www-authenticate"],
        "ApiKey realm=\"api\""
    );
    // A browser's cookie passes; other headers of the batch do not.
    let asking = batch(&json!([
        call("a", "/open/echo?x=1", &json!({})),
        call(
            "b",
            "/open/echo",
            &json!({ "Cookie": "own=1", "X-Own": "here" })
        ),
    ]));
    let asking = asking
        .header("cookie", "of=batch")
        .header("x-own", "of batch");
    let answer = client
        .send(asking.header("accept-language", "de"))
        .await
        .json();
    let of = |index: usize, name: &str| answer["responses"][index]["body"]["headers"][name].clone();
    assert_eq!(answer["responses"][0]["body"]["target"], "/open/echo?x=1");
    assert_eq!(
        [of(0, "cookie"), of(0, "x-own"), of(0, "accept-language")],
        [json!("of=batch"), json!(null), json!("de")]
    );
    assert_eq!([of(1, "cookie"), of(1, "x-own")], ["own=1", "here"]);
    assert_eq!(
        [of(0, "content-length"), of(0, "content-type")],
        [json!(null), json!(null)]
    );
}

const GUARDED: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }

    [consumers.billing]
    certificates = [{ subject = "CN=billing" }]
    api_keys = ["$key"]

    [identity.mtls.known]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [gateway.policies.request_headers.set]
    x-who = "{identity.consumer}"

    [routes.batch]
    match = { path = "/batch", methods = ["POST"] }
    batch = {}

    [routes.private]
    match = { path = "/private/{*rest}" }
    upstream = "shop"
    policies.mtls = { providers = ["known"] }

    [routes.keyed]
    match = { path = "/limited" }
    upstream = "shop"
    policies = { api_key = {}, failed_authentications = { rate = "1/h", burst = 3 } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_the_connection_is_each_call_s_and_guesses_are_counted() {
    let key = make(&Prefix::default())
        .expect("randomness")
        .text
        .to_string();
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let shop = Origin::serving(Protocol::H2, answer);
    let draft = Gateway::draft(GUARDED).with("entry", server.entry());
    let draft = draft.with("ca", authority.path()).with("shop", &shop);
    let draft = draft.with("protocol", Protocol::H2);
    let gateway = draft.with("key", KeyHash::of(key.as_bytes())).start().await;
    let billing = authority.issue_with(&[], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "billing");
    });
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = authority.client_config_with(&billing);
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        let answer = client
            .send(batch(&paths(&["/private/who", "/private/gone"])))
            .await;
        assert_eq!(outcomes(&answer), ["200", "404"]);
        let headers = &answer.json()["responses"][0]["body"]["headers"];
        assert_eq!(headers["x-who"], "billing");
        assert_eq!(headers["x-forwarded-proto"], "https");
        let config = authority.client_config();
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        let answer = client.send(batch(&paths(&["/private/who"]))).await;
        assert_eq!(outcomes(&answer), ["401 unauthenticated"]);
    }
    let client = Client::over_tls(
        gateway.address(),
        Protocol::H2,
        "shop.test",
        authority.client_config(),
    );
    let guess = |id: &str| call(id, "/limited", &json!({ "X-Api-Key": id }));
    let guesses = json!([guess("a"), guess("b"), guess("c"), guess("d"), guess("e")]);
    client.send(batch(&guesses)).await;
    let right = call("right", "/limited", &json!({ "X-Api-Key": key }));
    let answer = client.send(batch(&json!([right]))).await;
    assert_eq!(outcomes(&answer), ["429 too_many_attempts"], "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_told_of_a_call_what_they_are_told_of_a_request() {
    for (hop, client_address) in [(NO_HOP, "127.0.0.1"), ("127.0.0.1", "198.51.100.7")] {
        let setting = Setting::new();
        let gateway = setting.start(hop).await;
        for protocol in [Protocol::Http1, Protocol::H2] {
            let client = gateway.client(protocol);
            let told = |ask: Ask| {
                let ask = ask.header("x-forwarded-for", "203.0.113.9, 198.51.100.7");
                ask.header("x-forwarded-proto", "https")
                    .host("shop.test:8080")
            };
            let direct = client.send(told(get("/open/echo"))).await.json();
            let called = client.send(told(batch(&paths(&["/open/echo"])))).await;
            let called = called.json()["responses"][0]["body"].clone();
            assert_eq!(called["host"], direct["host"]);
            let (called, direct) = (&called["headers"], &direct["headers"]);
            for name in [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "forwarded",
            ] {
                assert_eq!(called[name], direct[name], "{name} {hop}");
                assert!(called[name].is_string(), "{name} {hop}");
            }
            assert_eq!(called["x-client"], client_address);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_counted_kept_and_logged() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    let client = gateway.http1();
    let answer = client.send(batch(&paths(&["/limited"; 5]))).await;
    let outcomes = outcomes(&answer);
    let count = |wanted: &str| outcomes.iter().filter(|one| *one == wanted).count();
    assert_eq!((count("200"), count("429 rate_limited")), (3, 2));
    let alone = client.send(get("/limited")).await;
    alone.assert_problem(429, "rate_limited");
    // Together they fetch once, and what is kept is for everybody.
    let list = json!([
        call("a", "/kept/x", &json!({})),
        call("b", "/kept/x", &json!({})),
        call("c", "/kept/x", &json!({ "Accept-Language": "fr" })),
    ]);
    let kept = client.send(batch(&list)).await;
    assert_eq!(self::outcomes(&kept), ["200", "200", "200"]);
    assert_eq!(client.send(get("/kept/x")).await.text(), "/kept/x");
    let had = json!([
        call("had", "/kept/x", &json!({ "If-None-Match": "\"1\"" })),
        call("nothing", "/kept/nothing", &json!({})),
    ]);
    for _ in 0..2 {
        let answer = client.send(batch(&had)).await;
        assert_eq!(self::outcomes(&answer), ["304", "200"]);
        assert_eq!(answer.json()["responses"][0]["body"], Value::Null);
        assert_eq!(answer.json()["responses"][1]["body"], Value::Null);
    }
    let fetched = setting.origin.seen();
    let fetched = fetched.iter().filter(|seen| seen.target == "/kept/x");
    assert_eq!(fetched.count(), 2, "one of each language");
    // A line for each, by which it is found, and of the same trace.
    let whole = gateway.log_of(&kept).await;
    assert_eq!(
        (&whole["route"], &whole["method"]),
        (&json!("batch"), &json!("POST"))
    );
    let document = kept.json();
    let mut ids = vec![whole["request_id"].clone()];
    for response in document["responses"].as_array().expect("a list") {
        let id = response["headers"]["x-request-id"].clone();
        let line = gateway
            .log_where("a call", |line| line["request_id"] == id)
            .await;
        assert_eq!(line["trace_id"], whole["trace_id"]);
        assert_eq!(
            [
                &line["route"],
                &line["method"],
                &line["path"],
                &line["client"]
            ],
            ["kept", "GET", "/kept/x", "127.0.0.1"]
        );
        assert!(line["cache"].is_string(), "{line}");
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    let metrics = gateway.metrics().await;
    let of_route = |line: &&str| {
        line.starts_with("http_server_request_duration_seconds_count{") && line.contains("\"kept\"")
    };
    let counted: u64 = metrics
        .lines()
        .filter(of_route)
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(counted, 8, "seven calls, and one by itself");
    let active = metrics
        .lines()
        .filter(|line| line.starts_with("http_server_active_requests"));
    assert!(active.clone().count() > 0);
    assert!(active.clone().all(|line| line.ends_with(" 0")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_of_the_call_alone() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let list = [
            "/open/never",
            "/open/tips",
            "/open/cut",
            "/open/huge",
            "/batch",
            "/nowhere",
        ];
        let began = Instant::now();
        let answer = client.send(batch(&paths(&list))).await;
        let took = began.elapsed();
        let text = answer.text().replace("2e400", "2");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let responses = document["responses"].as_array().expect("a list");
        let codes: Vec<_> = responses.iter().map(|one| &one["body"]["code"]).collect();
        let expected = [
            json!("upstream_timeout"),
            json!(null),
            json!("upstream_reset"),
            json!("call_too_large"),
            json!("batch_nested"),
            json!("route_not_found"),
        ];
        assert_eq!(codes, expected.iter().collect::<Vec<_>>());
        let statuses: Vec<_> = responses.iter().map(|one| &one["status"]).collect();
        assert_eq!(statuses, [504, 200, 502, 502, 400, 404]);
        assert!(
            took >= Duration::from_millis(690) && took < Duration::from_millis(1500),
            "{took:?}"
        );
        for response in responses.iter().filter(|one| one["status"] != 200) {
            let problem = &response["body"];
            assert_eq!(
                response["headers"]["content-type"],
                "application/problem+json"
            );
            let id = problem["request_id"].clone();
            let line = gateway
                .log_where("a call", |line| line["request_id"] == id)
                .await;
            assert_ne!(line["route"], "", "{line}");
        }
        // A late one is recorded as one that came by itself.
        let id = responses[0]["body"]["request_id"].clone();
        let line = gateway
            .log_where("the late one", |line| line["request_id"] == id)
            .await;
        assert_eq!(
            (&line["status"], &line["code"]),
            (&json!(504), &json!("upstream_timeout"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_an_end_to_what_a_batch_takes() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    let client = gateway.http1();
    // Two fit, with what is told of them, and not a third.
    let answer = client.send(batch(&paths(&["/open/large"; 4]))).await;
    let mut outcomes = outcomes(&answer);
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["200", "200", "502 call_too_large", "502 call_too_large"]
    );
    // At most three at once: six of 150 ms take two rounds.
    let began = Instant::now();
    let answer = client.send(batch(&paths(&["/open/late"; 6]))).await;
    let took = began.elapsed();
    assert_eq!(self::outcomes(&answer), ["200"; 6]);
    assert!(took >= Duration::from_millis(300), "{took:?}");
    // An aggregation is a call like any other, and so is a redirect.
    let answer = client.send(batch(&paths(&["/home", "/there"]))).await;
    let text = answer.text().replace("2e400", "2");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        document["responses"][0]["body"]["tips"],
        json!({ "a": [1, 2] })
    );
    assert_eq!(document["responses"][1]["status"], 302);
    assert_eq!(
        document["responses"][1]["headers"]["location"],
        "/open/tips"
    );
    // Those that had no turn are late.
    let slow = ["/open/never"; 5];
    let answer = client.send(batch(&paths(&slow))).await;
    assert_eq!(self::outcomes(&answer)[4], "504 exchange_timeout");
    // What is kept of a site's visitor stays out of its scripts' sight.
    let answer = client.send(batch(&paths(&["/open/cookies"]))).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b; HttpOnly; Path=/open", "c=d; Path=/"]);
    let headers = &answer.json()["responses"][0]["headers"];
    assert_eq!(headers["x-many"], "1, 2");
    assert!(headers.get("set-cookie").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_in_order_or_nothing_is_asked_for() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    let client = gateway.http1();
    let good = json!({ "id": "good", "path": "/open/tips" });
    let with = |other: Value| json!({ "requests": [good, other] }).to_string();
    let header = |name: &str, value: &str| with(call("x", "/open/tips", &json!({ name: value })));
    let path = |path: &str| with(json!({ "id": "x", "path": path }));
    let cases = [
        ("[".to_owned(), "EOF while parsing"),
        ("{}".to_owned(), "missing field `requests`"),
        (r#"{"requests": []}"#.to_owned(), "the list is empty"),
        (
            r#"{"requests": [], "more": 1}"#.to_owned(),
            "unknown field `more`",
        ),
        (
            with(json!({ "id": "x", "path": "/", "body": 1 })),
            "unknown field `body`",
        ),
        (with(json!({ "path": "/" })), "missing field `id`"),
        (
            with(good.clone()),
            "requests[1]: another call has the same id",
        ),
        (
            with(json!({ "id": "", "path": "/" })),
            "an id has 1 to 64 bytes",
        ),
        (
            with(json!({ "id": "x", "path": "/", "method": "POST" })),
            "\"POST\" is not GET",
        ),
        (
            json!({ "requests": vec![&good; 7] }).to_string(),
            "7 calls are too many; there may be 6",
        ),
        (path("open/tips"), "a path begins with a slash"),
        (
            path("http://shop.test/open/tips"),
            "a path begins with a slash",
        ),
        (path(""), "a path begins with a slash"),
        (path("/open/tips#a"), "characters that no target has"),
        (
            path("/open/tips HTTP/1.1\r\nx: y"),
            "characters that no target has",
        ),
        (
            header("Host", "other.test"),
            "the header host belongs to the connection",
        ),
        (
            header("Connection", "close"),
            "the header connection belongs to",
        ),
        (
            header("Transfer-Encoding", "chunked"),
            "the header transfer-encoding belongs",
        ),
        (
            header("content_length", "5"),
            "the header content_length belongs",
        ),
        (header("Upgrade", "websocket"), "the header upgrade belongs"),
        (
            header("X-Forwarded-For", "1.2.3.4"),
            "what only a proxy can know",
        ),
        (
            header("x_forwarded_for", "1.2.3.4"),
            "what only a proxy can know",
        ),
        (
            header("Forwarded", "for=1.2.3.4"),
            "what only a proxy can know",
        ),
        (header("X-Request-Id", "1"), "is the gateway's own to say"),
        (header("Accept-Encoding", "gzip"), "has no use"),
        (
            header("x-own", "a\r\nx-more: b"),
            "the value of the header x-own is none",
        ),
        (
            header("x-own", " a"),
            "the value of the header x-own is none",
        ),
        (header("x own", "a"), "\"x own\" is no name of a header"),
        (
            r#"{"requests": [{"id": "x", "path": "/", "headers": {"A": "1", "a": "2"}}]}"#
                .to_owned(),
            "the header a is there twice",
        ),
        (
            header("x-own", &"a".repeat(20)).replace("\"aaaa", "[\"aaaa"),
            "expected a string",
        ),
    ];
    for (list, expected) in cases {
        let ask = post("/batch", list.clone()).header("content-type", "application/json");
        let answer = client.send(ask).await;
        answer.assert_problem(400, "batch_invalid");
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(expected), "{list}: {detail}");
    }
    let list = json!({ "requests": [good] }).to_string();
    let answer = client.send(post("/batch", list.clone())).await;
    answer.assert_problem(400, "batch_invalid");
    let form = post("/batch", list).header("content-type", "text/plain");
    client.send(form).await.assert_problem(400, "batch_invalid");
    let answer = client.send(get("/batch")).await;
    answer.assert_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    let large = batch(&json!([call(
        "x",
        "/",
        &json!({ "x-own": "a".repeat(70_000) })
    )]));
    client
        .send(large)
        .await
        .assert_problem(413, "payload_too_large");
    assert!(setting.origin.seen().is_empty());
    // What a client could send and would be refused for by itself is refused of the call alone.
    let odd = [
        "/open/%2e%2e/%2f",
        "/open/../open/text",
        "/open//../../../x",
        "/open/\u{e4}",
    ];
    let answer = client.send(batch(&paths(&odd))).await;
    let refused = "400 path_refused".to_owned();
    assert_eq!(
        outcomes(&answer),
        [&refused, &"200".to_owned(), &refused, &refused].map(String::clone)
    );
    let long = format!("/open/{}", "a".repeat(9000));
    let answer = client
        .send(batch(&json!([{ "id": "long", "path": long }])))
        .await;
    assert_eq!(outcomes(&answer), ["414 uri_too_long"]);
    let answer = client
        .send(batch(&json!([call(
            "x",
            "/open/tips",
            &json!({ "x-own": "a".repeat(40_000) })
        )])))
        .await;
    assert_eq!(outcomes(&answer), ["431 headers_too_large"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_its_calls_along() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let list = batch(&paths(&["/open/never", "/open/never2"]));
        let asked = tokio::time::timeout(Duration::from_millis(150), client.send(list)).await;
        assert!(asked.is_err(), "it has left before the answer");
        let began = Instant::now();
        drop(client);
        for path in ["/open/never", "/open/never2"] {
            let line = gateway
                .log_where("a call", |line| line["path"] == path)
                .await;
            assert_eq!(line["code"], "client_closed", "{line}");
        }
        assert!(
            began.elapsed() < Duration::from_millis(400),
            "it is not the time that has ended them"
        );
        let active = "northgate_endpoint_active_requests{northgate_upstream=\"shop\"";
        eventually("nothing is under way", async || {
            let text = gateway.metrics().await;
            let lines = text.lines().filter(|line| line.starts_with(active));
            let idle = lines.map(|line| line.ends_with(" 0"));
            idle.reduce(|one, other| one & other)
                .filter(|idle| *idle)
                .map(drop)
        })
        .await;
    }
    assert_eq!(gateway.http1().send(get("/open/text")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_need_not_name_a_host() {
    let setting = Setting::new();
    let gateway = setting.start(NO_HOP).await;
    let list = json!({ "requests": paths(&["/open/text", "/kept/x", "/kept/x"]) }).to_string();
    let mut client = RawClient::connect(gateway.address()).await;
    let head = "POST /batch HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: ";
    let length = list.len();
    client.send(format!("{head}{length}\r\n\r\n{list}")).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("\"status\":200").count(), 3, "{answer}");
    let seen = setting.origin.seen();
    assert!(seen.iter().all(|seen| !seen.host.is_empty()), "{seen:?}");
}

/// An origin that answers nothing: it sees what is asked, and when whoever asked is gone.
fn silent() -> (RawOrigin, mpsc::UnboundedReceiver<String>) {
    let (told, seen) = mpsc::unbounded_channel();
    let origin = RawOrigin::serving(move |mut stream, _| {
        let told = told.clone();
        async move {
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            let asked = String::from_utf8_lossy(&read).into_owned();
            let line = asked.lines().next().unwrap_or_default().to_owned();
            // Whoever listens has seen enough.
            let _ = told.send(line);
        }
    });
    (origin, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_of_calls_that_are_late_or_left_are_hung_up_on() {
    let toml = r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        [routes.open]
        match = { path = "/open/{*rest}" }
        upstream = "shop"
        [routes.batch]
        match = { path = "/batch" }
        batch = { at_once = 2, timeout = "$timeout" }
    "#;
    let asked = ["GET /open/a HTTP/1.1", "GET /open/b HTTP/1.1"];
    let list = || batch(&paths(&["/open/a", "/open/b", "/open/c"]));
    for (is_left, timeout) in [(true, "60s"), (false, "200ms")] {
        let (shop, mut seen) = silent();
        let draft = Gateway::draft(toml).with("shop", &shop);
        let gateway = draft.with("timeout", timeout).start().await;
        let client = gateway.http1();
        let (mut first, mut second) = (String::new(), String::new());
        if is_left {
            let left = tokio::time::timeout(Duration::from_millis(200), client.send(list()));
            assert!(left.await.is_err(), "it has left before the answer");
            drop(client);
        } else {
            let answer = client.send(list()).await;
            let late = "504 upstream_timeout".to_owned();
            let expected = [&late, &late, &"504 exchange_timeout".to_owned()];
            assert_eq!(outcomes(&answer), expected.map(String::clone));
        }
        for line in [&mut first, &mut second] {
            *line = within("the origin is hung up on", seen.recv())
                .await
                .unwrap_or_default();
        }
        let mut lines = [first, second];
        lines.sort();
        assert_eq!(lines, asked);
        // The third had no turn.
        assert_eq!(shop.connections(), 2);
    }
}

/// A call that breaks off leaves its room to those that come after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_break_off_take_no_room() {
    let large = || format!("\"{}\"", "x".repeat(5000));
    let shop = Origin::http1(move |_| reply(200, &[], full(large())));
    // Where all that was sent is read before the end is.
    let cut = RawOrigin::serving(move |mut stream, _| async move {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            asked.push(byte);
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 6000\r\n\r\n{}", large());
        // The gateway may have left, which is its answer.
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    let toml = r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        [upstreams.cut]
        endpoints = ["$cut"]
        [routes.cut]
        match = { path = "/cut" }
        upstream = "cut"
        [routes.open]
        match = { path = "/open/{*rest}" }
        upstream = "shop"
        [routes.batch]
        match = { path = "/batch" }
        batch = { at_once = 1, response_bytes = "8KiB" }
    "#;
    let draft = Gateway::draft(toml).with("shop", &shop).with("cut", &cut);
    let gateway = draft.start().await;
    let list = paths(&["/cut", "/cut", "/open/a", "/open/b"]);
    let answer = gateway.http1().send(batch(&list)).await;
    let expected = [
        "502 upstream_reset",
        "502 upstream_reset",
        "200",
        "502 call_too_large",
    ];
    assert_eq!(outcomes(&answer), expected);
}
