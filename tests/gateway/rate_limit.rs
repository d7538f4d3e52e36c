//! `rate_limit`.

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{tenant}/{*rest}" }
    upstream = "shop"
    policies.rate_limit = { by = ["path:tenant", "client"], rate = "2/h", burst = 3 }
"#;

#[tokio::test]
async fn who_has_used_up_its_burst_is_told_when_to_come_again() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(GATEWAY)
            .with("shop", &shop)
            .with("protocol", pair.origin)
            .start()
            .await;
        let client = gateway.client(pair.client);
        let from = |address: &str, target: &str| get(target).header("x-forwarded-for", address);
        for _ in 0..3 {
            assert_eq!(client.send(from("192.0.2.1", "/acme/1")).await.status, 200);
        }
        let answer = client.send(from("192.0.2.1", "/acme/2")).await;
        answer.assert_problem(429, "rate_limited");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1795..=1800).contains(&wait), "{wait}");
        assert_eq!(gateway.log_of(&answer).await["flag"], "RL");
        // Others are counted apart.
        assert_eq!(client.send(from("192.0.2.2", "/acme/1")).await.status, 200);
        assert_eq!(client.send(from("192.0.2.1", "/other/1")).await.status, 200);
        assert_eq!(client.send(from("192.0.2.1", "/acme/3")).await.status, 429);
    })
    .await;
}

const SEVERAL: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [gateway]
    policies.rate_limit = { by = ["route", "header:x-tenant"], rate = "1/h", burst = 2 }

    [routes]
    one = { match = { path = "/one" }, respond = { status = 200 } }
    two = { match = { path = "/two" }, respond = { status = 200 } }
    all = { match = { path = "/all" }, respond = { status = 200 }, policies.rate_limit = { by = "all", rate = "1/h", burst = 3 } }
    cookie = { match = { path = "/cookie" }, respond = { status = 200 }, policies.rate_limit = { by = "cookie:who", rate = "1/h" } }
    windows = { match = { path = "/windows" }, respond = { status = 200 }, policies.rate_limit = { windows = [{ rate = "1/h", burst = 5 }, { name = "few", requests = 2, window = "1h" }] } }
    shadow = { match = { path = "/shadow" }, respond = { status = 200 }, policies.rate_limit = { rate = "1/h", shadow = true } }
    cost = { match = { path = "/cost" }, respond = { status = 200 }, policies.rate_limit = { by = "all", rate = "1/h", burst = 20, cost = 'int(request.headers["x-price"])' } }
    upstream = { match = { path = "/upstream/{*rest}" }, upstream = "shop", policies.rate_limit = { by = "all", rate = "1/h", burst = 10, response_cost = "x-cost" } }
    kept = { match = { path = "/kept" }, upstream = "shop", policies.rate_limit = { by = "all", rate = "1/h", burst = 10, cost = 0, response_cost = { header = "x-cost", keep = true } } }
    flood = { match = { path = "/flood" }, respond = { status = 200 }, policies.rate_limit = { by = "all", rate = "1/h", burst = 10 } }
"#;

async fn several(origin: Protocol) -> (Gateway, Origin) {
    let shop = Origin::speaking(origin, |seen| {
        reply(
            200,
            &[("x-cost", seen.header("x-costs").unwrap_or("none"))],
            empty(),
        )
    });
    let gateway = Gateway::draft(SEVERAL)
        .with("shop", &shop)
        .with("protocol", origin)
        .start()
        .await;
    (gateway, shop)
}

async fn statuses(client: &Client, asks: impl IntoIterator<Item = Ask>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for ask in asks {
        statuses.push(client.send(ask).await.status);
    }
    statuses
}

#[tokio::test]
async fn callers_are_told_apart_by_what_is_said() {
    let (gateway, _shop) = several(Protocol::Http1).await;
    let client = gateway.http1();
    // Routes that inherit one policy, each by itself; and a header that is not there is one, too.
    let of = |path: &str, tenant: &str| get(path).header("x-tenant", tenant);
    let asks = [
        of("/one", "a"),
        of("/one", "a"),
        of("/one", "a"),
        of("/one", "b"),
        of("/two", "a"),
    ];
    assert_eq!(statuses(&client, asks).await, [200, 200, 429, 200, 200]);
    let asks = [get("/one"), get("/one"), get("/one"), of("/one", "")];
    assert_eq!(statuses(&client, asks).await, [200, 200, 429, 200]);
    let from = |path: &str, address: &str| get(path).header("x-forwarded-for", address);
    let asks = ["1", "2", "3", "4"].map(|last| from("/all", &format!("192.0.2.{last}")));
    assert_eq!(statuses(&client, asks).await, [200, 200, 200, 429]);
    let with = |cookie: &str| get("/cookie").header("cookie", cookie);
    let asks = [
        with("x=1; who=ann"),
        with("who=ann; x=2"),
        with("who=bob"),
        with("nowho=ann"),
        get("/cookie"),
    ];
    // Who has no such cookie is counted with all that have none.
    assert_eq!(statuses(&client, asks).await, [200, 429, 200, 200, 429]);
}

