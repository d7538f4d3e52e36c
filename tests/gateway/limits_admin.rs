//! `/limits` of the admin listener.

use std::sync::LazyLock;

use northgate::identity::api_key::{KeyHash, Prefix, make};
use serde_json::{Value, json};

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]

    [consumers.acme]
    api_keys = ["$hash"]
    plan = "gold"

    [plans.gold]
    rate_limit = { rate = "2/h", burst = 2 }

    [gateway]
    default_plan = "gold"

    [gateway.policies]
    client_limit = { rate = "1000/h", ipv6_prefix = 48 }

    [routes.plan]
    match = { path = "/plan" }
    respond = { status = 200 }
    policies = { api_key = { anonymous = "allow" }, rate_limit = {} }

    [routes.tenants]
    match = { path = "/t/{tenant}" }
    respond = { status = 200 }
    policies.quota = { by = ["path:tenant", "header:x-shop"], requests = 3, per = "month", shadow = true }

    [routes.all]
    match = { path = "/all" }
    respond = { status = 200 }
    policies.rate_limit = { by = "all", windows = [{ rate = "4/h" }, { requests = 5, window = "2h" }] }
"#;

const PLAN: &str = "/limits/plans.gold.rate_limit%20by%20consumer";
const ALL: &str = "/limits/routes.all.policies.rate_limit";
const TENANTS: &str = "/limits/routes.tenants.policies.quota";

/// The key of the consumer, the same for the whole process.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let made = make(&Prefix::default()).expect("randomness");
    made.text.to_string()
});

fn draft(toml: &str) -> Draft {
    Gateway::draft(toml).with("hash", KeyHash::of(KEY.as_bytes()))
}

fn acme() -> Ask {
    get("/plan").header("x-api-key", &KEY)
}

async fn json_of(gateway: &Gateway, ask: Ask) -> Value {
    let answer = gateway.admin(ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

/// The statuses of so many requests in turn.
async fn statuses(client: &Client, ask: impl Fn() -> Ask, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.send(ask()).await.status);
    }
    statuses
}

/// What remains of each rule.
fn remaining(shown: &Value) -> Vec<u64> {
    let rules = shown["key"]["rules"].as_array().unwrap().iter();
    rules.map(|it| it["remaining"].as_u64().unwrap()).collect()
}

fn in_days(days: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let end = now.unwrap().as_secs() + days * 86_400;
    northgate::text::Timestamp::from_unix(end)
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn every_limit_in_force_is_shown() {
    let gateway = draft(GATEWAY).start().await;
    let client = gateway.http1();
    assert_eq!(statuses(&client, acme, 3).await, [200, 200, 429]);
    assert_eq!(client.send(get("/all")).await.status, 200);
    let limits = json_of(&gateway, get("/limits")).await;
    let brief: Vec<Value> = limits
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["name"], it["by"], it["keys"], it["shadow"]]))
        .collect();
    assert_eq!(
        Value::from(brief),
        json!([
            ["gateway.policies.client_limit", "client", 1, false],
            ["plans.gold.rate_limit by consumer", "consumer", 1, false],
            ["routes.all.policies.rate_limit", "all", 1, false],
            [
                "routes.tenants.policies.quota",
                "path:tenant, header:x-shop",
                0,
                true
            ],
        ])
    );
    assert_eq!(
        limits[2]["rules"],
        json!([
            { "name": "4/h", "quota": 4, "window": 3600.0 },
            { "name": "5/2h", "quota": 5, "window": 7200.0 },
        ])
    );
    // What counts everybody together has one key, and its standing is with the limit.
    let all = json_of(&gateway, get(ALL)).await;
    assert_eq!(remaining(&all), [3, 4], "{all}");
    let plan = json_of(&gateway, get(PLAN)).await;
    assert_eq!(plan.get("key"), None, "{plan}");
}

