//! `cors`, held against what the Fetch standard asks of a server.

use crate::harness::*;

const APP: &str = "https://app.example.com";

/// The upstream has an opinion of its own on CORS, which nobody may see.
fn shop(protocol: Protocol) -> Origin {
    Origin::speaking(protocol, |_| {
        reply(
            200,
            &[
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-methods", "PURGE"),
                ("access-control-max-age", "999"),
                ("vary", "Accept-Encoding"),
            ],
            full("ok"),
        )
    })
}

const ROUTES: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [listeners.public]
    bind = "127.0.0.1:0"

    [listeners.public.policies.cors]
    origins = ["https://app.example.com", "https://*.partner.example", { regex = 'https://pr-[0-9]+\.example\.dev' }, "http://localhost:3000"]
    headers = ["Authorization", "content-type"]
    expose = ["etag", "x-total"]
    credentials = true
    max_age = "10m"

    [routes.orders]
    match = { path = "/orders", methods = ["POST", "PUT"] }
    upstream = "shop"

    [routes.all]
    match = { path = "/all/{*rest}" }
    upstream = "shop"

    [routes.public]
    match = { path = "/public", methods = ["GET"] }
    upstream = "shop"
    policies.cors = { origins = ["*"], methods = ["GET", "DELETE"], headers = ["*"], expose = ["*"], private_network = true }

    [routes.framed]
    match = { path = "/framed" }
    upstream = "shop"
    policies.cors = { origins = ["null"] }

    [routes.private]
    match = { path = "/private", methods = ["POST"] }
    upstream = "shop"
    policies.cors = "off"

    [routes.private-options]
    match = { path = "/private-too", methods = ["POST"] }
    upstream = "shop"
    policies.cors = "off"

    [routes.private-options-elsewhere]
    match = { path = "/private-too", methods = ["OPTIONS"] }
    upstream = "shop"

    [routes.fixed]
    match = { path = "/fixed" }
    respond = { body = "fixed" }
"#;

/// What a response says of CORS.
#[derive(Default)]
struct Expected {
    status: u16,
    origin: Option<&'static str>,
    credentials: bool,
    methods: Option<&'static str>,
    headers: Option<&'static str>,
    expose: Option<&'static str>,
    max_age: Option<&'static str>,
    private_network: bool,
    vary: Option<&'static str>,
}

const VARY: Option<&str> = Some("Accept-Encoding, Origin");
const PREFLIGHT_VARY: Option<&str> =
    Some("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
const OPEN_PREFLIGHT_VARY: Option<&str> = Some(
    "Access-Control-Request-Method, Access-Control-Request-Headers, \
     Access-Control-Request-Private-Network",
);
const HEADERS: Option<&str> = Some("authorization, content-type");
const EXPOSE: Option<&str> = Some("etag, x-total");

/// A preflight that the policy of the listener grants.
fn granted(origin: &'static str, methods: &'static str) -> Expected {
    Expected {
        status: 204,
        origin: Some(origin),
        credentials: true,
        methods: Some(methods),
        headers: HEADERS,
        max_age: Some("600"),
        vary: PREFLIGHT_VARY,
        ..Expected::default()
    }
}

/// A preflight of an origin that is not allowed.
fn denied() -> Expected {
    Expected {
        status: 403,
        vary: PREFLIGHT_VARY,
        ..Expected::default()
    }
}

/// A response that the script may read.
fn readable(origin: &'static str) -> Expected {
    Expected {
        status: 200,
        origin: Some(origin),
        credentials: true,
        expose: EXPOSE,
        vary: VARY,
        ..Expected::default()
    }
}

/// A response that it may not.
fn unreadable() -> Expected {
    Expected {
        status: 200,
        vary: VARY,
        ..Expected::default()
    }
}

fn preflight(target: &str, origin: &str, method: &str) -> Ask {
    request("OPTIONS", target)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "x-a,x-b")
}

fn ask(method: &str, target: &str, origin: &str) -> Ask {
    request(method, target).header("origin", origin)
}

