//! `forward_auth`: a service of the operator's decides about each request.

use std::sync::Arc;

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = []

    [consumers.acme]
    plan = "gold"
    roles = ["partner"]

    [identity.forward_auth.main]
    url = "http://$service/verify?a=b"
    request_headers = ["authorization", "x-tenant"]
    response_headers = ["x-user-id", "x-user-note"]
    identity = { subject = "x-user-id", roles = "x-user-roles", consumer = "x-user-consumer" }
    client = { timeout = "2s" }
    $more

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [gateway.policies.request_headers.set]
    x-roles = "{identity.subject}:{identity.roles}"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.forward_auth = {}

    [routes.open]
    match = { path = "/open" }
    upstream = "shop"
"#;

async fn gateway(
    service: &impl std::fmt::Display,
    shop: &impl std::fmt::Display,
    protocol: Protocol,
    more: &str,
) -> Gateway {
    let draft = Gateway::draft(GATEWAY).with("service", service);
    let draft = draft.with("shop", shop).with("protocol", protocol);
    draft.with("more", more).start().await
}

#[tokio::test]
async fn what_the_service_says_is_what_the_upstream_gets() {
    over_each_pair(|pair| async move {
        let service = Origin::http1(|_| {
            let headers = [
                ("x-user-id", "u1"),
                ("x-user-note", "a"),
                ("x-user-note", "b"),
                ("x-user-roles", "admin, reader"),
                ("x-user-consumer", "acme"),
                ("x-unlisted", "no"),
                ("set-cookie", "no=1"),
                ("connection", "x-user-id"),
            ];
            reply(202, &headers, full("ignored"))
        });
        let shop = Origin::speaking(pair.origin, |_| text("served"));
        let gateway = gateway(&service, &shop, pair.origin, "").await;
        let ask = request("PUT", "/orders/7?x=y")
            .header("authorization", "Token abc")
            .header("x-tenant", "t1")
            .header("x-private", "secret")
            .header("cookie", "a=b")
            // Nobody but the gateway says these.
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-uri", "/open")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-host", "internal.test")
            .header("x-forwarded-proto", "https")
            .header("x-user-id", "root")
            .header("X_User_Id", "root")
            .header("x-user_note", "root")
            .header("x-unlisted", "mine")
            .body(full("body"));
        let answer = gateway.client(pair.client).send(ask).await;
        assert_eq!((answer.status, &*answer.text()), (200, "served"));
        assert_eq!(answer.header("set-cookie"), None);
        let asked = service.only();
        assert_eq!(
            (asked.method.as_str(), &*asked.target),
            ("GET", "/verify?a=b")
        );
        assert!(asked.body.is_empty());
        for (name, expected) in [
            ("authorization", Some("Token abc")),
            ("x-tenant", Some("t1")),
            ("x-private", None),
            ("cookie", None),
            ("x-forwarded-method", Some("PUT")),
            ("x-forwarded-uri", Some("/orders/7?x=y")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-host", Some("shop.test")),
            ("x-forwarded-proto", Some("http")),
            ("x-request-id", answer.header("x-request-id")),
            ("x-user-id", None),
        ] {
            assert_eq!(asked.header(name), expected, "{name}");
            let count = asked.headers.get_all(name).iter().count();
            assert!(count <= 1, "{name}: {count}");
        }
        let seen = shop.only();
        for (name, expected) in [
            ("authorization", None),
            ("x-tenant", Some("t1")),
            ("cookie", Some("a=b")),
            ("x-private", Some("secret")),
            ("x-user-id", Some("u1")),
            ("x-user-note", Some("a, b")),
            ("x_user_id", None),
            ("x-user_note", None),
            ("x-user-roles", None),
            ("x-unlisted", Some("mine")),
            ("x-roles", Some("u1:partner admin reader")),
        ] {
            assert_eq!(seen.header(name), expected, "{name}");
        }
        assert_eq!(seen.headers.get_all("x-user-id").iter().count(), 1);
        assert_eq!(&*seen.body, b"body");
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["consumer"], "acme");
        // Where nobody is asked, nobody can say who it is either.
        let ask = get("/open")
            .header("x-user-id", "root")
            .header("X_User_Note", "root");
        assert_eq!(gateway.client(pair.client).send(ask).await.status, 200);
        let seen = shop.seen().pop().unwrap();
        assert_eq!(
            (seen.header("x-user-id"), seen.header("x_user_note")),
            (None, None)
        );
        assert_eq!(service.seen().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn refusals_are_the_clients_and_nothing_else_is() {
    let elsewhere = Origin::http1(|_| text("no"));
    let location = format!("http://{elsewhere}/login");
    let service = Origin::http1(move |seen| {
        let status = seen.header("x-tenant").unwrap().parse().unwrap();
        let headers = [
            ("content-type", "text/plain"),
            ("www-authenticate", "Token realm=\"shop\""),
            ("location", &location),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-internal", "10.0.0.7"),
            ("x-user-id", "u1"),
        ];
        reply(status, &headers, full("why not"))
    });
    let shop = Origin::http1(|_| text("served"));
    let gateway = gateway(&service, &shop, Protocol::Http1, "").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for status in [401, 403, 302, 303, 307] {
            let answer = client
                .send(get("/a").header("x-tenant", &status.to_string()))
                .await;
            assert_eq!((answer.status, &*answer.text()), (status, "why not"));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Token realm=\"shop\"")
            );
            assert!(answer.header("location").unwrap().ends_with("/login"));
            assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
            assert_eq!(
                (answer.header("x-internal"), answer.header("x-user-id")),
                (None, None)
            );
            assert!(answer.header("x-request-id").is_some());
        }
        for (status, expected, code) in [
            (304, 503, "authentication_unavailable"),
            (400, 403, "access_denied"),
            (404, 403, "access_denied"),
            (429, 403, "access_denied"),
            (500, 503, "authentication_unavailable"),
            (503, 503, "authentication_unavailable"),
        ] {
            let answer = client
                .send(get("/a").header("x-tenant", &status.to_string()))
                .await;
            answer.assert_problem(expected, code);
            assert_eq!(
                (answer.header("location"), answer.header("set-cookie")),
                (None, None)
            );
        }
    }
    assert!(shop.seen().is_empty() && elsewhere.seen().is_empty());
}

