//! `limit_fields`: what clients are told of limits, read by a library of structured fields that is not ours.

use std::collections::BTreeMap;

use sfv::{BareItem, ListEntry, Parser};

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]
"#;

/// The upstream has limits of its own, which are nobody's business.
fn shop(protocol: Protocol) -> Origin {
    Origin::speaking(protocol, |_| {
        reply(
            200,
            &[
                ("ratelimit", "\"theirs\";r=1"),
                ("x-ratelimit-limit", "1"),
                ("x-rate-limit-remaining", "1"),
                ("x-rating", "5"),
            ],
            full("ok"),
        )
    })
}

/// The members of a list by their names, each with its parameters.
fn members(answer: &Answer, field: &str) -> BTreeMap<String, BTreeMap<String, i64>> {
    let values: Vec<_> = answer
        .headers
        .get_all(field)
        .iter()
        .map(|it| it.to_str().unwrap())
        .collect();
    let list = Parser::parse_list(values.join(", ").as_bytes()).unwrap();
    let members = list.into_iter().map(|member| {
        let ListEntry::Item(item) = member else {
            panic!("{field} has a list inside");
        };
        let BareItem::String(name) = item.bare_item else {
            panic!("{field} has a member that is no string");
        };
        let parameters = item.params.into_iter().map(|(key, value)| match value {
            BareItem::Integer(value) => (key, value),
            other => panic!("{field} has {key}={other:?}"),
        });
        (name, parameters.collect())
    });
    members.collect()
}

fn number(answer: &Answer, field: &str) -> u64 {
    let value = answer
        .header(field)
        .unwrap_or_else(|| panic!("there is no {field} in {answer:?}"));
    value.parse().unwrap()
}