/// The name of each case, what is sent, and what is to come back.
fn cases() -> Vec<(&'static str, Ask, Expected)> {
    let in_the_open = || Expected {
        status: 200,
        origin: Some("*"),
        expose: Some("*"),
        vary: Some("Accept-Encoding"),
        ..Expected::default()
    };
    let granted_in_the_open = || Expected {
        status: 204,
        origin: Some("*"),
        methods: Some("GET, DELETE"),
        headers: Some("x-a,x-b"),
        vary: OPEN_PREFLIGHT_VARY,
        ..Expected::default()
    };
    vec![
        (
            "a preflight of a route without OPTIONS",
            preflight("/orders", APP, "POST"),
            granted(APP, "POST"),
        ),
        (
            "for another method of it",
            preflight("/orders", APP, "PUT"),
            granted(APP, "PUT"),
        ),
        (
            "for a method that no route takes",
            preflight("/orders", APP, "PATCH"),
            granted(APP, "PATCH"),
        ),
        (
            "for a path that no route has",
            preflight("/nowhere", APP, "GET"),
            granted(APP, "GET"),
        ),
        (
            "of a route of every method",
            preflight("/all/x", APP, "DELETE"),
            granted(APP, "DELETE"),
        ),
        (
            "of a route that replies itself",
            preflight("/fixed", APP, "GET"),
            granted(APP, "GET"),
        ),
        (
            "from below a wildcard",
            preflight("/orders", "https://a.b.partner.example", "POST"),
            granted("https://a.b.partner.example", "POST"),
        ),
        (
            "from what a regex matches",
            preflight("/orders", "https://pr-12.example.dev", "POST"),
            granted("https://pr-12.example.dev", "POST"),
        ),
        (
            "from a port",
            preflight("/orders", "http://localhost:3000", "POST"),
            granted("http://localhost:3000", "POST"),
        ),
        (
            "from another port",
            preflight("/orders", "http://localhost:3001", "POST"),
            denied(),
        ),
        (
            "from no port",
            preflight("/orders", "http://localhost", "POST"),
            denied(),
        ),
        (
            "from another scheme",
            preflight("/orders", "http://app.example.com", "POST"),
            denied(),
        ),
        (
            "from the apex of a wildcard",
            preflight("/orders", "https://partner.example", "POST"),
            denied(),
        ),
        (
            "from what only ends like it",
            preflight("/orders", "https://evilpartner.example", "POST"),
            denied(),
        ),
        (
            "from what only begins like it",
            preflight("/orders", "https://app.example.com.evil.test", "POST"),
            denied(),
        ),
        (
            "from what a regex matches in part",
            preflight("/orders", "https://pr-1.example.dev.evil.test", "POST"),
            denied(),
        ),
        (
            "from a dot that is none",
            preflight("/orders", "https://pr-1xexample.dev", "POST"),
            denied(),
        ),
        ("from null", preflight("/orders", "null", "POST"), denied()),
        (
            "from two origins",
            preflight("/orders", APP, "POST").header("origin", "https://evil.test"),
            denied(),
        ),
        ("from nothing", preflight("/orders", "", "POST"), denied()),
        (
            "where null is listed",
            preflight("/framed", "null", "GET"),
            Expected {
                status: 204,
                origin: Some("null"),
                methods: Some("GET"),
                vary: PREFLIGHT_VARY,
                ..Expected::default()
            },
        ),
        (
            "where only null is listed",
            preflight("/framed", APP, "GET"),
            denied(),
        ),
        (
            "where everybody is",
            preflight("/public", "https://who.test", "GET"),
            granted_in_the_open(),
        ),
        (
            "from null where everybody is",
            preflight("/public", "null", "GET"),
            granted_in_the_open(),
        ),
        (
            "to a private network",
            preflight("/public", "https://who.test", "GET")
                .header("access-control-request-private-network", "true"),
            Expected {
                private_network: true,
                ..granted_in_the_open()
            },
        ),
        (
            "to a private network that is not open",
            preflight("/orders", APP, "POST")
                .header("access-control-request-private-network", "true"),
            granted(APP, "POST"),
        ),
        (
            "where it is off",
            preflight("/private", APP, "POST"),
            Expected {
                status: 405,
                // That of the listener, whose 405 it is: readable, and no leave.
                origin: Some(APP),
                credentials: true,
                expose: EXPOSE,
                vary: Some("Origin"),
                ..Expected::default()
            },
        ),
        (
            "where it is off and another route takes OPTIONS",
            preflight("/private-too", APP, "POST"),
            readable(APP),
        ),
        (
            "an OPTIONS that is no preflight",
            ask("OPTIONS", "/all/x", APP),
            readable(APP),
        ),
        (
            "an OPTIONS without an origin",
            request("OPTIONS", "/all/x").header("access-control-request-method", "PUT"),
            unreadable(),
        ),
        (
            "a request of an allowed origin",
            ask("POST", "/orders", APP),
            readable(APP),
        ),
        (
            "in capitals",
            ask("POST", "/orders", "https://APP.example.com"),
            readable("https://APP.example.com"),
        ),
        (
            "of a stranger",
            ask("POST", "/orders", "https://evil.test"),
            unreadable(),
        ),
        (
            "of two origins",
            ask("POST", "/orders", APP).header("origin", APP),
            unreadable(),
        ),
        (
            "without an origin",
            request("POST", "/orders"),
            unreadable(),
        ),
        (
            "that asks like a preflight and is none",
            ask("POST", "/orders", APP).header("access-control-request-method", "POST"),
            readable(APP),
        ),
        (
            "in the open",
            ask("GET", "/public", "https://who.test"),
            in_the_open(),
        ),
        (
            "in the open without an origin",
            get("/public"),
            in_the_open(),
        ),
        (
            "where it is off: what the upstream says",
            ask("POST", "/private", APP),
            Expected {
                status: 200,
                origin: Some("*"),
                credentials: true,
                methods: Some("PURGE"),
                max_age: Some("999"),
                vary: Some("Accept-Encoding"),
                ..Expected::default()
            },
        ),
        (
            "a 404",
            ask("GET", "/nowhere", APP),
            Expected {
                status: 404,
                vary: Some("Origin"),
                ..readable(APP)
            },
        ),
        (
            "a 405",
            ask("GET", "/orders", APP),
            Expected {
                status: 405,
                vary: Some("Origin"),
                ..readable(APP)
            },
        ),
        (
            "a 404 for a stranger",
            ask("GET", "/nowhere", "https://evil.test"),
            Expected {
                status: 404,
                vary: Some("Origin"),
                ..Expected::default()
            },
        ),
    ]
}

