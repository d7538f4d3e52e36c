//! Who the client is behind hops, and that nobody forges what the gateway says of it, in whatever spelling.

use crate::harness::*;

const SHOP: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1", "10.0.0.0/8", "2001:db8:aaaa::/48"]
    $listener

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.request_headers = { remove = ["x-debug", "x-internal-*"], set = { x-client = "{client.ip}", x-scheme = "{request.scheme}", x-user-id = "u7" }, add = { x-tenant = "t7" } }
"#;

/// A trusted hop and a stranger.
const HOP: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

async fn gateway(shop: &Origin, listener: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("listener", listener)
        .start()
        .await
}

/// Sends these header lines from there; the status of the answer.
async fn send(gateway: &Gateway, from: &str, lines: &str) -> String {
    let mut client = RawClient::connect_from(from, gateway.address()).await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}connection: close\r\n\r\n");
    client.send(request).await;
    let answer = client.read_to_end().await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// What the origin saw: client, scheme, `X-Forwarded-For`, and `Forwarded` before the gateway's own element.
async fn seen(shop: &Origin, gateway: &Gateway, from: &str, lines: &str) -> [String; 4] {
    assert_eq!(send(gateway, from, lines).await, "200", "{lines}");
    let seen = shop.seen().pop().unwrap();
    let header = |name: &str| {
        let values: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].to_str().unwrap().to_owned()
    };
    let forwarded = header("forwarded");
    let (before, own) = forwarded.rsplit_once("for=127.0.0.").unwrap();
    assert!(
        own.ends_with(&format!(";proto={}", header("x-scheme"))),
        "{own}"
    );
    assert_eq!(header("x-forwarded-proto"), header("x-scheme"));
    [
        header("x-client"),
        header("x-scheme"),
        header("x-forwarded-for"),
        before.trim_end_matches(", ").to_owned(),
    ]
}