/// Answers that allow and cannot be believed: each counts as none.
const UNBELIEVABLE: &[(&str, &[(&str, &str)])] = &[
    ("nobody is named", &[]),
    ("nobody is named by an empty name", &[("x-user-id", " ")]),
    (
        "two are named",
        &[("x-user-id", "u1"), ("x-user-id", "root")],
    ),
    (
        "a consumer that is not configured",
        &[("x-user-id", "u1"), ("x-user-consumer", "root")],
    ),
    (
        "two consumers",
        &[
            ("x-user-id", "u1"),
            ("x-user-consumer", "acme"),
            ("x-user-consumer", "acme"),
        ],
    ),
    (
        "a name that is not ASCII",
        &[("x-user-id", "r\u{f6}\u{f6}t")],
    ),
    (
        "a note that is not ASCII",
        &[("x-user-id", "u1"), ("x-user-note", "\u{e9}")],
    ),
];

#[tokio::test]
async fn what_cannot_be_believed_or_asked_is_a_choice() {
    for (choice, is_open) in [("refuse", false), ("allow", true)] {
        let service = Origin::http1(|seen| {
            let index: usize = seen.header("x-tenant").unwrap().parse().unwrap();
            let headers = UNBELIEVABLE.get(index).map(|(_, headers)| *headers);
            match headers {
                Some(headers) => reply(200, headers, empty()),
                None => reply(index as u16, &[("x-user-id", "root")], empty()),
            }
        });
        let shop = Origin::http1(|_| text("served"));
        let more = format!("on_server_down = \"{choice}\"");
        let gateway = gateway(&service, &shop, Protocol::Http1, &more).await;
        let client = gateway.http1();
        let check = async |what: &str, tenant: usize, expected: u16| {
            let ask = get("/a").header("x-tenant", &tenant.to_string());
            let ask = ask
                .header("x-user-id", "root")
                .header("x-user-note", "root");
            let answer = client.send(ask).await;
            eprintln!("{choice}: {what}");
            match expected {
                403 => answer.assert_problem(403, "access_denied"),
                503 => answer.assert_problem(503, "authentication_unavailable"),
                _ => {
                    assert_eq!(answer.status, 200, "{what}");
                    let seen = shop.seen().pop().unwrap();
                    assert_eq!(
                        (seen.header("x-user-id"), seen.header("x-user-note")),
                        (None, None),
                        "{what}"
                    );
                    assert_eq!(seen.header("x-roles"), None, "{what}");
                }
            }
        };
        // What a client could bring about is no choice: by its name, or by a request that is too large or too odd.
        for (index, (what, _)) in UNBELIEVABLE.iter().enumerate() {
            check(what, index, 503).await;
        }
        for status in [400, 404, 405, 408, 413, 429, 431, 499] {
            check("a request that is not taken", status, 403).await;
        }
        check("not modified", 304, 503).await;
        assert!(shop.seen().is_empty());
        let expected = if is_open { 200 } else { 503 };
        check("a failure", 500, expected).await;
        check("a gateway of its own that waits in vain", 504, expected).await;
        drop(service);
        // Where a connection was kept, the first exchange breaks off.
        eventually("nobody there", async || {
            let answer = client.send(get("/a").header("x-tenant", "0")).await;
            (answer.status == expected).then_some(())
        })
        .await;
        check("nobody there", 0, expected).await;
        assert_eq!(shop.seen().is_empty(), !is_open);
    }
}