#[tokio::test]
async fn every_case_of_the_standard() {
    assert!(cases().len() >= 25);
    over_each_pair(|pair| async move {
        let shop = shop(pair.origin);
        let gateway = Gateway::draft(ROUTES)
            .with("shop", &shop)
            .with("protocol", pair.origin)
            .start()
            .await;
        let client = gateway.client(pair.client);
        for (name, ask, expected) in cases() {
            let answer = client.send(ask).await;
            let found = |header: &str| {
                let values: Vec<_> = answer.headers.get_all(header).iter().collect();
                assert!(
                    values.len() < 2,
                    "{name}: {header} is there {} times",
                    values.len()
                );
                answer.header(header).map(str::to_owned)
            };
            let truth = |is_true: bool| is_true.then(|| "true".to_owned());
            let text = |value: Option<&str>| value.map(str::to_owned);
            assert_eq!(answer.status, expected.status, "{name}");
            for (header, expected) in [
                ("access-control-allow-origin", text(expected.origin)),
                (
                    "access-control-allow-credentials",
                    truth(expected.credentials),
                ),
                ("access-control-allow-methods", text(expected.methods)),
                ("access-control-allow-headers", text(expected.headers)),
                ("access-control-expose-headers", text(expected.expose)),
                ("access-control-max-age", text(expected.max_age)),
                (
                    "access-control-allow-private-network",
                    truth(expected.private_network),
                ),
                ("vary", text(expected.vary)),
            ] {
                assert_eq!(found(header), expected, "{name}: {header}");
            }
        }
        let preflights = shop.seen().into_iter().filter(|seen| {
            let is_asking = seen.headers.contains_key("access-control-request-headers");
            seen.method == "OPTIONS" && is_asking && seen.target != "/private-too"
        });
        assert_eq!(
            preflights.count(),
            0,
            "no upstream sees a preflight that is answered"
        );
    })
    .await;
}

#[tokio::test]
async fn a_denied_preflight_is_a_failure_that_the_log_knows() {
    let shop = shop(Protocol::Http1);
    let gateway = Gateway::draft(ROUTES)
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let answer = gateway
        .http2()
        .send(preflight("/orders", "https://evil.test", "POST"))
        .await;
    answer.assert_problem(403, "origin_denied");
    let line = gateway.log_of(&answer).await;
    assert_eq!(line["flag"], "OD");
    assert_eq!(line["route"], "orders");
    assert_eq!(line["upstream"], serde_json::Value::Null);
}

/// A page has to be able to read why it was refused, whoever refused it.
#[tokio::test]
async fn failures_of_the_gateway_can_be_read() {
    let gone = RawOrigin::serving(|_, _| async {});
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        trusted_proxies = ["127.0.0.1"]

        [listeners.public.policies]
        cors = { origins = ["https://app.example.com"] }
        ip_access = { deny = ["192.0.2.0/24"] }

        [upstreams.gone]
        endpoints = ["$gone"]

        [routes.gone]
        match = { path = "/gone" }
        upstream = "gone"
        "#,
    )
    .with("gone", &gone)
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (from, ask, status) in [
            ("10.0.0.1", ask("GET", "/gone", APP), 502),
            ("10.0.0.1", ask("GET", "/nowhere", APP), 404),
            ("192.0.2.1", ask("GET", "/gone", APP), 403),
            // Who is not let in is not told what it might do.
            ("192.0.2.1", preflight("/gone", APP, "GET"), 403),
        ] {
            let answer = client.send(ask.header("x-forwarded-for", from)).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        }
    }
}

#[tokio::test]
async fn what_an_upstream_varies_on_is_kept() {
    let shop = Origin::speaking(Protocol::Http1, |seen| {
        let vary: Vec<(&str, &str)> = match &*seen.target {
            "/two" => vec![("vary", "Accept"), ("vary", "cookie")],
            "/same" => vec![("vary", "accept, ORIGIN")],
            "/star" => vec![("vary", "*")],
            _ => vec![],
        };
        reply(200, &vary, empty())
    });
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.shop]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.cors = { origins = ["https://app.example.com"] }
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    for (target, expected) in [
        ("/none", "Origin"),
        ("/two", "Accept, cookie, Origin"),
        ("/same", "accept, ORIGIN"),
        ("/star", "*"),
    ] {
        let answer = client.send(ask("GET", target, APP)).await;
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        assert_eq!(vary, [expected], "{target}");
    }
}
