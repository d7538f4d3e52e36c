//! `quota`.

use jiff::civil::Weekday;
use jiff::{ToSpan, Zoned, tz::TimeZone};

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes]
    month = { match = { path = "/month" }, upstream = "shop", policies.quota = { by = "client", requests = 3, per = "month", time_zone = "Europe/Berlin" } }
    two = { match = { path = "/two" }, upstream = "shop", policies.quota = { by = "client", windows = [{ requests = 5, per = "month" }, { requests = 2, per = "week" }] } }
    shadow = { match = { path = "/shadow" }, upstream = "shop", policies.quota = { by = "client", requests = 1, per = "month", shadow = true } }
    cost = { match = { path = "/cost" }, upstream = "shop", policies.quota = { by = "all", requests = 10, per = "month", response_cost = "x-cost" } }
"#;

async fn start(origin: Protocol) -> (Gateway, Origin) {
    let shop = Origin::speaking(origin, |_| reply(200, &[("x-cost", "4")], empty()));
    let gateway = Gateway::draft(GATEWAY)
        .with("shop", &shop)
        .with("protocol", origin)
        .start()
        .await;
    (gateway, shop)
}

/// Seconds until then. A test that runs over the end of a window may fail, once in a month.
fn until(then: Zoned) -> u64 {
    let now = jiff::Timestamp::now().as_second();
    u64::try_from(then.timestamp().as_second() - now).expect("it is to come")
}

fn is_about(header: &str, expected: u64) -> bool {
    let wait: u64 = header.parse().expect("seconds");
    wait.abs_diff(expected) <= 30
}

#[tokio::test]
async fn a_month_is_one_of_the_place() {
    over_each_pair(|pair| async move {
        let (gateway, _shop) = start(pair.origin).await;
        let client = gateway.client(pair.client);
        let from = |address: &str| get("/month").header("x-forwarded-for", address);
        for _ in 0..3 {
            assert_eq!(client.send(from("192.0.2.1")).await.status, 200);
        }
        let answer = client.send(from("192.0.2.1")).await;
        answer.assert_problem(429, "quota_exceeded");
        let berlin = Zoned::now().with_time_zone(TimeZone::get("Europe/Berlin").unwrap());
        let next = berlin.first_of_month().and_then(|it| it.start_of_day());
        let next = next.unwrap().checked_add(1.month()).unwrap();
        let wait = answer.header("retry-after").expect("when to come again");
        assert!(is_about(wait, until(next)), "{wait}");
        let line = gateway.log_of(&answer).await;
        assert_eq!(
            (&line["flag"], &line["limit_rule"]),
            (&"RL".into(), &"3/month".into())
        );
        assert_eq!(client.send(from("192.0.2.2")).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn of_several_quotas_the_first_that_is_used_up_refuses() {
    let (gateway, _shop) = start(Protocol::Http1).await;
    let client = gateway.http1();
    for _ in 0..2 {
        assert_eq!(client.send(get("/two")).await.status, 200);
    }
    let answer = client.send(get("/two")).await;
    answer.assert_problem(429, "quota_exceeded");
    assert_eq!(
        answer.json()["violated-policies"],
        serde_json::json!(["2/week"])
    );
    let today = Zoned::now().with_time_zone(TimeZone::UTC);
    let days = Weekday::Monday.since(today.weekday());
    let days = if days == 0 { 7 } else { days };
    let monday = today
        .start_of_day()
        .unwrap()
        .checked_add(i64::from(days).days());
    let wait = answer.header("retry-after").expect("when to come again");
    assert!(is_about(wait, until(monday.unwrap())), "{wait}");
}

#[tokio::test]
async fn a_shadow_refuses_nobody() {
    let (gateway, _shop) = start(Protocol::Http1).await;
    let client = gateway.http1();
    for expected in [None, Some("shadow")] {
        let answer = client.send(get("/shadow")).await;
        assert_eq!(answer.status, 200);
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["limit_decision"].as_str(), expected);
    }
}

#[tokio::test]
async fn the_upstream_says_what_a_request_has_cost() {
    let (gateway, _shop) = start(Protocol::Http1).await;
    let client = gateway.http1();
    // Four each, and the third comes in for the two that are left.
    for expected in [200, 200, 200, 429] {
        let answer = client.send(get("/cost")).await;
        assert_eq!((answer.status, answer.header("x-cost")), (expected, None));
    }
}
