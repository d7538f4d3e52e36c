//! `split`: one of several upstreams, by weight.

use std::collections::BTreeMap;

use crate::harness::*;

const BRANCHES: &str = r#"
    [upstreams]
    v1 = { endpoints = ["$one"] }
    v2 = { endpoints = ["$two"], protocol = "$protocol" }
"#;

struct Shop {
    gateway: Gateway,
    _origins: [Origin; 2],
}

async fn shop(protocol: Protocol, split: &str) -> Shop {
    let one = Origin::http1(|seen| text([b"v1 ", &*seen.body].concat()));
    let two = Origin::speaking(protocol, |seen| text([b"v2 ", &*seen.body].concat()));
    let toml = format!("{BRANCHES}[routes.shop]\nmatch = {{ path = \"/{{*rest}}\" }}\n{split}\n");
    let gateway = Gateway::draft(&toml)
        .with("one", &one)
        .with("two", &two)
        .with("protocol", protocol)
        .start()
        .await;
    Shop {
        gateway,
        _origins: [one, two],
    }
}

const BY_HEADER: &str = r#"split = { by = "header:x-user", to = [{ upstream = "v1", weight = 80 }, { upstream = "v2", weight = 20 }] }"#;

/// The branch of each user.
async fn branches(client: &Client, users: usize) -> BTreeMap<usize, String> {
    let mut branches = BTreeMap::new();
    for user in 0..users {
        let ask = get("/").header("x-user", &format!("u{user}"));
        branches.insert(user, client.send(ask).await.text());
    }
    branches
}

#[tokio::test]
async fn callers_stay_where_they_are_and_branches_get_their_share() {
    let one = shop(Protocol::H2, BY_HEADER).await;
    let first = branches(&one.gateway.http1(), 400).await;
    let count = first.values().filter(|branch| *branch == "v2 ").count();
    // 20 % of 400, give or take five standard deviations of 8.
    assert!((40..=120).contains(&count), "{count} of 400");
    assert_eq!(branches(&one.gateway.http2(), 400).await, first);
    // Another gateway, where the branches stand in another order, thinks the same of everybody.
    let turned = r#"split = { to = [{ upstream = "v2", weight = 20 }, { upstream = "v1", weight = 80 }], by = "header:x-user" }"#;
    let other = shop(Protocol::Http1, turned).await;
    assert_eq!(branches(&other.gateway.http1(), 400).await, first);
    // Where the weight rises, they move to that branch alone.
    let raised = BY_HEADER.replace("20", "40");
    let raised = shop(Protocol::Http1, &raised).await;
    let after = branches(&raised.gateway.http1(), 400).await;
    assert_ne!(after, first);
    for (user, branch) in &after {
        assert!(branch == "v2 " || *branch == first[user], "{user}");
    }
}

#[tokio::test]
async fn who_has_no_key_is_shared_out_by_chance() {
    let shop = shop(Protocol::Http1, BY_HEADER).await;
    let client = shop.gateway.http1();
    let mut count = 0;
    for _ in 0..400 {
        count += usize::from(client.send(get("/")).await.text() == "v2 ");
    }
    assert!((40..=120).contains(&count), "{count} of 400");
}

#[tokio::test]
async fn one_address_is_one_caller() {
    let split = r#"split = { by = "client", to = [{ upstream = "v1", weight = 50 }, { upstream = "v2", weight = 50 }] }"#;
    let shop = shop(Protocol::Http1, split).await;
    let client = shop.gateway.http1();
    let first = client.send(get("/")).await.text();
    for _ in 0..50 {
        assert_eq!(client.send(get("/")).await.text(), first);
    }
}