#[tokio::test]
async fn a_service_that_is_silent_or_cuts_its_answer_short_is_given_up() {
    for service in [
        crate::origins::silent::start(),
        crate::origins::garbage::start(),
        crate::origins::half_close::in_header(),
        crate::origins::reset::before_header(),
    ] {
        let shop = Origin::http1(|_| text("served"));
        let gateway = gateway(&service, &shop, Protocol::Http1, "concurrent = 4").await;
        let client = Arc::new(gateway.http2());
        let all: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.send(get("/a")).await })
            })
            .collect();
        for answer in all {
            let answer = within("an answer", answer).await.unwrap();
            answer.assert_problem(503, "authentication_unavailable");
        }
        assert!(shop.seen().is_empty());
    }
}

/// Whoever makes many requests waits for a place with them, and does not get past a service by that.
#[tokio::test]
async fn filling_the_limit_lets_nobody_in() {
    let service = crate::origins::silent::start();
    let shop = Origin::http1(|_| text("served"));
    let more = "concurrent = 1\non_server_down = \"allow\"";
    let gateway = gateway(&service, &shop, Protocol::Http1, more).await;
    let client = Arc::new(gateway.http2());
    let all: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.send(get("/a")).await })
        })
        .collect();
    let mut refused = 0;
    for answer in all {
        let answer = within("an answer", answer).await.unwrap();
        if answer.status != 200 {
            answer.assert_problem(503, "authentication_unavailable");
            refused += 1;
        }
    }
    // Those few that have had a place found that it is down.
    assert!(refused >= 8, "{refused}");
}

/// A service that is down is no reason to let in whom another authenticator refuses.
#[tokio::test]
async fn by_its_absence_a_service_overrules_nobody() {
    for order in [r#""forward_auth", "hmac""#, r#""hmac", "forward_auth""#] {
        for (anonymous, expected) in [("refuse", 401), ("allow", 200)] {
            let shop = Origin::http1(|_| text("served"));
            let gateway = Gateway::draft(
                r#"
                [identity.forward_auth.main]
                url = "http://127.0.0.1:1/verify"
                on_server_down = "allow"

                [upstreams.shop]
                endpoints = ["$shop"]

                [routes.all]
                match = { path = "/{*rest}" }
                upstream = "shop"
                [routes.all.policies]
                forward_auth = {}
                hmac = { anonymous = "$anonymous" }
                any_of = [$order]
                "#,
            )
            .with("shop", &shop)
            .with("anonymous", anonymous)
            .with("order", order)
            .start()
            .await;
            let client = gateway.http1();
            let signed = get("/a")
                .header("signature-input", "sig=()")
                .header("signature", "sig=:AAAA:");
            let answer = client.send(signed).await;
            answer.assert_problem(401, "credential_refused");
            let unsigned = client.send(get("/a")).await;
            assert_eq!(unsigned.status, expected, "{order} {anonymous}");
            let served = usize::from(expected == 200);
            assert_eq!(shop.seen().len(), served, "{order} {anonymous}");
        }
    }
}

#[tokio::test]
async fn what_is_remembered_is_for_requests_that_are_alike() {
    let service = Origin::http1(|seen| match seen.header("authorization") {
        Some("Token bad") => status(403),
        Some(token) => reply(
            200,
            &[("x-user-id", token.trim_start_matches("Token "))],
            empty(),
        ),
        None => reply(200, &[("x-user-id", "guest")], empty()),
    });
    let shop = Origin::http1(|seen| text(seen.header("x-user-id").unwrap().to_owned()));
    let more = "remember = { by = [\"authorization\", \"@method\", \"@path\", \"client.ip\"], for = \"10m\" }";
    let gateway = gateway(&service, &shop, Protocol::Http1, more).await;
    let client = gateway.http1();
    for (ask, who, asked) in [
        (get("/a").header("authorization", "Token ann"), "ann", 1),
        (
            get("/a?other").header("authorization", "Token ann"),
            "ann",
            1,
        ),
        (get("/b").header("authorization", "Token ann"), "ann", 2),
        (get("/a").header("authorization", "Token bob"), "bob", 3),
        (get("/a"), "guest", 4),
        (get("/a").header("authorization", ""), "", 5),
        (
            request("DELETE", "/a").header("authorization", "Token ann"),
            "ann",
            6,
        ),
        (get("/a").header("authorization", "Token ann"), "ann", 6),
        (get("/a"), "guest", 6),
        (
            get("/a")
                .header("authorization", "Token ann")
                .header("x-user-id", "root"),
            "ann",
            6,
        ),
    ] {
        let answer = client.send(ask).await;
        match who {
            // The service names nobody.
            "" => answer.assert_problem(503, "authentication_unavailable"),
            who => assert_eq!(answer.text(), who),
        }
        assert_eq!(service.seen().len(), asked, "{who}");
    }
    // Refusals are not.
    for asked in [7, 8] {
        let bad = get("/a").header("authorization", "Token bad");
        assert_eq!(client.send(bad).await.status, 403);
        assert_eq!(service.seen().len(), asked);
    }
}

