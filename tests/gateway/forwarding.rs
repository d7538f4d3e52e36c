//! What an origin is told of the client, and what is believed of what the client says about itself.

use crate::harness::*;

const SHOP: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = [$trusted]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.request_headers = { set = { x-client = "{client.ip}" } }
"#;

/// Trusts the test as a hop, and the addresses of 10.0.0.0/8 behind it.
const HOPS: &str = r#""127.0.0.1", "10.0.0.0/8""#;

async fn gateway(shop: &Origin, protocol: Protocol, trusted: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol)
        .with("trusted", trusted)
        .start()
        .await
}

fn claiming() -> Ask {
    get("/")
        .header("x-forwarded-for", "198.51.100.1")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "bank.test")
        .header("x-forwarded-port", "443")
        .header("x-real-ip", "198.51.100.1")
        .header("forwarded", "for=198.51.100.1;proto=https")
        .header("x-request-id", "chosen-by-the-client")
}

#[tokio::test]
async fn claims_of_strangers_are_replaced() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, "").await;
        let answer = gateway.client(pair.client).send(claiming()).await;
        let seen = shop.only();
        let values: Vec<_> = seen.headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(values, ["127.0.0.1"]);
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
        assert_eq!(seen.header("x-forwarded-port"), None);
        assert_eq!(seen.header("x-real-ip"), None);
        let forwarded = r#"for=127.0.0.1;host="shop.test";proto=http"#;
        assert_eq!(seen.header("forwarded"), Some(forwarded));
        assert_eq!(seen.header("x-client"), Some("127.0.0.1"));
        assert_ne!(answer.header("x-request-id"), Some("chosen-by-the-client"));
        assert_eq!(gateway.log_of(&answer).await["client"], "127.0.0.1");
    })
    .await;
}

#[tokio::test]
async fn claims_of_trusted_hops_are_kept_and_added_to() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, HOPS).await;
        let answer = gateway.client(pair.client).send(claiming()).await;
        let seen = shop.only();
        let addresses = seen.header("x-forwarded-for");
        assert_eq!(addresses, Some("198.51.100.1, 127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("bank.test"));
        assert_eq!(seen.header("x-client"), Some("198.51.100.1"));
        let forwarded = seen.header("forwarded").unwrap();
        assert!(forwarded.starts_with("for=198.51.100.1;proto=https, for=127.0.0.1;"));
        assert_eq!(answer.header("x-request-id"), Some("chosen-by-the-client"));
        assert_eq!(seen.header("x-request-id"), Some("chosen-by-the-client"));
        assert_eq!(gateway.log_of(&answer).await["client"], "198.51.100.1");
    })
    .await;
}

#[tokio::test]
async fn the_client_is_the_first_from_the_right_who_is_no_hop() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1, HOPS).await;
    let client = gateway.http1();
    for (lines, expected) in [
        // What stands to the left of the client could be anything.
        (&["1.1.1.1, 203.0.113.9, 10.1.2.3"][..], "203.0.113.9"),
        (
            &["1.1.1.1", "203.0.113.9, 10.1.2.3", "10.4.5.6"],
            "203.0.113.9",
        ),
        (&["10.1.2.3, 10.4.5.6"], "10.1.2.3"),
        (&["[2001:db8::7]:4711, 10.1.2.3"], "2001:db8::7"),
        (&["203.0.113.9, unknown, 10.1.2.3"], "10.1.2.3"),
        (&["nonsense"], "127.0.0.1"),
        (&[], "127.0.0.1"),
    ] {
        let mut ask = get("/");
        for line in lines {
            ask = ask.header("x-forwarded-for", line);
        }
        client.send(ask).await;
        let seen = shop.seen().pop().unwrap();
        assert_eq!(seen.header("x-client"), Some(expected), "{lines:?}");
        let mut forwarded = lines.to_vec();
        forwarded.push("127.0.0.1");
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some(forwarded.join(", ").as_str())
        );
    }
}

#[tokio::test]
async fn request_ids_are_drawn_and_not_counted() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1, "").await;
    let client = gateway.http2();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = client.send(get("/")).await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(
            shop.seen().pop().unwrap().header("x-request-id"),
            Some(&*id)
        );
        ids.insert(id);
    }
    assert_eq!(ids.len(), 20, "no two are the same");
    // 128 random bits: neighbours share no more than chance has it.
    let ids: Vec<_> = ids.into_iter().collect();
    let alike = |pair: &[String]| {
        let pairs = pair[0].bytes().zip(pair[1].bytes());
        pairs.filter(|(a, b)| a == b).count()
    };
    assert!(ids.windows(2).all(|pair| alike(pair) < 16), "{ids:?}");
}

#[tokio::test]
async fn ids_of_trusted_hops_must_be_harmless() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1, HOPS).await;
    let client = gateway.http1();
    for bad in ["a b", "a\"b", "<script>", &"a".repeat(65)] {
        let answer = client.send(get("/").header("x-request-id", bad)).await;
        assert_eq!(answer.header("x-request-id").unwrap().len(), 32, "{bad}");
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn traces_are_continued() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, "").await;
        let ask = get("/")
            .header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00"))
            .header("tracestate", "vendor=1");
        let answer = gateway.client(pair.client).send(ask).await;
        assert_eq!(answer.header("x-trace-id"), Some(TRACE));
        let seen = shop.only();
        let parent = seen.header("traceparent").unwrap();
        let parts: Vec<_> = parent.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "00"));
        assert_ne!(parts[2], "00f067aa0ba902b7", "a span of the gateway's own");
        assert_eq!(seen.header("tracestate"), Some("vendor=1"));
        assert_eq!(gateway.log_of(&answer).await["trace_id"], TRACE);
    })
    .await;
}

#[tokio::test]
async fn traces_are_started() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1, "").await;
    let client = gateway.http1();
    for ask in [
        get("/"),
        get("/").header("traceparent", "00-0-0-00"),
        get("/").header("traceparent", &format!("ff-{TRACE}-00f067aa0ba902b7-01")),
    ] {
        let answer = client.send(ask.header("tracestate", "vendor=1")).await;
        let trace = answer.header("x-trace-id").unwrap().to_owned();
        assert_eq!(trace.len(), 32);
        assert_ne!(trace, TRACE);
        let seen = shop.seen().pop().unwrap();
        let parent = seen.header("traceparent").unwrap();
        assert_eq!(parent.split('-').nth(1), Some(trace.as_str()));
        // The state of a trace that does not go on belongs to nothing.
        assert_eq!(seen.header("tracestate"), None);
    }
}

#[tokio::test]
async fn every_response_has_both_ids() {
    let gone = RawOrigin::serving(|_, _| async {});
    let gateway = Gateway::draft(
        r#"
        [upstreams.gone]
        endpoints = ["$gone"]

        [routes.gone]
        match = { path = "/gone", methods = ["GET"] }
        upstream = "gone"

        [routes.ping]
        match = { path = "/ping" }
        respond = { status = 204 }
        "#,
    )
    .with("gone", &gone)
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (ask, status) in [
            (get("/ping"), 204),
            (get("/nowhere"), 404),
            (delete("/gone"), 405),
            (get("/gone"), 502),
            (request("TRACE", "/ping"), 501),
        ] {
            let answer = client.send(ask).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("x-request-id").unwrap().len(), 32);
            assert_eq!(answer.header("x-trace-id").unwrap().len(), 32);
        }
    }
}