#[tokio::test]
async fn of_several_windows_all_have_room_or_none_is_charged() {
    let (gateway, _shop) = several(Protocol::Http1).await;
    let client = gateway.http1();
    let asks = [get("/windows"), get("/windows")];
    assert_eq!(statuses(&client, asks).await, [200, 200]);
    for _ in 0..10 {
        let answer = client.send(get("/windows")).await;
        answer.assert_problem(429, "rate_limited");
        assert_eq!(
            answer.json()["violated-policies"],
            serde_json::json!(["few"])
        );
        // The other window still has what it had: ten refusals have not been charged to it.
        let standing = answer.header("ratelimit").expect("how it stands");
        assert!(standing.contains("\"1/h\";r=3"), "{standing}");
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["limit"], "routes.windows.policies.rate_limit");
        assert_eq!(line["limit_rule"], "few");
        assert_eq!(line["limit_decision"], "refused");
    }
}

#[tokio::test]
async fn a_shadow_refuses_nobody_and_tells_operators_alone() {
    let (gateway, _shop) = several(Protocol::Http1).await;
    let client = gateway.http1();
    for expected in [None, Some("shadow"), Some("shadow")] {
        let answer = client.send(get("/shadow")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit"), None);
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["limit_decision"].as_str(), expected);
        assert_eq!(line["limit_rule"].as_str(), expected.map(|_| "1/h"));
    }
    let metrics = gateway.metrics().await;
    for (decision, count) in [("admitted", 1), ("shadow", 2)] {
        let series = format!(
            "northgate_limit_decisions_total{{decision=\"{decision}\",northgate_limit=\"routes.shadow.policies.rate_limit\"}} {count}\n"
        );
        assert!(metrics.contains(&series), "{metrics}");
    }
    let keys = "northgate_limit_keys{northgate_limit=\"routes.shadow.policies.rate_limit\"} 1\n";
    assert!(metrics.contains(keys), "{metrics}");
}