#[tokio::test]
async fn a_branch_is_forced_only_where_that_is_said_and_only_to_one_that_there_is() {
    let to = r#"to = [{ upstream = "v1", weight = 1000 }, { upstream = "v2", weight = 0 }]"#;
    let forced = format!("split = {{ {to}, force_header = \"x-branch\" }}");
    let may = shop(Protocol::H2, &forced).await;
    let plain = shop(Protocol::H2, &format!("split = {{ {to} }}")).await;
    let ask = |branch: &str| post("/", "b").header("x-branch", branch);
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = may.gateway.client(protocol);
        for (branch, expected) in [("v2", "v2 b"), ("v1", "v1 b"), ("v3", "v1 b"), ("", "v1 b")] {
            assert_eq!(client.send(ask(branch)).await.text(), expected, "{branch}");
        }
        let client = plain.gateway.client(protocol);
        assert_eq!(client.send(ask("v2")).await.text(), "v1 b");
    }
}

#[tokio::test]
async fn a_branch_that_fails_has_the_fallback_of_the_route() {
    let two = Origin::http1(|_| text("standby"));
    let gateway = Gateway::draft(
        r#"
        [upstreams]
        v1 = { endpoints = ["$down"] }
        v2 = { endpoints = ["$two"] }
        [routes.shop]
        match = { path = "/" }
        split = { to = [{ upstream = "v1", weight = 1 }] }
        fallback = { upstream = "v2" }
        "#,
    )
    .with("down", free_address())
    .with("two", &two)
    .start()
    .await;
    let answer = gateway.http1().send(post("/", "x")).await;
    assert_eq!(answer.text(), "standby");
    assert_eq!(
        answer.header("x-northgate-degraded"),
        Some("upstream_connect_failed")
    );
}

const NOBODY: &str = r#"
    [upstreams]
    v1 = { endpoints = ["$one"] }
    v2 = { endpoints = ["$one"] }
    standby = { endpoints = ["$standby"] }
    [routes.shop]
    match = { path = "/{*rest}" }
    max_in_flight = 1
    split.to = [
        { upstream = "v1", weight = 1, ramp = { to = 0, start = "2020-01-01T00:00:00Z", over = "1h" } },
        { upstream = "v2", weight = 0 },
    ]
"#;

async fn nobody(one: &Origin, standby: &Origin, fallback: &str) -> Gateway {
    let draft = Gateway::draft(&format!("{NOBODY}{fallback}"));
    let draft = draft.with("one", one).with("standby", standby);
    draft.start().await
}

#[tokio::test]
async fn where_no_branch_has_a_weight_the_fallback_answers() {
    let one = Origin::http1(|_| text("never"));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let wait = gate.clone();
    let standby = Origin::serving(Protocol::Http1, move |seen| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text(seen.body)
        }
    });
    let reason = Some("upstream_unhealthy");

    let gateway = nobody(&one, &standby, "").await;
    let answer = gateway.http1().send(post("/", "x")).await;
    answer.assert_problem(503, "upstream_unhealthy");
    assert_eq!(answer.header("x-northgate-degraded"), None);

    let fixed = "fallback = { status = 200, body = \"fixed\" }\n";
    let gateway = nobody(&one, &standby, fixed).await;
    let answer = gateway.http1().send(post("/", "x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "fixed"));
    assert_eq!(answer.header("x-northgate-degraded"), reason);
    let line = gateway.log_of(&answer).await;
    assert_eq!(line["code"], "upstream_unhealthy", "{line}");
    assert_eq!(line["fallback"], "reply 200", "{line}");

    let both = "fallback = [{ upstream = \"standby\" }, { status = 200, body = \"fixed\" }]\n";
    let gateway = nobody(&one, &standby, both).await;
    let client = std::sync::Arc::new(gateway.http2());
    let answer = client.send(post("/", "whole")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
    assert_eq!(answer.header("x-northgate-degraded"), reason);
    assert_eq!(
        gateway.log_of(&answer).await["fallback"],
        "upstream standby"
    );
    // Which takes a place of the route, as any other does.
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.send(post("/", "first")).await }
    });
    eventually("the first is there", async || {
        (standby.seen().len() == 2).then_some(())
    })
    .await;
    let second = client.send(post("/", "second")).await;
    assert_eq!(second.text(), "fixed");
    assert_eq!(second.header("x-northgate-degraded"), Some("route_busy"));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().text(), "first");
    gate.add_permits(1);
    assert_eq!(client.send(post("/", "again")).await.text(), "again");
    assert_eq!(one.seen().len(), 0);
}