#[tokio::test]
async fn a_key_is_shown_and_reset_as_it_is_counted() {
    let gateway = draft(GATEWAY).start().await;
    let client = gateway.http1();
    let stranger = |address: &str| {
        let address = address.to_owned();
        move || get("/plan").header("x-forwarded-for", &address)
    };
    assert_eq!(statuses(&client, acme, 3).await, [200, 200, 429]);
    let strangers = stranger("2001:db8:1:1::7");
    assert_eq!(statuses(&client, &strangers, 3).await, [200, 200, 429]);
    for key in ["consumer=acme", "client=2001:db8:1:1:9::"] {
        let shown = json_of(&gateway, get(&format!("{PLAN}?{key}"))).await;
        assert_eq!(remaining(&shown), [0], "{shown}");
        assert_eq!(shown["key"]["known"], true);
        let rule = &shown["key"]["rules"][0];
        let (next, reset) = (
            rule["next"].as_f64().unwrap(),
            rule["reset"].as_f64().unwrap(),
        );
        assert!((1700.0..=1800.0).contains(&next), "{shown}");
        assert!((3500.0..=3600.0).contains(&reset), "{shown}");
    }
    let other = json_of(&gateway, get(&format!("{PLAN}?consumer=other"))).await;
    assert_eq!(
        (remaining(&other), &other["key"]["known"]),
        (vec![2], &json!(false))
    );

    let reset = post(&format!("{PLAN}/reset?consumer=acme"), "");
    assert_eq!(remaining(&json_of(&gateway, reset).await), [2]);
    assert_eq!(statuses(&client, acme, 3).await, [200, 200, 429]);
    assert_eq!(statuses(&client, &strangers, 1).await, [429]);

    // Several parts, one of which requests may lack; it only watches.
    let tenant = || get("/t/a%20b");
    assert_eq!(statuses(&client, tenant, 4).await, [200; 4]);
    let asked = format!("{TENANTS}?path:tenant=a%2520b&without=header:x-shop");
    assert_eq!(remaining(&json_of(&gateway, get(&asked)).await), [0]);
    let asked = format!("{TENANTS}?path:tenant=a%2520b&header:x-shop=");
    assert_eq!(remaining(&json_of(&gateway, get(&asked)).await), [3]);

    // By larger networks.
    let clients = "/limits/gateway.policies.client_limit?client=2001:db8:1:ffff::";
    assert_eq!(remaining(&json_of(&gateway, get(clients)).await), [996]);
}

#[tokio::test]
async fn an_override_holds_until_it_ends() {
    let mut gateway = draft(GATEWAY).start().await;
    let client = gateway.http1();
    let grant = |multiply: &str| {
        let expires = in_days(7);
        post(
            &format!("{PLAN}/override?consumer=acme&multiply={multiply}&expires={expires}"),
            "",
        )
    };
    let reset = || post(&format!("{PLAN}/reset?consumer=acme"), "");
    let shown = json_of(&gateway, grant("2")).await;
    assert_eq!(shown["key"]["override"]["multiply"], "2", "{shown}");
    assert_eq!(shown["key"]["rules"][0]["limit"], 4);
    assert_eq!(shown["overrides"][0]["key"], "consumer=acme");
    let answer = client.send(acme()).await;
    assert_eq!(answer.status, 200);
    let fields = (
        answer.header("ratelimit-policy"),
        answer.header("ratelimit"),
    );
    assert_eq!(fields.0, Some("\"2/h\";q=4;w=3600"));
    assert!(
        fields.1.is_some_and(|it| it.contains(";r=3;")),
        "{fields:?}"
    );
    assert_eq!(statuses(&client, acme, 4).await, [200, 200, 200, 429]);
    let anybody = || get("/plan");
    assert_eq!(statuses(&client, anybody, 3).await, [200, 200, 429]);

    // A reload keeps it, for the numbers that there are then.
    let more = GATEWAY.replace("rate = \"2/h\", burst = 2", "rate = \"3/h\", burst = 3");
    draft(&more).apply(&mut gateway).await.unwrap();
    json_of(&gateway, reset()).await;
    let expected = [200, 200, 200, 200, 200, 200, 429];
    assert_eq!(statuses(&client, acme, 7).await, expected);
    // Another takes its place.
    json_of(&gateway, grant("0")).await;
    json_of(&gateway, reset()).await;
    let refused = client.send(acme()).await;
    refused.assert_problem(429, "rate_limited");
    // There is no time at which it could come again.
    assert_eq!(refused.header("retry-after"), None);
    let shown = json_of(&gateway, grant("0.5")).await;
    assert_eq!(shown["overrides"].as_array().unwrap().len(), 1);
    assert_eq!(statuses(&client, acme, 2).await, [200, 429]);

    let end = || post(&format!("{PLAN}/override/end?consumer=acme"), "");
    let shown = json_of(&gateway, end()).await;
    assert_eq!(shown["key"]["override"], Value::Null);
    json_of(&gateway, reset()).await;
    assert_eq!(statuses(&client, acme, 4).await, [200, 200, 200, 429]);
    let again = gateway.admin(end()).await;
    assert_eq!(again.status, 404);
    assert!(again.text().contains("consumer=acme has no override"));
}