#[tokio::test]
async fn the_table_of_forwarding_headers() {
    let hops = |count: usize| "10.0.0.1, ".repeat(count);
    let long = format!("x-forwarded-for: 203.0.113.9, {}10.0.0.2\r\n", hops(40));
    let long_seen = format!("203.0.113.9, {}10.0.0.2, 127.0.0.1", hops(40));
    let near = format!("x-forwarded-for: 203.0.113.9, {}10.0.0.2\r\n", hops(30));
    let near_seen = format!("203.0.113.9, {}10.0.0.2, 127.0.0.1", hops(30));
    // The listener, the peer, the header lines, and then client, scheme, X-Forwarded-For and Forwarded.
    let table: &[(&str, &str, &str, [&str; 4])] = &[
        ("", HOP, "", ["127.0.0.1", "http", "127.0.0.1", ""]),
        ("", STRANGER, "", ["127.0.0.2", "http", "127.0.0.2", ""]),
        (
            "",
            STRANGER,
            "x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9;proto=https\r\nx-forwarded-proto: https\r\n",
            ["127.0.0.2", "http", "127.0.0.2", ""],
        ),
        (
            "",
            STRANGER,
            "X-FORWARDED-FOR: 203.0.113.9\r\nX_Forwarded_For: 203.0.113.9\r\n",
            ["127.0.0.2", "http", "127.0.0.2", ""],
        ),
        // X-Forwarded-For, from the right.
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9\r\n",
            ["203.0.113.9", "http", "203.0.113.9, 127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 1.1.1.1, 203.0.113.9, 10.0.0.2\r\n",
            [
                "203.0.113.9",
                "http",
                "1.1.1.1, 203.0.113.9, 10.0.0.2, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 203.0.113.9 , 10.0.0.2\r\n",
            [
                "203.0.113.9",
                "http",
                "1.1.1.1, 203.0.113.9 , 10.0.0.2, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9\r\nx-forwarded-for: 10.0.0.3\r\nx-forwarded-for: 10.0.0.2\r\n",
            [
                "203.0.113.9",
                "http",
                "203.0.113.9, 10.0.0.3, 10.0.0.2, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9:4711\r\n",
            ["203.0.113.9", "http", "203.0.113.9:4711, 127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: [2001:db8::9]:4711\r\n",
            ["2001:db8::9", "http", "[2001:db8::9]:4711, 127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 2001:db8::9, 2001:db8:aaaa::1\r\n",
            [
                "2001:db8::9",
                "http",
                "2001:db8::9, 2001:db8:aaaa::1, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9, ::ffff:10.0.0.2\r\n",
            [
                "203.0.113.9",
                "http",
                "203.0.113.9, ::ffff:10.0.0.2, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 10.0.0.3, 10.0.0.2\r\n",
            ["10.0.0.3", "http", "10.0.0.3, 10.0.0.2, 127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9, unknown, 10.0.0.2\r\n",
            [
                "10.0.0.2",
                "http",
                "203.0.113.9, unknown, 10.0.0.2, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9, 10.0.0.02\r\n",
            ["127.0.0.1", "http", "203.0.113.9, 10.0.0.02, 127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: 203.0.113.9, , 10.0.0.2,\r\n",
            [
                "203.0.113.9",
                "http",
                "203.0.113.9, , 10.0.0.2,, 127.0.0.1",
                "",
            ],
        ),
        (
            "",
            HOP,
            "x-forwarded-for: <script>\r\n",
            ["127.0.0.1", "http", "<script>, 127.0.0.1", ""],
        ),
        ("", HOP, &near, ["203.0.113.9", "http", &near_seen, ""]),
        ("", HOP, &long, ["10.0.0.1", "http", &long_seen, ""]),
        // The scheme.
        (
            "",
            HOP,
            "x-forwarded-proto: https\r\n",
            ["127.0.0.1", "https", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: HTTPS\r\n",
            ["127.0.0.1", "https", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: https\r\nx-forwarded-proto: http\r\n",
            ["127.0.0.1", "http", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: https, http\r\n",
            ["127.0.0.1", "http", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: https,https\r\n",
            ["127.0.0.1", "https", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: http\r\nx-forwarded-proto: gopher, HTTPS ,\r\n",
            ["127.0.0.1", "https", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: https, gopher\r\n",
            ["127.0.0.1", "http", "127.0.0.1", ""],
        ),
        (
            "",
            HOP,
            "x-forwarded-proto: gopher\r\n",
            ["127.0.0.1", "http", "127.0.0.1", ""],
        ),
        // Forwarded, where there is nothing else.
        (
            "",
            HOP,
            "forwarded: for=203.0.113.9;proto=https\r\n",
            [
                "203.0.113.9",
                "https",
                "127.0.0.1",
                "for=203.0.113.9;proto=https",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=1.1.1.1, For=\"203.0.113.9:80\";Proto=https, for=10.0.0.2;proto=http\r\n",
            [
                "203.0.113.9",
                "https",
                "127.0.0.1",
                "for=1.1.1.1, For=\"203.0.113.9:80\";Proto=https, for=10.0.0.2;proto=http",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=\"[2001:db8::9]:4711\"\r\nforwarded: for=10.0.0.2\r\n",
            [
                "2001:db8::9",
                "http",
                "127.0.0.1",
                "for=\"[2001:db8::9]:4711\", for=10.0.0.2",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=203.0.113.9, for=unknown, for=10.0.0.2\r\n",
            [
                "10.0.0.2",
                "http",
                "127.0.0.1",
                "for=203.0.113.9, for=unknown, for=10.0.0.2",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=203.0.113.9, for=_hidden\r\n",
            [
                "127.0.0.1",
                "http",
                "127.0.0.1",
                "for=203.0.113.9, for=_hidden",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=\"x, for=203.0.113.9\r\n",
            [
                "203.0.113.9",
                "http",
                "127.0.0.1",
                "for=\"x, for=203.0.113.9",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: proto=https\r\n",
            ["127.0.0.1", "http", "127.0.0.1", "proto=https"],
        ),
        // Both.
        (
            "",
            HOP,
            "forwarded: for=203.0.113.9;proto=https\r\nx-forwarded-for: 203.0.113.9\r\n",
            [
                "203.0.113.9",
                "http",
                "203.0.113.9, 127.0.0.1",
                "for=203.0.113.9;proto=https",
            ],
        ),
        (
            "",
            HOP,
            "forwarded: for=203.0.113.9;proto=https\r\nx-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n",
            [
                "203.0.113.9",
                "https",
                "203.0.113.9, 127.0.0.1",
                "for=203.0.113.9;proto=https",
            ],
        ),
        (
            "trusted_header = \"x-forwarded-for\"",
            HOP,
            "forwarded: for=10.9.9.9;proto=https\r\nx-forwarded-for: 203.0.113.9\r\n",
            ["203.0.113.9", "http", "203.0.113.9, 127.0.0.1", ""],
        ),
        (
            "trusted_header = \"x-forwarded-for\"",
            HOP,
            "forwarded: for=10.9.9.9;proto=https\r\n",
            ["127.0.0.1", "http", "127.0.0.1", "for=10.9.9.9;proto=https"],
        ),
        (
            "trusted_header = \"forwarded\"",
            HOP,
            "forwarded: for=203.0.113.9;proto=https\r\nx-forwarded-for: 10.9.9.9\r\nx-forwarded-proto: http\r\n",
            [
                "203.0.113.9",
                "https",
                "127.0.0.1",
                "for=203.0.113.9;proto=https",
            ],
        ),
        (
            "trusted_header = \"forwarded\"",
            HOP,
            "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n",
            ["127.0.0.1", "http", "203.0.113.9, 127.0.0.1", ""],
        ),
    ];
    assert!(table.len() >= 30);
    for listener in [
        "",
        "trusted_header = \"x-forwarded-for\"",
        "trusted_header = \"forwarded\"",
    ] {
        let shop = Origin::http1(|_| text("ok"));
        let gateway = gateway(&shop, listener).await;
        for (_, from, lines, expected) in table.iter().filter(|row| row.0 == listener) {
            let seen = seen(&shop, &gateway, from, lines).await;
            assert_eq!(seen, *expected, "{listener} {from} {lines}");
        }
    }
}

#[tokio::test]
async fn of_two_stories_none_is_believed() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "").await;
    for forwarded in ["for=198.51.100.9;proto=https", "for=unknown"] {
        let lines = format!("forwarded: {forwarded}\r\nx-forwarded-for: 203.0.113.9\r\n");
        assert_eq!(send(&gateway, HOP, &lines).await, "400", "{lines}");
    }
    assert!(shop.seen().is_empty());
}

/// Headers that say something the gateway alone may say, in spellings that some server takes for it.
const FORGED: &[&str] = &[
    "X-User-Id: root",
    "x-user-id: root",
    "X_USER_ID: root",
    "x_user-id: root",
    "x-user_id: root",
    "X-Client: root",
    "x_client: root",
    "x_debug: 1",
    "X_Internal_Role: root",
    "x-internal_role: root",
    "x_forwarded_for: 203.0.113.9",
    "X-Forwarded_For: 203.0.113.9",
    "x_forwarded_proto: https",
    "x_forwarded_client_cert: root",
    "X-Real-IP: 203.0.113.9",
    "x_real_ip: 203.0.113.9",
    "True-Client-IP: 203.0.113.9",
    "true_client_ip: 203.0.113.9",
    "CF-Connecting-IP: 203.0.113.9",
    "x-original-url: /admin",
    "x_request_id: forged",
    "content_length: 7",
    "transfer_encoding: chunked",
    "Proxy: http://203.0.113.9",
    "x.user.id: root",
    "X+User+Id: root",
    "x-user~id: root",
    "x.internal.role: root",
    "x.forwarded.for: 203.0.113.9",
    "x|forwarded|proto: https",
    "x.request.id: forged",
    "x!real!ip: 203.0.113.9",
    "x.tenant: 666",
    "x_tenant: 666",
    "content.length: 7",
    "transfer.encoding: chunked",
    "Content_Encoding: gzip",
    "content.encoding: gzip",
    "Content_Type: text/forged",
    "content^type: text/forged",
    "Proxy_Authorization: root",
    "X-Forwarded: 203.0.113.9",
    "Forwarded-For: 203.0.113.9",
    "Front-End-Https: on",
    "X-Url-Scheme: https",
    "X-Scheme: https",
    "X-Host: bank.test",
    "X-HTTP-Host-Override: bank.test",
    "X-SSL-Client-Verify: SUCCESS",
    "ssl_client_verify: SUCCESS",
    "Cluster-Client-IP: 203.0.113.9",
    "X-Cluster-Client-IP: 203.0.113.9",
    "X-Remote-IP: 203.0.113.9",
    "X-Remote-Addr: 203.0.113.9",
    "x.originating.ip: 203.0.113.9",
    "X-AppEngine-User-IP: 203.0.113.9",
    "Fastly-Client-IP: 203.0.113.9",
];

/// What servers take a name for that make the same of every character but letters and digits.
fn plain(name: &str) -> String {
    name.replace(|it: char| !it.is_ascii_alphanumeric(), "-")
}

#[tokio::test]
async fn nothing_is_forged_in_any_spelling() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "").await;
    for &forged in FORGED {
        assert_eq!(
            send(&gateway, STRANGER, &format!("{forged}\r\n")).await,
            "200",
            "{forged}"
        );
        let seen = shop.seen().pop().unwrap();
        let value = forged.split_once(": ").unwrap().1;
        for (name, seen) in &seen.headers {
            assert_ne!(seen.as_bytes(), value.as_bytes(), "{forged} as {name}");
        }
        let name = forged.split_once(':').unwrap().0.to_lowercase();
        let plain_name = plain(&name);
        for (other, _) in &seen.headers {
            // A server that takes one for the other finds the gateway's own or nothing.
            let is_twin = other.as_str() != plain_name && plain(other.as_str()) == plain_name;
            assert!(!is_twin, "{forged}: {other}");
        }
        assert_eq!(seen.header("x-user-id"), Some("u7"));
        assert_eq!(seen.header("x-client"), Some(STRANGER));
    }
}

/// The gateway's own name may be the one with an underscore; whichever it is, it alone arrives.
#[tokio::test]
async fn a_header_of_a_policy_is_never_lost_to_a_twin() {
    for listener in ["", "underscores = \"drop\""] {
        for own in ["x_user_id", "x-user-id"] {
            let shop = Origin::http1(|_| text("ok"));
            let toml = SHOP.replace("x-user-id = ", &format!("{own} = "));
            let gateway = Gateway::draft(&toml)
                .with("shop", &shop)
                .with("listener", listener)
                .start()
                .await;
            for lines in [
                "",
                "a_b: 1\r\n",
                "x-user-id: forged\r\n",
                "x_user_id: forged\r\n",
                "x-user-id: forged\r\na_b: 1\r\n",
                "x_user_id: forged\r\nx-user-id: forged\r\nx.user.id: forged\r\na_b: 1\r\n",
            ] {
                assert_eq!(send(&gateway, STRANGER, lines).await, "200");
                let seen = shop.seen().pop().unwrap();
                let ids = seen.headers.iter();
                let ids: Vec<_> = ids
                    .filter(|(name, _)| plain(name.as_str()) == "x-user-id")
                    .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                    .collect();
                assert_eq!(ids, [(own, "u7")], "{listener} {own} {lines}");
                let passes = listener.is_empty() && lines.contains("a_b");
                assert_eq!(seen.header("a_b"), passes.then_some("1"), "{lines}");
            }
        }
    }
}

/// What is removed by a name with an underscore does not take away what frames the message.
#[tokio::test]
async fn a_pattern_with_an_underscore_spares_the_framing() {
    let shop = Origin::http1(|_| text("ok"));
    let toml = SHOP.replace("\"x-debug\"", "\"content_*\"");
    let gateway = Gateway::draft(&toml)
        .with("shop", &shop)
        .with("listener", "")
        .start()
        .await;
    let mut client = RawClient::connect_from(STRANGER, gateway.address()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-note: 1\r\nconnection: close\r\n\r\nhi")
        .await;
    let answer = client.read_to_end().await;
    assert!(answer.contains(" 200 "), "{answer}");
    let seen = shop.only();
    assert_eq!(&seen.body[..], b"hi");
    assert_eq!(seen.header("content-note"), None);
}

#[tokio::test]
async fn a_hop_does_not_pass_on_twins_either() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "").await;
    for forged in [
        "x_forwarded_for: 203.0.113.9",
        "x_real_ip: 203.0.113.9",
        "x.scheme: https",
        "Proxy: http://x",
    ] {
        let lines = format!("x-forwarded-for: 198.51.100.9\r\n{forged}\r\n");
        assert_eq!(send(&gateway, HOP, &lines).await, "200");
        let seen = shop.seen().pop().unwrap();
        let name = forged.split_once(':').unwrap().0.to_lowercase();
        assert_eq!(seen.header(&name), None, "{forged}");
        assert_eq!(seen.header("x-client"), Some("198.51.100.9"));
    }
}

#[tokio::test]
async fn other_names_with_underscores_pass_unless_all_are_dropped() {
    for (listener, passes) in [("", true), ("underscores = \"drop\"", false)] {
        let shop = Origin::http1(|_| text("ok"));
        let gateway = gateway(&shop, listener).await;
        assert_eq!(
            send(
                &gateway,
                STRANGER,
                "tenant_id: 7\r\ntenant-id: 8\r\ncart_id: 9\r\ncart.name: 10\r\n"
            )
            .await,
            "200"
        );
        let seen = shop.only();
        assert_eq!(seen.header("cart_id"), passes.then_some("9"), "{listener}");
        let name = seen.header("cart.name");
        assert_eq!(name, passes.then_some("10"), "{listener}");
        // Nobody manages it, but one of the two would hide the other.
        assert_eq!(seen.header("tenant_id"), None, "{listener}");
        assert_eq!(seen.header("tenant-id"), Some("8"), "{listener}");
    }
}

#[tokio::test]
async fn connection_cannot_take_away_what_the_gateway_says() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "").await;
    for (named, status) in [
        ("x-user-id", "200"),
        ("X-User-Id, x-client", "200"),
        ("forwarded", "200"),
        ("x-request-id, traceparent", "200"),
        ("x-forwarded-for", "400"),
        ("X-Forwarded-Proto", "400"),
        ("x-forwarded-host, x-user-id", "400"),
        ("host", "400"),
    ] {
        let before = shop.seen().len();
        let mut client = RawClient::connect_from(STRANGER, gateway.address()).await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-user-id: root\r\nconnection: close, {named}\r\n\r\n"
        );
        client.send(request).await;
        let answer = client.read_to_end().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{named}: {answer}"
        );
        let Some(seen) = shop.seen().get(before).cloned() else {
            assert_eq!(status, "400", "{named}");
            continue;
        };
        assert_eq!(seen.header("x-user-id"), Some("u7"), "{named}");
        assert_eq!(seen.header("x-client"), Some(STRANGER), "{named}");
        assert_eq!(seen.header("x-forwarded-for"), Some(STRANGER), "{named}");
        assert!(seen.header("forwarded").is_some(), "{named}");
        assert!(seen.header("x-request-id").is_some(), "{named}");
        assert_eq!(seen.header("connection"), None, "{named}");
    }
}

#[tokio::test]
async fn trailers_say_nothing_of_anybody() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::speaking(protocol, |_| text("ok"));
        let listener = "";
        let toml = SHOP.replace(
            "endpoints = [\"$shop\"]",
            "endpoints = [\"$shop\"]\n    protocol = \"$protocol\"",
        );
        let gateway = Gateway::draft(&toml)
            .with("shop", &shop)
            .with("listener", listener)
            .with("protocol", protocol)
            .start()
            .await;
        let mut client = RawClient::connect_from(STRANGER, gateway.address()).await;
        client
            .send(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-user-id\r\nconnection: close\r\n\r\n\
                 2\r\nhi\r\n0\r\nx-user-id: root\r\nx-forwarded-for: 203.0.113.9\r\n\r\n",
            )
            .await;
        let answer = client.read_to_end().await;
        assert!(answer.contains(" 200 "), "{answer}");
        let seen = shop.only();
        assert_eq!(&seen.body[..], b"hi");
        let ids: Vec<_> = seen.headers.get_all("x-user-id").iter().collect();
        assert_eq!(ids, ["u7"]);
        assert_eq!(seen.header("x-forwarded-for"), Some(STRANGER));
        assert_eq!(seen.header("trailer"), None);
    }
}