#[tokio::test]
async fn an_expression_says_what_a_request_costs() {
    let (gateway, _shop) = several(Protocol::Http1).await;
    let client = gateway.http1();
    let of = |price: &str| get("/cost").header("x-price", price);
    // 1, 1 (below zero), 1 (no number), 1 (absent), 10: fourteen of twenty. More than there ever is comes in never.
    let asks = [
        of("1"),
        of("-5"),
        of("much"),
        get("/cost"),
        of("10"),
        of("7"),
        of("6"),
        of("0"),
        of("1"),
        of("21"),
    ];
    assert_eq!(
        statuses(&client, asks).await,
        [200, 200, 200, 200, 200, 429, 200, 200, 429, 429]
    );
    let answer = client.send(of("21")).await;
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn the_upstream_says_what_a_request_has_cost() {
    over_each_pair(|pair| async move {
        let (gateway, _shop) = several(pair.origin).await;
        let client = gateway.client(pair.client);
        let of = |path: &str, cost: &str| get(path).header("x-costs", cost);
        // One for each to come in; what is no cost is charged no more than that.
        for cost in ["1", "none", "-5", "1.5"] {
            let answer = client.send(of("/upstream/a", cost)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-cost"), None, "clients do not see it");
        }
        // Six are left: the answer takes twelve, and the debt is made up for before anybody comes in again.
        assert_eq!(client.send(of("/upstream/a", "12")).await.status, 200);
        let answer = client.send(of("/upstream/a", "1")).await;
        answer.assert_problem(429, "rate_limited");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((7 * 3600 - 30..=7 * 3600).contains(&wait), "{wait}");
        // It comes in for nothing, as long as there is no debt.
        for cost in ["9", "2"] {
            let answer = client.send(of("/kept", cost)).await;
            assert_eq!((answer.status, answer.header("x-cost")), (200, Some(cost)));
        }
        assert_eq!(client.send(of("/kept", "0")).await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn together_they_never_have_more_than_the_burst() {
    over_each_pair(|pair| async move {
        let (gateway, _shop) = several(pair.origin).await;
        let asks = (0..64).map(|_| {
            let client = gateway.client(pair.client);
            tokio::spawn(async move { client.send(get("/flood")).await.status })
        });
        let asks: Vec<_> = asks.collect();
        let mut admitted = 0;
        for ask in asks {
            match ask.await.expect("an answer") {
                200 => admitted += 1,
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!(admitted, 10);
    })
    .await;
}

#[tokio::test]
async fn counts_outlive_reloads_and_new_numbers_hold_at_once() {
    const DRAFT: &str = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        [routes.a]
        match = { path = "/" }
        respond = { status = 200 }
        policies.rate_limit = { by = "all", rate = "1/h", burst = $burst }
    "#;
    let with = |burst: u32| Gateway::draft(DRAFT).with("burst", burst);
    let mut gateway = with(3).start().await;
    let client = gateway.http1();
    let asks = || [get("/"), get("/"), get("/"), get("/")];
    assert_eq!(statuses(&client, asks()).await, [200, 200, 200, 429]);
    with(3).apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/")).await.status, 429);
    // Two more, of which nothing is taken yet.
    with(5).apply(&mut gateway).await.unwrap();
    assert_eq!(statuses(&client, asks()).await, [200, 200, 429, 429]);
    with(4).apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/")).await.status, 429);
}

/// Says what a request has cost, first by the way and then in the response.
fn dear() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
            let response = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nx-cost: 4\r\n\r\n\
                             HTTP/1.1 200 OK\r\nx-cost: 4\r\ncontent-length: 4\r\n\r\ndone";
            stream.write_all(response).await.unwrap();
        }
    })
}

const DEAR: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.both.policies]
    rate_limit = { by = "all", rate = "1/h", burst = 10, response_cost = "x-cost" }
    quota = { by = "all", requests = 10, per = "month", response_cost = "x-cost" }

    [routes.both]
    match = { path = "/both" }
    upstream = "shop"

    [routes.changed.policies]
    rate_limit = { by = "all", rate = "1/h", burst = 10, response_cost = { header = "x-cost", keep = true } }
    response_headers = { $change }

    [routes.changed]
    match = { path = "/changed" }
    upstream = "shop"
"#;

/// What is left of each limit, as the response says.
fn left(answer: &Answer) -> Vec<u64> {
    let lines = answer.headers.get_all("ratelimit").iter();
    let lines = lines.map(|it| it.to_str().unwrap());
    lines
        .map(|line| {
            let (_, rest) = line.split_once(";r=").unwrap();
            rest.split(';').next().unwrap().parse().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn each_policy_is_charged_once_before_any_changes_the_response() {
    for change in ["remove = [\"x-cost\"]", "set = { x-cost = \"0\" }"] {
        let shop = dear();
        let gateway = Gateway::draft(DEAR)
            .with("shop", &shop)
            .with("change", change)
            .start()
            .await;
        let client = gateway.http1();
        for expected in [6, 2] {
            let answer = client.send(get("/both")).await;
            assert_eq!((answer.status, answer.header("x-cost")), (200, None));
            assert_eq!(left(&answer), [expected, expected]);
            assert_eq!(left(&client.send(get("/changed")).await), [expected]);
        }
    }
}

#[tokio::test]
async fn interim_responses_say_nothing_of_limits() {
    let shop = dear();
    let gateway = Gateway::draft(DEAR)
        .with("shop", &shop)
        .with("change", "remove = []")
        .start()
        .await;
    let ask = "GET /both HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = RawClient::exchange(gateway.address(), ask).await;
    let (interim, answer) = answer.split_once("HTTP/1.1 200 ").expect("a response");
    assert!(interim.starts_with("HTTP/1.1 103 "), "{interim}");
    assert!(
        !interim.contains("ratelimit") && !interim.contains("x-cost"),
        "{interim}"
    );
    assert!(answer.contains(";r=6;"), "{answer}");
}

#[tokio::test]
async fn a_cost_beyond_all_bounds_is_not_free() {
    let (gateway, _shop) = several(Protocol::Http1).await;
    let client = gateway.http1();
    let ask = || get("/upstream/a").header("x-costs", "1000001");
    assert_eq!(statuses(&client, [ask(), ask()]).await, [200, 429]);
}

#[tokio::test]
async fn a_rate_that_is_raised_lets_in_whom_the_old_one_refused() {
    const DRAFT: &str = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        [routes.a]
        match = { path = "/" }
        respond = { status = 200 }
        policies.rate_limit = { by = "all", $rate }
    "#;
    let with = |rate: &str| Gateway::draft(DRAFT).with("rate", rate);
    let mut gateway = with("rate = \"1/h\", burst = 3").start().await;
    let client = gateway.http1();
    let asks = || [get("/"), get("/"), get("/"), get("/")];
    assert_eq!(statuses(&client, asks()).await, [200, 200, 200, 429]);
    let raised = with("rate = \"1000/s\", burst = 2000");
    raised.apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/")).await.status, 200);
}