#[tokio::test]
async fn a_body_that_the_service_sees_reaches_the_upstream_whole() {
    over_each_pair(|pair| async move {
        let service = Origin::http1(|seen| match &*seen.body {
            b"bad" => status(403),
            _ => reply(200, &[("x-user-id", "u1")], empty()),
        });
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body));
        let more = "method = \"same\"\nbody = \"64KiB\"";
        let gateway = gateway(&service, &shop, pair.origin, more).await;
        let client = gateway.client(pair.client);
        let streamed = |body: Vec<u8>| {
            let (chunks, streamed) = channel();
            tokio::spawn(async move {
                for piece in body.chunks(7_000) {
                    if !chunks.send(piece.to_vec()).await {
                        return;
                    }
                }
            });
            streamed
        };
        for length in [0, 1, 5_000, 65_536] {
            let body: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            for is_streamed in [false, true] {
                let ask = request("POST", "/a").header("content-type", "text/x-mine");
                let ask = match is_streamed {
                    false => ask.body(full(body.clone())),
                    true => ask.body(streamed(body.clone())),
                };
                let answer = client.send(ask).await;
                assert_eq!(answer.status, 200, "{length} {is_streamed}");
                assert!(answer.body == body, "{length} {is_streamed}");
                let asked = service.seen().pop().unwrap();
                assert_eq!(asked.method, "POST");
                assert_eq!(asked.header("content-type"), Some("text/x-mine"));
                assert!(asked.body == body, "{length} {is_streamed}");
            }
        }
        assert_eq!(client.send(get("/a")).await.status, 200);
        let (asked, seen) = (service.seen().len(), shop.seen().len());
        assert_eq!(client.send(post("/a", "bad")).await.status, 403);
        for is_streamed in [false, true] {
            let client = gateway.client(pair.client);
            let body = vec![b'x'; 65_537];
            let ask = match is_streamed {
                false => post("/a", body),
                true => request("POST", "/a").body(streamed(body)),
            };
            client
                .send(ask)
                .await
                .assert_problem(413, "payload_too_large");
        }
        assert_eq!((service.seen().len(), shop.seen().len()), (asked + 1, seen));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_and_a_slow_one_is_not_waited_for() {
    let service = Origin::http1(|_| reply(200, &[("x-user-id", "u1")], empty()));
    let shop = Origin::http1(|seen| text(seen.body));
    let more = "method = \"same\"\nbody = 100";
    let gateway = gateway(&service, &shop, Protocol::Http1, more).await;
    let mut client = RawClient::connect(gateway.address()).await;
    let head = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.send(head).await;
    let first = client.read_until("\r\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    client.send("hello").await;
    let answer = client.read_until("hello").await;
    assert!(answer.contains("HTTP/1.1 200 "), "{answer}");
    assert_eq!(&*shop.only().body, b"hello");
    // A length that is too long is refused before anything is read.
    let head = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 101\r\nexpect: 100-continue\r\n\r\n";
    let answer = RawClient::exchange(gateway.address(), head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // What takes too long is given up, and nobody else hears of it.
    let asked = service.seen().len();
    let slow = GATEWAY.replace(
        "trusted_proxies = []",
        "timeouts = { request_body_idle = \"300ms\" }",
    );
    let slow = Gateway::draft(&slow).with("service", &service);
    let slow = slow.with("shop", &shop).with("protocol", Protocol::Http1);
    let gateway = slow.with("more", more).start().await;
    let head = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel";
    let answer = RawClient::exchange(gateway.address(), head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(service.seen().len(), asked);
}

/// RFC 9110 section 15.5.2: whoever's answer it is, a 401 has a challenge.
#[tokio::test]
async fn a_401_of_the_service_has_a_challenge_whatever_it_says() {
    let service = Origin::http1(|_| status(401));
    let shop = Origin::http1(|_| text("served"));
    let gateway = gateway(&service, &shop, Protocol::Http1, "").await;
    let answer = gateway.http1().send(get("/a")).await;
    assert_eq!(answer.status, 401);
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, ["Unspecified realm=\"northgate\""]);
}