#[tokio::test]
async fn a_limit_that_is_gone_is_gone_with_its_overrides() {
    let mut gateway = draft(GATEWAY).start().await;
    let (expires, reset) = (in_days(30), post(&format!("{ALL}/reset"), ""));
    let grant = post(&format!("{ALL}/override?multiply=3&expires={expires}"), "");
    json_of(&gateway, grant).await;
    assert_eq!(remaining(&json_of(&gateway, reset).await), [12, 15]);
    let without = GATEWAY.replace("policies.rate_limit = { by = \"all\"", "#");
    draft(&without).apply(&mut gateway).await.unwrap();
    eventually("nobody has it any more", async || {
        (gateway.admin(get(ALL)).await.status == 404).then_some(())
    })
    .await;
    draft(GATEWAY).apply(&mut gateway).await.unwrap();
    let again = json_of(&gateway, get(ALL)).await;
    assert_eq!(again["overrides"], json!([]));
    assert_eq!(remaining(&again), [4, 5]);
}

#[tokio::test]
async fn what_is_in_use_is_shown_by_its_name_and_as_the_newest_has_it() {
    let shop = RawOrigin::serving(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let draft = |rate: &str| {
        let gateway = r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            max_in_flight = 7

            [routes.shop]
            match = { path = "/" }
            upstream = "shop"
            policies.bandwidth = { by = "all", response = "$rate" }
            "#;
        Gateway::draft(gateway)
            .with("shop", &shop)
            .with("rate", rate)
    };
    let mut gateway = draft("8KiB").start().await;
    for target in ["/limits/upstreams.shop", "/limits/upstreams.shop?"] {
        let shown = json_of(&gateway, get(target)).await;
        assert_eq!(shown["limit"], 7, "{target}: {shown}");
    }
    // A request keeps the configuration that it came to.
    let mut waiting = RawClient::connect(gateway.address()).await;
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is at the upstream", async || {
        let shown = json_of(&gateway, get("/limits/upstreams.shop")).await;
        (shown["in_flight"] == 1).then_some(())
    })
    .await;
    draft("4KiB").apply(&mut gateway).await.unwrap();
    let all = json_of(&gateway, get("/limits")).await;
    let all = all.as_array().unwrap().iter();
    let bandwidths: Vec<_> = all.filter(|it| it["kind"] == "bandwidth").collect();
    assert_eq!(bandwidths.len(), 1, "{bandwidths:?}");
    assert_eq!(bandwidths[0]["limit"], 4096);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let gateway = draft(GATEWAY).start().await;
    let far = in_days(32);
    let soon = in_days(1);
    for (method, target, status, error, help) in [
        (
            "GET",
            "/limits/routes.all.policies.rate_limt",
            404,
            "there is no limit \"routes.all.policies.rate_limt\"",
            "did you mean \"routes.all.policies.rate_limit\"?",
        ),
        (
            "POST",
            "/limits/x/reset",
            404,
            "there is no limit \"x\"",
            "there are gateway.policies.client_limit; plans.gold.rate_limit by consumer; routes.all.policies.rate_limit; routes.tenants.policies.quota",
        ),
        (
            "POST",
            &format!("{TENANTS}/reset?path:tenant=a"),
            400,
            "header:x-shop=… is missing",
            "the limit counts by path:tenant, header:x-shop",
        ),
        (
            "GET",
            &format!("{TENANTS}?path:tenant=a&header:x-shop=b&consumer=c"),
            400,
            "\"consumer\" is no part of a key here",
            "the limit counts by path:tenant, header:x-shop",
        ),
        (
            "GET",
            &format!("{TENANTS}?path:tenant=a&path:tenant=b&header:x-shop=b"),
            400,
            "\"path:tenant\" is there twice",
            "the limit counts by path:tenant, header:x-shop",
        ),
        (
            "GET",
            &format!("{PLAN}?consumer=a&without=consumer"),
            400,
            "without=\"consumer\" is no part of a key here",
            "the limit counts by consumer",
        ),
        (
            "POST",
            &format!("{PLAN}/reset"),
            400,
            "who is meant is missing: consumer=NAME, subject=PROVIDER/SUBJECT or client=ADDRESS",
            "the limit counts by consumer",
        ),
        (
            "GET",
            &format!("{PLAN}?client=me"),
            400,
            "client must be an address, got \"me\"",
            "the limit counts by consumer",
        ),
        (
            "POST",
            &format!("{ALL}/reset?consumer=a"),
            400,
            "\"consumer\" is no part of a key here",
            "the limit counts everybody together: there is no key to be said",
        ),
        (
            "POST",
            &format!("{ALL}/override?expires={soon}"),
            400,
            "multiply=… is missing",
            "",
        ),
        (
            "POST",
            &format!("{ALL}/override?multiply=2"),
            400,
            "expires=… is missing",
            "",
        ),
        (
            "POST",
            &format!("{ALL}/override?multiply=-1&expires={soon}"),
            400,
            "multiply must be a number from 0 to 1000 with at most three decimals, such as 2 or 0.5, got \"-1\"",
            "",
        ),
        (
            "POST",
            &format!("{ALL}/override?multiply=2&expires=2020-01-01"),
            400,
            "expires must be in the future, got 2020-01-01T00:00:00Z",
            "",
        ),
        (
            "POST",
            &format!("{ALL}/override?multiply=2&expires={far}"),
            400,
            &format!("expires must be within 31 days, got {far}"),
            "",
        ),
    ] {
        let answer = gateway.admin(request(method, target)).await;
        let told: Value = serde_json::from_str(&answer.text()).unwrap();
        let (got, expected) = (told["error"].as_str().unwrap(), (status, error));
        assert_eq!((answer.status, got), expected, "{target}");
        assert_eq!(told["help"].as_str().unwrap_or_default(), help, "{target}");
    }
    // Nothing changes by being looked at.
    for change in ["reset", "override", "override/end"] {
        assert_eq!(
            gateway.admin(get(&format!("{ALL}/{change}"))).await.status,
            405
        );
    }
}