#[tokio::test]
async fn the_fields_of_the_draft_say_how_a_caller_stands() {
    over_each_pair(|pair| async move {
        let shop = shop(pair.origin);
        let gateway = Gateway::draft(
            &[
                SHOP,
                r#"
                [routes.shop]
                match = { path = "/{*rest}" }
                upstream = "shop"
                policies.rate_limit = { by = ["client"], rate = "60/min", burst = 3 }
                "#,
            ]
            .concat(),
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        for left in [2, 1, 0] {
            let answer = client.send(get("/")).await;
            assert_eq!(answer.status, 200);
            let policy = members(&answer, "ratelimit-policy");
            let (name, parameters) = policy.first_key_value().unwrap();
            assert_eq!(
                parameters,
                &BTreeMap::from([("q".into(), 3), ("w".into(), 3)])
            );
            let standing = &members(&answer, "ratelimit")[name];
            assert_eq!(standing["r"], left);
            // All of it is back after as many seconds as were taken; where nothing is left, one is.
            let expected = if left == 0 { 1 } else { 3 - left };
            assert_eq!(standing["t"], expected);
            assert_eq!(answer.header("x-ratelimit-limit"), None);
            assert_eq!(answer.header("x-rate-limit-remaining"), None);
            assert_eq!(answer.header("x-rating"), Some("5"));
            assert_eq!(answer.header("retry-after"), None);
        }
        let answer = client.send(get("/")).await;
        answer.assert_problem(429, "rate_limited");
        let policy = members(&answer, "ratelimit-policy");
        let name = policy.keys().next().unwrap();
        let standing = &members(&answer, "ratelimit")[name];
        assert_eq!((standing["r"], standing["t"]), (0, 1));
        assert_eq!(number(&answer, "retry-after"), 1);
        assert_eq!(
            answer.json()["violated-policies"],
            serde_json::json!([name])
        );
    })
    .await;
}

#[tokio::test]
async fn other_styles_are_those_of_others() {
    let shop = shop(Protocol::Http1);
    let gateway = Gateway::draft(
        &[
            SHOP,
            r#"
            [gateway.policies]
            rate_limit = { by = ["client"], rate = "60/min", burst = 60 }

            [routes.x]
            match = { path = "/x" }
            upstream = "shop"
            policies.limit_fields = { styles = ["x_ratelimit"] }

            [routes.kong]
            match = { path = "/kong" }
            upstream = "shop"
            policies.limit_fields = { styles = ["kong", "ietf"] }

            [routes.envoy]
            match = { path = "/envoy" }
            upstream = "shop"
            policies.limit_fields = { styles = ["envoy"] }

            [routes.off]
            match = { path = "/off" }
            upstream = "shop"
            policies.limit_fields = "off"

            [routes.kept]
            match = { path = "/kept" }
            upstream = "shop"
            policies.limit_fields = { styles = ["kong"], keep_upstream = true }

            [routes.uncounted]
            match = { path = "/uncounted" }
            upstream = "shop"
            policies.rate_limit = "off"
            "#,
        ]
        .concat(),
    )
    .with("shop", &shop)
    .with("protocol", Protocol::Http1)
    .start()
    .await;
    let client = gateway.client(Protocol::Http1);
    let fields = |answer: &Answer| {
        let names = answer.headers.keys().map(|name| name.as_str().to_owned());
        names
            .filter(|name| name.contains("rate") && name != "x-rating")
            .collect::<Vec<_>>()
    };
    let answer = client.send(get("/x")).await;
    assert_eq!(
        (
            number(&answer, "x-ratelimit-limit"),
            number(&answer, "x-ratelimit-remaining")
        ),
        (60, 59)
    );
    assert_eq!(number(&answer, "x-ratelimit-reset"), 1);
    assert_eq!(fields(&answer).len(), 3, "{answer:?}");

    let answer = client.send(get("/kong")).await;
    assert_eq!(
        (
            number(&answer, "ratelimit-limit"),
            number(&answer, "ratelimit-remaining")
        ),
        (60, 58)
    );
    assert_eq!(number(&answer, "ratelimit-reset"), 2);
    assert_eq!(number(&answer, "x-ratelimit-limit-minute"), 60);
    assert_eq!(number(&answer, "x-ratelimit-remaining-minute"), 58);
    assert_eq!(members(&answer, "ratelimit").len(), 1);

    let answer = client.send(get("/envoy")).await;
    let limit = answer.header("x-ratelimit-limit").unwrap();
    assert!(limit.starts_with("60, 60;w=60;name=\""), "{limit}");
    assert_eq!(
        (
            number(&answer, "x-ratelimit-remaining"),
            number(&answer, "x-ratelimit-reset")
        ),
        (57, 3)
    );

    let theirs = ["ratelimit", "x-rate-limit-remaining", "x-ratelimit-limit"];
    for target in ["/off", "/uncounted"] {
        let mut found = fields(&client.send(get(target)).await);
        found.sort_unstable();
        assert_eq!(found, theirs, "{target}");
    }
    let kept = client.send(get("/kept")).await;
    assert_eq!(kept.header("x-ratelimit-limit"), Some("1"));
    assert_eq!(number(&kept, "ratelimit-limit"), 60);
    // A request that no route matches counts as well, and is told so.
    let missed = client.send(get("/nowhere")).await;
    missed.assert_problem(404, "route_not_found");
    assert_eq!(members(&missed, "ratelimit").len(), 1);
}

#[tokio::test]
async fn callers_of_grpc_are_told_in_their_way() {
    let shop = Origin::speaking(Protocol::H2, |_| text("ok"));
    let gateway = Gateway::draft(
        &[
            SHOP,
            r#"
            [routes.shop]
            match = { path = "/{*rest}" }
            upstream = "shop"
            policies.rate_limit = { by = ["client"], rate = "1/h" }
            "#,
        ]
        .concat(),
    )
    .with("shop", &shop)
    .with("protocol", Protocol::H2)
    .start()
    .await;
    let client = gateway.client(Protocol::H2);
    let call = || post("/shop.Orders/Get", "").header("content-type", "application/grpc");
    assert_eq!(client.send(call()).await.status, 200);
    let answer = client.send(call()).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("8"))
    );
    assert!(number(&answer, "retry-after") >= 3599);
    assert_eq!(members(&answer, "ratelimit").len(), 1);
}