#[tokio::test]
async fn no_page_of_the_web_changes_a_limit_and_nobody_without_the_token() {
    let gateway = draft(GATEWAY).start().await;
    let orders = [
        ("GET", "/limits".to_owned()),
        ("GET", ALL.to_owned()),
        ("POST", format!("{ALL}/reset")),
        (
            "POST",
            format!("{ALL}/override?multiply=2&expires={}", in_days(1)),
        ),
        ("POST", format!("{ALL}/override/end")),
    ];
    for (method, target) in &orders {
        let page = request(method, target).header("origin", "https://evil.example");
        assert_eq!(gateway.admin(page).await.status, 403, "{target}");
        let page = request(method, target).header("sec-fetch-site", "cross-site");
        assert_eq!(gateway.admin(page).await.status, 403, "{target}");
    }
    assert_eq!(json_of(&gateway, get(ALL)).await["overrides"], json!([]));

    let token = "a-token-of-enough-bytes";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, token).unwrap();
    let secret = format!("{{ file = \"{}\" }}", file.display());
    let admin = format!("\n[admin]\nbind = \"127.0.0.1:0\"\ntoken = {secret}\n");
    let gateway = draft(&format!("{GATEWAY}{admin}")).start().await;
    for (method, target) in &orders {
        assert_eq!(gateway.admin(request(method, target)).await.status, 401);
    }
    let bearer = format!("Bearer {token}");
    let allowed = get("/limits").header("authorization", &bearer);
    assert_eq!(gateway.admin(allowed).await.status, 200);
}

#[tokio::test]
async fn a_shared_limit_is_that_of_its_store() {
    let redis = Redis::start().await;
    let shared = r#"
        [stores.main]
        redis = { url = "$redis", timeout = "500ms" }

        [routes.all]
        match = { path = "/{key}" }
        respond = { status = 200 }
        policies.rate_limit = { by = "path:key", rate = "4/h", shared = { store = "main" } }
    "#;
    let start = || Gateway::draft(shared).with("redis", redis.url()).start();
    let (first, second) = (start().await, start().await);
    let (one, two) = (first.http1(), second.http1());
    let ask = || get("/k");
    assert_eq!(statuses(&one, ask, 3).await, [200; 3]);
    // What others have counted is seen here, and given back to all.
    let key = format!("{ALL}?path:key=k");
    let reset = post(&format!("{ALL}/reset?path:key=k"), "");
    let shown = json_of(&second, get(&key)).await;
    assert_eq!(
        (remaining(&shown), &shown["shared"]),
        (vec![1], &json!(true))
    );
    assert_eq!(remaining(&json_of(&second, reset).await), [4]);
    assert_eq!(statuses(&one, ask, 5).await, [200, 200, 200, 200, 429]);
    // An override is this gateway's alone: of a rate, the share that is left stays.
    let expires = in_days(1);
    let grant = format!("{ALL}/override?path:key=o&multiply=2&expires={expires}");
    json_of(&first, post(&grant, "")).await;
    let other = || get("/o");
    assert_eq!(statuses(&one, other, 4).await, [200; 4]);
    let asked = format!("{ALL}?path:key=o");
    assert_eq!(remaining(&json_of(&first, get(&asked)).await), [4]);
    assert_eq!(remaining(&json_of(&second, get(&asked)).await), [2]);
    assert_eq!(statuses(&two, other, 3).await, [200, 200, 429]);
    assert_eq!(statuses(&one, other, 1).await, [429]);
    // Where the store cannot be asked, that is said.
    drop(redis);
    let shown = json_of(&first, get(&key)).await;
    assert!(shown["key"]["store_problem"].is_string(), "{shown}");
    let reset = post(&format!("{ALL}/reset?path:key=k"), "");
    let answer = first.admin(reset).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .text()
            .contains("it was reset here, and the store cannot be asked")
    );
}
